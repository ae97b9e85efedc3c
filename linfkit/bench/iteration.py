"""Benchmark of one training iteration of a whole net's distance layers, as a table in Markdown.

Forward and backward of every layer, beside what one would write without them, and beside the time
that the arithmetic alone takes on that GPU (the roofline). Neither augmentation nor loss, mean
shifts nor optimizer are in it. Layers of one shape are measured once and counted as often as they
occur; each contender's results are compared with the reference in float64 before.
"""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from statistics import median
from typing import NamedTuple

import torch
from pydantic import BaseModel, Field

from linfkit._util.devices import usable_device
from linfkit._util.progress import progress_bar
from linfkit.bench.operators import (
    COMPILED,
    Benchmark,
    Case,
    Distance,
    Inputs,
    Outputs,
    distance_formula,
    expected_rows,
    in_turn,
    make_inputs,
    relative_error,
    why_not_compiled,
    with_gradients,
    with_gradients_in_chunks,
)
from linfkit.functional import lp_dist
from linfkit.kernels import description, reference
from linfkit.recipes.recipe import load_recipe

RECIPE = "iclr2022-cifar10-8-255"
EXPONENTS = (8.0, 100.5, math.inf)
ROOFLINE = "roofline"


class Layer(NamedTuple):
    """Distance layers of one shape.

    Attributes:
        in_features: I.
        out_features: O.
        alike: number of such layers.
        first: its input is the images, which need no gradient.
    """

    in_features: int
    out_features: int
    alike: int = 1
    first: bool = False


class Net(NamedTuple):
    """Sizes of a net whose layers are all distances.

    Attributes:
        batch: images a step.
        layers: in their order, alike ones together.
    """

    batch: int
    layers: tuple[Layer, ...]


def iclr_net() -> Net:
    """The CIFAR-10 net of Zhang et al., ICLR 2022, as its recipe has it.

    >>> iclr_net().batch, [layer[:3] for layer in iclr_net().layers]
    (512, [(3072, 5120, 1), (5120, 5120, 4), (5120, 10, 1)])
    """
    recipe = load_recipe(RECIPE)
    first = Layer(3 * 32 * 32, recipe.width, first=True)
    hidden = Layer(recipe.width, recipe.width, recipe.depth - 2)
    return Net(recipe.batch_size, (first, hidden, Layer(recipe.width, 10)))


class Entry(BaseModel, ser_json_inf_nan="strings"):
    """Time of an iteration by one contender.

    Attributes:
        contender: its name; "roofline" is the least that the arithmetic takes.
        p: of all layers.
        milliseconds: of forward and backward of all layers; None where it could not be measured.
    """

    contender: str
    p: float
    milliseconds: float | None


class Iteration(Benchmark):
    """Times of an iteration: of a net of these sizes, an entry for each contender and p."""

    net: Net
    entries: list[Entry] = Field(default=[])


def run(device: str = "cuda", net: Net | None = None, rounds: int = 7) -> Iteration:
    """Measure an iteration at p = 8, 100.5 and ∞, behind a progress bar.

    Args:
        device: where to compute.
        net: sizes; those of `iclr_net` if None.
        rounds: the most turns that a contender gets; slow ones get fewer.

    Raises:
        ValueError: there is no such device.
    """
    where, net = usable_device(device), net or iclr_net()
    results = Iteration(device=where.type, kernels=description(where), net=net)
    cases = [(p, layer) for p in EXPONENTS for layer in net.layers]
    times: dict[tuple[str, float], list[float | None]] = {}
    for p, layer in progress_bar(cases, desc="bench", leave=False):
        size = {"in_features": layer.in_features, "out_features": layer.out_features}
        case = Case(p=p, backward=True, batch=net.batch, **size)
        for name, seconds in _measured(case, layer.first, where, rounds, results.notes).items():
            own = None if seconds is None else 1e3 * seconds * layer.alike
            times.setdefault((name, p), []).append(own)
    for (name, p), each in times.items():
        known = [time for time in each if time is not None]
        total = sum(known) if len(known) == len(each) else None
        results.entries.append(Entry(contender=name, p=p, milliseconds=total))
    rate = _multiprocessor_cycles(where)
    if rate is None:
        results.notes.append(f"{ROOFLINE} is left out: it is known for NVIDIA's GPUs")
    else:
        lanes = 64 if torch.cuda.get_device_capability(where) in ((7, 5), (8, 0)) else 128
        results.entries += [
            Entry(contender=ROOFLINE, p=p, milliseconds=1e3 * least_cycles(net, p, lanes) / rate)
            for p in EXPONENTS
        ]
    return results


