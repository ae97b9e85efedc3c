"""The benchmark: that it measures what it says, whom it leaves out, and how it tells.

Not here: how fast anything is; a GPU.
"""

import json
import math
import shutil
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from linfkit.bench import operators as bench
from linfkit.bench.operators import Case, Results, Row, Timing
from linfkit.cli.app import app
from linfkit.cli.bench import EXPLANATION, heading, timings_table
from linfkit.kernels import description

SMALL = dict(batch=3, in_features=64, out_features=5)
KINDS = tuple(dict.fromkeys(case.model_copy(update=SMALL) for case in bench.FULL))
DISTANCE = Case(p=8.0, **SMALL)


@pytest.fixture
def no_compiler(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)


@pytest.fixture(scope="module")
def results():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "which", lambda name: None)
        return measured(*KINDS)


def measured(*kinds, rounds=1):
    return bench.run(measured=kinds, rounds=rounds)


def printed(results, width=200):
    console = Console(width=width)
    with console.capture() as capture:
        console.print(heading(results))
        console.print(timings_table(results))
        console.print(EXPLANATION)
    return capture.get()


@pytest.mark.usefixtures("no_compiler")
class TestRun:
    def test_every_kind_of_row_is_measured_by_everyone(self, results):
        assert [row.case for row in results.rows] == list(KINDS)
        assert results.kernels == description("cpu")
        assert f"linfkit computes by {results.kernels};" in heading(results)
        for row in results.rows:
            names = [timing.contender for timing in row.timings]
            wanted = ["linfkit", "torch.cdist", "broadcast"]
            assert names == [name for name in wanted if row.case.p or name != "torch.cdist"]
            assert all(timing.seconds > 0 for timing in row.timings)
            assert all(timing.turns == 1 for timing in row.timings)
            assert all(timing.error < 1e-4 for timing in row.timings)

    def test_who_is_left_out_is_said_once(self, results):
        assert results.notes == ["torch.compile is left out: no C++ compiler was found"]

    def test_json_is_the_same_when_read_again(self, results):
        written = json.loads(results.model_dump_json())
        assert set(written) == {
            *("device", "threads", "kernels", "versions", "platform", "machine", "started"),
            *("rows", "notes"),
        }
        assert written["rows"][0]["case"] == {"p": "Infinity", "backward": False, **SMALL}
        assert set(written["rows"][0]["timings"][0]) == set(Timing.model_fields)
        assert Results.model_validate_json(results.model_dump_json()) == results

    def test_a_wrong_result_is_refused_before_it_is_timed(self, monkeypatch):
        monkeypatch.setattr(bench, "lp_dist", lambda x, w, p: torch.cdist(x, w, p) + 0.01)
        with pytest.raises(FloatingPointError, match="linfkit does not compute what the reference"):
            measured(DISTANCE)

    def test_a_nan_is_refused(self, monkeypatch):
        monkeypatch.setattr(bench, "lp_dist", lambda x, w, p: torch.cdist(x, w, p) * math.nan)
        with pytest.raises(FloatingPointError):
            measured(DISTANCE)


def test_a_compiler_that_fails_costs_one_row_and_a_note(monkeypatch):
    def compile(*_, **__):
        def fails(*_):
            raise RuntimeError("no Python.h\nand more")

        return fails

    monkeypatch.setattr(torch, "compile", compile)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    results = measured(DISTANCE, DISTANCE)
    assert results.notes == ["torch.compile is left out: RuntimeError: no Python.h"]
    assert [timing.contender for timing in results.rows[1].timings][-1] == "broadcast"


@pytest.mark.parametrize("case", KINDS, ids=lambda case: case.name)
@pytest.mark.parametrize("chunk", [1, 10**9])
def test_all_contenders_agree_whatever_the_chunks(case, chunk, monkeypatch):
    monkeypatch.setattr(bench, "CHUNK_BYTES", chunk)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    ours, *others = bench.contenders(case, bench.make_inputs(case)).values()
    for other in others:
        for mine, its in zip(ours(), other(), strict=True):
            torch.testing.assert_close(its, mine, rtol=1e-4, atol=1e-6)


