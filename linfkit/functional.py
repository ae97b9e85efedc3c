"""The operators behind everything: distances of inputs to weights, ℓp or sorted, and intervals.

Here arguments are checked, gradients attached and the operators registered with ``torch.library``,
so that autograd and ``torch.compile`` see one node each. The arithmetic is in `linfkit.kernels`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from linfkit.arguments import check_count

__all__ = ["linf_interval", "lp_dist", "sorted_dist"]


def lp_dist(x: Tensor, w: Tensor, p: float) -> Tensor:
    """The ℓp distance of every input to every weight row: out[b, o] = ‖x_b − w_o‖_p.

    Args:
        x: inputs, (B, I).
        w: weights, (O, I).
        p: any real number from 1 up to ``math.inf``.

    Returns:
        Distances, (B, O). The gradient in x is sign(xᵢ − wᵢ)(|xᵢ − wᵢ| / ‖x − w‖_p)^(p−1), in w
        its negative; at p=∞ it sits on the first coordinate where the maximum is attained, and at
        distance zero it is zero.

    Raises:
        TypeError: an argument is no tensor of floats, dtypes differ, or p is no number.
        ValueError: shapes or devices do not fit, the batch is empty, or p is below 1 or NaN.

    This is equation (1) of Zhang et al., ICML 2021, without its bias.

    >>> import math
    >>> x, w = torch.tensor([[0.0, 3.0], [4.0, 0.0]], dtype=torch.float64).split(1)
    >>> [lp_dist(x, w, p).item() for p in (1, 2, math.inf)]
    [7.0, 5.0, 4.0]
    """
    x, w = _in_float32_under_autocast(x, w)
    _check_matrix("x", x)
    _check_matrix("w", w)
    _check_alike("w", w, "x", x)
    _check_columns("w", w, "x", x)
    with torch.autocast(x.device.type, enabled=False):
        return _lp_dist(x, w, check_p(p))


def linf_interval(lower: Tensor, upper: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """The range of ‖x − w_o‖_∞ over every x in the box [lower, upper], exact for one neuron.

    upper_out = maxᵢ max(|lᵢ − wᵢ|, |hᵢ − wᵢ|) and lower_out = maxᵢ max(lᵢ − wᵢ, wᵢ − hᵢ, 0).

    Args:
        lower: the boxes' lower corners, (B, I).
        upper: the boxes' upper corners, (B, I); nowhere below `lower`.
        w: weights, (O, I).

    Returns:
        Lower and upper bounds, (B, O) each; differentiable in all three arguments.

    Raises:
        TypeError: an argument is no tensor of floats, or the dtypes differ.
        ValueError: shapes or devices do not fit, or the batch is empty.

    >>> unit_box = torch.zeros(1, 2), torch.ones(1, 2)
    >>> low, high = linf_interval(*unit_box, torch.tensor([[3.0, 0.5]]))
    >>> (low.item(), high.item())
    (2.0, 3.0)
    """
    lower, upper, w = _in_float32_under_autocast(lower, upper, w)
    _check_matrix("lower", lower)
    _check_matrix("upper", upper)
    _check_matrix("w", w)
    if upper.shape != lower.shape:
        raise ValueError(
            f"upper must have the shape of lower, {tuple(lower.shape)}; it has {tuple(upper.shape)}"
        )
    _check_alike("upper", upper, "lower", lower)
    _check_alike("w", w, "lower", lower)
    _check_columns("w", w, "lower", lower)
    with torch.autocast(lower.device.type, enabled=False):
        return _linf_interval(lower, upper, w)


def sorted_dist(x: Tensor, w: Tensor, rho: float, terms: int = 10) -> Tensor:
    """The expected ℓ∞ distance of inputs to weights where coordinates drop out at random.

    out[b, o] = Σ_k c_k·|x_b − w_o|₍ₖ₎, the absolute differences sorted, largest first, k = 1 …
    `terms`. With c_k proportional to ρ^(k−1): where each coordinate is dropped with probability ρ,
    the k-th largest is the maximum of those left with probability (1−ρ)ρ^(k−1). Cut off after the
    last term, the c_k are divided by their sum, 1 − ρ^terms, so that out is 1-Lipschitz in ℓ∞.

    Args:
        x: inputs, (B, I).
        w: weights, (O, I).
        rho: ρ, from 0, which gives the ℓ∞ distance, up to but without 1.
        terms: how many differences count; all of them, where there are fewer.

    Returns:
        Expected distances, (B, O). The gradient in x is c_k·sign(xᵢ − wᵢ) at the k-th largest
        difference, and 0 elsewhere; in w its negative. Of equal differences, any may come first.

    Raises:
        TypeError: an argument is no tensor of floats, dtypes differ, rho is no number, or terms is
            no whole number.
        ValueError: shapes or devices do not fit, the batch is empty, or rho or terms is out of
            range.

    The neuron of a SortNet without its bias (Zhang et al., NeurIPS 2022, section 4).

    >>> x, w = torch.tensor([[3.0, -7.0, 1.0]]), torch.zeros(1, 3)
    >>> [round(sorted_dist(x, w, rho=0.5, terms=terms).item(), 3) for terms in (1, 2, 3)]
    [7.0, 5.667, 5.0]
    """
    x, w = _in_float32_under_autocast(x, w)
    _check_matrix("x", x)
    _check_matrix("w", w)
    _check_alike("w", w, "x", x)
    _check_columns("w", w, "x", x)
    rho = check_rho(rho)
    terms = check_count("terms", terms)
    with torch.autocast(x.device.type, enabled=False):
        return _sorted_dist(x, w, _drop_coefficients(rho, terms, x))


def check_p(p: float) -> float:
    """P as a float, refused where it is no number from 1 up to infinity.

    >>> check_p(8)
    8.0
    """
    return _number("p", p, "from 1 up to math.inf", lambda p: p >= 1)


def check_rho(rho: float) -> float:
    """ρ as a float, refused where it is no number from 0 up to but without 1.

    >>> check_rho(0)
    0.0
    """
    return _number("rho", rho, "from 0 up to but without 1", lambda rho: 0 <= rho < 1)


def _number(name: str, value: float, range_: str, within: Callable[[float], bool]) -> float:
    """A float of which `within` is true, as it is not of NaN."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(
            f"{name} must be a number {range_}; got {value!r} of type {type(value).__name__}"
        )
    if not within(value):
        raise ValueError(f"{name} must be a number {range_}; got {value}")
    return float(value)


