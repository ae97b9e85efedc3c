"""Tested: that mutmut's faults in certificates, rounding, losses and schedules are found by their
tests.
Not tested: faults in other modules, and outside functions, where mutmut puts none."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.helpers import ROOT

MUTMUT = shutil.which("mutmut", path=Path(sys.executable).parent)

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(MUTMUT is None, reason="mutmut is not installed: it forks, unlike Windows"),
]

#: What mutmut may write and no test find, as a pattern of the new line, and why that is no fault.
NO_FAULTS = {
    r"batch_size: int = 1025": "no result depends on how images are split into batches",
    r"certify\(net, x, labels, \)": "likewise",
    r"(split|parts).*(strict=(None|False)|, \))": "what is zipped is of one length, and checked",
    r"stacklevel=5|^\)$": "which line a warning names: mutmut's own calls stand in between",
    r"3\*\*-20|2\*\*-21|1 - 2\*\*-20|/ \(1 \+ 2\*\*-20": "float64's own rounding: never seen",
    r"\(ends, roundings=(None|2)\)": "one rounding of a pixel is below the bisection's 2⁻²⁰",
    r"replace\(Rounded\.of\(x\), (reach=1\.0)?\)": "likewise, of what is within reach",
    r"times\((1 \*|2 /) unit_of\(net": "likewise, in the net's units",
    r"math\.inf, (dtype=None, )?device=value": "a batch's own type decides where there is a batch",
    r"kind not in \"XXiuXX\"": "NumPy has no kind X",
    r"\.to\(None[,)]|labels\.to\(torch\.int64\)": "a move to where it is; test_devices moves",
    r"check_eps\(eps\), (dtype=x\.dtype, (device=None|)\))": "likewise",
    r"rounding <= others": "the two are never equal to the last bit",
    r"^return$": "as `break` there, it leads to None",
    r"math\.inf, (dtype=dtype, )?(device=None)?\)": "a number on the CPU would do beside tensors",
    r"if 1 <= eps <= 255": "an ε of 1 is none of those that are refused",
    r"if in_all > 1 / 4": "at a quarter the formula divides by 0, and is ∞ too",
    r"\* error\) <= min": "the two are never equal to the last bit",
}
NO_FAULT = re.compile("|".join(NO_FAULTS))


def undecorated(source: str) -> str:
    """Decorators as the calls that they are: mutmut leaves decorated functions as they stand."""
    lines = source.splitlines(keepends=True)
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    for function in sorted(functions, key=lambda function: function.lineno, reverse=True):
        decorators = [ast.unparse(decorator) for decorator in function.decorator_list]
        if decorators not in ([], ["classmethod"]):
            (decorator,) = decorators
            called = f"{function.name} = {decorator}({function.name})\n"
            lines.insert(function.end_lineno, " " * function.col_offset + called)
            del lines[function.decorator_list[0].lineno - 1 : function.lineno - 1]
    return "".join(lines)


@pytest.fixture(scope="module")
def mutmut(tmp_path_factory):
    """The command, in a copy of sources and tests where it has run."""
    copy = tmp_path_factory.mktemp("mutated")
    for name in ("linfkit", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, copy)
    settings = tomllib.loads((copy / "pyproject.toml").read_text("utf-8"))["tool"]["mutmut"]
    for source in (copy / name for name in settings["only_mutate"]):
        source.write_text(undecorated(source.read_text("utf-8")), "utf-8")

    def run(*words: str) -> str:
        return subprocess.run(
            [MUTMUT, *words],
            cwd=copy,
            # OpenMP's threads do not live on in the process that is forked for each mutant
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout

    run("run")
    return run


def new_line(difference: str) -> str:
    return " ".join(re.findall(r"^\+(?!\+) *(.+)$", difference, re.MULTILINE))


def test_nine_in_ten_faults_are_found_and_the_others_are_none(mutmut):
    verdicts = dict(
        re.findall(r"^ *(\S+): (.+)$", mutmut("results", "--all", "true"), re.MULTILINE)
    )
    missed = [name for name in verdicts if verdicts[name] not in ("killed", "timeout")]
    print(f"\n{len(verdicts) - len(missed)} of {len(verdicts)} faults found")
    assert len(verdicts) > 1000
    assert len(missed) <= 0.1 * len(verdicts)
    lines = {name: new_line(mutmut("show", name)) for name in missed}
    unexplained = [f"{name}: {lines[name]}" for name in lines if not NO_FAULT.search(lines[name])]
    print(*unexplained, sep="\n")
    assert not unexplained
