"""A second run does what is left: what is missing, changed or failed, and nothing else.

The notebooks are small, and what runs them is replaced by `outcome` wherever no kernel is needed.
That a run killed at any moment leaves nothing half-written is tested with real processes.
"""

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace

import nbformat
import pytest

from linfkit._util import workers
from linfkit._util.environment import source_hash
from linfkit._util.files import folder_lock
from linfkit._util.workers import WorkerError
from linfkit.cli.reproduce import summary
from linfkit.course.claims import CLAIMS_MIME
from linfkit.reproduce import reproduction
from linfkit.reproduce.execution import on_lost_worker
from linfkit.reproduce.outputs import claims_in
from linfkit.reproduce.profiles import Profile, Row
from linfkit.reproduce.reproduction import reproduce
from linfkit.reproduce.results import NotebookResult, Results
from linfkit.reproduce.tasks import Task
from tests.helpers.small_notebooks import (
    PARAMETERS,
    result_of,
    write_good_notebook,
    write_notebook,
)


@pytest.fixture
def notebooks(tmp_path):
    folder = tmp_path / "notebooks"
    for name in ("01_first", "02_second", "03_third"):
        write_good_notebook(folder, name)
    return folder


@pytest.fixture
def ran(monkeypatch):
    """The names of the tasks that ran; each claims its `top` ≥ 1, or finds it if negative."""
    names = []

    def execute(task, on_progress):
        names.append(task.name)
        notebook = nbformat.reads(task.notebook, 4)
        top = float(task.parameters["top"])
        claim = {"id": "top", "notebook": task.name, "text": "high", "value": top, "needed": "≥ 1"}
        holds = None if top < 0 else top >= 1
        table = nbformat.v4.new_output("display_data", {CLAIMS_MIME: [claim | {"holds": holds}]})
        notebook.cells[-1].outputs = [table]
        return notebook, result_of(task, claims=claims_in(notebook))

    monkeypatch.setattr(reproduction, "execute", execute)
    monkeypatch.setenv("BROWSER_PATH", "no-such-browser")
    return names


def run(notebooks, **arguments):
    return reproduce("quick", notebooks.parent / "out", notebooks=notebooks, workers=1, **arguments)


ALL = ["01_first", "02_second", "03_third"]


def test_what_is_finished_is_kept(notebooks, ran, capfd):
    first = run(notebooks)
    again = run(notebooks)
    assert ran == ALL
    assert again.success
    assert again.claims == first.claims
    assert [result.name for result in again.notebooks] == ALL
    assert "kept, since nothing they depend on has changed: 01_first, 02_second" in "".join(
        capfd.readouterr()
    )


@pytest.mark.parametrize("sweep", [None, {"top": [1, 2]}], ids=["", "sweep"])
def test_what_is_finished_is_read_without_writing_anything(sweep, notebooks, ran):
    first = run(notebooks, sweep=sweep)
    out = notebooks.parent / "out"
    (out / ".lock").unlink(missing_ok=True)
    before = {path: path.stat().st_mtime_ns for path in [out, *out.rglob("*")]}
    again = run(notebooks, sweep=sweep)
    assert again.success
    assert again.claims == first.claims
    assert {path: path.stat().st_mtime_ns for path in [out, *out.rglob("*")]} == before
    run(notebooks, sweep=sweep, only=["01"])  # fewer are another run
    assert len(Results.load(out).planned) == len(again.planned) / 3


def test_force_runs_everything(notebooks, ran):
    run(notebooks)
    run(notebooks, force=True)
    assert ran == ALL + ALL


def test_a_changed_notebook_runs_again(notebooks, ran):
    run(notebooks)
    write_good_notebook(notebooks, "02_second", needed=2)
    run(notebooks)
    assert ran == [*ALL, "02_second"]


def test_other_parameters_run_again(notebooks, ran):
    run(notebooks)
    run(notebooks, parameters={"top": 3.0})
    assert ran == ALL + ALL


def test_other_code_of_the_library_runs_everything_again(notebooks, ran, monkeypatch):
    run(notebooks)
    monkeypatch.setattr("linfkit.reproduce.reproduction.source_hash", lambda: "other")
    run(notebooks)
    assert ran == ALL + ALL


