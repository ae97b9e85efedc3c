"""Bounds on the Lipschitz constant of a net, in ℓ∞ of the pixels, from above and from below.

In ℓ∞ a neuron ‖x − w‖_p over d coordinates has constant at most d^(1/p), since
‖v‖_p ≤ d^(1/p)‖v‖_∞: 2.73 at p=8 for the 3,072 pixels of a CIFAR-10 image, and it multiplies over
layers. At p=∞ it is 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from linfkit._util.checks import (
    check_count,
    check_eps,
    check_finite_weights,
    check_images,
    check_not_nan,
)
from linfkit._util.devices import on_device_of_model, with_gradients
from linfkit.certification.layer_checks import check_layer, only_holds
from linfkit.nn.ensembles import Members, VotingEnsemble
from linfkit.nn.known_layers import has_hooks, unwrapped
from linfkit.nn.layers import DistanceLayer, distance_layers


def neuron_bound(fan_in: int, p: float) -> float:
    """The largest Lipschitz constant that an ℓp neuron over `fan_in` coordinates can have.

    fan_in^(1/p), and 1 at p=∞ (Zhang et al., ICLR 2022, section 3).

    >>> neuron_bound(256, 8)
    2.0
    """
    return fan_in ** (1 / p)


def lipschitz_bound(model: nn.Module) -> float:
    """Upper bound of a model's Lipschitz constant, at its present p: the product over its layers.

    It holds for every logit, in pixels, if the model only composes its layers: a ``forward`` of
    your own, of it or inside it, cannot be verified. Layers that are no distances count as in
    `linfkit.check_lipschitz`: mean shifts, flattening, max-pooling and the normalisation 1, the
    linear layers of a hybrid's MLP the largest sum of absolute weights along a row, a layer of an
    unknown class or with a hook ∞. For several members it is the mean over them; for a
    `VotingEnsemble`, s/2 times that.

    Raises:
        ValueError: the model holds no distance layer, or a weight that is NaN or infinite.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net = LpDistNet(3072, width=5120, depth=6, classes=10)
    >>> net.p = 8
    >>> round(lipschitz_bound(net))
    568
    """
    if not any(distance_layers(model)):
        raise ValueError("model must hold ℓp-distance layers; got none")
    check_finite_weights(model)
    return _bound(model)


def _bound(module: nn.Module) -> float:
    if has_hooks(module):
        return math.inf
    if isinstance(module, Members):
        of_logits = sum(map(_bound, module.models)) / len(module.models)
        # |∂softmaxᵢ/∂zⱼ| sums over j to 2·pᵢ(1 − pᵢ), at most 1/2
        if not isinstance(module, VotingEnsemble):
            return of_logits
        return module.logit_scale / 2 * of_logits
    if isinstance(module, DistanceLayer):
        return check_layer(module).constant * neuron_bound(module.fan_in, module.p)
    # with repetitions, which children() leaves out
    inside = [child for child in module._modules.values() if child is not None]
    if not inside and not only_holds(module):
        return check_layer(module).constant
    factors = [_bound(child) for child in inside]
    return math.inf if math.inf in factors else math.prod(factors)


@on_device_of_model
@with_gradients
def lipschitz_estimate(
    model: Callable[[Tensor], Tensor], x: Tensor, eps: float = 1 / 255, steps: int = 5
) -> Tensor:
    """Lower bounds of the Lipschitz constant around each sample, found by ascent.

    max over outputs j and points δ tried in the ball ‖δ‖_∞ ≤ eps of |f_j(x+δ) − f_j(x)| / ‖δ‖_∞.
    Each output is climbed separately, by full steps along the gradient's sign, which is exact where
    f is affine over the ball. The model is used at its own p, in evaluation mode, where samples do
    not influence each other.

    Args:
        model: any differentiable map of a batch to (B, outputs).
        x: images, (B, ...), in [0, 1]. The ball is not clipped to [0, 1].
        eps: radius of the ball, in pixels.
        steps: ascent steps.

    Returns:
        One lower bound for each sample, (B,).

    Raises:
        TypeError, ValueError: images, eps or steps are not as above, or the model is in training
            mode, or gives NaN.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net = LpDistNet(4, width=8, depth=2, classes=3).double().eval()
    >>> bool((lipschitz_estimate(net, torch.rand(5, 4).double()) <= 1 + 1e-9).all())
    True
    """
    if not callable(model):
        raise TypeError(f"model must be a map of images; got {type(model).__name__}")
    x, eps = check_images(x), check_eps(eps, positive=True)
    steps = check_count("steps", steps)
    _check_evaluating(model)
    return _steepest_quotient(model, x, eps, steps)


def _check_evaluating(model: Callable[[Tensor], Tensor]) -> None:
    """Refuse a model in training mode, where samples influence each other and means change."""
    if getattr(model, "training", False):
        raise ValueError("model must be in evaluation mode (model.eval()); it is in training mode")


@dataclass(frozen=True)
class LayerConstant:
    """One layer's Lipschitz constant in ℓ∞: at most `bound`, at least `measured`."""

    name: str
    bound: float
    measured: float


