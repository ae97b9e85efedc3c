"""Distances and gradients in plain PyTorch: the definition that other kernels are tested against.

Any dtype, any device. The differences are formed for a few rows of the batch at a time, so that the
(rows, O, I) intermediate stays below a fixed size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

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
    grad_x, grad_w = _zeros_if(need_x, x), _zeros_if(need_w, w)
    for rows in _batches(x, w):
        difference = x[rows, None] - w
        if p == math.inf:
            slope = _first_largest(difference.abs()) * difference.sign()
        else:
            ratio = difference.abs() / _or_one(out[rows])[..., None]
            slope = difference.sign() * ratio.pow(p - 1)
        if need_x:
            grad_x[rows] = torch.einsum("bo,boi->bi", grad[rows], slope)
        if need_w:
            grad_w -= torch.einsum("bo,boi->oi", grad[rows], slope)
    return grad_x, grad_w


def linf_interval(lower: Tensor, upper: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Range of ‖x − w_o‖_∞ over the boxes lower ≤ x ≤ upper: (B, I) twice, (O, I) -> (B, O) twice.

    Least value: max_i max(l_i − w_i, w_i − h_i, 0); largest: max_i max(|l_i − w_i|, |h_i − w_i|).
    """
    out_lower = lower.new_empty(len(lower), len(w))
    out_upper = torch.empty_like(out_lower)
    for rows in _batches(lower, w):
        from_lower, from_upper = lower[rows, None] - w, upper[rows, None] - w
        out_lower[rows] = torch.maximum(from_lower, -from_upper).amax(-1).clamp(min=0)
        out_upper[rows] = torch.maximum(from_lower.abs(), from_upper.abs()).amax(-1)
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
        from_lower, from_upper = lower[rows, None] - w, upper[rows, None] - w
        least = torch.maximum(from_lower, -from_upper)
        largest = torch.maximum(from_lower.abs(), from_upper.abs())
        at_least = _first_largest(least) * grad_lower[rows, :, None] * (least > 0)
        at_largest = _first_largest(largest) * grad_upper[rows, :, None]
        least_is_lower = from_lower >= -from_upper
        largest_is_lower = from_lower.abs() >= from_upper.abs()
        to_lower = at_least * least_is_lower + at_largest * largest_is_lower * from_lower.sign()
        to_upper = at_largest * ~largest_is_lower * from_upper.sign() - at_least * ~least_is_lower
        grad_l[rows], grad_h[rows] = to_lower.sum(1), to_upper.sum(1)
        grad_w -= (to_lower + to_upper).sum(0)
    return grad_l, grad_h, grad_w


def sorted_dist(x: Tensor, w: Tensor, coefficients: Sequence[float]) -> Tensor:
    """Σ_k coefficients[k]·|x_b − w_o|₍ₖ₎, largest first: (B, I), (O, I) -> (B, O)."""
    out = x.new_empty(len(x), len(w))
    for rows in _batches(x, w):
        largest = (x[rows, None] - w).abs().topk(len(coefficients)).values
        out[rows] = (largest * x.new_tensor(coefficients)).sum(-1)  # no matmul, which may use TF32
    return out


def sorted_dist_backward(
    grad: Tensor, x: Tensor, w: Tensor, coefficients: Sequence[float], need_x: bool, need_w: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of `sorted_dist` in x (B, I) and w (O, I), given grad (B, O).

    In x it is sign(x_i − w_i)·coefficients[k] at the k-th largest difference, in w its negative; of
    equal differences, any may come first. A gradient not needed is (0,).
    """
    grad_x, grad_w = _zeros_if(need_x, x), _zeros_if(need_w, w)
    for rows in _batches(x, w):
        difference = x[rows, None] - w
        at = difference.abs().topk(len(coefficients)).indices
        share = torch.zeros_like(difference)
        share.scatter_(-1, at, x.new_tensor(coefficients).expand(at.shape))
        slope = difference.sign() * share
        if need_x:
            grad_x[rows] = torch.einsum("bo,boi->bi", grad[rows], slope)
        if need_w:
            grad_w -= torch.einsum("bo,boi->oi", grad[rows], slope)
    return grad_x, grad_w


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


def _zeros_if(needed: bool, x: Tensor) -> Tensor:
    return torch.zeros_like(x) if needed else x.new_empty(0)
