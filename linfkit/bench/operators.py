"""Benchmark of the distance operators, beside what one would write without them.

All contenders are timed in one process, in turn, A B A B …, and reported as medians. Each one's
results are compared with the reference in float64 before its time counts.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from importlib.util import find_spec
from statistics import median

import torch
from pydantic import BaseModel, Field
from torch import Tensor
from torch.utils.benchmark import Timer

from linfkit._util.devices import usable_device
from linfkit._util.environment import Surroundings, now
from linfkit._util.progress import progress_bar
from linfkit.functional import linf_interval, lp_dist
from linfkit.kernels import description, reference

COMPILED = "torch.compile"
CHUNK_BYTES = 8 * 2**20  # at which the broadcast formula was fastest on the CPU
CHUNK_SHARE = 1 / 16  # of a GPU's memory: gradients hold several such chunks at once
DEVIATION = 0.25  # at 1, the 100.5th powers of contenders that do not scale would overflow
ROWS_CHECKED = 4  # of each output
TOLERANCE = 1e-3  # relative, in norm: all contenders compute in float32
TURN = 0.02  # seconds of a turn, at least, so that the clock and what ran before hardly show

Outputs = tuple[Tensor, ...]  # out, or lower and upper, or out and the gradients in x and w
Distance = Callable[[Tensor, Tensor], Tensor]
#: x or the boxes' lower corners, their upper corners, w, and ∂/∂out.
Inputs = tuple[Tensor, Tensor, Tensor, Tensor]


class Case(BaseModel, frozen=True, ser_json_inf_nan="strings"):
    """Operator to measure, with its sizes.

    Attributes:
        p: of `lp_dist`; None stands for `linf_interval`.
        backward: whether the gradients in x and w are part of it.
        batch: B.
        in_features: I.
        out_features: O.

    >>> case = Case(p=math.inf)
    >>> case.name, case.shape, case.pairs
    ('p=∞ forward', '256 × 1024 × 1024', 268435456)
    """

    p: float | None
    backward: bool = False
    batch: int = 256
    in_features: int = 1024
    out_features: int = 1024

    @property
    def name(self) -> str:
        """The operator, in words."""
        if self.p is None:
            return "intervals forward"
        p = "∞" if math.isinf(self.p) else f"{self.p:g}"
        return f"p={p} forward{' + backward' if self.backward else ''}"

    @property
    def shape(self) -> str:
        """B × I × O."""
        return f"{self.batch} × {self.in_features} × {self.out_features}"

    @property
    def pairs(self) -> int:
        """Number of pairs of an x-coordinate and a weight."""
        return self.batch * self.in_features * self.out_features


#: The rows that tell most.
MAIN = (
    *(Case(p=p, backward=backward) for backward in (False, True) for p in (math.inf, 8, 100.5)),
    Case(p=None),
)

#: The same on a quarter of the batch, since other contenders take long.
QUICK = tuple(case.model_copy(update={"batch": 64}) for case in MAIN)

#: The main rows; a p at which every coordinate's power counts; few neurons; sizes that are no
#: multiples of a tile; and one input against weights that no cache holds.
FULL = (
    *MAIN,
    *(Case(p=20.5, backward=backward) for backward in (False, True)),
    *(Case(p=p, out_features=10) for p in (math.inf, 8, 100.5)),
    *(
        Case(p=p, batch=257, in_features=1023, out_features=1025)
        for p in (math.inf, 8, 100.5, None)
    ),
    *(Case(p=p, batch=1, out_features=16384) for p in (math.inf, 8)),
)


class Timing(BaseModel):
    """Time of one contender at one case.

    Attributes:
        contender: its name.
        seconds: of one call; the median over its turns.
        turns: how often it was measured.
        error: largest relative error of its outputs, in norm, against the reference in float64.
    """

    contender: str
    seconds: float
    turns: int
    error: float


class Row(BaseModel):
    """Timings of all contenders at one case, linfkit first."""

    case: Case
    timings: list[Timing]

    def rate(self, timing: Timing) -> float:
        """Pairs a second."""
        return self.case.pairs / timing.seconds


class Benchmark(Surroundings):
    """Machine of a benchmark, and operators left out.

    Attributes:
        device: `cpu` or `cuda`.
        threads: of PyTorch and of linfkit.
        kernels: that linfkit computes with.
        started: when the benchmark began.
        notes: contenders that were left out, and why.
    """

    device: str
    threads: int = Field(default_factory=torch.get_num_threads)
    kernels: str = ""
    started: datetime = Field(default_factory=now)
    notes: list[str] = Field(default=[])

    @property
    def processor(self) -> str:
        """Name of the GPU, or of the processor with its threads."""
        if self.device == "cuda":
            return str(self.machine["gpu"])
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.machine['processor']}, {threads}"


class Results(Benchmark):
    """Rows of a benchmark of operators, one for each case."""

    rows: list[Row] = Field(default=[])


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
    device = usable_device(device).type
    # GNU's C library keeps freed blocks no larger than the largest that it has seen freed, up to
    # 32 MiB: with this one, no contender's time depends on what ran before it.
    torch.empty(31 * 2**20, dtype=torch.uint8)
    results = Results(device=device, kernels=description(device))
    bar = progress_bar(measured or (QUICK if quick else FULL), desc="bench", leave=False)
    for case in bar:
        bar.set_postfix_str(f"{case.name}, {case.shape}")
        inputs = make_inputs(case, device)
        calls = contenders(case, inputs)
        if reason := why_not_compiled(calls[COMPILED], device):
            del calls[COMPILED]
            note = f"{COMPILED} is left out: {reason}"
            results.notes += [note] if note not in results.notes else []
        expected = expected_rows(case, inputs)
        errors = {name: relative_error(name, call(), expected) for name, call in calls.items()}
        turns = in_turn(calls, rounds=rounds or (7 if quick else 15), budget=0.5 if quick else 3.0)
        timings = [
            Timing(contender=name, seconds=median(of), turns=len(of), error=errors[name])
            for name, of in turns.items()
        ]
        results.rows.append(Row(case=case, timings=timings))
    return results


def in_turn(
    calls: Mapping[str, Callable[[], object]], rounds: int, budget: float
) -> dict[str, list[float]]:
    """Seconds a call of each, for each of its turns: A B A B ….

    Quick calls are repeated within a turn, so that it lasts `TURN` seconds. Slow ones get fewer
    turns, at least one, so that all turns of each take about `budget` seconds.

    >>> turns = in_turn({"a": lambda: None, "b": lambda: None}, rounds=3, budget=1.0)
    >>> {name: len(seconds) for name, seconds in turns.items()}
    {'a': 3, 'b': 3}
    """
    threads = torch.get_num_threads()
    timers = {
        name: Timer("call()", globals={"call": call}, num_threads=threads)
        for name, call in calls.items()
    }
    first = {name: timer.timeit(1).mean for name, timer in timers.items()}
    turns: dict[str, list[float]] = {name: [] for name in calls}
    for done in range(rounds):
        for name, timer in timers.items():
            if done < max(1, budget / max(first[name], TURN)):
                turns[name].append(timer.timeit(math.ceil(TURN / first[name])).mean)
    return turns


def make_inputs(case: Case, device: str = "cpu") -> Inputs:
    """Normal numbers, the same on every machine.

    >>> [tuple(tensor.shape) for tensor in make_inputs(Case(p=8, batch=2, in_features=3))]
    [(2, 3), (2, 3), (1024, 3), (2, 1024)]
    """
    generator = torch.Generator().manual_seed(0)

    def normal(rows: int, columns: int) -> Tensor:
        return (DEVIATION * torch.randn(rows, columns, generator=generator)).to(device)

    x = normal(case.batch, case.in_features)
    w = normal(case.out_features, case.in_features)
    return x, x + DEVIATION / 10, w, normal(case.batch, case.out_features)


def contenders(case: Case, inputs: Inputs) -> dict[str, Callable[[], Outputs]]:
    """Ways to compute a case, by name: linfkit first, what PyTorch compiles last.

    >>> small = Case(p=8, batch=2, in_features=4, out_features=3)
    >>> list(contenders(small, make_inputs(small)))
    ['linfkit', 'torch.cdist', 'broadcast', 'torch.compile']
    """
    x, upper, w, grad = inputs
    p = case.p
    # PyTorch gives up compiling a function at its eighth shape, unless it forgets the others.
    torch.compiler.reset()
    if p is None:
        compiled_range = torch.compile(interval_formula, dynamic=False)
        return {
            "linfkit": lambda: linf_interval(x, upper, w),
            "broadcast": lambda: _interval_in_chunks(x, upper, w),
            COMPILED: lambda: compiled_range(x, upper, w),
        }
    whole, chunked = (
        (with_gradients, with_gradients_in_chunks) if case.backward else (_alone, _in_chunks)
    )
    formula = partial(distance_formula, p=p)
    # Compiled, only the gradient of a maximum goes through (B, O, I), and is better off in chunks.
    compiled_way = chunked if case.backward and p == math.inf else whole
    return {
        "linfkit": lambda: whole(partial(lp_dist, p=p), x, w, grad),
        "torch.cdist": lambda: whole(partial(torch.cdist, p=p), x, w, grad),
        "broadcast": lambda: chunked(formula, x, w, grad),
        COMPILED: partial(compiled_way, torch.compile(formula, dynamic=False), x, w, grad),
    }


def distance_formula(x: Tensor, w: Tensor, p: float) -> Tensor:
    """‖x_b − w_o‖_p by broadcasting: (B, I), (O, I) -> (B, O), through (B, O, I)."""
    size = (x[:, None] - w).abs()
    return size.amax(-1) if p == math.inf else size.pow(p).sum(-1).pow(1 / p)


def interval_formula(lower: Tensor, upper: Tensor, w: Tensor) -> Outputs:
    """The range of ‖x − w_o‖_∞ by broadcasting: (B, I) twice, (O, I) -> (B, O) twice."""
    from_lower, from_upper = lower[:, None] - w, upper[:, None] - w
    return (
        torch.maximum(from_lower, -from_upper).amax(-1).clamp(min=0),
        torch.maximum(from_lower.abs(), from_upper.abs()).amax(-1),
    )


def _alone(distance: Distance, x: Tensor, w: Tensor, grad: Tensor) -> Outputs:
    return (distance(x, w),)


def with_gradients(
    distance: Distance, x: Tensor, w: Tensor, grad: Tensor, need_x: bool = True
) -> Outputs:
    """Output, and its gradients in x, if needed, and in w."""
    leaves = x.detach().requires_grad_(need_x), w.detach().requires_grad_()
    out = distance(*leaves)
    return (out.detach(), *torch.autograd.grad(out, leaves[not need_x :], grad))


# Chunks are written into their place at once: small results that stay between large intermediates
# would keep the C library from using the same memory again.


def _in_chunks(distance: Distance, x: Tensor, w: Tensor, grad: Tensor) -> Outputs:
    out = torch.empty_like(grad)
    for rows in _chunks(x, w):
        out[rows] = distance(x[rows], w)
    return (out,)


def with_gradients_in_chunks(
    distance: Distance, x: Tensor, w: Tensor, grad: Tensor, need_x: bool = True
) -> Outputs:
    """The same, for a few rows of x at a time."""
    out, grad_x, grad_w = torch.empty_like(grad), torch.empty_like(x), torch.zeros_like(w)
    for rows in _chunks(x, w):
        out[rows], *of_x, of_w = with_gradients(distance, x[rows], w, grad[rows], need_x)
        for part in of_x:
            grad_x[rows] = part
        grad_w += of_w
    return (out, grad_x, grad_w) if need_x else (out, grad_w)


def _interval_in_chunks(lower: Tensor, upper: Tensor, w: Tensor) -> Outputs:
    out_lower, out_upper = (lower.new_empty(len(lower), len(w)) for _ in range(2))
    for rows in _chunks(lower, w):
        out_lower[rows], out_upper[rows] = interval_formula(lower[rows], upper[rows], w)
    return out_lower, out_upper


def _chunks(x: Tensor, w: Tensor) -> Iterator[slice]:
    """Slices of the rows of x whose differences from all of w fit in a chunk."""
    allowed: float = CHUNK_BYTES
    if w.is_cuda:
        allowed = CHUNK_SHARE * torch.cuda.get_device_properties(w.device).total_memory
    rows = max(1, int(allowed / (w.numel() * w.element_size())))
    return (slice(start, start + rows) for start in range(0, len(x), rows))


def why_not_compiled(call: Callable[[], Outputs], device: str) -> str | None:
    """Compile, or give the reason that `torch.compile` fails on this machine."""
    compilers = [os.environ.get("CXX", "g++"), "g++", "clang++", "cl"]
    if device not in ("cpu", "cuda"):
        return f"it may not know {device}"
    if device == "cuda" and not find_spec("triton"):
        return "Triton is not installed"
    if device == "cpu" and not any(map(shutil.which, compilers)):
        return "no C++ compiler was found"
    try:
        call()
    except Exception as error:  # whatever the compiler, or what it calls, raises
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return None


def expected_rows(case: Case, inputs: Inputs) -> Outputs:
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


def relative_error(name: str, outputs: Outputs, expected: Outputs) -> float:
    """Largest relative error, in norm, over the outputs' first rows.

    Raises:
        FloatingPointError: it is beyond `TOLERANCE`, or NaN.
    """
    errors = [
        (output[:ROWS_CHECKED] - right).norm() / right.norm()
        for output, right in zip(outputs, expected, strict=True)
    ]
    error = torch.stack(errors).max().item()
    if not error < TOLERANCE:  # so phrased, NaN is refused too
        raise FloatingPointError(
            f"{name} does not compute what the reference computes: its error is {error:.2g}"
        )
    return error
