"""Distances and gradients in plain PyTorch: the definition that other kernels are tested against.

Any dtype, any device. The differences are formed for a few rows of the batch at a time, so that the
(rows, O, I) intermediate stays below a fixed size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

#: What the intermediate may take: on a CPU what its cache holds, on a GPU what is worth a call.
BYTES_ON_CPU = 4 * 2**20
BYTES_ON_GPU = 64 * 2**20


def lp_dist(x: Tensor, w: Tensor, p: float) -> Tensor:
    """‖x_b − w_o‖_p for every pair of rows: (B, I), (O, I) -> (B, O)."""
    out = x.new_empty(len(x), len(w))
    for rows in _batches(x, w):
        size = (x[rows, None] - w).abs()
        largest = size.amax(-1)
        if p == math.inf:
            out[rows] = largest
        else:
            ratio = size / _or_one(largest)[..., None]
            out[rows] = largest * ratio.pow(p).sum(-1).pow(1 / p)
    return out


def lp_dist_backward(
    grad: Tensor, x: Tensor, w: Tensor, out: Tensor, p: float, need_x: bool, need_w: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of `lp_dist` in x (B, I) and w (O, I), given its output and grad (B, O).

    ∂‖t‖_p/∂t_i = sign(t_i)(|t_i|/‖t‖_p)^(p−1) with t = x − w; at p = ∞ it is sign(t_i) on the first
    coordinate that attains the maximum; at distance 0 it is 0. A gradient not needed is (0,).
    """
    slopes = ((rows, lp_slope(x[rows], w, out[rows], p)) for rows in _batches(x, w))
    return _backward(grad, x, w, slopes, need_x, need_w)


