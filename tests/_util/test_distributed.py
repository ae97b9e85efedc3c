"""Tested: that two processes under torchrun, on the CPU, train the net that one trains: gradients,
running means, averages and history, interrupted and resumed; that the first alone writes.
Not tested: NCCL, GPUs, several machines, and how fast any of it is; the loop (test_training.py)."""

import json
import os
import subprocess
import sys
from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import linfkit as lk
from linfkit._util import distributed
from linfkit.nn.checkpoints import read_tensors
from linfkit.training import loop
from tests.helpers import ROOT
from tests.helpers.two_processes import OBJECTIVES, SETTINGS, SMALL, exchanged


def in_two_processes(*words):
    """What a module prints that torchrun starts twice."""
    # standalone: at a free port, where 29500 may be somebody else's
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run(
        [sys.executable, *torchrun, *map(str, words)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    return ran


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """The folder that ``linfkit train`` leaves, and what it prints."""
    folder = tmp_path_factory.mktemp("command")
    settings = [f"--set={name}={str(value).lower()}" for name, value in SETTINGS.items()]
    return folder, in_two_processes("linfkit", "train", "digits-small", *settings, "--out", folder)


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The folder of `tests.helpers.two_processes`."""
    folder = tmp_path_factory.mktemp("script")
    in_two_processes("tests.helpers.two_processes", folder)
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same run in one process."""
    out = tmp_path_factory.mktemp("alone")
    return lk.fit(SMALL, out=out, device="cpu", progress=False).folder


def tensors_of(folder, file):
    return read_tensors(folder / f"{file}.safetensors")[0]


def history_of(folder):
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


# --- a batch that two processes share


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_and_means_are_those_of_the_whole_batch(name, script):
    number, wanted = list(OBJECTIVES).index(name), exchanged(OBJECTIVES[name])
    for process in (0, 1):
        found = torch.load(script / f"{process}.pt")[number]
        assert found.keys() == wanted.keys()
        for of, tensor in wanted.items():
            torch.testing.assert_close(found[of], tensor, rtol=1e-9, atol=1e-12)


@given(count=st.integers(0, 1000), among=st.integers(1, 64))
def test_shares_differ_by_one_row_and_leave_none_out(count, among):
    rows, taken = list(range(count)), []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(distributed, "processes", lambda: among)
        for number in range(among):
            patched.setattr(distributed, "rank", lambda number=number: number)
            taken.append(rows[distributed.local_slice(count)])
    assert list(chain.from_iterable(taken)) == rows
    assert max(map(len, taken)) - min(map(len, taken)) <= 1


def test_a_batch_with_fewer_images_than_processes_is_refused(monkeypatch):
    monkeypatch.setattr(loop, "processes", lambda: 12)
    with pytest.raises(ValueError, match="leaves 11 of 203 images to the last batch of an epoch"):
        lk.fit(SMALL, device="cpu", progress=False)


# --- runs


@pytest.mark.parametrize("file", ["model", "ema_model"])
def test_two_processes_train_the_net_that_one_trains(file, command, alone):
    start = lk.initial_model(SMALL, lk.load_dataset("digits").subset(203)).state_dict()
    together, by_one = tensors_of(command[0], file), tensors_of(alone, file)
    assert together.keys() == by_one.keys()
    for name, tensor in by_one.items():
        # Adam makes whole steps of the few gradients that are nothing but rounding
        apart, gone = (together[name] - tensor).norm(), (tensor - start[name]).norm()
        assert apart <= 1e-3 * gone + 1e-6, name


def test_their_histories_agree(command, alone):
    for together, by_one in zip(history_of(command[0]), history_of(alone), strict=True):
        assert together["accuracy"] == pytest.approx(by_one["accuracy"], abs=1e-9)
        assert together["zero_hinge"] == pytest.approx(by_one["zero_hinge"], abs=1e-9)
        assert together["starved"] == pytest.approx(by_one["starved"], abs=1e-9)
        assert together["loss"] == pytest.approx(by_one["loss"], rel=1e-5)


def test_the_first_process_alone_writes_and_speaks(command):
    folder, printed = command
    assert printed.stdout.count("ema_certified:") == 1
    assert len((folder / "history.jsonl").read_text().splitlines()) == SMALL.epochs
    assert {path.name for path in folder.iterdir()} == {
        ".lock",
        "ema_model.safetensors",
        "history.jsonl",
        "model.safetensors",
        "recipe.toml",
    }


def test_an_interrupt_of_one_stops_both_and_both_go_on(command, script):
    runs = [torch.load(script / f"run-{process}.pt") for process in (0, 1)]
    for states, history, logged in runs:
        for file, state in zip(["model", "ema_model"], states, strict=True):
            whole = tensors_of(command[0], file)
            assert all(torch.equal(state[name], whole[name]) for name in whole)
        assert [row["loss"] for row in history] == [row["loss"] for row in history_of(command[0])]
        assert logged[0] == "stopped"
    assert [len(logged) for *_, logged in runs] == [2, 1]  # of the epochs, the first process tells