def test_other_data_runs_again(notebooks, ran, monkeypatch):
    rows = {name: Row(dataset="digits" if name == "02_second" else None) for name in ALL}
    profile = Profile(name="small", rows=rows)
    out = notebooks.parent / "out"
    reproduce(profile, out, notebooks=notebooks, workers=1)
    monkeypatch.setattr("linfkit.reproduce.reproduction.data_hash", lambda name: "other")
    reproduce(profile, out, notebooks=notebooks, workers=1)
    assert ran == [*ALL, "02_second"]


@pytest.mark.parametrize(
    "damaged",
    ["notebooks/02_second.ipynb", "figures/02_second-bars.html", "records/02_second.json"],
)
def test_a_missing_file_is_made_again(notebooks, ran, monkeypatch, damaged):
    figure = {"bars": {"data": [], "layout": {}}}
    monkeypatch.setattr("linfkit.reproduce.reproduction.figures_in", lambda _: figure)
    run(notebooks)
    (notebooks.parent / "out" / damaged).unlink()
    assert run(notebooks).success
    assert ran == [*ALL, "02_second"]


def test_half_a_record_counts_for_nothing(notebooks, ran):
    run(notebooks)
    record = notebooks.parent / "out" / "records" / "03_third.json"
    record.write_text(record.read_text()[:100])
    run(notebooks)
    assert ran == [*ALL, "03_third"]


def test_a_claim_that_did_not_hold_is_checked_again(notebooks, ran):
    for _ in range(2):
        assert not run(notebooks, parameters={"top": 0.5}, only=["01"]).success
    assert ran == ["01_first", "01_first"]


def test_what_is_found_where_nothing_is_claimed_is_kept_and_counted_apart(notebooks, ran):
    for _ in range(2):
        results = run(notebooks, parameters={"top": -1.0}, only=["01"])
        assert results.success
    assert ran == ["01_first"]
    assert "0 of 0 claims held, 1 found where no claim is made" in summary(results)


def test_a_record_is_gone_before_its_notebook_runs_again(notebooks, ran, monkeypatch):
    run(notebooks)

    def die(task, on_progress):
        raise KeyboardInterrupt

    monkeypatch.setattr(reproduction, "execute", die)
    with pytest.raises(KeyboardInterrupt):
        run(notebooks, force=True)
    assert not list((notebooks.parent / "out" / "records").iterdir())


def test_a_record_tells_inputs_seconds_and_files(notebooks, ran):
    run(notebooks)
    path = notebooks.parent / "out" / "records" / "01_first.json"
    record = NotebookResult.model_validate_json(path.read_text())
    assert len(record.inputs) == 64
    assert record.seconds == 1
    assert record.claims[0].holds


# One run at a time


def test_a_second_run_into_one_folder_is_refused(notebooks, ran):
    out = notebooks.parent / "out"
    with (
        folder_lock(out, wait=False, otherwise="is taken"),
        pytest.raises(BlockingIOError, match="being written by another run"),
    ):
        run(notebooks)
    assert ran == []
    assert run(notebooks).success


# Sweeps


def test_a_sweep_runs_every_combination_and_gathers_the_claims(notebooks, ran):
    results = run(notebooks, sweep={"top": [1, 2], "epochs": [3]}, only=["01", "02"])
    assert ran == [f"{name}@top={top}@epochs=3" for name in ALL[:2] for top in (1, 2)]
    assert results.success
    table = (notebooks.parent / "out" / "sweep.csv").read_text().splitlines()
    assert table[0] == "notebook,top,epochs,claim,value,needed,verdict"
    assert len(table) == 5
    assert "plotly.js v" in (notebooks.parent / "out" / "sweep.html").read_text()


def test_a_sweep_resumes_point_by_point(notebooks, ran):
    run(notebooks, sweep={"top": [1, 2]}, only=["01"])
    run(notebooks, sweep={"top": [1, 2, 3]}, only=["01"])
    assert ran == [f"01_first@top={top}" for top in (1, 2, 3)]


def test_a_sweep_leaves_out_notebooks_without_its_parameters(notebooks, ran):
    write_notebook(notebooks, "04_without", "print()")
    run(notebooks, sweep={"top": [1]})
    assert ran == [f"{name}@top=1" for name in ALL]


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"tops": [1]}, r"no parameter 'tops'; did you mean 'top'\?"),
        ({"epochs": [1, 2.5]}, "epochs must be int; got float 2.5"),
        ({"top": []}, "top must have at least one value to sweep"),
    ],
)
def test_a_sweep_over_what_is_no_parameter_is_refused(notebooks, ran, sweep, message):
    with pytest.raises(ValueError, match=message):
        run(notebooks, sweep=sweep)
    assert ran == []


