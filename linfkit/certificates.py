"""What is proved: radii within which no perturbation can change a prediction."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from linfkit.functional import linf_interval
from linfkit.layers import DistanceLayer, LpDist, distance_layers
from linfkit.losses import check_logits
from linfkit.models import LpDistNet, VotingEnsemble

__all__ = [
    "Certificates",
    "certified_radius",
    "certify",
    "check_images",
    "evaluating_at",
    "interval_radius",
]

#: Halvings of [0, 1] in search of an interval radius, which is exact to 2⁻²⁰ ≈ 1e-6 pixels.
HALVINGS = 20


def certified_radius(logits: Tensor, labels: Tensor) -> Tensor:
    """Half the margin of each sample: (f_y − max_{j≠y} f_j) / 2, negative where misclassified.

    Where every logit is 1-Lipschitz in ℓ∞, a perturbation of size r moves each by at most r, so it
    closes a margin by at most 2r: below half the margin the prediction stands
    (Zhang et al., ICML 2021, section 3.2).

    Args:
        logits: (B, C) with C ≥ 2, 1-Lipschitz in ℓ∞ of the pixels.
        labels: whole numbers from 0 to C−1, (B,).

    Returns:
        Radii in pixels, (B,).

    Raises:
        TypeError, ValueError: logits and labels do not belong together; the message names which.

    >>> certified_radius(torch.tensor([[0.5, 0.25, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([0, 0]))
    tensor([ 0.1250, -0.5000])
    """
    check_logits(logits, labels)
    if logits.shape[1] < 2:
        raise ValueError("logits must have at least two classes to have a margin; got one")
    others = logits.scatter(1, labels[:, None], -math.inf)
    return (logits.gather(1, labels[:, None]).squeeze(1) - others.amax(dim=1)) / 2


@dataclass(frozen=True)
class Certificates:
    """The certified radius of each sample, in pixels, and what follows from it.

    Attributes:
        radius: (B,); negative where the sample is misclassified.
    """

    radius: Tensor

    def accuracy(self, eps: float) -> float:
        """Certified accuracy: the share of samples whose radius is above eps, in pixels.

        Raises:
            ValueError: eps is negative, not finite, or above 1, the whole range of a pixel.

        >>> Certificates(torch.tensor([0.2, 0.05, -0.1])).accuracy(eps=0.1)
        0.3333333333333333
        """
        if not 0 <= eps <= 1:
            raise ValueError(
                f"eps must be in pixels of [0, 1], such as 8/255; got {eps}"
                + (f" (did you mean {eps:g}/255?)" if 1 < eps <= 255 else "")
            )
        return (self.radius > eps).double().mean().item()

    @property
    def clean_accuracy(self) -> float:
        """The share of samples that are classified correctly.

        >>> Certificates(torch.tensor([0.2, -0.1])).clean_accuracy
        0.5
        """
        return self.accuracy(eps=0.0)


@torch.no_grad()
def certify(model: nn.Module, x: Tensor, labels: Tensor, batch_size: int = 1024) -> Certificates:
    """Certify each sample: one forward pass at p=∞, in evaluation mode.

    The model's own p and mode are put back afterwards.

    Args:
        model: takes images in [0, 1], gives logits that are 1-Lipschitz in pixels at p=∞; or has a
            proof of its own, as a method ``certified_radius(images, labels)``, such as a
            `linfkit.HybridNet`.
        x: images, (B, ...), floating point, in [0, 1].
        labels: whole numbers, (B,).
        batch_size: samples that pass through the model at once.

    Returns:
        `Certificates` with ``.radius`` (B,), in pixels, and ``.accuracy(eps)``.

    Raises:
        TypeError, ValueError: images or labels are not as above, the model holds no distance
            layer, it votes (`VotingEnsemble`), or it has layers that are not 1-Lipschitz; the
            message names the argument.

    >>> from linfkit.models import LpDistNet
    >>> net = LpDistNet(4, width=8, depth=2, classes=3)
    >>> certify(net, torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1])).radius.shape
    torch.Size([5])
    """
    check_images(x)
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels must be a torch.Tensor; got {type(labels).__name__}")
    if labels.shape != x.shape[:1]:
        raise ValueError(
            f"labels must be one for each of the {len(x)} images; "
            f"the shape is {tuple(labels.shape)}"
        )
    if not any(distance_layers(model)):
        raise ValueError(
            "model must hold ℓp-distance layers, or its margins prove nothing; it has none"
        )
    if any(isinstance(module, VotingEnsemble) for module in model.modules()):
        raise ValueError(
            "model must give logits that are 1-Lipschitz; a VotingEnsemble gives mean "
            "probabilities, which can change faster than the pixels do, so that half their "
            "difference is no radius: certify the Ensemble of the same models, the mean of logits"
        )
    batches = zip(x.split(batch_size), labels.split(batch_size), strict=True)
    with evaluating_at(model, math.inf):
        if own_proof := getattr(model, "certified_radius", None):
            return Certificates(torch.cat([own_proof(*batch) for batch in batches]))
        _require_no_linear_layer(model)
        radius = [certified_radius(model(images), targets) for images, targets in batches]
    return Certificates(torch.cat(radius))


def _require_no_linear_layer(model: nn.Module) -> None:
    """Refuse a model whose weights multiply: it is as steep as they are large."""
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)):
            raise ValueError(
                f"model must give logits that are 1-Lipschitz; its layer {name!r}, a "
                f"{type(module).__name__}, multiplies by its weights, so that half the margin is "
                "no radius"
            )


@torch.no_grad()
def interval_radius(model: LpDistNet, x: Tensor, labels: Tensor, batch_size: int = 1024) -> Tensor:
    """The largest ε at which interval bounds certify each sample, found by bisection.

    Every pixel ranges over [x − ε, x + ε] *within [0, 1]*; each layer's outputs then range within
    bounds that `linf_interval` gives, and the label is certified where the lowest logit it can have
    is above the highest of any other (interval bound propagation: Gowal et al., 2018,
    arXiv 1810.12715). No bound is further than ε from the value at x, so that this is never below
    half the margin, to rounding; where the box is cut off at 0 or 1, it can be above. What rounding
    can have added to a bound is taken off again.

    Args:
        model: a net, at p=∞ here whatever its own p.
        x: images, (B, ...), floating point, in [0, 1].
        labels: whole numbers, (B,).
        batch_size: samples that pass through the model at once.

    Returns:
        Radii in pixels, (B,), rounded down to a multiple of 2⁻²⁰; half the margin, negative, where
        misclassified.

    Raises:
        TypeError, ValueError: images or labels are not as above, or the model is no `LpDistNet`.

    >>> net, x = LpDistNet(4, width=8, depth=2, classes=3).eval(), torch.rand(5, 4)
    >>> labels = net(x).argmax(dim=1)
    >>> bool((interval_radius(net, x, labels) >= certify(net, x, labels).radius - 1e-4).all())
    True
    """
    if not isinstance(model, LpDistNet):
        raise TypeError(f"model must be an LpDistNet; got {type(model).__name__}")
    check_images(x)
    certified = certify(model, x, labels, batch_size).radius
    below = torch.zeros_like(certified)
    with evaluating_at(model, math.inf):
        for halving in range(1, HALVINGS + 1):
            tried = below + 0.5**halving
            holds = [
                _intervals_certify(model, *rows)
                for rows in zip(
                    *(of_all.split(batch_size) for of_all in (x, labels, tried)), strict=True
                )
            ]
            below = tried.where(torch.cat(holds), below)
    return below.where(certified > 0, certified)


def _intervals_certify(model: LpDistNet, x: Tensor, labels: Tensor, eps: Tensor) -> Tensor:
    """Whether each label's lowest logit over its clipped box is above all others' highest, (B,)."""
    reach = eps.view(-1, *[1] * (x.dim() - 1))
    lower = model.normalise((x - reach).clamp(min=0))
    upper = model.normalise((x + reach).clamp(max=1))
    rounding = upper.new_zeros(())
    for layer in model.layers:
        if isinstance(layer, LpDist):
            lower, upper = linf_interval(lower, upper, layer.weight)
            if layer.bias is not None:
                lower, upper = lower + layer.bias, upper + layer.bias
        else:  # a shift moves both bounds alike
            lower, upper = layer(lower), layer(upper)
        # a difference is rounded by a unit in the last place of the largest at most, twice a layer
        rounding += 2 * torch.finfo(upper.dtype).eps * upper.abs().max()
    # a logit is minus a distance: the label's is lowest where its distance is largest
    of_label = upper.gather(1, labels[:, None]).squeeze(1)
    others = lower.scatter(1, labels[:, None], math.inf)
    return of_label + 2 * rounding < others.amin(dim=1)


@contextmanager
def evaluating_at(model: nn.Module, p: float) -> Iterator[nn.Module]:
    """Within the block, the model is in evaluation mode with all its layers at p; then as before.

    >>> from linfkit.models import LpDistNet
    >>> net = LpDistNet(4, width=8, depth=2, classes=3).train()
    >>> with evaluating_at(net, 8):
    ...     assert net.p == 8 and not net.training
    >>> (net.p, net.training)
    (inf, True)
    """
    modes = [(module, module.training) for module in model.modules()]
    exponents: list[tuple[DistanceLayer, float]] = [(at, at.p) for at in distance_layers(model)]
    try:
        model.eval()
        for layer, _ in exponents:
            layer.p = p
        yield model
    finally:
        for module, mode in modes:
            module.training = mode
        for layer, own_p in exponents:
            layer.p = own_p


def check_images(x: Tensor) -> None:
    """Refuse anything but a non-empty batch of finite images in [0, 1], and say what came."""
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a torch.Tensor of images; got {type(x).__name__}")
    if not x.is_floating_point():
        raise TypeError(f"x must hold floating-point pixels in [0, 1]; the dtype is {x.dtype}")
    if x.dim() < 2 or not x.numel():
        raise ValueError(f"x must be a non-empty batch of images; the shape is {tuple(x.shape)}")
    low, high = x.aminmax()
    if not (torch.isfinite(low) and torch.isfinite(high)):
        raise ValueError("x must hold finite pixels; it has NaN or infinite ones")
    if low < 0 or high > 1:
        raise ValueError(f"x must hold pixels in [0, 1]; got values from {low:g} to {high:g}")
