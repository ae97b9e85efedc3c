"""Published notebooks: what is kept, what is left out, what nbval then compares."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_output

from linfkit.reproduce.publish_notebooks import is_current, publish
from linfkit.reproduce.reproduction import reproduce
from linfkit.reproduce.results import Results
from tests.helpers import ROOT
from tests.helpers.small_notebooks import write_good_notebook


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one good notebook, which lies in `notebooks/` beside it."""
    folder = tmp_path_factory.mktemp("published")
    write_good_notebook(folder / "notebooks")
    results = reproduce(out=folder / "run", notebooks=folder / "notebooks")
    if not any(figure.endswith(".png") for figure in results.notebooks[0].figures):
        # Without a Chromium there are no pictures; one that stands in for them is enough here.
        (folder / "run" / "figures" / "01_good-bars.png").write_bytes(b"a picture")
        results.notebooks[0].figures.append("figures/01_good-bars.png")
        results.save(folder / "run")
    return folder


@pytest.fixture
def published(run):
    publish(run / "run", run / "notebooks", run / "figures")
    return nbformat.read(run / "notebooks" / "01_good.ipynb", 4)


def test_outputs_come_with_a_stamp_and_without_traces(run, published):
    assert is_current(published)
    assert published.metadata["linfkit"]["profile"] == "quick"
    text = nbformat.writes(published)
    for trace in ("papermill", "widget-", "start_time", str(run), "elsewhere"):
        assert trace not in text
    assert "top-suffices: held" in text


def test_cells_stay_as_they_are(run, published):
    executed = nbformat.read(run / "run" / "notebooks" / "01_good.ipynb", 4)
    assert [cell.id for cell in published.cells] == [cell.id for cell in executed.cells]
    assert [cell.source for cell in published.cells] == [cell.source for cell in executed.cells]


def test_publishing_again_changes_nothing(run, published):
    before = (run / "notebooks" / "01_good.ipynb").read_bytes()
    publish(run / "run", run / "notebooks", run / "figures")
    assert (run / "notebooks" / "01_good.ipynb").read_bytes() == before


def test_pictures_take_the_place_of_earlier_ones(run):
    (run / "figures").mkdir(exist_ok=True)
    (run / "figures" / "01_good-forgotten.png").touch()
    (run / "figures" / "02_other-kept.png").touch()
    publish(run / "run", run / "notebooks", run / "figures")
    names = {file.name for file in (run / "figures").iterdir()}
    assert "01_good-bars.png" in names
    assert "02_other-kept.png" in names
    assert "01_good-forgotten.png" not in names


def test_nbval_compares_what_is_printed_and_no_measured_value(run, published):
    elsewhere = nbformat.writes(published).replace('"value": 2.0', '"value": 2.1')
    elsewhere = elsewhere.replace("top-suffices: held", "top-suffices: NOT held")
    (run / "elsewhere.ipynb").write_text(elsewhere)
    # -rN: where CI is set, pytest's summary would say each mismatch again
    pytest_with = [sys.executable, "-m", "pytest", "-rN", "-p", "conftest"]
    pytest_with += ["-p", "no:cacheprovider"]
    nbval = ["--nbval", "--nbval-current-env", "--rootdir", run, run / "elsewhere.ipynb"]
    tested = subprocess.run([*pytest_with, *nbval], cwd=ROOT, capture_output=True, text=True)
    assert re.findall(r"mismatch '(\w+)'", tested.stdout) == ["stdout"]
    assert "1 failed, 3 passed" in tested.stdout


def test_only_a_whole_and_successful_run_is_published(run, tmp_path):
    results = Results.load(run / "run")
    results.planned.append("02_not_run")
    results.save(tmp_path)
    with pytest.raises(ValueError, match="not a run to publish"):
        publish(tmp_path, run / "notebooks", run / "figures")


def test_a_notebook_that_has_changed_is_not_published(run, tmp_path):
    changed = write_good_notebook(tmp_path / "notebooks", needed=1.5)
    with pytest.raises(ValueError, match="01_good has changed since"):
        publish(run / "run", changed.parent, tmp_path / "figures")


def test_a_run_with_other_parameters_is_not_published(run, tmp_path):
    shutil.copytree(run / "run", tmp_path / "run")
    results = Results.load(tmp_path / "run")
    results.notebooks[0].parameters["needed"] = 1.5
    results.save(tmp_path / "run")
    with pytest.raises(ValueError, match="ran 01_good with other parameters than its own"):
        publish(tmp_path / "run", run / "notebooks", tmp_path / "figures")


def test_a_run_without_pictures_is_not_published(run, tmp_path):
    shutil.copytree(run / "run", tmp_path / "run")
    results = Results.load(tmp_path / "run")
    results.notebooks[0].figures[:] = []
    results.save(tmp_path / "run")
    with pytest.raises(ValueError, match="no PNG pictures of 01_good; is there a Chromium"):
        publish(tmp_path / "run", run / "notebooks", tmp_path / "figures")


def test_an_output_with_a_path_of_this_machine_is_not_published(run, tmp_path):
    shutil.copytree(run / "run", tmp_path / "run")
    executed = tmp_path / "run" / "notebooks" / "01_good.ipynb"
    notebook = nbformat.read(executed, 4)
    notebook.cells[-1].outputs = [new_output("stream", text=f"saved {Path.home()}/net")]
    nbformat.write(notebook, executed)
    with pytest.raises(ValueError, match="01_good: an output shows a path of this machine"):
        publish(tmp_path / "run", run / "notebooks", tmp_path / "figures")
