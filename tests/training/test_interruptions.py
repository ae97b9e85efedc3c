"""Training that is interrupted: by Ctrl-C, a kill, a full disk, a damaged file, a second process.

That a run which is resumed equals one that was not, whatever the moment, is tested step by step in
`training/test_fit`; here with real signals and real processes.
"""

import errno
import json
import random
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import torch

import linfkit as lk
from linfkit._util.files import folder_lock
from linfkit.nn import checkpoints
from linfkit.training import runs
from linfkit.training.fit import deferred_interrupts

SMALL = lk.load_recipe("digits-small").replace(width=8, epochs=6, batch_size=256)


def fit(recipe, **arguments):
    return lk.fit(recipe, device="cpu", progress=False, **arguments)


def weights(folder):
    return {
        name: tensor
        for file in ("model", "ema_model")
        for name, tensor in checkpoints.read_tensors(folder / f"{file}.safetensors")[0].items()
    }


def assert_same_weights(folder, other):
    ours, theirs = weights(folder), weights(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return fit(SMALL, out=tmp_path_factory.mktemp("whole")).folder


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """The folder of a run that Ctrl-C ended in its second epoch, after eight checkpoints."""
    folder, saved = tmp_path / "run", []
    save = runs.RunFolder.save_checkpoint

    def save_and_interrupt(self, tensors, header):
        save(self, tensors, header)
        saved.append(header["step"])
        if len(saved) == 8:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(runs.RunFolder, "save_checkpoint", save_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            fit(SMALL, out=folder, checkpoint_every=0)
    return folder


@pytest.mark.parametrize(("seconds", "count"), [(0.1, 6), (3.0, 1)])
def test_checkpoints_after_epochs_take_a_twentieth_of_the_time_at_most(
    tmp_path, monkeypatch, seconds, count
):
    clock, saved = [0.0], []
    save, take_step = runs.RunFolder.save_checkpoint, lk.training.loop.Training._take_step

    def slow_save(self, tensors, header):
        save(self, tensors, header)
        clock[0] += seconds
        saved.append(header["step"])

    def step(self):
        take_step(self)
        clock[0] += 1.0

    monkeypatch.setattr("linfkit.training.fit.time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(runs.RunFolder, "save_checkpoint", slow_save)
    monkeypatch.setattr(lk.training.loop.Training, "_take_step", step)
    fit(SMALL, out=tmp_path)  # six epochs of six steps
    assert len(saved) == count
    assert all(step % 6 == 0 for step in saved)


# Ctrl-C


def test_ctrl_c_saves_what_was_trained_and_the_same_call_goes_on(tmp_path, whole, monkeypatch):
    folder = tmp_path / "run"
    take_step = "linfkit.training.loop.Training._take_step"
    original, steps = lk.training.loop.Training._take_step, []

    def step(self):
        steps.append(1)
        if len(steps) == 10:
            signal.raise_signal(signal.SIGINT)  # in the middle of a step
        original(self)

    with monkeypatch.context() as patched:
        patched.setattr(take_step, step)
        with pytest.raises(KeyboardInterrupt):
            fit(SMALL, out=folder, checkpoint_every=1e9)
    _, header = checkpoints.read_tensors(folder / "checkpoint.safetensors")
    assert header["step"] == 10  # the step was taken to its end
    fit(SMALL, out=folder)
    assert_same_weights(folder, whole)


def test_a_second_ctrl_c_does_not_wait():
    with deferred_interrupts() as came:
        signal.raise_signal(signal.SIGINT)
        assert came()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_signals_are_handled_as_before_afterwards():
    earlier = signal.getsignal(signal.SIGINT)
    with deferred_interrupts():
        pass
    assert signal.getsignal(signal.SIGINT) is earlier


def test_a_net_may_be_trained_in_any_thread(tmp_path, whole):
    thread = threading.Thread(target=fit, args=(SMALL,), kwargs={"out": tmp_path / "run"})
    thread.start()
    thread.join()
    assert_same_weights(tmp_path / "run", whole)


# Checkpoints


def test_the_last_two_checkpoints_are_kept(stopped):
    steps = [
        checkpoints.read_tensors(stopped / f"{name}.safetensors")[1]["step"]
        for name in ("checkpoint-before", "checkpoint")
    ]
    assert steps == [7, 8]


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(stopped, whole, damage):
    newest = stopped / "checkpoint.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100] if damage is None else damage)
    with pytest.warns(RuntimeWarning, match=r"damaged.*going on from .*checkpoint-before"):
        fit(SMALL, out=stopped)
    assert_same_weights(stopped, whole)


def test_with_both_damaged_the_error_names_the_newest(stopped):
    for name in ("checkpoint", "checkpoint-before"):
        (stopped / f"{name}.safetensors").write_bytes(b"?")
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors is no checkpoint of linfkit"):
        fit(SMALL, out=stopped)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, whole, monkeypatch):
    folder, calls = tmp_path / "run", []
    write = runs.write_tensors

    def full(path, tensors, header):
        calls.append(path)
        if len(calls) == 5:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, tensors, header)

    with monkeypatch.context() as patched:
        patched.setattr(runs, "write_tensors", full)
        with pytest.raises(OSError, match=r"no checkpoint could be written: No space.* is left"):
            fit(SMALL, out=folder, checkpoint_every=0)
    fit(SMALL, out=folder)
    assert_same_weights(folder, whole)


def test_a_folder_that_cannot_be_written_is_an_error_before_any_step(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(lk.training.loop.Training, "_take_step", lambda _: pytest.fail("a step"))
    with pytest.raises(OSError, match="file"):
        fit(SMALL, out=tmp_path / "file" / "run")


# The history of a run under way


def test_the_history_grows_epoch_by_epoch(stopped, whole):
    def history(folder):
        return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]

    assert [row["epoch"] for row in history(stopped)] == [1]
    fit(SMALL, out=stopped)
    certified = [row["certified"] for row in history(stopped)]
    assert certified == [row["certified"] for row in history(whole)]
    assert history(stopped)[-1]["p"] == "inf"  # JSON has no infinity


# Two processes


def test_a_second_process_is_refused(tmp_path):
    with (
        folder_lock(tmp_path / "run", wait=False, otherwise="is taken"),
        pytest.raises(BlockingIOError, match="trained in by another process"),
    ):
        fit(SMALL, out=tmp_path / "run")


# Killed at any moment

RECIPE = SMALL.replace(epochs=12, batch_size=128)  # 144 steps

KILLS_ITSELF = """
import os, signal, sys
import linfkit as lk
from linfkit.training.loop import Training
from linfkit.training.runs import RunFolder

moment, folder, recipe = int(sys.argv[1]), sys.argv[2], lk.load_recipe(sys.argv[3])
passed = 0

def dies_at_its_moment(function):
    def wrapped(*arguments):
        global passed
        for _ in range(2):  # before and after
            passed += 1
            if passed == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            if _ == 0:
                answer = function(*arguments)
        return answer
    return wrapped

Training._take_step = dies_at_its_moment(Training._take_step)
Training._close_epoch = dies_at_its_moment(Training._close_epoch)
RunFolder.save_checkpoint = dies_at_its_moment(RunFolder.save_checkpoint)
RunFolder.save_run = dies_at_its_moment(RunFolder.save_run)
os.replace = dies_at_its_moment(os.replace)
lk.fit(recipe, out=folder, device="cpu", checkpoint_every=0)
"""


def _assert_as_if_never_killed(tmp_path, times):
    """Kill a run at random steps, always going on; then let it end by itself."""
    folder, recipe = tmp_path / "killed", tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.to_toml())
    moments, said = random.Random(0), ""
    for _ in range(times):
        moment = str(moments.randrange(1, 1000 // times))
        words = [sys.executable, "-c", KILLS_ITSELF, moment, str(folder), str(recipe)]
        process = subprocess.run(words, capture_output=True, text=True, check=False)
        assert process.returncode == -signal.SIGKILL, process.stderr
        said += process.stdout + process.stderr
    assert said.count("resumed at epoch") == times - 1
    fit(RECIPE, out=folder)
    fit(RECIPE, out=tmp_path / "whole")
    assert_same_weights(folder, tmp_path / "whole")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_run_killed_three_times_is_the_uninterrupted_one(tmp_path):
    _assert_as_if_never_killed(tmp_path, times=3)


@pytest.mark.long
def test_a_run_killed_twenty_times_is_the_uninterrupted_one(tmp_path):
    _assert_as_if_never_killed(tmp_path, times=20)
