"""The course, pages and reports from a wheel, in an environment that knows no checkout."""

import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import nbformat
import pytest

from tests.helpers import ROOT
from tests.helpers.links import broken_links_of

SETTINGS = ("epochs=1", "width=8", "train_images=100", "test_images=50")
TINY = [word for setting in SETTINGS for word in ("--set", setting)]
pytestmark = pytest.mark.long
COMMANDS = "Scripts" if os.name == "nt" else "bin"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A virtual environment with linfkit's wheel, which sees the packages of this one."""
    pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed")
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--quiet", "--no-cache-dir"]
    build = ["wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", folder]
    subprocess.run([*pip, *build, ROOT], check=True)
    (wheel,) = folder.glob("linfkit-*.whl")
    venv.create(folder / "venv")
    python = folder / "venv" / COMMANDS / "python"
    install = ["--python", python, "install", "--no-index", "--no-deps", wheel]
    subprocess.run([*pip, *install], check=True)
    # after that, or pip would find linfkit installed; files that name a checkout are not read there
    own = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    )
    seen = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    (Path(own.stdout.strip()) / "seen.pth").write_text("\n".join(seen))
    return folder / "venv"


@pytest.fixture(scope="module")
def start(environment, tmp_path_factory):
    """Start a program of that environment in an empty folder; what it prints, and the folder."""

    def start(program, *words, **variables):
        folder = tmp_path_factory.mktemp("empty")
        inherited = {name: os.environ[name] for name in os.environ if name != "PYTHONPATH"}
        ran = subprocess.run(
            [environment / COMMANDS / program, *map(str, words)],
            cwd=folder,
            env=inherited | {"PYTHONIOENCODING": "utf-8"} | variables,
            capture_output=True,
            encoding="utf-8",
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout, folder

    return start


def missing_targets(texts, pattern):
    """Files of one's own that texts link to and that are not there; of (folder, text) pairs."""
    targets = {folder / target for folder, text in texts for target in re.findall(pattern, text)}
    assert targets
    return [target for target in targets if not target.is_file()]


def prose(folder):
    for path in folder.glob("*.ipynb"):
        for cell in nbformat.read(path, 4).cells:
            if cell.cell_type == "markdown":
                yield folder, cell.source


def test_the_checkout_is_not_what_is_imported(start, environment):
    imported, _ = start("python", "-c", "import linfkit; print(linfkit.__file__)")
    assert environment.resolve() in Path(imported.strip()).resolve().parents


@pytest.mark.parametrize("option", ["--solutions", "--no-solutions"])
def test_links_and_pictures_of_the_course_travel(option, start):
    _, folder = start("linfkit", "course", "mine", option)
    notebooks = folder / "mine" / "notebooks"
    assert {path.name for path in notebooks.iterdir()} == {
        path.name for path in (ROOT / "notebooks").glob("*.ipynb")
    }
    texts = list(prose(notebooks))
    assert missing_targets(texts, r"\]\((?!https?:)([^)#\s]+)") == []
    solutions = any("<summary>Solution" in text for _, text in texts)
    assert solutions == (option == "--solutions")


def test_lab_opens_jupyterlab_on_the_course(start, tmp_path):
    (tmp_path / "jupyter.py").write_text("import sys; print(*sys.argv[1:])")
    opened, folder = start("linfkit", "lab", "mine", PYTHONPATH=str(tmp_path))
    program, *_, notebooks = opened.split()
    assert program == "lab"
    assert (folder / notebooks / "00_start_here.ipynb").is_file()


def test_pages_are_whole(start):
    shown, folder = start("linfkit", "pages", "--out", "site")
    pages = (folder / "site" / "notebooks").glob("*.html")
    assert {page.stem for page in pages} == {
        path.stem for path in (ROOT / "notebooks").glob("*.ipynb")
    }
    assert (folder / shown.split("open ")[1].strip()).is_file()
    assert broken_links_of(folder / "site") == []


def test_a_run_is_reported(start):
    _, folder = start("linfkit", "train", "digits-small", *TINY, "--out", "run")
    _, elsewhere = start("linfkit", "report", folder / "run", "--out", "report.html")
    assert "digits-small" in (elsewhere / "report.html").read_text("utf-8")
