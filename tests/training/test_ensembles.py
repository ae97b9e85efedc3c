"""Tested: that members trained by workers are those trained here, bit for bit on one thread each;
that a worker's death loses nothing; that a cluster needs no folder in common with who asks.
Not tested: GPUs, other machines, clusters that are not Dask's own (docs/cluster.md); the ensemble
itself (test_objective.py)."""

import os
import shutil
import subprocess
import sys
from multiprocessing import spawn
from pathlib import Path

import psutil
import pytest
import torch

import linfkit as lk
from linfkit._util.workers import WorkerError, local_cluster
from linfkit.nn.checkpoints import read_tensors
from linfkit.training import ensembles
from tests.helpers import ROOT

TINY = lk.load_recipe("digits-small").replace(epochs=3, width=16, train_images=400, seeds=[0, 1])


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The ensemble's folder, its members trained in this process."""
    folder = tmp_path_factory.mktemp("alone")
    lk.fit_ensemble(TINY, out=folder, progress=False)
    return folder


def assert_alike(folder, other):
    for file in ("ema_model.safetensors", "seed-0/model.safetensors", "seed-1/model.safetensors"):
        ours, header = read_tensors(folder / file)
        theirs, their_header = read_tensors(other / file)
        assert header["results"] == their_header["results"]
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_two_workers_train_what_one_process_trains(alone, tmp_path, capfd):
    run = lk.fit_ensemble(TINY, out=tmp_path, workers=2)
    assert [member.seed for member in run.runs] == [0, 1]
    assert_alike(tmp_path, alone)
    shown = capfd.readouterr().err
    assert "members: 100%" in shown
    assert "distributed" not in shown  # Dask's own log


def test_finished_members_are_not_trained_again(alone, monkeypatch):
    monkeypatch.setattr(ensembles, "_train", None)
    run = lk.fit_ensemble(TINY, out=alone, workers=2, progress=False)
    assert len(run.runs) == 2


def test_a_folder_of_another_run_is_refused_before_anything_is_trained(alone, tmp_path):
    shutil.copytree(alone / "seed-1", tmp_path / "seed-1")
    with pytest.raises(ValueError, match=r"seed-1 holds a run of another recipe"):
        lk.fit_ensemble(TINY.replace(width=8), out=tmp_path, workers=2, progress=False)
    (tmp_path / "seed-1" / "model.safetensors").rename(tmp_path / "seed-1/checkpoint.safetensors")
    with pytest.raises(ValueError, match=r"checkpoint.* holds a run of another recipe"):
        lk.fit_ensemble(TINY.replace(width=8), out=tmp_path, workers=2, progress=False)
    assert not (tmp_path / "seed-0").exists()


def test_a_member_whose_worker_is_killed_goes_on_elsewhere(alone, tmp_path, monkeypatch):
    killed = []

    def killing_once(bar, step):
        def on_progress(name, done, steps):
            if not killed:
                workers = [
                    process
                    for process in psutil.Process().children(recursive=True)
                    if "resource_tracker" not in " ".join(process.cmdline())  # Python's own
                ]
                killed.extend(workers)
                for process in workers:
                    process.kill()

        return on_progress

    monkeypatch.setattr(ensembles, "shown_in", killing_once)
    lk.fit_ensemble(TINY, out=tmp_path, workers=2, progress=False)
    assert len(killed) == 2
    assert_alike(tmp_path, alone)


# Scripts as one writes them, without `if __name__ == "__main__":`.


def run_script(text: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    script = folder / "script.py"
    script.write_text(text, "utf-8")
    return subprocess.run(
        [sys.executable, script],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        cwd=folder,
        capture_output=True,
        text=True,
    )


SHARING = """
import os
import torch
from linfkit._util.workers import local_cluster

with local_cluster(2) as client:
    print(torch.get_num_threads(), *client.run(torch.get_num_threads).values())
print(os.environ["OMP_NUM_THREADS"])
"""


def test_workers_share_the_cores_whatever_the_environment_says(tmp_path):
    ran = run_script(SHARING, tmp_path, OMP_NUM_THREADS="2", MKL_NUM_THREADS="2")
    assert ran.stdout.split() == ["2", "1", "1", "2"], ran.stderr
    assert "distributed" not in ran.stderr


TRAINING = """
import linfkit as lk

class MyData(lk.Dataset):
    "A class that no worker can import."

print("once")
digits = lk.load_dataset("digits").subset(train_images=100, test_images=50)
data = MyData(**{name: getattr(digits, name) for name in digits.__dataclass_fields__})
recipe = lk.load_recipe("digits-small").replace(epochs=1, width=8, seeds=[0, 1])
run = lk.fit_ensemble(recipe, data=data, out="both", workers=2, progress=False)
print(*(member.seed for member in run.runs))
"""


def test_a_script_trains_on_workers_as_a_notebook_does(tmp_path):
    ran = run_script(TRAINING, tmp_path)
    assert ran.stdout.split() == ["once", "0", "1"], ran.stderr
    assert (tmp_path / "both" / "seed-1" / "model.safetensors").is_file()


def test_other_processes_than_workers_import_the_program_that_starts_them():
    prepared = spawn.get_preparation_data
    with local_cluster(1):
        assert spawn.get_preparation_data is not prepared
    assert spawn.get_preparation_data is prepared


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The scheduler's address of a cluster of one worker, and the worker's cache."""
    cache = tmp_path_factory.mktemp("of-the-worker")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LINFKIT_CACHE", str(cache))
        workers = local_cluster(1)
        client = workers.__enter__()
    yield client.scheduler.address, cache
    workers.__exit__(None, None, None)


def test_a_cluster_brings_its_runs_back(cluster, alone, tmp_path, monkeypatch):
    address, cache = cluster
    monkeypatch.setenv("LINFKIT_CACHE", str(tmp_path / "cache"))
    lk.fit_ensemble(TINY, out=tmp_path / "out", scheduler=address, progress=False)
    assert_alike(tmp_path / "out", alone)
    assert len(list((cache / "runs").iterdir())) == 2
    assert not (tmp_path / "cache" / "runs").exists()


def test_a_worker_of_other_code_or_data_is_refused(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(ensembles, "run_key", lambda *decided_by: "another")
    with pytest.raises(WorkerError, match=r"seed \d: the worker has another linfkit.* digits;"):
        lk.fit_ensemble(TINY, out=tmp_path, scheduler=cluster[0], progress=False)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_what_goes_wrong_on_a_worker_is_raised_here(cluster, tmp_path):
    diverging = TINY.replace(lr=1e30)
    with pytest.raises(FloatingPointError, match="loss"):
        lk.fit_ensemble(diverging, out=tmp_path, scheduler=cluster[0], progress=False)


def test_processes_of_torchrun_have_no_workers_of_their_own(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "0")
    with pytest.raises(ValueError, match=r"^workers must be 1 under torchrun"):
        lk.fit_ensemble(TINY, workers=2)
