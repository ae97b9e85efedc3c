"""Measuring contenders against each other: checked first, then timed in turn."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm.auto import tqdm

from linfkit.bench import cases
from linfkit.bench.cases import Case, Inputs
from linfkit.bench.contenders import COMPILED, Contender, Outputs, contenders, why_not_compiled
from linfkit.bench.memory import PeakMemory
from linfkit.bench.results import Results, Row, Timing
from linfkit.kernels import kernel_for, reference

if TYPE_CHECKING:
    from linfkit.bench.peak import Loop

TURN = 0.02  # seconds that a turn lasts at least, so that the clock and what ran before hardly show
ROWS_CHECKED = 4  # of each output
TOLERANCE = 1e-3  # relative, in norm: everyone computes in float32


def run(
    device: str = "cpu",
    quick: bool = False,
    measured: Sequence[Case] | None = None,
    rounds: int | None = None,
) -> Results:
    """Measure every case, behind a progress bar.

    Args:
        device: `cpu` or `cuda`.
        quick: fewer cases and fewer turns, in less than a minute on two cores.
        measured: cases of your own.
        rounds: the most turns that a contender gets; slow ones get fewer.

    Raises:
        ValueError: there is no such device.
        FloatingPointError: a contender does not compute what the reference computes.
    """
    _check_device(device)
    _let_memory_be_kept()
    results = Results(device=device)
    bar = tqdm(measured or (cases.QUICK if quick else cases.FULL), desc="bench", leave=False)
    for case in bar:
        bar.set_postfix_str(f"{case.name}, {case.shape}")
        row, notes = measure(
            case, device, rounds=rounds or (7 if quick else 15), budget=0.5 if quick else 3.0
        )
        results.rows.append(row)
        results.notes += [note for note in notes if note not in results.notes]
    return results


def measure(case: Case, device: str, rounds: int, budget: float) -> tuple[Row, list[str]]:
    """Check everyone at one case, then time them in turn.

    Args:
        case: what to compute.
        device: `cpu` or `cuda`.
        rounds: the most turns that anyone gets.
        budget: seconds that anyone's turns may take in all, beside the first call.

    Returns:
        The row, and notes on who was left out.
    """
    inputs = cases.inputs(case, device)
    racing, notes = _ready(contenders(case, inputs), device)
    expected = _expected(case, inputs)
    firsts = [_first_call(contender, expected, device) for contender in racing]
    loops = _loops(case, inputs, device)
    times = in_turn(
        [*(contender.call for contender in racing), *(loop.call for loop in loops.values())],
        [
            *(first.seconds for first in firsts),
            *(_seconds(loop.call, device) for loop in loops.values()),
        ],
        rounds,
        budget,
        device,
    )
    timings = [
        Timing(
            contender=contender.name,
            seconds=median(seconds),
            turns=len(seconds),
            extra_bytes=first.extra_bytes,
            error=first.error,
        )
        for contender, first, seconds in zip(racing, firsts, times, strict=False)
    ]
    peaks = {
        name: loop.work / median(seconds)
        for (name, loop), seconds in zip(loops.items(), times[len(racing) :], strict=True)
    }
    return Row(case=case, timings=timings, **peaks), notes


def in_turn(
    calls: Sequence[Callable[[], object]],
    firsts: Sequence[float],
    rounds: int,
    budget: float,
    device: str = "cpu",
) -> list[list[float]]:
    """Seconds a call of each, for each of its turns: A B A B ….

    By their first calls, those that take long get fewer turns, spread over the rounds, and those
    that take little call several times a turn. A first call that took longer than the budget is
    the only turn that its caller gets.

    >>> times = in_turn([lambda: None] * 3, [1.0, 4.0, 9.0], rounds=5, budget=8.0)
    >>> [len(seconds) for seconds in times]
    [5, 2, 1]
    """
    times: list[list[float]] = [[] for _ in calls]
    for done in range(1, rounds + 1):
        for call, first, seconds in zip(calls, firsts, times, strict=True):
            turns = min(rounds, int(budget / first))
            if len(seconds) < done * turns // rounds:
                seconds.append(_seconds(call, device, math.ceil(TURN / first)))
    return [seconds or [first] for seconds, first in zip(times, firsts, strict=True)]


@dataclass(frozen=True)
class _FirstCall:
    seconds: float
    extra_bytes: int | None
    error: float


def _first_call(contender: Contender, expected: Outputs, device: str) -> _FirstCall:
    """Call once: time it, watch its memory, and check what it computes."""
    outputs: list[Tensor] = []
    with PeakMemory(device) as memory:
        seconds = _seconds(lambda: outputs.extend(contender.call()), device)
    error = _largest_error(outputs, expected)
    if not error < TOLERANCE:  # so phrased, NaN is refused too
        raise FloatingPointError(
            f"{contender.name} does not compute what the reference computes: "
            f"its relative error is {error:.2g}"
        )
    return _FirstCall(seconds, memory.extra_bytes, error)


def _seconds(call: Callable[[], object], device: str, calls: int = 1) -> float:
    """How long one of several calls takes; a GPU finishes what it was given before and after."""
    _finish(device)
    start = time.perf_counter()
    for _ in range(calls):
        call()
    _finish(device)
    return (time.perf_counter() - start) / calls


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _let_memory_be_kept() -> None:
    """Let freed memory wait for its next use, so that nobody's time depends on who ran before.

    GNU's C library keeps at most twice the largest block that it has seen come and go, and fetches
    the rest from the system anew, page by page, which takes longer than to compute with it.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)  # the largest block that counts is 32 MiB


