"""pyproject.toml, environment.yml, the lock and the citation say the same; profiles are whole."""

import ast
import json
import re
import runpy
import subprocess
import sys
import tomllib
import types

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


def test_bibtex_cites_what_the_citation_file_does():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    bibtex = (ROOT / "CITATION.bib").read_text()
    assert re.findall(r"version *= *\{(.*)\}", bibtex) == [linfkit.__version__]
    assert re.findall(r"url *= *\{(.*)\}", bibtex) == [
        reference["url"] for reference in citation["references"]
    ]


def repository():
    """The one place that states the repository's address."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return settings["tool"]["hatch"]["metadata"]["hooks"]["custom"]["repository"]


@pytest.mark.parametrize("address", ["", "https://example.org/linfkit"])
def test_the_package_states_addresses_if_the_repository_has_one(address, monkeypatch):
    interface = types.ModuleType("hatchling.metadata.plugin.interface")
    interface.MetadataHookInterface = object  # hatchling is there only while the package is built
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    hook = runpy.run_path(str(ROOT / "hatch_build.py"))["ProjectUrls"]()
    hook.config = {"repository": address}
    metadata = {}
    hook.update(metadata)
    assert ("Repository" in metadata["urls"]) == bool(address)
    assert all(url.startswith(address) for url in metadata["urls"].values())


def test_the_citation_gives_the_repositorys_address():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation.get("repository-code", "") == repository()


def test_the_workflow_calls_targets_of_make():
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    commands = [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step]
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert {"make lint", "make test"} <= set(commands) <= {f"make {target}" for target in targets}


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


#: Packages of Colab's kernel that linfkit uses too, in August 2026, on Python 3.13.
COLAB = {
    "plotly": "5.24.1",
    "ipywidgets": "7.7.1",
    "ipykernel": "6.17.1",
    "jupyter-client": "7.4.9",
}


def test_the_install_page_says_what_pip_replaces_on_colab(project, requirements):
    page = (ROOT / "docs" / "install.md").read_text("utf-8")
    (row,) = re.findall(r"^\| Colab, Kaggle \|.*$", page, re.MULTILINE)
    bounds = {canonicalize_name(one.name): one.specifier for one in requirements}
    for name, version in COLAB.items():
        named = f"{name.replace('-', '_')} {version.rsplit('.', 1)[0]}" in row
        assert named == (not bounds[name].contains(version)), name


def test_the_library_alone_leaves_colabs_packages_as_they_are(project):
    names = {canonicalize_name(Requirement(one).name) for one in project["dependencies"]}
    assert not names & COLAB.keys()
    assert "3.13" in Requirement(f"python{project['requires-python']}").specifier
