"""The operators behind everything: distances of inputs to weights, ℓp or sorted, and intervals.

Here arguments are checked, gradients attached and the operators registered with ``torch.library``,
so that autograd and ``torch.compile`` see one node each. The arithmetic is in `linfkit.kernels`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._functorch.utils import enable_single_level_autograd_function
from torch._ops import OpOverload
from torch.autograd import forward_ad
from torch.autograd.function import _SingleLevelFunction

from linfkit._util.checks import check_count, check_real, check_tensor
from linfkit.kernels import kernel_for, reference


def lp_dist(x: Tensor, w: Tensor, p: float) -> Tensor:
    """The ℓp distance of every input to every weight row: out[b, o] = ‖x_b − w_o‖_p.

    Args:
        x: inputs, (B, I).
        w: weights, (O, I).
        p: any real number from 1 up to ``math.inf``.

    Returns:
        Distances, (B, O). The gradient in x is sign(xᵢ − wᵢ)(|xᵢ − wᵢ| / ‖x − w‖_p)^(p−1), in w
        its negative; at p=∞ it sits on the first coordinate where the maximum is attained, and at
        distance zero it is zero. It is differentiable again, in forward mode and by ``torch.func``
        too; below p=2 the second derivative is not finite where xᵢ = wᵢ.

    Raises:
        TypeError: an argument is no tensor of floats, dtypes differ, or p is no number.
        ValueError: shapes or devices do not fit, the batch is empty, or p is below 1 or NaN.

    This is equation (1) of Zhang et al., ICML 2021, without its bias.

    >>> import math
    >>> x, w = torch.tensor([[0.0, 3.0], [4.0, 0.0]], dtype=torch.float64).split(1)
    >>> [lp_dist(x, w, p).item() for p in (1, 2, math.inf)]
    [7.0, 5.0, 4.0]
    """
    x, w = _matching(x=x, w=w)
    return _lp_dist(x, w, check_p(p))


def linf_interval(lower: Tensor, upper: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """The range of ‖x − w_o‖_∞ over every x in the box [lower, upper], exact for one neuron.

    upper_out = maxᵢ max(|lᵢ − wᵢ|, |hᵢ − wᵢ|) and lower_out = maxᵢ max(lᵢ − wᵢ, wᵢ − hᵢ, 0).

    Args:
        lower: the boxes' lower corners, (B, I).
        upper: the boxes' upper corners, (B, I); nowhere below `lower`.
        w: weights, (O, I).

    Returns:
        Lower and upper bounds, (B, O) each; differentiable in all three arguments, in either mode.

    Raises:
        TypeError: an argument is no tensor of floats, or the dtypes differ.
        ValueError: shapes or devices do not fit, or the batch is empty.

    >>> unit_box = torch.zeros(1, 2), torch.ones(1, 2)
    >>> low, high = linf_interval(*unit_box, torch.tensor([[3.0, 0.5]]))
    >>> (low.item(), high.item())
    (2.0, 3.0)
    """
    return _linf_interval(*_box_and_weights(lower, upper, w))


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
    x, w = _matching(x=x, w=w)
    rho = check_rho(rho)
    terms = check_count("terms", terms)
    return _sorted_dist(x, w, _drop_coefficients(rho, terms, x))


def sorted_interval(
    lower: Tensor, upper: Tensor, w: Tensor, rho: float, terms: int = 10
) -> tuple[Tensor, Tensor]:
    """The range of `sorted_dist` over every x in the box [lower, upper], exact for one neuron.

    It rises with each |xᵢ − wᵢ|, which ranges from max(lᵢ − wᵢ, wᵢ − hᵢ, 0) to
    max(|lᵢ − wᵢ|, |hᵢ − wᵢ|), so that the bounds are the sorted sums of these. In plain PyTorch.

    Args:
        lower: the boxes' lower corners, (B, I).
        upper: the boxes' upper corners, (B, I); nowhere below `lower`.
        w: weights, (O, I).
        rho: ρ, as for `sorted_dist`.
        terms: how many differences count.

    Returns:
        Lower and upper bounds, (B, O) each.

    Raises:
        TypeError, ValueError: as for `linf_interval` and `sorted_dist`.

    >>> unit_box = torch.zeros(1, 2), torch.ones(1, 2)
    >>> low, high = sorted_interval(*unit_box, torch.tensor([[3.0, 0.5]]), rho=0.5, terms=2)
    >>> (round(low.item(), 4), round(high.item(), 4))  # 2 and 0, or 3 and 0.5, with weights 2:1
    (1.3333, 2.1667)
    """
    lower, upper, w = _box_and_weights(lower, upper, w)
    coefficients = _drop_coefficients(check_rho(rho), check_count("terms", terms), lower)
    return reference.sorted_interval(lower, upper, w, coefficients)


def check_p(p: float) -> float:
    """Check p, a number from 1 up to infinity, and return it as a float.

    >>> check_p(8)
    8.0
    """
    return check_real("p", p, "a number from 1 up to math.inf", lambda p: p >= 1)


def check_rho(rho: float) -> float:
    """Check ρ, a number from 0 up to but without 1, and return it as a float.

    >>> check_rho(0)
    0.0
    """
    return check_real("rho", rho, "a number from 0 up to but without 1", lambda rho: 0 <= rho < 1)


def _drop_coefficients(rho: float, terms: int, x: Tensor) -> list[float]:
    """Weight of each of the largest differences; those of weight 0 are left out."""
    powers = [rho**k for k in range(min(terms, x.shape[1])) if rho**k > 0]
    return [power / sum(powers) for power in powers]


def _matching(**matrices: Tensor) -> list[Tensor]:
    """The matrices, refused if they do not fit the first; under autocast, halves in float32."""
    for name, matrix in matrices.items():
        check_tensor(name, matrix)
        if matrix.dim() != 2 or 0 in matrix.shape:
            raise ValueError(
                f"{name} must be a non-empty matrix (rows, features); got shape "
                f"{tuple(matrix.shape)}"
            )
    first_name, first = next(iter(matrices.items()))
    if torch.is_autocast_enabled(first.device.type):  # as it does for torch.cdist
        for name, matrix in matrices.items():
            halved = matrix.dtype in (torch.float16, torch.bfloat16)
            matrices[name] = matrix.float() if halved else matrix
        first = matrices[first_name]
    for name, matrix in matrices.items():
        if matrix.dtype != first.dtype:
            raise TypeError(
                f"{name} must have the dtype of {first_name}, {first.dtype}; got {matrix.dtype}"
            )
        if matrix.device != first.device:
            raise ValueError(
                f"{name} must be on the device of {first_name}, {first.device}; got {matrix.device}"
            )
        if matrix.shape[1] != first.shape[1]:
            raise ValueError(
                f"{name} must have as many columns as {first_name}, {first.shape[1]}; "
                f"got shape {tuple(matrix.shape)}"
            )
    return list(matrices.values())


def _box_and_weights(lower: Tensor, upper: Tensor, w: Tensor) -> list[Tensor]:
    matched = _matching(lower=lower, upper=upper, w=w)
    if upper.shape != lower.shape:
        raise ValueError(
            f"upper must have the shape of lower, {tuple(lower.shape)}; it has {tuple(upper.shape)}"
        )
    return matched


# --- operators known to torch: what shape their outputs have, how they are differentiated

_LIBRARY = torch.library.Library("linfkit", "FRAGMENT")


def _operator(outputs: Callable[..., Any]) -> OpOverload:
    """Register the kernels of a name as the operator linfkit::NAME of torch.

    Args:
        outputs: has the operator's name, behind an underscore, and its arguments, tensors first;
            returns tensors with the shapes of its outputs.
    """
    name = outputs.__name__.removeprefix("_")
    definition = getattr(reference, name)  # where the kernels have nothing of that name

    def compute(*arguments: Any) -> Any:
        kernel = getattr(kernel_for(arguments[0]), name, definition)
        return kernel(
            *(each.contiguous() if isinstance(each, Tensor) else each for each in arguments)
        )

    schema = torch.library.infer_schema(outputs, mutates_args=())
    _LIBRARY.define(name + schema, tags=torch.Tag.pt2_compliant_tag)
    _LIBRARY.impl(name, compute, "CompositeExplicitAutograd")
    operator: OpOverload = getattr(torch.ops.linfkit, name).default
    torch.library.register_fake(operator, outputs, lib=_LIBRARY)
    torch.library.register_vmap(operator, partial(_vmap, operator), lib=_LIBRARY)
    return operator


def _vmap(operator: OpOverload, info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> Any:
    """Call an operator for many samples: once with the rows of all, or once for each."""
    names, samples = [argument.name for argument in operator._schema.arguments], info.batch_size
    dims, values = (dict(zip(names, each, strict=True)) for each in (in_dims, arguments))
    sums_rows = values.get("need_w", "grad_lower" in names)  # as gradients in w do
    if dims["w"] is None and not sums_rows:
        for name, value in values.items():
            if isinstance(value, Tensor) and name != "w":
                dim = dims[name]
                rows = value.expand(samples, -1, -1) if dim is None else value.movedim(dim, 0)
                values[name] = rows.flatten(0, 1)
        outputs = _as_tuple(operator(*values.values()))
        outputs = tuple(out.unflatten(0, (samples, out.shape[0] // samples)) for out in outputs)
    else:
        each = [
            operator(
                *(
                    value.select(dim, sample) if isinstance(dim, int) else value
                    for value, dim in zip(arguments, in_dims, strict=True)
                )
            )
            for sample in range(samples)
        ]
        outputs = tuple(map(torch.stack, zip(*map(_as_tuple, each), strict=True)))
    return (outputs, (0,) * len(outputs)) if len(outputs) > 1 else (outputs[0], 0)


def _as_tuple(outputs: Any) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _differentiate(
    operator: OpOverload,
    vjp: Callable[..., tuple[Any, ...]],
    jvp: Callable[..., Any],
    keep_output: bool = False,
) -> None:
    """Register an operator's derivatives in reverse and forward mode, for ``torch.func`` too.

    ``torch.library.register_autograd`` knows reverse mode alone, and not within ``torch.func``.

    Args:
        operator: what to differentiate.
        vjp: (ctx, tensors, *gradients of outputs) to gradients of arguments.
        jvp: (ctx, tensors, *tangents of arguments) to tangents of outputs.
        keep_output: whether `tensors` end with the output; else they are the tensors among the
            arguments alone. The other arguments are ``ctx.constants``.
    """
    as_it_is: AbstractContextManager[None] = nullcontext()
    count = sum(str(argument.type) == "Tensor" for argument in operator._schema.arguments)

    def forward(mode: AbstractContextManager[None], *arguments: Any) -> Any:
        with mode, torch._C._AutoDispatchBelowAutograd():
            return operator(*arguments)

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _, *arguments = inputs
        ctx.constants = arguments[count:]
        tensors = [*arguments[:count], output] if keep_output else arguments[:count]
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        device = grads[0].device.type
        coarser = torch.is_autocast_enabled(device)  # backward() may be called under it
        with torch.autocast(device, enabled=False) if coarser else as_it_is:
            return None, *vjp(ctx, ctx.saved_tensors, *grads)

    def forward_mode(ctx: Any, _: None, *tangents: Any) -> Any:
        primals = [forward_ad.unpack_dual(tensor, level=0).primal for tensor in ctx.saved_tensors]
        with forward_ad._set_fwd_grad_enabled(True):
            return jvp(ctx, primals, *tangents)

    methods: dict[str, Callable[..., Any]] = {
        "forward": forward,
        "setup_context": setup_context,
        "backward": backward,
        "jvp": forward_mode,
    }
    function: Any = type(
        operator._opname,
        (_SingleLevelFunction,),
        {name: staticmethod(method) for name, method in methods.items()},
    )

    def differentiable(*arguments: Any) -> Any:
        if not torch.is_grad_enabled():  # kernels keep nothing for a gradient that nobody can ask
            arguments = tuple(_detached(each) for each in arguments)
        if not torch._C._are_functorch_transforms_active():
            if not (any(map(_requires_grad, arguments)) or forward_ad._current_level >= 0):
                with torch._C._AutoDispatchBelowAutograd():  # a node of the graph takes as long
                    return operator(*arguments)
            return function.apply(as_it_is, *arguments)
        # this is one of the nested transforms; those around it go on from within `forward`
        with enable_single_level_autograd_function():
            return function.apply(_differentiating(torch.is_grad_enabled()), *arguments)

    _LIBRARY.impl(operator._opname, differentiable, "Autograd")


def _requires_grad(argument: Any) -> bool:
    return isinstance(argument, Tensor) and argument.requires_grad


def _detached(argument: Any) -> Any:
    return argument.detach() if _requires_grad(argument) else argument


@contextmanager
def _differentiating(in_reverse: bool) -> Iterator[None]:
    """Undo that ``apply`` has turned both modes off."""
    with torch.set_grad_enabled(in_reverse), forward_ad._set_fwd_grad_enabled(True):
        yield


def _needed(
    gradients: OpOverload, ctx: Any, tensors: Sequence[Tensor], grad: Tensor
) -> tuple[Tensor | None, Tensor | None, None]:
    """The gradients in x and w that are asked for."""
    _, need_x, need_w, _ = ctx.needs_input_grad
    grad_x, grad_w = gradients(grad, *tensors, *ctx.constants, need_x, need_w)
    return grad_x if need_x else None, grad_w if need_w else None, None


def _like_if_needed(x: Tensor, needed: bool) -> Tensor:
    # a gradient that is not needed comes back empty
    return x.new_empty(x.shape if needed else (0,))


def _zeros_if_empty(gradient: Tensor, x: Tensor) -> Tensor:
    return gradient if gradient.shape == x.shape else torch.zeros_like(x)


# --- lp_dist


@_operator
def _lp_dist(x: Tensor, w: Tensor, p: float) -> Tensor:
    return x.new_empty(x.shape[0], w.shape[0])


@_operator
def _lp_dist_backward(
    grad: Tensor, x: Tensor, w: Tensor, out: Tensor, p: float, need_x: bool, need_w: bool
) -> tuple[Tensor, Tensor]:
    return _like_if_needed(x, need_x), _like_if_needed(w, need_w)


def _lp_dist_jvp(
    ctx: Any, tensors: Sequence[Tensor], x_dot: Tensor, w_dot: Tensor, _: None
) -> Tensor:
    x, w, out = tensors
    return reference.lp_dist_jvp(x_dot, w_dot, x, w, out, *ctx.constants)


def _lp_dist_backward_vjp(
    ctx: Any, tensors: Sequence[Tensor], *of_gradients: Tensor
) -> tuple[Any, ...]:
    grad, x, w, out = tensors
    p, *_ = ctx.constants
    x_dot, w_dot = map(_zeros_if_empty, of_gradients, (x, w))
    of_grad = reference.lp_dist_jvp(x_dot, w_dot, x, w, out, p)
    of_x, of_w = reference.lp_dist_backward_jvp(x_dot, w_dot, grad, x, w, out, p)
    return of_grad, of_x, of_w, None, None, None, None  # that out depends on x and w is in theirs


def _lp_dist_backward_jvp(
    ctx: Any, tensors: Sequence[Tensor], grad_dot: Tensor, x_dot: Tensor, w_dot: Tensor, *_: Any
) -> tuple[Tensor, ...]:
    grad, x, w, out = tensors
    p, *needed = ctx.constants
    by_grad = _lp_dist_backward(grad_dot, x, w, out, *ctx.constants)
    by_slope = reference.lp_dist_backward_jvp(x_dot, w_dot, grad, x, w, out, p)
    return tuple(a + b if need else a for a, b, need in zip(by_grad, by_slope, needed, strict=True))


_differentiate(_lp_dist, partial(_needed, _lp_dist_backward), _lp_dist_jvp, keep_output=True)
_differentiate(_lp_dist_backward, _lp_dist_backward_vjp, _lp_dist_backward_jvp)


# --- linf_interval, whose second derivatives are zero


@_operator
def _linf_interval(lower: Tensor, upper: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    shape = lower.shape[0], w.shape[0]
    return lower.new_empty(shape), lower.new_empty(shape)


@_operator
def _linf_interval_backward(
    grad_lower: Tensor, grad_upper: Tensor, lower: Tensor, upper: Tensor, w: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return lower.new_empty(lower.shape), upper.new_empty(upper.shape), w.new_empty(w.shape)


_differentiate(
    _linf_interval,
    lambda ctx, tensors, *grads: _linf_interval_backward(*grads, *tensors),
    lambda ctx, tensors, *dots: reference.linf_interval_jvp(*dots, *tensors),
)
_differentiate(
    _linf_interval_backward,
    lambda ctx, tensors, *grads: (
        *reference.linf_interval_jvp(*grads, *tensors[2:]),
        *map(torch.zeros_like, tensors[2:]),
    ),
    lambda ctx, tensors, *dots: _linf_interval_backward(*dots[:2], *tensors[2:]),
)


# --- sorted_dist, whose second derivatives are zero too


@_operator
def _sorted_dist(x: Tensor, w: Tensor, coefficients: Sequence[float]) -> Tensor:
    return x.new_empty(x.shape[0], w.shape[0])


@_operator
def _sorted_dist_backward(
    grad: Tensor, x: Tensor, w: Tensor, coefficients: Sequence[float], need_x: bool, need_w: bool
) -> tuple[Tensor, Tensor]:
    return _like_if_needed(x, need_x), _like_if_needed(w, need_w)


def _sorted_dist_backward_vjp(
    ctx: Any, tensors: Sequence[Tensor], *of_gradients: Tensor
) -> tuple[Any, ...]:
    _, x, w = tensors
    x_dot, w_dot = map(_zeros_if_empty, of_gradients, (x, w))
    of_grad = reference.sorted_dist_jvp(x_dot, w_dot, x, w, ctx.constants[0])
    return of_grad, torch.zeros_like(x), torch.zeros_like(w), None, None, None


_differentiate(
    _sorted_dist,
    partial(_needed, _sorted_dist_backward),
    lambda ctx, tensors, *dots: reference.sorted_dist_jvp(*dots[:2], *tensors, *ctx.constants),
)
_differentiate(
    _sorted_dist_backward,
    _sorted_dist_backward_vjp,
    lambda ctx, tensors, *dots: _sorted_dist_backward(dots[0], *tensors[1:], *ctx.constants),
)
