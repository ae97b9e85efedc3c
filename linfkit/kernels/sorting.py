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
from linfkit.kernels.threads import run

RUN = 64  # differences that are searched at once
ROWS_AT_HAND = 8  # rows that stay in the first-level cache
PAIRS_WORTH_A_RANK = 8  # that take as long as ranking one difference


def sorted_dist(x: Tensor, w: Tensor, coefficients: Sequence[float]) -> Tensor:
    """Σ_k coefficients[k]·|x_b − w_o|₍ₖ₎, largest first: (B, I), (O, I) -> (B, O)."""
    out = x.new_empty(len(x), len(w))
    run(_sums, _pairs(x, w), x, w, x.new_tensor(coefficients), out)
    return out


def sorted_dist_backward(
    grad: Tensor, x: Tensor, w: Tensor, coefficients: Sequence[float], need_x: bool, need_w: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of `sorted_dist` in x (B, I) and w (O, I), given grad (B, O).

    Those not needed are empty, (0,).
    """
    grad_x, grad_w = x.new_empty(0), w.new_empty(0)
    weights = x.new_tensor(coefficients)
    at = x.new_empty(*grad.shape, len(coefficients), dtype=torch.int32)
    run(_positions, _pairs(x, w), x, w, at)
    if need_x:
        grad_x = torch.zeros_like(x)
        run(_slopes, _pairs(x, w), grad, x, w, weights, at, grad_x)
    if need_w:
        grad_w = torch.zeros_like(w)
        grad, at = grad.T.contiguous(), at.transpose(0, 1).contiguous()  # w in the place of x
        run(_slopes, _pairs(x, w), grad, w, x, weights, at, grad_w)
    return grad_x, grad_w


def _pairs(x: Tensor, w: Tensor) -> int:
    return PAIRS_WORTH_A_RANK * len(x) * w.numel()


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
def _slopes(grad, x, w, coefficients, at, grad_x, part, parts):
    for b in _share(len(x), part, parts):
        for o in range(len(w)):
            for k in range(len(coefficients)):
                i = at[b, o, k]
                grad_x[b, i] += grad[b, o] * coefficients[k] * np.sign(x[b, i] - w[o, i])


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
