"""The shape of the package: few rooms, imports one way, light to import, plain docstrings."""

import ast
import graphlib
import os
import re
import subprocess
import sys

import pytest

import linfkit
from tests.helpers import ROOT

PACKAGE = ROOT / "linfkit"

#: A room imports from the rows above its own only.
ROWS = [
    ["_util"],
    ["kernels", "recipes"],
    ["functional", "data"],
    ["nn", "bench"],
    ["certification"],
    ["training"],
    ["course"],
    ["reproduce"],
    ["pages"],
    ["cli"],
    ["__main__"],
]
HEIGHTS = {room: height for height, rooms in enumerate(ROWS) for room in rooms}

#: Packages that only the course, and what stands on it, may import.
NOTEBOOKS = {
    "IPython",
    "ipywidgets",
    "jupyter_client",
    "nbclient",
    "nbformat",
    "papermill",
    "plotly",
}

#: Packages that take long to import.
HEAVY = ["distributed", "numba", "numpy", "papermill", "plotly", "scipy", "torch", "tqdm"]

#: No docstring begins with a question.
QUESTIONS = ("How ", "What ", "When ", "Where ", "Whether ", "Which ", "Who ", "Whose ", "Why ")

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path != PACKAGE / "__init__.py"
}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in MODULES.items()}


def imported(name: str, at_top: bool = False) -> set[str]:
    """Modules that a module imports: anywhere in it, or only while it is imported itself."""
    found = set()
    for node in TREES[name].body if at_top else ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "linfkit":
            names = [alias.name for alias in node.names]
            found |= {linfkit._MODULES.get(name, f"linfkit.{name}") for name in names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= below & MODULES.keys() or {node.module}
    return found


def room_of(module: str) -> str:
    return module.split(".")[1]


def test_a_dozen_rooms():
    found = {path.stem for path in PACKAGE.iterdir()} - {"__init__", "__pycache__", "py"}
    assert found == HEIGHTS.keys()
    assert len(found - {"pages", "__main__"}) <= 14  # and __init__.py


def test_imports_run_one_way():
    upwards = [
        (module, other)
        for module in MODULES
        for other in imported(module) & MODULES.keys()
        if room_of(other) != room_of(module) and HEIGHTS[room_of(other)] >= HEIGHTS[room_of(module)]
    ]
    assert upwards == []


def test_no_modules_import_each_other_in_a_circle():
    graph = {name: imported(name, at_top=True) & MODULES.keys() - {name} for name in MODULES}
    graphlib.TopologicalSorter(graph).prepare()


def test_only_the_course_and_what_stands_on_it_imports_plotly_papermill_and_jupyter():
    below = [name for name in MODULES if HEIGHTS[room_of(name)] < HEIGHTS["course"]]
    roots = {name: {other.partition(".")[0] for other in imported(name)} for name in below}
    assert {name: found & NOTEBOOKS for name, found in roots.items() if found & NOTEBOOKS} == {}


def test_public_names_are_those_that_type_checkers_see():
    stub = (PACKAGE / "__init__.pyi").read_text("utf-8")
    exported = re.findall(r"^from linfkit\.\S+ import (\w+) as \1$", stub, re.MULTILINE)
    assert sorted(["__version__", *exported]) == linfkit.__all__ == dir(linfkit)


@pytest.mark.parametrize("name", linfkit.__all__)
def test_every_public_name_is_there_and_documented(name):
    assert getattr(linfkit, name).__doc__


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="module 'linfkit' has no attribute 'fitt'"):
        _ = linfkit.fitt


@pytest.mark.parametrize("words", [["--help"], ["trian"], ["train", "--hlep"], ["train", "--help"]])
def test_the_command_line_loads_nothing_heavy_before_it_is_used(words):
    run = "runpy.run_module('linfkit', {}, '__main__')"
    code = f"import runpy, sys\nsys.argv = {['linfkit', *words]}\n"
    assert heavy_after(f"{code}try:\n {run}\nexcept SystemExit:\n pass") == "[]"


def test_importing_linfkit_loads_nothing_heavy():
    assert heavy_after("import linfkit; linfkit.__version__") == "[]"


def heavy_after(code: str) -> str:
    """Heavy packages that a new process has loaded after that code, as it lists them."""
    told = f"import sys\nprint([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}\n{told}"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return ran.stderr.splitlines()[-1]


def test_a_docstring_names_what_it_describes():
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    first_lines = [
        (module, (ast.get_docstring(node) or "").partition("\n")[0])
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, kinds)
    ]
    assert [found for found in first_lines if found[1].startswith(QUESTIONS)] == []
