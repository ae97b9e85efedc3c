"""Who computes: linfkit, and what one would write without it."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor

from linfkit.bench.cases import Case, Inputs
from linfkit.functional import linf_interval, lp_dist

COMPILED = "torch.compile"
CHUNK_BYTES = 8 * 2**20  # at which the broadcast formula was fastest on the CPU

Outputs = tuple[Tensor, ...]  # out, or lower and upper, or out and the gradients in x and w


@dataclass(frozen=True)
class Contender:
    """A way to compute a case.

    Attributes:
        name: what the table calls it.
        call: computes all outputs.
        compiles: whether its first call compiles, and so must not be measured.
    """

    name: str
    call: Callable[[], Outputs]
    compiles: bool = False


def contenders(case: Case, inputs: Inputs) -> list[Contender]:
    """Everyone who can compute a case, linfkit first; the last one is compiled by PyTorch.

    >>> from linfkit.bench.cases import inputs
    >>> small = Case(p=8, batch=2, in_features=4, out_features=3)
    >>> [contender.name for contender in contenders(small, inputs(small))]
    ['linfkit', 'torch.cdist', 'broadcast', 'torch.compile']
    """
    x, upper, w, grad = inputs
    p = case.p
    # PyTorch gives up compiling a function at its eighth shape, unless it forgets the others.
    torch.compiler.reset()
    if p is None:
        compiled_range = torch.compile(interval_formula, dynamic=False)
        return [
            Contender("linfkit", lambda: linf_interval(x, upper, w), compiles=True),
            Contender("broadcast", lambda: _interval_in_chunks(x, upper, w)),
            Contender(COMPILED, lambda: compiled_range(x, upper, w), compiles=True),
        ]
    whole, chunked = (
        (_with_gradients, _with_gradients_in_chunks) if case.backward else (_alone, _in_chunks)
    )
    # Compiled, only the gradient of a maximum goes through (B, O, I), and is better off in chunks.
    compiled_way = chunked if case.backward and p == math.inf else whole
    formula = partial(distance_formula, p=p)
    return [
        Contender("linfkit", lambda: whole(partial(lp_dist, p=p), x, w, grad), compiles=True),
        Contender("torch.cdist", lambda: whole(partial(torch.cdist, p=p), x, w, grad)),
        Contender("broadcast", lambda: chunked(formula, x, w, grad)),
        Contender(
            COMPILED,
            partial(compiled_way, torch.compile(formula, dynamic=False), x, w, grad),
            compiles=True,
        ),
    ]


def why_not_compiled(device: str) -> str | None:
    """What `torch.compile` lacks on this machine, if anything."""
    if device == "cuda":
        return None if find_spec("triton") else "Triton is not installed"
    compilers = [os.environ.get("CXX", "g++"), "g++", "clang++", "cl"]
    return None if any(map(shutil.which, compilers)) else "no C++ compiler was found"


# --- the formulas, as one would write them


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


# --- forward, backward, in chunks

Distance = Callable[[Tensor, Tensor], Tensor]


def _alone(distance: Distance, x: Tensor, w: Tensor, grad: Tensor) -> Outputs:
    return (distance(x, w),)


def _with_gradients(distance: Distance, x: Tensor, w: Tensor, grad: Tensor) -> Outputs:
    leaves = x.detach().requires_grad_(), w.detach().requires_grad_()
    out = distance(*leaves)
    return (out.detach(), *torch.autograd.grad(out, leaves, grad))


# Chunks are written into their place at once: small results that stay between large intermediates
# would keep the C library from using the same memory again.


def _in_chunks(distance: Distance, x: Tensor, w: Tensor, grad: Tensor) -> Outputs:
    out = torch.empty_like(grad)
    for rows in _chunks(x, w):
        out[rows] = distance(x[rows], w)
    return (out,)


def _with_gradients_in_chunks(distance: Distance, x: Tensor, w: Tensor, grad: Tensor) -> Outputs:
    out, grad_x, grad_w = torch.empty_like(grad), torch.empty_like(x), torch.zeros_like(w)
    for rows in _chunks(x, w):
        out[rows], grad_x[rows], part = _with_gradients(distance, x[rows], w, grad[rows])
        grad_w += part
    return out, grad_x, grad_w


def _interval_in_chunks(lower: Tensor, upper: Tensor, w: Tensor) -> Outputs:
    out_lower, out_upper = (lower.new_empty(len(lower), len(w)) for _ in range(2))
    for rows in _chunks(lower, w):
        out_lower[rows], out_upper[rows] = interval_formula(lower[rows], upper[rows], w)
    return out_lower, out_upper


def _chunks(x: Tensor, w: Tensor) -> Iterator[slice]:
    """Slices of the rows of x whose differences from all of w fit in CHUNK_BYTES."""
    rows = max(1, CHUNK_BYTES // (w.numel() * w.element_size()))
    return (slice(start, start + rows) for start in range(0, len(x), rows))