def test_a_notebook_that_wants_a_gpu_is_refused_where_there_is_none(notebooks, ran, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    profile = Profile(name="large", rows={"01_first": Row(gpu=True)})
    with pytest.raises(ValueError, match="01_first would take days without a GPU"):
        reproduce(profile, notebooks.parent / "out", notebooks=notebooks, only=["01"])
    assert ran == []


# Workers


@pytest.fixture(scope="module")
def cluster_run(tmp_path_factory):
    """A run of good and bad notebooks on two workers, one of which is killed once."""
    folder = tmp_path_factory.mktemp("cluster")
    write_good_notebook(folder / "notebooks", "01_good")
    write_notebook(folder / "notebooks", "02_raises", PARAMETERS, "1 / 0")
    killed = folder / "killed"
    # the kernel's parent is the worker
    kill = f"""
import os, pathlib, signal
if not pathlib.Path({str(killed)!r}).exists():
    pathlib.Path({str(killed)!r}).touch()
    os.kill(os.getppid(), signal.SIGKILL)
"""
    claims = (
        "from linfkit.course.claims import Claims\n"
        'c = Claims("03")\nc.check("a", "a", 1, at_least=1)'
    )
    write_notebook(
        folder / "notebooks", "03_kills_its_worker", PARAMETERS, kill, claims + "\nc.table()"
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("BROWSER_PATH", "no-such-browser")
        results = reproduce("quick", folder / "out", notebooks=folder / "notebooks", workers=2)
    assert killed.exists()
    return results


def test_workers_bring_back_what_a_run_here_would(cluster_run):
    statuses = {result.name: result.status for result in cluster_run.notebooks}
    assert statuses["01_good"] == "ok"
    assert statuses["02_raises"] == "failed"
    assert list(statuses) == cluster_run.planned


def test_a_notebook_whose_worker_is_killed_runs_again_on_another(cluster_run):
    assert cluster_run.notebooks[-1].status == "ok"


@pytest.mark.parametrize(
    ("elsewhere", "refusal"),
    [
        ({"library": "another"}, "linfkit on this worker must be"),
        ({"dataset": "digits", "data": "another"}, "digits on this worker must be the data"),
    ],
)
def test_a_worker_with_another_library_or_data_set_runs_nothing(elsewhere, refusal, notebooks):
    task = Task("01_first", (notebooks / "01_first.ipynb").read_text(), {}, {}, 60, source_hash())
    with pytest.raises(WorkerError, match=refusal):
        replace(task, **elsewhere).check_here()
    _, result = on_lost_worker(task, WorkerError(refusal))
    assert result.status == "lost"


def test_no_scheduler_is_an_error_of_one_line(notebooks, monkeypatch):
    monkeypatch.setattr(workers, "SECONDS_TO_CONNECT", 1)
    with pytest.raises(ConnectionError, match=r"running Dask scheduler; got tcp://"):
        run(notebooks, scheduler="tcp://127.0.0.1:9")


# Killed at any moment


def _kill_at_random_times(tmp_path, notebooks, times):
    """Kill a run at random times, always going on; then let it end by itself."""
    for number in range(notebooks):
        write_good_notebook(tmp_path / "notebooks", f"0{number}_good")
    out = tmp_path / "out"
    words = [sys.executable, "-m", "linfkit", "reproduce", "--workers", "1", "--out", str(out)]
    words += ["--notebooks", str(tmp_path / "notebooks")]
    environment = os.environ | {"BROWSER_PATH": "no-such-browser"}
    moments = random.Random(0)
    finished = set()
    for _ in range(times):
        process = subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL)
        try:
            process.wait(moments.uniform(1, 12))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        records = {path.stem for path in out.glob("records/*.json")}
        assert records >= finished  # nothing that was finished is lost
        finished = records
        for path in [*out.glob("records/*.json"), *out.glob("*.json"), *out.glob("*/*.ipynb")]:
            json.loads(path.read_text())  # whole, whenever it was
    subprocess.run(words, env=environment, check=True, stderr=subprocess.DEVNULL)
    assert Results.load(out).success


def test_a_run_killed_twice_goes_on(tmp_path):
    _kill_at_random_times(tmp_path, notebooks=2, times=2)


@pytest.mark.long
def test_a_run_killed_twenty_times_goes_on(tmp_path):
    _kill_at_random_times(tmp_path, notebooks=6, times=20)
