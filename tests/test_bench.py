"""The benchmark: that it measures what it says, whom it leaves out, and how it tells.

Not here: how fast anything is; a GPU.
"""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from linfkit import bench
from linfkit.bench import Case, Results, Row, Timing, cases, contenders, measuring, peak, report
from linfkit.bench.memory import PeakMemory
from linfkit.cli.commands import app

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
        console.print(report.heading(results))
        console.print(report.timings_table(results))
        console.print(report.explanation(results))
    return capture.get()


@pytest.mark.usefixtures("no_compiler")
class TestRun:
    def test_every_kind_of_row_is_measured_by_everyone(self, results):
        assert [row.case for row in results.rows] == list(KINDS)
        for row in results.rows:
            names = [timing.contender for timing in row.timings]
            wanted = ["linfkit", "torch.cdist", "broadcast"]
            assert names == [name for name in wanted if row.case.p or name != "torch.cdist"]
            assert all(timing.seconds > 0 for timing in row.timings)
            assert all(timing.turns == 1 for timing in row.timings)
            assert all(timing.error < 1e-4 for timing in row.timings)

    def test_only_rows_with_a_least_number_of_operations_show_a_share(self, results):
        shown = {row.case.name for row in results.rows if row.share_of_arithmetic is not None}
        assert shown == {"p=∞ forward", "p=8 forward"}

    def test_who_is_left_out_is_said_once(self, results):
        assert results.notes == ["torch.compile is left out: no C++ compiler was found"]

    def test_json_is_the_same_when_read_again(self, results):
        written = json.loads(results.model_dump_json())
        assert set(written) == {
            *("device", "threads", "versions", "platform", "machine", "started"),
            *("rows", "notes"),
        }
        assert written["rows"][0]["case"] == {"p": "Infinity", "backward": False, **SMALL}
        assert set(written["rows"][0]["timings"][0]) == set(Timing.model_fields)
        assert Results.model_validate_json(results.model_dump_json()) == results

    def test_at_batch_1_the_peak_is_reading(self):
        (row,) = measured(Case(p=8.0, **{**SMALL, "batch": 1})).rows
        assert row.share_of_arithmetic is None
        assert row.share_of_reading > 0

    def test_a_wrong_result_is_refused_before_it_is_timed(self, monkeypatch):
        monkeypatch.setattr(contenders, "lp_dist", lambda x, w, p: torch.cdist(x, w, p) + 0.01)
        with pytest.raises(FloatingPointError, match="linfkit does not compute what the reference"):
            measured(DISTANCE)

    def test_a_nan_is_refused(self, monkeypatch):
        monkeypatch.setattr(contenders, "lp_dist", lambda x, w, p: torch.cdist(x, w, p) * math.nan)
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
    monkeypatch.setattr(contenders, "CHUNK_BYTES", chunk)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    ours, *others = contenders.contenders(case, cases.inputs(case))
    for other in others:
        for mine, its in zip(ours.call(), other.call(), strict=True):
            torch.testing.assert_close(its, mine, rtol=1e-4, atol=1e-6)


class TestTurns:
    def test_go_round(self):
        order = []
        calls = [lambda: order.append("A"), lambda: order.append("B")]
        measuring.in_turn(calls, [1.0, 1.0], rounds=4, budget=9.0)
        assert "".join(order) == "ABABABAB"

    def test_those_who_take_long_get_fewer_spread_over_the_rounds(self):
        order = []
        calls = [lambda: order.append("A"), lambda: order.append("B")]
        times = measuring.in_turn(calls, [1.0, 3.0], rounds=5, budget=9.0)
        assert [len(seconds) for seconds in times] == [5, 3]
        assert "".join(order) == "AABAABAB"

    def test_a_first_call_beyond_the_budget_is_the_only_turn(self):
        order = []
        times = measuring.in_turn([lambda: order.append("A")], [3.0], rounds=5, budget=2.0)
        assert times == [[3.0]]
        assert not order

    def test_those_who_take_little_call_several_times(self):
        order = []
        measuring.in_turn([lambda: order.append("A")], [measuring.TURN / 3], rounds=2, budget=1.0)
        assert len(order) == 6