def linf_interval(lower: Tensor, upper: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Range of ‖x − w_o‖_∞ over the boxes lower ≤ x ≤ upper: (B, I) twice, (O, I) -> (B, O) twice.

    Least value: max_i max(l_i − w_i, w_i − h_i, 0); largest: max_i max(|l_i − w_i|, |h_i − w_i|).
    """
    out_lower = lower.new_empty(len(lower), len(w))
    out_upper = torch.empty_like(out_lower)
    for rows in _batches(lower, w):
        least, largest = _ranges(lower[rows], upper[rows], w)
        out_lower[rows], out_upper[rows] = least.amax(-1), largest.amax(-1)
    return out_lower, out_upper


def linf_interval_backward(
    grad_lower: Tensor, grad_upper: Tensor, lower: Tensor, upper: Tensor, w: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `linf_interval` in lower (B, I), upper (B, I) and w (O, I).

    Each output passes its gradient, (B, O), to the first coordinate that attains it, and there to
    `lower` where both ends of the box do. A least value of 0 passes none.
    """
    grad_l, grad_h, grad_w = torch.zeros_like(lower), torch.zeros_like(upper), torch.zeros_like(w)
    for rows in _batches(lower, w):
        of_least, of_largest = _interval_slopes(lower[rows], upper[rows], w)
        to_lower, to_upper = (
            least * grad_lower[rows, :, None] + largest * grad_upper[rows, :, None]
            for least, largest in zip(of_least, of_largest, strict=True)
        )
        grad_l[rows], grad_h[rows] = to_lower.sum(1), to_upper.sum(1)
        grad_w -= (to_lower + to_upper).sum(0)
    return grad_l, grad_h, grad_w


def sorted_dist(x: Tensor, w: Tensor, coefficients: Sequence[float]) -> Tensor:
    """Σ_k coefficients[k]·|x_b − w_o|₍ₖ₎, largest first: (B, I), (O, I) -> (B, O)."""
    out = x.new_empty(len(x), len(w))
    for rows in _batches(x, w):
        out[rows] = _weighed((x[rows, None] - w).abs(), coefficients)
    return out


def sorted_interval(
    lower: Tensor, upper: Tensor, w: Tensor, coefficients: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Range of `sorted_dist` over boxes: (B, I), (B, I), (O, I) -> (B, O) and (B, O).

    Of each |x_i − w_i| the least and the largest, each sorted and weighed like a distance.
    """
    bounds = lower.new_empty(2, len(lower), len(w))
    for rows in _batches(lower, w):
        for out, each in zip(bounds, _ranges(lower[rows], upper[rows], w), strict=True):
            out[rows] = _weighed(each, coefficients)
    return bounds[0], bounds[1]


def sorted_dist_backward(
    grad: Tensor, x: Tensor, w: Tensor, coefficients: Sequence[float], need_x: bool, need_w: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of `sorted_dist` in x (B, I) and w (O, I), given grad (B, O).

    In x it is sign(x_i − w_i)·coefficients[k] at the k-th largest difference, in w its negative; of
    equal differences, any may come first. A gradient not needed is (0,).
    """
    slopes = ((rows, _sorted_slope(x[rows], w, coefficients)) for rows in _batches(x, w))
    return _backward(grad, x, w, slopes, need_x, need_w)


# --- how values and gradients move with their arguments: out of place, for autograd to follow


def lp_dist_jvp(
    x_dot: Tensor, w_dot: Tensor, x: Tensor, w: Tensor, out: Tensor, p: float
) -> Tensor:
    """Derivative of `lp_dist`, given its output, along x_dot (B, I) and w_dot (O, I): (B, O)."""
    slopes = ((rows, lp_slope(x[rows], w, out[rows], p)) for rows in _batches(x, w))
    return torch.cat([_along(slope, x_dot[rows], w_dot) for rows, slope in slopes])


def lp_dist_backward_jvp(
    x_dot: Tensor, w_dot: Tensor, grad: Tensor, x: Tensor, w: Tensor, out: Tensor, p: float
) -> tuple[Tensor, Tensor]:
    """Derivatives of `lp_dist_backward` along x_dot (B, I) and w_dot (O, I): (B, I) and (O, I).

    A slope s moves by (p−1)/‖t‖·((|t_i|/‖t‖)^(p−2)·d_i − s_i·Σ_j s_j·d_j) along d = x_dot − w_dot,
    with t = x − w; at p = 1, at p = ∞ and at distance 0, by 0. Where p < 2 and t_i = 0, it is not
    finite.
    """
    if p in (1, math.inf):
        return torch.zeros_like(x), torch.zeros_like(w)
    along_x, along_w = [], torch.zeros_like(w)
    for rows in _batches(x, w):
        along, distance = x_dot[rows, None] - w_dot, _or_one(out[rows])[..., None]
        slope = lp_slope(x[rows], w, out[rows], p)
        bend = ((x[rows, None] - w).abs() / distance).pow(p - 2) * along
        bend = bend - slope * (slope * along).sum(-1, keepdim=True)
        bend = (bend * (p - 1) / distance).masked_fill(out[rows, :, None] == 0, 0)
        moved = grad[rows, :, None] * bend
        along_x.append(moved.sum(1))
        along_w = along_w - moved.sum(0)
    return torch.cat(along_x), along_w


def linf_interval_jvp(
    lower_dot: Tensor, upper_dot: Tensor, w_dot: Tensor, lower: Tensor, upper: Tensor, w: Tensor
) -> tuple[Tensor, Tensor]:
    """Derivatives of `linf_interval` along changes of its arguments, shaped as they are: (B, O)."""
    parts = [
        [
            _along(in_lower, lower_dot[rows], w_dot) + _along(in_upper, upper_dot[rows], w_dot)
            for in_lower, in_upper in _interval_slopes(lower[rows], upper[rows], w)
        ]
        for rows in _batches(lower, w)
    ]
    least, largest = map(torch.cat, zip(*parts, strict=True))
    return least, largest


def sorted_dist_jvp(
    x_dot: Tensor, w_dot: Tensor, x: Tensor, w: Tensor, coefficients: Sequence[float]
) -> Tensor:
    """Derivative of `sorted_dist` along x_dot (B, I) and w_dot (O, I): (B, O)."""
    slopes = ((rows, _sorted_slope(x[rows], w, coefficients)) for rows in _batches(x, w))
    return torch.cat([_along(slope, x_dot[rows], w_dot) for rows, slope in slopes])


# --- slopes: of each output in each coordinate of x − w


def lp_slope(x: Tensor, w: Tensor, out: Tensor, p: float) -> Tensor:
    """∂out_bo/∂x_i of `lp_dist`, given its output: (B, I), (O, I), (B, O) -> (B, O, I)."""
    difference = x[:, None] - w
    if p == math.inf:
        return _first_largest(difference.abs()) * difference.sign()
    return difference.sign() * (difference.abs() / _or_one(out)[..., None]).pow(p - 1)


def _interval_slopes(
    lower: Tensor, upper: Tensor, w: Tensor
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Places of the least value in lower − w and in upper − w, and of the largest."""
    from_lower, from_upper = lower[:, None] - w, upper[:, None] - w
    least = torch.maximum(from_lower, -from_upper)
    largest = torch.maximum(from_lower.abs(), from_upper.abs())
    at_least, at_largest = _first_largest(least) * (least > 0), _first_largest(largest)
    least_is_lower = from_lower >= -from_upper
    largest_is_lower = from_lower.abs() >= from_upper.abs()
    return (
        (at_least * least_is_lower, -at_least * ~least_is_lower),
        (
            at_largest * largest_is_lower * from_lower.sign(),
            at_largest * ~largest_is_lower * from_upper.sign(),
        ),
    )


def _sorted_slope(x: Tensor, w: Tensor, coefficients: Sequence[float]) -> Tensor:
    difference = x[:, None] - w
    at = difference.abs().topk(len(coefficients)).indices
    share = torch.zeros_like(difference)
    share.scatter_(-1, at, x.new_tensor(coefficients).expand(at.shape))
    return difference.sign() * share


def _backward(
    grad: Tensor,
    x: Tensor,
    w: Tensor,
    slopes: Iterable[tuple[slice, Tensor]],
    need_x: bool,
    need_w: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients in x and w, from the slopes of some rows of x at a time."""
    grad_x = torch.zeros_like(x) if need_x else x.new_empty(0)
    grad_w = torch.zeros_like(w) if need_w else w.new_empty(0)
    for rows, slope in slopes:
        if need_x:
            grad_x[rows] = torch.einsum("bo,boi->bi", grad[rows], slope)
        if need_w:
            grad_w -= torch.einsum("bo,boi->oi", grad[rows], slope)
    return grad_x, grad_w


def _ranges(lower: Tensor, upper: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Least and largest of each |x_i − w_i| over the boxes: (B, O, I) each."""
    from_lower, from_upper = lower[:, None] - w, upper[:, None] - w
    least = torch.maximum(from_lower, -from_upper).clamp(min=0)
    return least, torch.maximum(from_lower.abs(), from_upper.abs())


def _weighed(sizes: Tensor, coefficients: Sequence[float]) -> Tensor:
    """Σ_k coefficients[k]·(k-th largest size), over the last dimension."""
    largest = sizes.topk(len(coefficients)).values
    return (largest * sizes.new_tensor(coefficients)).sum(-1)  # no matmul, which may use TF32


def _along(slope: Tensor, x_dot: Tensor, w_dot: Tensor) -> Tensor:
    return (slope * (x_dot[:, None] - w_dot)).sum(-1)  # no matmul, which autocast makes coarser


def _batches(x: Tensor, w: Tensor) -> Iterator[slice]:
    """Slices of the rows of x, so many that their differences from all of w may be held at once."""
    allowed = BYTES_ON_CPU if w.device.type == "cpu" else BYTES_ON_GPU
    rows = max(1, allowed // (w.numel() * w.element_size()))
    return (slice(start, start + rows) for start in range(0, len(x), rows))


def _or_one(x: Tensor) -> Tensor:
    """X with 1 in place of 0, to divide by."""
    return x.masked_fill(x == 0, 1)


def _first_largest(x: Tensor) -> Tensor:
    """One at the first largest coordinate of the last dimension, zero elsewhere."""
    return torch.zeros_like(x).scatter_(-1, x.argmax(-1, keepdim=True), 1)
