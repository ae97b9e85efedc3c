"""CPU kernels in Numba: float32, as many threads as torch uses, nothing of size B×O×I in memory.

Every number is computed by one thread, in an order that the count of threads does not change:
results are the same bit for bit on any count. The inner loops are in `tiles`.
"""

# mypy: disable-error-code="call-arg"
# (Numba's types count the typing context among the arguments of an intrinsic.)

from __future__ import annotations

import math

import numpy as np
import torch
from numba import config
from numpy.typing import NDArray
from torch import Tensor

from linfkit.kernels import lists
from linfkit.kernels.compiling import compiled
from linfkit.kernels.powers import OCTAVES, fitted_power
from linfkit.kernels.screening import CHUNK, rounded
from linfkit.kernels.sorting import sorted_dist as sorted_dist
from linfkit.kernels.sorting import sorted_dist_backward as sorted_dist_backward
from linfkit.kernels.threads import run
from linfkit.kernels.tiles import (
    EIGHTH,
    LARGEST,
    LOGARITHM,
    NEAR,
    POLYNOMIAL,
    distance_tile,
    first_closest,
    first_farthest,
    first_size,
    interval_tile,
    slope_factors,
    slope_tile,
)
from linfkit.kernels.vectors import LANES

CACHED = 2**17  # numbers that stay in a core's second-level cache
ROWS_AT_HAND = 8  # rows that stay in the first-level cache
QUICK_PAIRS = 8  # without powers, that take as long as one with
RARELY_NEAR = 80  # the p from which it pays to ask whether coordinates are near the largest
PAIRS_WORTH_A_SCATTER = 32  # that take as long as adding one number somewhere in a row

PAIRS_WORTH_A_LIST = 2**22
# AVX-512 packs lanes in one instruction, which Numba may be told not to use; else it takes dozens
PACKS = LANES == 16 and config.CPU_FEATURES is None  # type: ignore[attr-defined]
FEW = 0.10  # coordinates that count, of all: then a list of them pays
LONGEST = 2**26  # such coordinates, at 6 bytes each, that a list may hold
SAMPLE = 32  # pairs to judge it by

_NO_FIT = fitted_power(8.0)  # to pass where the kind uses none


def lp_dist(x: Tensor, w: Tensor, p: float) -> Tensor:
    """‖x_b − w_o‖_p for every pair of rows: (B, I), (O, I) -> (B, O)."""
    keep = x.requires_grad or w.requires_grad
    lists.forget(spare=keep)
    if _few_count(x, w, p, keep):
        wide_x, wide_w = (_padded(matrix, -matrix.shape[1] % CHUNK) for matrix in (x, w))
        if in_units := rounded(wide_x, wide_w):
            out, found = lists.distances(wide_x, wide_w, in_units, p, keep)
            if keep and not found.full.any():
                lists.remember(out, p, found)
            return out
    out = x.new_empty(len(x), len(w))
    kind = _kind(p)
    pairs = _pairs(x, w) // (QUICK_PAIRS if kind in (LARGEST, EIGHTH) else 1)
    run(_distances, pairs, kind, _widened(x), _widened(w), out, np.float32(p), _fit(kind, p))
    return out


