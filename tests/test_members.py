"""Tested: that members trained by workers are those trained here, bit for bit on one thread each;
that a worker's death loses nothing; that a cluster needs no folder in common with who asks.
Not tested: GPUs, other machines, clusters that are not Dask's own (README); the ensemble itself
(test_objectives.py)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

import linfkit as lk
from linfkit.checkpoints import read_tensors
from linfkit.training import ensembles, members
from linfkit.workers import WorkerError, local_cluster

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
    monkeypatch.setattr(members, "_train", None)
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
        def tell(name, done, steps):
            if not killed:
                workers = [
                    process
                    for process in psutil.Process().children(recursive=True)
                    if "resource_tracker" not in " ".join(process.cmdline())  # Python's own
                ]
                killed.extend(workers)
                for process in workers:
                    process.kill()

        return tell

    monkeypatch.setattr(members, "shown_in", killing_once)
    lk.fit_ensemble(TINY, out=tmp_path, workers=2, progress=False)
    assert len(killed) == 2
    assert_alike(tmp_path, alone)


SHARING = """
import os
import torch
from linfkit.workers import local_cluster

if __name__ == "__main__":
    with local_cluster(2) as client:
        print(torch.get_num_threads(), *client.run(torch.get_num_threads).values())
    print(os.environ["OMP_NUM_THREADS"])
"""


def test_workers_share_the_cores_whatever_the_environment_says(tmp_path):
    script = tmp_path / "sharing.py"  # which workers import before anything else
    script.write_text(SHARING)
    ran = subprocess.run(
        [sys.executable, script],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == ["2", "1", "1", "2"], ran.stderr
    assert "distributed" not in ran.stderr


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