def _drop_coefficients(rho: float, terms: int, x: Tensor) -> list[float]:
    """What each of the largest differences counts; those that count nothing are left out."""
    powers = [rho**k for k in range(min(terms, x.shape[1])) if rho**k > 0]
    return [power / sum(powers) for power in powers]


def _in_float32_under_autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """As autocast does for torch.cdist: what it has made half as precise comes back to float32."""
    first = tensors[0]
    if not isinstance(first, Tensor) or not torch.is_autocast_enabled(first.device.type):
        return tensors
    halves = (torch.float16, torch.bfloat16)
    return tuple(
        tensor.float() if isinstance(tensor, Tensor) and tensor.dtype in halves else tensor
        for tensor in tensors
    )


def _check_matrix(name: str, tensor: Tensor) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor; got {type(tensor).__name__}")
    if not tensor.is_floating_point():
        raise TypeError(f"{name} must hold floating-point numbers; its dtype is {tensor.dtype}")
    if tensor.dim() != 2 or 0 in tensor.shape:
        raise ValueError(
            f"{name} must be a non-empty matrix (rows, features); "
            f"its shape is {tuple(tensor.shape)}"
        )


def _check_alike(name: str, tensor: Tensor, like_name: str, like: Tensor) -> None:
    if tensor.dtype != like.dtype:
        raise TypeError(
            f"{name} must have the dtype of {like_name}, {like.dtype}; it has {tensor.dtype}"
        )
    if tensor.device != like.device:
        raise ValueError(
            f"{name} must be on the device of {like_name}, {like.device}; it is on {tensor.device}"
        )


def _check_columns(name: str, tensor: Tensor, like_name: str, like: Tensor) -> None:
    if tensor.shape[1] != like.shape[1]:
        raise ValueError(
            f"{name} must have as many columns as {like_name}, {like.shape[1]}; "
            f"its shape is {tuple(tensor.shape)}"
        )


# --- operators known to torch: what they compute, what shape it has, how it is differentiated


@torch.library.custom_op("linfkit::lp_dist", mutates_args=())
def _lp_dist(x: Tensor, w: Tensor, p: float) -> Tensor:
    from linfkit.kernels import kernel_for

    return kernel_for(x).lp_dist(x.contiguous(), w.contiguous(), p)


@_lp_dist.register_fake
def _(x: Tensor, w: Tensor, p: float) -> Tensor:
    return x.new_empty(x.shape[0], w.shape[0])


@torch.library.custom_op("linfkit::lp_dist_backward", mutates_args=())
def _lp_dist_backward(
    grad: Tensor, x: Tensor, w: Tensor, out: Tensor, p: float, need_x: bool, need_w: bool
) -> tuple[Tensor, Tensor]:
    from linfkit.kernels import kernel_for

    return kernel_for(x).lp_dist_backward(
        grad.contiguous(), x.contiguous(), w.contiguous(), out.contiguous(), p, need_x, need_w
    )