class TestPeak:
    def test_the_sums_stay_in_registers(self):
        peak.arithmetic_loop(rounds=1)
        (code,) = peak._multiply_adds.inspect_asm().values()
        loops = [block for block in code.split("\n.L") if block.count("vfmadd") >= peak.CHAINS]
        if not loops:
            pytest.skip("no processor with AVX's multiply-adds")
        for loop in loops:
            added = [line for line in loop.splitlines() if "vfmadd" in line]
            assert not any("(" in line for line in added), "an operand is in memory"

    def test_every_round_counts(self):
        # a · ½ + ½ leaves 1 where it is; a · 2 + 2 does not
        assert peak._multiply_adds(np.float32(0.5), 10) == peak.CHAINS * peak.LANES
        assert peak._multiply_adds(np.float32(2), 3) == 22 * peak.CHAINS * peak.LANES

    @pytest.mark.parametrize("threads", [1, 3])
    def test_all_of_a_matrix_is_read(self, threads, monkeypatch):
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        read = []
        sum_of = peak._sum
        monkeypatch.setattr(peak, "_sum", lambda numbers: read.append(sum_of(numbers)))
        loop = peak.reading_loop(torch.ones(7, 5))
        read.clear()
        loop.call()
        assert sum(read) == 35
        assert loop.work == 4 * 35


def test_memory_is_what_was_held_at_once_even_if_given_back():
    with PeakMemory("cpu") as memory:
        for _ in range(3):
            torch.ones(2**23)
    if memory.extra_bytes is None:
        pytest.skip("this system does not tell")
    assert memory.extra_bytes == pytest.approx(2**25, rel=0.1)


def test_memory_in_reserve_is_counted_when_it_is_used():
    # pieces too small to be given back to the system one by one
    pieces = [torch.ones(2**10) for _ in range(2**13)]
    last = torch.ones(2**10)
    del pieces
    with PeakMemory("cpu") as memory:
        pieces = [torch.ones(2**10) for _ in range(2**13)]
    if memory.extra_bytes is None:
        pytest.skip("this system does not tell")
    assert memory.extra_bytes > 2**24
    assert len(pieces) == 8 * len(last)


class TestReport:
    ROW = Row(
        case=Case(p=math.inf),
        timings=[
            Timing(contender="linfkit", seconds=0.01, turns=9, extra_bytes=2**20, error=0),
            Timing(contender="torch.cdist", seconds=0.125, turns=2, extra_bytes=None, error=0),
        ],
        arithmetic=120e9,
    )

    def test_a_table_tells_rates_ratios_share_memory_and_turns(self):
        lines = printed(Results(device="cpu", rows=[self.ROW])).splitlines()
        (ours,) = (line.split() for line in lines if "linfkit  " in line)
        (theirs,) = (line.split() for line in lines if "torch.cdist" in line)
        assert ours[-6:] == ["linfkit", "10.0", "26.8", "67%", "1", "9"]
        assert theirs[-6:] == ["torch.cdist", "125", "2.15", "12.5", "?", "2"]

    def test_what_it_was_measured_on_is_told(self):
        text = printed(Results(device="cpu", rows=[self.ROW], threads=3, notes=["a note"]))
        for word in ("3 threads", "torch", torch.__version__, "120 Gop/s", "a note", "UTC"):
            assert word in text

    def test_80_columns_suffice(self):
        text = printed(Results(device="cpu", rows=[self.ROW]), width=80)
        assert "12.5" in text
        assert "…" not in text


class TestCommand:
    @pytest.fixture
    def small(self, monkeypatch, no_compiler):
        monkeypatch.setattr(cases, "QUICK", (DISTANCE,))

    @pytest.mark.usefixtures("small")
    def test_writes_what_it_prints(self, tmp_path):
        record, page = tmp_path / "new" / "bench.json", tmp_path / "bench.html"
        words = ["bench", "--quick", "--json", str(record), "--figure", str(page)]
        ran = CliRunner().invoke(app, words)
        assert ran.exit_code == 0, ran.output
        for word in ("p=8 forward", "3 × 64 × 5", "broadcast", "no C++ compiler"):
            assert word in ran.output
        assert json.loads(record.read_text())["rows"][0]["case"]["p"] == 8
        assert "plotly" in page.read_text()

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
    def test_no_cuda_device_is_2_and_one_line(self):
        ran = CliRunner().invoke(app, ["bench", "--device", "cuda"])
        assert ran.exit_code == 2
        assert "error: device: PyTorch finds no CUDA device" in ran.output

    @pytest.mark.parametrize(
        "words", [["--device", "tpu"], ["--figure", "bench.jpeg"]], ids=" ".join
    )
    def test_a_wrong_argument_is_2(self, words):
        ran = CliRunner().invoke(app, ["bench", *words])
        assert ran.exit_code == 2
        assert f"{words[0].strip('-')}: " in ran.output
