"""The table of one training iteration: its sums, its roofline, who is left out, and its command.

Tiny nets, on the CPU and on a pretended GPU. Not here: how fast anything is; a GPU.
"""

import json
import math
import shutil
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from linfkit.bench import iteration
from linfkit.bench.iteration import Entry, Iteration, Layer, Net
from linfkit.cli.app import app
from tests.helpers.pretended_gpu import DEVICE, pretending

TINY = Net(6, (Layer(96, 64, first=True), Layer(64, 64, alike=4), Layer(64, 3)))


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setattr(iteration, "iclr_net", lambda: TINY)
    monkeypatch.setattr(shutil, "which", lambda name: None)  # no compiler


def times(results):
    return {(entry.contender, entry.p): entry.milliseconds for entry in results.entries}


def test_everyone_is_measured_at_every_p():
    found = times(iteration.run("cpu", rounds=1))
    for p in (8.0, 100.5, math.inf):
        assert all(found[name, p] > 0 for name in ("linfkit", "reference", "torch.cdist"))


def test_alike_layers_are_measured_once_and_counted_as_often_as_they_occur(monkeypatch):
    monkeypatch.setattr(iteration, "in_turn", lambda calls, *_, **__: {n: [0.001] for n in calls})
    found = times(iteration.run("cpu"))
    assert found["linfkit", 8.0] == pytest.approx(6)


def test_who_cannot_is_left_out_with_the_reason_and_the_others_stay(monkeypatch):
    def out_of_memory(*_, **__):
        raise torch.OutOfMemoryError("60 GiB\nand more")

    monkeypatch.setattr(torch, "cdist", out_of_memory)
    results = iteration.run("cpu", rounds=1)
    assert times(results)["torch.cdist", 8.0] is None
    assert times(results)["linfkit", 8.0] > 0
    assert "torch.cdist is left out at p=8: OutOfMemoryError: 60 GiB" in results.notes
    assert "torch.compile is left out at p=inf: no C++ compiler was found" in results.notes


def test_a_wrong_result_has_no_time(monkeypatch):
    monkeypatch.setattr(iteration, "lp_dist", lambda x, w, p: torch.cdist(x, w, p) * 1.01)
    results = iteration.run("cpu", rounds=1)
    assert times(results)["linfkit", 8.0] is None
    assert any("does not compute what the reference computes" in note for note in results.notes)


def test_a_gpu_s_table(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda *_: None)  # nothing is ahead
    with pretending():
        results = iteration.run(DEVICE, rounds=1)
    assert results.device == DEVICE.type
    assert results.kernels == "plain PyTorch"
    assert times(results)["linfkit", math.inf] > 0


def test_the_roofline_is_that_of_the_h100(monkeypatch):
    """As reckoned by hand for 132 multiprocessors at 1.755 GHz: 31.7, 95.6 and 4.2 ms."""
    rate = 132 * 1.755e9
    net = Net(512, (Layer(3072, 5120, first=True), Layer(5120, 5120, 4), Layer(5120, 10)))
    least = [iteration.least_cycles(net, p, lanes=128) / rate for p in iteration.EXPONENTS]
    assert [round(1e3 * seconds, 1) for seconds in least] == [31.7, 95.6, 4.2]


def test_a_gpu_s_clock_is_asked_of_its_driver(monkeypatch):
    gpu = SimpleNamespace(uuid="1-2", multi_processor_count=132)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu)
    asked = []

    def answer(command, **_):
        asked.append(command)
        return SimpleNamespace(stdout="1980\n")

    monkeypatch.setattr(iteration.subprocess, "run", answer)
    rate = iteration._multiprocessor_cycles(torch.device("cuda"))
    assert rate == pytest.approx(132 * 1.98e9)
    assert "GPU-1-2" in asked[0]


@pytest.mark.parametrize("fault", [OSError("no such file"), ValueError("not a number")])
def test_a_clock_that_nobody_knows_leaves_the_roofline_out(monkeypatch, fault):
    def fails(*_, **__):
        raise fault

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=1))
    monkeypatch.setattr(iteration.subprocess, "run", fails)
    assert iteration._multiprocessor_cycles(torch.device("cuda")) is None


class TestCommand:
    def test_prints_markdown(self):
        ran = CliRunner().invoke(app, ["bench", "--table"])
        assert ran.exit_code == 0, ran.output
        lines = [line for line in ran.stdout.splitlines() if line.startswith("|")]
        assert lines[0] == "| ms an iteration | p=8 | p=100.5 | p=∞ |"
        assert [line.split(" | ")[0] for line in lines[2:4]] == ["| linfkit", "| reference"]
        assert "roofline is left out" in ran.stdout

    def test_prints_json(self):
        ran = CliRunner().invoke(app, ["bench", "--table", "--json"])
        found = Iteration.model_validate_json(ran.stdout)
        assert found.net == TINY
        assert {entry["p"] for entry in json.loads(ran.stdout)["entries"]} == {
            *(8, 100.5, "Infinity")
        }

    @pytest.mark.parametrize("words", [["--quick"], ["--figure", "a.html"]], ids=" ".join)
    def test_stands_alone(self, words):
        ran = CliRunner().invoke(app, ["bench", "--table", *words])
        assert ran.exit_code == 2
        assert "table" in ran.output


def test_what_has_no_time_is_a_dash():
    entries = [Entry(contender="torch.cdist", p=math.inf, milliseconds=None)]
    text = iteration.markdown(Iteration(device="cuda", net=TINY, entries=entries))
    assert text.splitlines()[-1] == "| torch.cdist | – |"