@_lp_dist_backward.register_fake
def _(
    grad: Tensor, x: Tensor, w: Tensor, out: Tensor, p: float, need_x: bool, need_w: bool
) -> tuple[Tensor, Tensor]:
    # what is not needed comes back empty
    return (
        x.new_empty(x.shape if need_x else (0,)),
        w.new_empty(w.shape if need_w else (0,)),
    )


def _save_lp_dist(ctx: Any, inputs: tuple[Tensor, Tensor, float], output: Tensor) -> None:
    x, w, ctx.p = inputs
    ctx.save_for_backward(x, w, output)


def _differentiate_lp_dist(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    x, w, out = ctx.saved_tensors
    need_x, need_w, _ = ctx.needs_input_grad
    with torch.autocast(x.device.type, enabled=False):  # backward() may be called under it
        grad_x, grad_w = _lp_dist_backward(grad, x, w, out, ctx.p, need_x, need_w)
    return grad_x if need_x else None, grad_w if need_w else None, None


_lp_dist.register_autograd(_differentiate_lp_dist, setup_context=_save_lp_dist)


@torch.library.custom_op("linfkit::linf_interval", mutates_args=())
def _linf_interval(lower: Tensor, upper: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    from linfkit.kernels import kernel_for

    return kernel_for(lower).linf_interval(lower.contiguous(), upper.contiguous(), w.contiguous())


@_linf_interval.register_fake
def _(lower: Tensor, upper: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    shape = lower.shape[0], w.shape[0]
    return lower.new_empty(shape), lower.new_empty(shape)


@torch.library.custom_op("linfkit::linf_interval_backward", mutates_args=())
def _linf_interval_backward(
    grad_lower: Tensor, grad_upper: Tensor, lower: Tensor, upper: Tensor, w: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    from linfkit.kernels import kernel_for

    return kernel_for(lower).linf_interval_backward(
        grad_lower.contiguous(),
        grad_upper.contiguous(),
        lower.contiguous(),
        upper.contiguous(),
        w.contiguous(),
    )


@_linf_interval_backward.register_fake
def _(
    grad_lower: Tensor, grad_upper: Tensor, lower: Tensor, upper: Tensor, w: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return lower.new_empty(lower.shape), upper.new_empty(upper.shape), w.new_empty(w.shape)


def _save_linf_interval(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: object) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate_linf_interval(
    ctx: Any, grad_lower: Tensor, grad_upper: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return _linf_interval_backward(grad_lower, grad_upper, *ctx.saved_tensors)


_linf_interval.register_autograd(_differentiate_linf_interval, setup_context=_save_linf_interval)


@torch.library.custom_op("linfkit::sorted_dist", mutates_args=())
def _sorted_dist(x: Tensor, w: Tensor, coefficients: Sequence[float]) -> Tensor:
    from linfkit.kernels import sorting_kernel_for

    return sorting_kernel_for(x).sorted_dist(x.contiguous(), w.contiguous(), coefficients)


@_sorted_dist.register_fake
def _(x: Tensor, w: Tensor, coefficients: Sequence[float]) -> Tensor:
    return x.new_empty(x.shape[0], w.shape[0])


@torch.library.custom_op("linfkit::sorted_dist_backward", mutates_args=())
def _sorted_dist_backward(
    grad: Tensor, x: Tensor, w: Tensor, coefficients: Sequence[float], need_x: bool, need_w: bool
) -> tuple[Tensor, Tensor]:
    from linfkit.kernels import sorting_kernel_for

    return sorting_kernel_for(x).sorted_dist_backward(
        grad.contiguous(), x.contiguous(), w.contiguous(), coefficients, need_x, need_w
    )


@_sorted_dist_backward.register_fake
def _(
    grad: Tensor, x: Tensor, w: Tensor, coefficients: Sequence[float], need_x: bool, need_w: bool
) -> tuple[Tensor, Tensor]:
    # what is not needed comes back empty
    return (
        x.new_empty(x.shape if need_x else (0,)),
        w.new_empty(w.shape if need_w else (0,)),
    )


def _save_sorted_dist(ctx: Any, inputs: tuple[Tensor, Tensor, list[float]], output: object) -> None:
    x, w, ctx.coefficients = inputs
    ctx.save_for_backward(x, w)


def _differentiate_sorted_dist(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    x, w = ctx.saved_tensors
    need_x, need_w, _ = ctx.needs_input_grad
    with torch.autocast(x.device.type, enabled=False):  # backward() may be called under it
        grad_x, grad_w = _sorted_dist_backward(grad, x, w, ctx.coefficients, need_x, need_w)
    return grad_x if need_x else None, grad_w if need_w else None, None


_sorted_dist.register_autograd(_differentiate_sorted_dist, setup_context=_save_sorted_dist)