def least_cycles(net: Net, p: float, lanes: int) -> float:
    """Cycles that an iteration's arithmetic takes one multiprocessor of a GPU.

    A pair takes the forward pass at p=8 four instructions of floats and each gradient six; at a
    real p two exponentials or logarithms, of which 16 fit a cycle; at p=∞ a maximum, of which 64
    do. Every term is counted, though at a real p those that are too small may be skipped.

    Args:
        net: sizes.
        p: 8, ∞, or else real.
        lanes: instructions of floats in a cycle: 64 or 128.

    >>> least_cycles(Net(batch=2, layers=(Layer(16, 4),)), 8, lanes=128)  # 128 pairs
    16.0
    """
    forward, gradient = {8.0: (4 / lanes, 6 / lanes), math.inf: (1 / 64, 0)}.get(p, (1 / 8, 1 / 8))
    return sum(
        net.batch
        * layer.in_features
        * layer.out_features
        * layer.alike
        * (forward + gradient * (1 if layer.first else 2))
        for layer in net.layers
    )


def markdown(results: Iteration) -> str:
    """Table of milliseconds an iteration, with a column for each p.

    >>> entries = [Entry(contender="linfkit", p=8, milliseconds=41.26)]
    >>> print(markdown(Iteration(device="cpu", net=iclr_net(), entries=entries)))
    | ms an iteration | p=8 |
    | --- | --- |
    | linfkit | 41.3 |
    """
    exponents = list(dict.fromkeys(entry.p for entry in results.entries))
    times = {(entry.contender, entry.p): entry.milliseconds for entry in results.entries}
    rows = [["ms an iteration", *(f"p={p:g}".replace("inf", "∞") for p in exponents)]]
    rows.append(["---"] * len(rows[0]))
    for name in dict.fromkeys(entry.contender for entry in results.entries):
        own = (times.get((name, p)) for p in exponents)
        rows.append([name, *("–" if time is None else f"{time:.3g}" for time in own)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def contenders(p: float, inputs: Inputs, need_x: bool) -> dict[str, Callable[[], Outputs]]:
    """Ways to compute a layer's output and gradients, by name; PyTorch's own in chunks of rows."""
    x, _, w, grad = inputs
    torch.compiler.reset()  # it gives up compiling a function at its eighth shape

    def by_reference() -> Outputs:
        out = reference.lp_dist(x, w, p)
        grads = reference.lp_dist_backward(grad, x, w, out, p, need_x, True)
        return (out, *grads[not need_x :])

    in_chunks: dict[str, Distance] = {
        "torch.cdist": partial(torch.cdist, p=p),
        COMPILED: torch.compile(partial(distance_formula, p=p), dynamic=False),
    }
    return {
        "linfkit": lambda: with_gradients(partial(lp_dist, p=p), x, w, grad, need_x),
        "reference": by_reference,
        **{
            name: partial(with_gradients_in_chunks, distance, x, w, grad, need_x)
            for name, distance in in_chunks.items()
        },
    }


def _measured(
    case: Case, first: bool, device: torch.device, rounds: int, notes: list[str]
) -> dict[str, float | None]:
    """Seconds of each contender; None, and a note of the reason, of those that fail."""
    inputs = make_inputs(case, str(device))
    assert case.p is not None
    calls = contenders(case.p, inputs, need_x=not first)
    out, grad_x, grad_w = expected_rows(case, inputs)
    expected = (out, grad_w) if first else (out, grad_x, grad_w)
    seconds: dict[str, float | None] = dict.fromkeys(calls)
    able = {}
    for name, call in calls.items():
        reason = why_not_compiled(call, device.type) if name == COMPILED else None
        if reason is None:
            reason = _fault(name, call, expected)
        if reason is None:
            able[name] = call
        else:
            note = f"{name} is left out at p={case.p:g}: {reason}"
            notes += [note] if note not in notes else []
    return seconds | {name: median(of) for name, of in in_turn(able, rounds, budget=3.0).items()}


def _fault(name: str, call: Callable[[], Outputs], expected: Sequence[torch.Tensor]) -> str | None:
    """Reason that a contender cannot be measured, if any."""
    try:
        relative_error(name, call(), tuple(expected))
    except Exception as error:  # out of memory, not implemented, or wrong
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return None


def _multiprocessor_cycles(device: torch.device) -> float | None:
    """Cycles a second, at the highest clock, of all of a GPU's multiprocessors; None if unknown."""
    if device.type != "cuda" or torch.version.hip is not None:
        return None
    properties = torch.cuda.get_device_properties(device)
    query = ["--query-gpu=clocks.max.sm", "--format=csv,noheader,nounits"]
    command = ["nvidia-smi", "-i", f"GPU-{properties.uuid}", *query]
    with suppress(OSError, ValueError):
        said = subprocess.run(command, capture_output=True, text=True).stdout
        return float(said) * 1e6 * float(properties.multi_processor_count)
    return None
