"""pyproject.toml, environment.yml, the lock and the citation say the same; profiles are whole."""

import ast
import json
import re
import subprocess
import sys
import tomllib

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import linfkit
from tests.helpers import ROOT

ON_CONDA_FORGE = {
    "torch": "pytorch",
    "kaleido": "python-kaleido",
    "playwright": "playwright-python",
}


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def requirements(project):
    def of_extra(name):
        """The requirements of an extra, and of those that it takes in."""
        for requirement in map(Requirement, project["optional-dependencies"][name]):
            if requirement.name == "linfkit":
                for extra in requirement.extras:
                    yield from of_extra(extra)
            else:
                yield requirement

    return [*map(Requirement, project["dependencies"]), *of_extra("dev")]


@pytest.fixture(scope="module")
def lock():
    text = (ROOT / "requirements.lock").read_text()
    return [Requirement(line) for line in text.splitlines() if not line.startswith("#")]


def test_conda_gets_the_same_requirements(project, requirements):
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    # environment.yml knows no platforms; Triton, for Linux, comes with conda's PyTorch for GPUs
    ours = {
        canonicalize_name(ON_CONDA_FORGE.get(one.name, one.name)): one.specifier
        for one in requirements
        if one.marker is None
    }
    ours["python"] = Requirement(f"python{project['requires-python']}").specifier
    ours["pip"] = Requirement("pip").specifier
    theirs = [Requirement(line) for line in environment["dependencies"]]
    assert {canonicalize_name(one.name): one.specifier for one in theirs} == ours
    assert environment["channels"] == ["conda-forge"]


def test_the_lock_pins_every_requirement_within_its_range(requirements, lock):
    pinned = {canonicalize_name(one.name): one for one in lock}
    for requirement in requirements:
        (pin,) = pinned[canonicalize_name(requirement.name)].specifier
        assert pin.operator == "=="
        assert requirement.specifier.contains(pin.version), requirement


def test_the_lock_pins_exactly_and_for_any_build(lock):
    assert all([pin.operator for pin in one.specifier] == ["=="] for one in lock)
    assert not [str(one) for one in lock if one.url or "+" in str(one.specifier)]
    assert "torch==2.13.0" in [str(one) for one in lock]


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == linfkit.__version__
    assert {reference["url"].rsplit("/")[-1] for reference in citation["references"]} == {
        "2110.06850",
        "2107.00230",
    }


def test_the_labextension_is_of_this_version():
    package = json.loads((ROOT / "linfkit/course/labextension/package.json").read_text())
    assert (package["name"], package["version"]) == ("linfkit", linfkit.__version__)


def test_every_make_target_says_what_it_does():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)) - {"bin", "stamp"}
    described = set(re.findall(r"^([a-z-]+):.*## \w", makefile, re.MULTILINE))
    assert targets == described
    assert {"setup", "reproduce", "test", "test-long", "lint", "lab", "notebooks"} <= described


def test_what_notebooks_import_waits_for_nothing_that_is_used_later_if_at_all():
    notebooks = [nbformat.read(path, 4) for path in (ROOT / "notebooks").glob("*.ipynb")]
    code = [cell.source for each in notebooks for cell in each.cells if cell.cell_type == "code"]
    statements = ast.walk(ast.parse("\n".join(code)))
    imports = sorted(
        {ast.unparse(each) for each in statements if isinstance(each, ast.Import | ast.ImportFrom)}
    )
    assert "import linfkit as lk" in imports
    later = ["distributed", "numba", "papermill", "scipy", "sklearn", "torch._dynamo", "triton"]
    asked = [*imports, "import sys", f"print([name for name in {later} if name in sys.modules])"]
    answer = subprocess.run(
        [sys.executable, "-c", "\n".join(asked)], capture_output=True, text=True, cwd=ROOT
    )
    assert (answer.returncode, answer.stdout.strip()) == (0, "[]"), answer.stderr