def _ready(everyone: list[Contender], device: str) -> tuple[list[Contender], list[str]]:
    """Those who can run, compiled and warm, and a note on each who cannot."""
    racing, notes = [], []
    for contender in everyone:
        if contender.name == COMPILED:
            if reason := _why_not(contender, device):
                notes.append(f"{COMPILED} is left out: {reason}")
                continue
        elif contender.compiles or device == "cuda":
            contender.call()
        racing.append(contender)
    return racing, notes


def _why_not(contender: Contender, device: str) -> str | None:
    """Compile by a first call; tells why that cannot be, if so."""
    if reason := why_not_compiled(device):
        return reason
    try:
        contender.call()
    except Exception as error:  # a compiler can fail in many ways, and the others can still be told
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def _loops(case: Case, inputs: Inputs, device: str) -> dict[str, Loop]:
    """What of the machine's own to measure beside a case, by its name in a `Row`."""
    if device != "cpu" or kernel_for(inputs.w) is reference:  # the loops are Numba's too
        return {}
    from linfkit.bench.peak import arithmetic_loop, reading_loop

    if case.batch == 1:
        return {"reading": reading_loop(inputs.w)}
    return {} if case.operations is None else {"arithmetic": arithmetic_loop()}


def _expected(case: Case, inputs: Inputs) -> Outputs:
    """The first rows of all outputs, by the reference in float64."""
    x, upper, w, grad = (tensor.double() for tensor in inputs)
    few = slice(ROWS_CHECKED)
    if case.p is None:
        return reference.linf_interval(x[few], upper[few], w)
    out = reference.lp_dist(x[few], w, case.p)
    if not case.backward:
        return (out,)
    grad_x, _ = reference.lp_dist_backward(grad[few], x[few], w, out, case.p, True, False)
    out_w = reference.lp_dist(x, w[few], case.p)
    _, grad_w = reference.lp_dist_backward(grad[:, few], x, w[few], out_w, case.p, False, True)
    return out, grad_x, grad_w


def _largest_error(outputs: Sequence[Tensor], expected: Outputs) -> float:
    """The largest relative error in norm, over the outputs' first rows."""
    errors = [
        (output[:ROWS_CHECKED] - right).norm() / right.norm()
        for output, right in zip(outputs, expected, strict=True)
    ]
    return torch.stack(errors).max().item()


def _check_device(device: str) -> None:
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device: must be 'cpu' or 'cuda'; got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: PyTorch finds no CUDA device here; 'cpu' is always there")