@on_device_of_model
@with_gradients
def lipschitz_by_layer(model: nn.Module, x: Tensor, eps: float = 1 / 255) -> list[LayerConstant]:
    """Bound and measured worst case of each distance layer, at the inputs that it gets from x.

    Args:
        model: a net in evaluation mode, used at its own p.
        x: images, (B, ...), in [0, 1].
        eps: radius of the ball around each layer's input, in pixels.

    Returns:
        One `LayerConstant` for each distance layer, in order.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net = LpDistNet(4, width=16, depth=2, classes=3).eval()
    >>> net.p = 8
    >>> all(row.measured <= row.bound * 1.001 for row in lipschitz_by_layer(net, torch.rand(3, 4)))
    True
    """
    layers = list(distance_layers(model))
    x, eps = check_images(x), check_eps(eps, positive=True)
    _check_evaluating(model)
    check_finite_weights(model)
    inputs = layer_inputs(model, x)
    return [
        LayerConstant(
            name=f"layer {number}",
            bound=neuron_bound(layer.fan_in, layer.p),
            measured=_steepest_quotient(layer, inputs[layer], eps, steps=1).max().item(),
        )
        for number, layer in enumerate(layers, start=1)
    ]


@torch.no_grad()
def layer_inputs(model: nn.Module, x: Tensor) -> dict[DistanceLayer, Tensor]:
    """Input that each distance layer of a model gets when the model sees x.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net = LpDistNet(4, width=16, depth=2, classes=3)
    >>> [seen.shape for seen in layer_inputs(net, torch.rand(5, 4)).values()]
    [torch.Size([5, 4]), torch.Size([5, 16])]
    """
    model = unwrapped(model)  # compiled code does not look for hooks
    inputs: dict[DistanceLayer, Tensor] = {}

    def remember(layer: DistanceLayer, arguments: tuple[Tensor, ...]) -> None:
        inputs[layer] = arguments[0].detach()

    with ExitStack() as hooks:
        for layer in distance_layers(model):
            hooks.enter_context(layer.register_forward_pre_hook(remember))
        model(x)
    return inputs


def _steepest_quotient(
    function: Callable[[Tensor], Tensor], x: Tensor, eps: float, steps: int
) -> Tensor:
    """Steepest quotient found for each sample, (B,), by ascent of every output at once."""
    with torch.no_grad():
        at_x = check_not_nan(function(x)).flatten(1)  # (B, outputs)
    samples, outputs = at_x.shape
    climbed = torch.arange(outputs, device=x.device).repeat_interleave(samples)
    start, at_start = x.repeat(outputs, *[1] * (x.dim() - 1)), at_x.T.flatten()
    # a step of mixed signs, so that no output starts at a kink
    perturbation = 1e-3 * eps * torch.linspace(-1, 1, x[0].numel(), device=x.device, dtype=x.dtype)
    moved = start + perturbation.view(1, *x.shape[1:])
    steepest = at_start.new_zeros(len(start))
    for _ in range(steps):
        moved.requires_grad_(True)
        value = function(moved).flatten(1).gather(1, climbed[:, None]).squeeze(1)
        (gradient,) = torch.autograd.grad(value.sum(), moved)
        with torch.no_grad():
            moved = start + eps * gradient.sign()
            change = function(moved).flatten(1).gather(1, climbed[:, None]).squeeze(1) - at_start
            # what was really added, after rounding
            size = (moved - start).flatten(1).abs().amax(dim=1).clamp(min=torch.finfo(x.dtype).tiny)
            steepest = steepest.maximum(change.abs() / size)
    return steepest.view(outputs, samples).amax(dim=0)