def lp_dist_backward(
    grad: Tensor, x: Tensor, w: Tensor, out: Tensor, p: float, need_x: bool, need_w: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of `lp_dist` in x (B, I) and w (O, I), given its output and grad (B, O).

    Those not needed are empty, (0,).
    """
    if found := lists.recall(out, p):
        return (
            lists.gradient(grad, found, x, in_w=False) if need_x else x.new_empty(0),
            lists.gradient(grad, found, w, in_w=True) if need_w else w.new_empty(0),
        )
    grad_x, grad_w = torch.empty_like(x), torch.empty_like(w)
    pairs = _pairs(x, w)
    if p == math.inf:
        at, slopes = torch.empty_like(out, dtype=torch.int32), torch.empty_like(out)
        run(_largest_slopes, pairs, grad, _widened(x), _widened(w), out, at, slopes, grad_w)
        if need_x:
            grad_x = _scattered(at, slopes, x)
    else:
        kind = _kind(p)
        power, fit = np.float32(p), _fit(kind, p - 1)
        flat_grad, flat_out = (_widened(matrix.view(1, -1)) for matrix in (grad, out))
        flat_factors = torch.empty_like(flat_out)
        run(_factors, 0, kind, flat_grad, flat_out, flat_factors, power, fit)
        factors = flat_factors[:, : out.numel()].view_as(out)
        run(_slopes, 2 * pairs, kind, x, w, grad, out, factors, grad_x, grad_w, power, fit)
    return grad_x if need_x else x.new_empty(0), grad_w if need_w else w.new_empty(0)


def linf_interval(lower: Tensor, upper: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Range of ‖x − w_o‖_∞ over lower ≤ x ≤ upper: (B, I) twice, (O, I) -> (B, O) twice."""
    out_lower = lower.new_empty(len(lower), len(w))
    out_upper = torch.empty_like(out_lower)
    boxes = (_widened(matrix) for matrix in (lower, upper, w))
    run(_intervals, 2 * _pairs(lower, w), *boxes, out_lower, out_upper)
    return out_lower, out_upper


def linf_interval_backward(
    grad_lower: Tensor, grad_upper: Tensor, lower: Tensor, upper: Tensor, w: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `linf_interval` in lower (B, I), upper (B, I) and w (O, I)."""
    boxes = [_widened(matrix) for matrix in (lower, upper, w)]
    outputs = linf_interval(lower, upper, w)
    # Each pair has two outputs, one behind the other; each passes its slope to l or to h.
    at = lower.new_empty(*grad_lower.shape, 2, dtype=torch.int32)
    slopes = lower.new_empty(2, *at.shape)
    run(_end_slopes, 2 * _pairs(lower, w), grad_lower, grad_upper, *boxes, *outputs, at, slopes)
    to_w, at_w = (each.transpose(0, 1).contiguous() for each in (-slopes.sum(0), at))
    return (
        _scattered(at, slopes[0], lower),
        _scattered(at, slopes[1], upper),
        _scattered(at_w, to_w, w),
    )


def _scattered(at: Tensor, slopes: Tensor, x: Tensor) -> Tensor:
    """The gradient in x, given slopes for each of its rows, and the coordinates where they sit."""
    grad = torch.empty_like(x)
    work = PAIRS_WORTH_A_SCATTER * slopes.numel()
    run(_scatter, work, at.flatten(1), slopes.flatten(1), grad)
    return grad


# --- calling compiled code


def _kind(p: float) -> int:
    if p == math.inf:
        return LARGEST
    if p == 8:
        return EIGHTH
    if p < 8:
        return LOGARITHM
    return POLYNOMIAL if p < RARELY_NEAR else NEAR


def _few_count(x: Tensor, w: Tensor, p: float, keep: bool) -> bool:
    """True if a list of the coordinates that count pays, by sizes and a sample of the pairs."""
    if not PACKS or p <= 8 or not 2 * CHUNK <= x.shape[1] < 2**16 - CHUNK:
        return False
    if len(w) < 2 * CHUNK or _pairs(x, w) < PAIRS_WORTH_A_LIST:
        return False
    if p == math.inf:
        return keep  # it is the gradient that a list makes cheap
    x_rows, w_rows = (  # by NumPy, since PyTorch's threads spin when they are done
        each.detach().numpy()[np.linspace(0, len(each) - 1, SAMPLE).astype(int)] for each in (x, w)
    )
    sizes = np.abs(x_rows - w_rows)
    count = sizes >= 2.0 ** (-OCTAVES / p) * sizes.max(1, keepdims=True)
    return bool(count.mean() < min(FEW, LONGEST / _pairs(x, w)))


def _fit(kind: int, exponent: float) -> NDArray[np.float32]:
    return fitted_power(exponent) if kind in (POLYNOMIAL, NEAR) else _NO_FIT


def _pairs(x: Tensor, w: Tensor) -> int:
    return len(x) * w.numel()


def _widened(matrix: Tensor) -> Tensor:
    """With columns of zeros, which change no distance, up to LANES."""
    return _padded(matrix, max(0, LANES - matrix.shape[1]))


def _padded(matrix: Tensor, columns: int) -> Tensor:
    return torch.nn.functional.pad(matrix, (0, columns)) if columns else matrix


# --- compiled code: each does its part of the work, part of parts


@compiled
def _share(count, part, parts):
    """First and last row of a part of `count` rows: whole groups of four rows, but for the last."""
    groups = -(-count // 4)
    return min(count, part * groups // parts * 4), min(count, (part + 1) * groups // parts * 4)


@compiled
def _shares(x, w, part, parts):
    """A part of the pairs: the longer side is shared."""
    if len(w) >= len(x):
        return (0, len(x)), _share(len(w), part, parts)
    return _share(len(x), part, parts), (0, len(w))


@compiled
def _distances(kind, x, w, out, p, fit, part, parts):
    (x_first, x_last), (w_first, w_last) = _shares(x, w, part, parts)
    block = max(4, CACHED // x.shape[1] // 4 * 4)
    for first in range(x_first, x_last, block):
        last = min(first + block, x_last)
        o = w_first
        while o < w_last:
            wide = o + 4 <= w_last
            b = first
            while b < last:
                tall = b + 4 <= last
                if tall and wide:
                    distance_tile(4, 4, kind, x, b, w, o, out, p, fit)
                elif wide:
                    distance_tile(1, 4, kind, x, b, w, o, out, p, fit)
                elif tall:
                    distance_tile(4, 1, kind, x, b, w, o, out, p, fit)
                else:
                    distance_tile(1, 1, kind, x, b, w, o, out, p, fit)
                b += 4 if tall else 1
            o += 4 if wide else 1


@compiled
def _factors(kind, grad, out, factors, p, fit, part, parts):
    for index in range(0, factors.shape[1], LANES):
        slope_factors(kind, grad, out, factors, min(index, factors.shape[1] - LANES), p, fit)


@compiled
def _slopes(kind, x, w, grad, out, factors, grad_x, grad_w, p, fit, part, parts):
    """Both gradients, for some of the coordinates, taken LANES at a time."""
    width = x.shape[1]
    panels = -(-width // LANES)
    x_panel, w_panel = np.zeros((len(x), LANES), np.float32), np.zeros((len(w), LANES), np.float32)
    grad_x_panel, grad_w_panel = np.empty_like(x_panel), np.empty_like(w_panel)
    for panel in range(part * panels // parts, (part + 1) * panels // parts):
        first = panel * LANES
        count = min(LANES, width - first)
        x_panel[:, :count] = x[:, first : first + count]
        w_panel[:, :count] = w[:, first : first + count]
        if count < LANES:
            x_panel[:, count:] = 0
            w_panel[:, count:] = 0
        grad_w_panel[:] = 0
        b = 0
        while b + 8 <= len(x):
            slope_tile(
                8, kind, x_panel, b, w_panel, grad, out, factors, grad_x_panel, grad_w_panel, p, fit
            )
            b += 8
        while b < len(x):
            slope_tile(
                1, kind, x_panel, b, w_panel, grad, out, factors, grad_x_panel, grad_w_panel, p, fit
            )
            b += 1
        grad_x[:, first : first + count] = grad_x_panel[:, :count]
        grad_w[:, first : first + count] = grad_w_panel[:, :count]


@compiled
def _largest_slopes(grad, x, w, out, at, slopes, grad_w, part, parts):
    """The gradient in w; and each pair's gradient in x, with the one coordinate where it sits."""
    w_first, w_last = _share(len(w), part, parts)
    for first in range(w_first, w_last, ROWS_AT_HAND):
        last = min(first + ROWS_AT_HAND, w_last)
        grad_w[first:last] = 0
        for b in range(len(x)):
            for o in range(first, last):
                i = max(0, first_size(x, b, w, o, out[b, o]))
                slope = grad[b, o] * np.sign(x[b, i] - w[o, i])  # 0 at distance 0
                at[b, o] = i
                slopes[b, o] = slope
                grad_w[o, i] -= slope


@compiled
def _scatter(at, slopes, grad_x, part, parts):
    """The sums of the slopes where they sit."""
    for b in range(*_share(len(at), part, parts)):
        grad_x[b] = 0
        for o in range(at.shape[1]):
            grad_x[b, at[b, o]] += slopes[b, o]


@compiled
def _intervals(lower, upper, w, out_lower, out_upper, part, parts):
    (x_first, x_last), (w_first, w_last) = _shares(lower, w, part, parts)
    block = max(2, CACHED // w.shape[1] // 4 * 2)
    for first in range(x_first, x_last, block):
        last = min(first + block, x_last)
        o = w_first
        while o < w_last:
            wide = o + 2 <= w_last
            b = first
            while b < last:
                tall = wide and b + 2 <= last
                if tall:
                    interval_tile(2, 2, lower, upper, b, w, o, out_lower, out_upper)
                elif wide:
                    interval_tile(1, 2, lower, upper, b, w, o, out_lower, out_upper)
                else:
                    interval_tile(1, 1, lower, upper, b, w, o, out_lower, out_upper)
                b += 2 if tall else 1
            o += 2 if wide else 1


@compiled
def _end_slopes(
    grad_lower, grad_upper, lower, upper, w, out_lower, out_upper, at, slopes, part, parts
):
    """Each output's gradients in l and h, and the one coordinate where they sit."""
    for b in range(*_share(len(lower), part, parts)):
        at[b] = 0
        slopes[:, b] = 0
        for o in range(len(w)):
            if out_lower[b, o] > 0:  # neither 0 nor NaN
                i: int = first_closest(lower, upper, b, w, o, out_lower[b, o])
                at[b, o, 0] = i
                if lower[b, i] - w[o, i] >= w[o, i] - upper[b, i]:
                    slopes[0, b, o, 0] = grad_lower[b, o]
                else:
                    slopes[1, b, o, 0] = -grad_lower[b, o]
            if out_upper[b, o] > 0:
                j: int = first_farthest(lower, upper, b, w, o, out_upper[b, o])
                at[b, o, 1] = j
                low, high = lower[b, j] - w[o, j], upper[b, j] - w[o, j]
                if abs(low) >= abs(high):
                    slopes[0, b, o, 1] = np.sign(low) * grad_upper[b, o]
                else:
                    slopes[1, b, o, 1] = np.sign(high) * grad_upper[b, o]