class TestTurns:
    @staticmethod
    def order(monkeypatch, seconds, **settings):
        """Calls in their order, each of which takes that many seconds by the timer."""
        order = []

        class Timed:
            def __init__(self, statement, globals, num_threads):
                self.name = globals["call"]()

            def timeit(self, number):
                order.append((self.name, number))
                return SimpleNamespace(mean=seconds[self.name])

        monkeypatch.setattr(bench, "Timer", Timed)
        calls = {name: lambda name=name: name for name in seconds}
        turns = bench.in_turn(calls, **settings)
        return order[len(seconds) :], {name: len(turns[name]) for name in seconds}

    def test_go_round(self, monkeypatch):
        order, _ = self.order(monkeypatch, {"A": 1.0, "B": 1.0}, rounds=4, budget=9.0)
        assert "".join(name for name, _ in order) == "ABABABAB"

    def test_those_who_take_long_get_fewer_but_one(self, monkeypatch):
        seconds = {"A": 1.0, "B": 3.0, "C": 30.0}
        _, turns = self.order(monkeypatch, seconds, rounds=5, budget=9.0)
        assert turns == {"A": 5, "B": 3, "C": 1}

    def test_those_who_take_little_call_several_times(self, monkeypatch):
        order, _ = self.order(monkeypatch, {"A": bench.TURN / 3}, rounds=2, budget=1.0)
        assert order == [("A", 3), ("A", 3)]


class TestReport:
    ROW = Row(
        case=Case(p=math.inf),
        timings=[
            Timing(contender="linfkit", seconds=0.01, turns=9, error=0),
            Timing(contender="torch.cdist", seconds=0.125, turns=2, error=0),
        ],
    )

    def test_a_table_tells_rates_ratios_and_turns(self):
        lines = printed(Results(device="cpu", rows=[self.ROW])).splitlines()
        (ours,) = (line.split() for line in lines if "linfkit  " in line)
        (theirs,) = (line.split() for line in lines if "torch.cdist" in line)
        assert ours[-4:] == ["linfkit", "10.0", "26.8", "9"]
        assert theirs[-5:] == ["torch.cdist", "125", "2.15", "12.5", "2"]

    def test_what_it_was_measured_on_is_told(self):
        text = printed(Results(device="cpu", rows=[self.ROW], threads=3))
        for word in ("3 threads", "torch", torch.__version__, "UTC"):
            assert word in text

    def test_80_columns_suffice(self):
        text = printed(Results(device="cpu", rows=[self.ROW]), width=80)
        assert "12.5" in text
        assert "…" not in text


class TestCommand:
    @pytest.fixture
    def small(self, monkeypatch, no_compiler):
        monkeypatch.setattr(bench, "QUICK", (DISTANCE,))

    @pytest.mark.usefixtures("small")
    def test_prints_and_draws(self, tmp_path):
        page = tmp_path / "bench.html"
        ran = CliRunner().invoke(app, ["bench", "--quick", "--figure", str(page)])
        assert ran.exit_code == 0, ran.output
        for word in ("p=8 forward", "3 × 64 × 5", "broadcast", "no C++ compiler"):
            assert word in ran.output
        assert "plotly" in page.read_text()

    @pytest.mark.usefixtures("small")
    def test_prints_json(self):
        ran = CliRunner().invoke(app, ["bench", "--quick", "--json"])
        assert json.loads(ran.stdout)["rows"][0]["case"]["p"] == 8

    @pytest.mark.usefixtures("small")
    def test_a_piped_line_has_its_case_with_it(self):
        ran = CliRunner().invoke(app, ["bench", "--quick"])
        lines = [line.split("\t") for line in ran.stdout.splitlines() if "\t" in line]
        assert lines[0][:3] == ["case", "shape", "contender"]
        assert {tuple(line[:2]) for line in lines[1:]} == {("p=8 forward", "3 × 64 × 5")}

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
    def test_no_cuda_device_is_2_and_one_line(self):
        ran = CliRunner().invoke(app, ["bench", "--device", "cuda"])
        assert ran.exit_code == 2
        assert "error: device must be one that PyTorch finds here" in ran.output

    @pytest.mark.parametrize(
        "words", [["--device", "tpu"], ["--figure", "bench.jpeg"]], ids=" ".join
    )
    def test_a_wrong_argument_is_2(self, words):
        ran = CliRunner().invoke(app, ["bench", *words])
        assert ran.exit_code == 2
        assert words[0].strip("-") in ran.output
