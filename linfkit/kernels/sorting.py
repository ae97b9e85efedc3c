"""Weighted sums of sorted differences on the CPU, in Numba: float32, as many threads as torch uses.

Every number is computed by one thread, in an order that the count of threads does not change:
results are the same bit for bit on any count. Nothing of size B×O×I is in memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from linfkit.kernels.compiling import compiled
from linfkit.kernels.threads import in_parallel

RUN = 64  # differences that are searched at once
ROWS_AT_HAND = 8  # rows that stay in the first-level cache
DIFFERENCES_WORTH_A_THREAD = 2**16


def sorted_dist(x: Tensor, w: Tensor, coefficients: Sequence[float]) -> Tensor:
    """Σ_k coefficients[k]·|x_b − w_o|₍ₖ₎, largest first: (B, I), (O, I) -> (B, O)."""
    out = x.new_empty(len(x), len(w))
    _run(_sums, x, w, *_arrays(x, w, x.new_tensor(coefficients), out))
    return out


def sorted_dist_backward(
    grad: Tensor, x: Tensor, w: Tensor, coefficients: Sequence[float], need_x: bool, need_w: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of `sorted_dist` in x (B, I) and w (O, I), given grad (B, O).

    Those not needed are empty, (0,).
    """
    grad_x = torch.zeros_like(x) if need_x else x.new_empty(0)
    grad_w = torch.zeros_like(w) if need_w else w.new_empty(0)
    at = x.new_empty(*grad.shape, len(coefficients), dtype=torch.int32)
    arrays = _arrays(grad, x, w, x.new_tensor(coefficients), at)
    _run(_positions, x, w, *arrays[1:3], arrays[-1])
    if need_x:
        _run(_slopes_x, x, w, *arrays, *_arrays(grad_x))
    if need_w:
        _run(_slopes_w, x, w, *arrays, *_arrays(grad_w))
    return grad_x, grad_w


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().numpy() for tensor in tensors]


def _run(function, x: Tensor, w: Tensor, *arrays: np.ndarray) -> None:
    """function(*arrays, part, parts) in parallel."""
    in_parallel(
        lambda part, parts: function(*arrays, part, parts),
        len(x) * w.numel(),
        DIFFERENCES_WORTH_A_THREAD,
    )


# --- compiled code: each does its part of the work, part of parts


@compiled
def _share(count, part, parts):
    """The rows of a part."""
    return range(part * count // parts, (part + 1) * count // parts)


@compiled
def _sums(x, w, coefficients, out, part, parts):
    scratch, at = _scratch(x.shape[1]), np.empty(len(coefficients), np.int32)
    for first in range(0, len(w), ROWS_AT_HAND):
        for b in _share(len(x), part, parts):
            for o in range(first, min(first + ROWS_AT_HAND, len(w))):
                _rank(x[b], w[o], scratch, at)
                total = np.float32(0)
                for k in range(len(at)):
                    total += coefficients[k] * abs(x[b, at[k]] - w[o, at[k]])
                out[b, o] = total


@compiled
def _positions(x, w, at, part, parts):
    """Indices of the largest differences of each pair, largest first: (B, O, terms)."""
    scratch = _scratch(x.shape[1])
    for first in range(0, len(w), ROWS_AT_HAND):
        for b in _share(len(x), part, parts):
            for o in range(first, min(first + ROWS_AT_HAND, len(w))):
                _rank(x[b], w[o], scratch, at[b, o])


@compiled
def _slopes_x(grad, x, w, coefficients, at, grad_x, part, parts):
    for b in _share(len(x), part, parts):
        for o in range(len(w)):
            for k in range(len(coefficients)):
                i = at[b, o, k]
                grad_x[b, i] += grad[b, o] * coefficients[k] * np.sign(x[b, i] - w[o, i])


@compiled
def _slopes_w(grad, x, w, coefficients, at, grad_w, part, parts):
    for o in _share(len(w), part, parts):
        for b in range(len(x)):
            for k in range(len(coefficients)):
                i = at[b, o, k]
                grad_w[o, i] -= grad[b, o] * coefficients[k] * np.sign(x[b, i] - w[o, i])


# --- the largest of one pair's differences: a tournament, whose runs each have a winner


@compiled
def _scratch(width):
    """Room for one pair's differences, in whole runs, and for the largest of each run."""
    runs = -(-width // RUN)
    return np.zeros(runs * RUN, np.float32), np.empty(runs, np.int32)


@compiled
def _rank(x, w, scratch, at):
    """Find where the len(at) largest |x − w| are, largest first; of equals, the first come first.

    As integers, the bits of positive floats are ordered as the floats are, with NaN above all.
    """
    sizes, winners = scratch
    bits = sizes.view(np.int32)
    for i in range(len(x)):
        sizes[i] = abs(x[i] - w[i])
    bits[len(x) :] = -1
    for r in range(len(winners)):
        winners[r] = _largest(bits[r * RUN : (r + 1) * RUN])
    for k in range(len(at)):
        winner = _largest(winners)
        r = _first(winners, winner)
        run = bits[r * RUN : (r + 1) * RUN]
        i = _first(run, winner)
        at[k] = r * RUN + i
        run[i] = -1  # out of the tournament
        winners[r] = _largest(run)


# In both, no step depends on an earlier one's branch, so that they become vector instructions.


@compiled
def _largest(numbers):
    largest = numbers[0]
    for i in range(len(numbers)):
        largest = numbers[i] if numbers[i] > largest else largest
    return largest


@compiled
def _first(numbers, wanted):
    nowhere = np.int32(len(numbers))
    first = nowhere
    for i in range(len(numbers)):
        here = np.int32(i) if numbers[i] == wanted else nowhere
        first = here if here < first else first
    return first
