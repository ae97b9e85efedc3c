"""What is proved: radii within which no perturbation can change a prediction."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from linfkit._util.checks import (
    as_labels,
    check_count,
    check_eps,
    check_images,
    check_known,
    check_logits,
    check_tensor,
)
from linfkit._util.devices import batches_for, device_of, to_float64
from linfkit.certification.layer_checks import has_own_forward, require_one_lipschitz, require_plain
from linfkit.certification.rounding import Rounded, after_layer, rounded_down, through, unit_of
from linfkit.functional import linf_interval
from linfkit.nn.known_layers import unwrapped
from linfkit.nn.layers import DistanceLayer, LpDist, distance_layers
from linfkit.nn.nets import LpDistNet

__all__ = [
    "Certificates",
    "certified_radius",
    "certify",
    "evaluating_at",
    "interval_radius",
    "is_evaluated_at",
]

#: A net has one p and one mode: who wants others for a while waits until they are put back.
_EVALUATING = threading.RLock()

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
    labels = check_logits(logits, labels)
    if logits.shape[1] < 2:
        raise ValueError("logits must have at least two classes to have a margin; got one")
    others = logits.scatter(1, labels[:, None], -math.inf)
    return (logits.gather(1, labels[:, None]).squeeze(1) - others.amax(dim=1)) / 2


@dataclass(frozen=True)
class Certificates:
    """The certified radius of each sample, in pixels, and what follows from it.

    Attributes:
        radius: (B,); negative where the sample is misclassified, 0 where it is not, but by less
            than rounding could have added, so that nothing is proved.
        correct: whether each is classified correctly, bool, (B,); where it is left out, those with
            a radius above 0.
        rounding: what was taken off half the margin for rounding, in pixels, (B,); None where the
            radius comes from a proof of the model's own.
    """

    radius: Tensor
    correct: Tensor = None  # type: ignore[assignment]
    rounding: Tensor | None = None

    def __post_init__(self) -> None:
        check_tensor("radius", self.radius)
        if self.correct is None:
            object.__setattr__(self, "correct", self.radius > 0)

    def accuracy(self, eps: float) -> float:
        """Certified accuracy: the share of samples whose radius is above eps, in pixels.

        Raises:
            ValueError: eps is negative, not finite, or above 1, the whole range of a pixel.

        >>> Certificates(torch.tensor([0.2, 0.05, -0.1])).accuracy(eps=0.1)
        0.3333333333333333
        """
        return _share(self.radius > check_eps(eps))

    @property
    def clean_accuracy(self) -> float:
        """The share of samples that are classified correctly.

        >>> Certificates(torch.tensor([0.2, -0.1])).clean_accuracy
        0.5
        """
        return _share(self.correct)


@torch.no_grad()
def certify(model: nn.Module, x: Tensor, labels: Tensor, batch_size: int = 1024) -> Certificates:
    """Certify each sample: one forward pass at p=∞, in evaluation mode.

    Half the margin, less what rounding can have added to it, rounded down: within that radius, and
    within the range of a pixel, the prediction stands, both that of the net of real numbers and
    that of the net as it is executed (`linfkit.certification.rounding` has the proof). The model's
    own p and mode are put back afterwards; autocast is off meanwhile.

    Args:
        model: takes images in [0, 1], gives logits that are 1-Lipschitz in pixels at p=∞; or has a
            proof of its own, as a method ``certified_radius(images, labels)``, such as a
            `linfkit.HybridNet`, and then says itself of which net its radii are. What a ``forward``
            of your own does with its layers is taken on trust, with a warning, and rounding then
            left out.
        x: images, (B, ...), floating point, in [0, 1].
        labels: whole numbers of any type, (B,).
        batch_size: samples that pass through the model at once.

    Returns:
        `Certificates` with ``.radius`` (B,), in pixels, ``.accuracy(eps)``, and ``.rounding``, what
        was taken off for it.

    Raises:
        TypeError, ValueError: images or labels are not as above, the model holds no distance
            layer, has one that no certificate can count on (`linfkit.check_lipschitz`), or gives
            NaN; the message names the argument, or the layer.
        RuntimeError: another thread changed the model's p or mode meanwhile.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net, x = LpDistNet(4, width=8, depth=2, classes=3), torch.rand(5, 4)
    >>> certificates = certify(net, x, torch.tensor([0, 1, 2, 0, 1]))
    >>> certificates.radius.shape, bool((certificates.rounding < 1e-4).all())
    (torch.Size([5]), True)
    """
    x = check_images(x)
    labels = as_labels(labels, x)
    batch_size, model = check_count("batch_size", batch_size), unwrapped(model)
    if not any(distance_layers(model)):
        raise ValueError(
            "model must hold ℓp-distance layers, or its margins prove nothing; it has none"
        )
    batches = batches_for(model, batch_size, x, labels)
    # asked of its class, since what torch.compile makes passes on what it has not itself
    if hasattr(type(model), "certified_radius"):
        own_proof: Any = model.certified_radius
        with _as_certified(model):
            radius = torch.cat([own_proof(*batch).to(x.device) for batch in batches])
        return _known(Certificates(radius, correct=radius >= 0))
    require_one_lipschitz(model)
    if has_own_forward(model):
        warnings.warn(
            f"the forward of {type(model).__name__} is taken at its word: it must only connect its "
            "layers, and then its logits are 1-Lipschitz; rounding is not counted in. "
            "nn.Sequential or a method certified_radius would say more",
            stacklevel=3,  # beyond no_grad
        )
        with _as_certified(model):
            radius = torch.cat([certified_radius(model(x), labels) for x, labels in batches])
        return _known(Certificates(radius.to(x.device)))
    with _as_certified(model):
        parts = [_certified(model, *batch) for batch in batches]
    return _known(
        Certificates(*(torch.cat(each).to(x.device) for each in zip(*parts, strict=True)))
    )


def _known(certificates: Certificates) -> Certificates:
    """The same, refused where a radius is NaN, since the logits were."""
    check_known(certificates.radius)
    return certificates


def _share(of: Tensor) -> float:
    """The share of True."""
    return int(of.sum()) / len(of)


def _certified(model: nn.Module, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Radius, whether correct, and rounding of some samples, (B,) each."""
    at = through(model, Rounded.of(x))
    logits = at.value
    wide = to_float64(logits)
    half_margin = certified_radius(wide, labels.to(wide.device))
    # the margin is a difference too; and this bookkeeping is rounded itself, but in float64
    rounding = 2 * at.after(logits, roundings=1).error * (1 + 2**-20)
    dtype = torch.promote_types(logits.dtype, torch.float32)
    below = (half_margin - rounding).nan_to_num()  # 0 where ∞ is taken off ∞
    proved = rounded_down(below, dtype).clamp(min=0)
    correct = half_margin > 0
    return proved.where(correct, half_margin.to(dtype)), correct, rounding.to(dtype)


@torch.no_grad()
def interval_radius(model: LpDistNet, x: Tensor, labels: Tensor, batch_size: int = 1024) -> Tensor:
    """The largest ε at which interval bounds certify each sample, found by bisection.

    Every pixel ranges over [x − ε, x + ε] *within [0, 1]*; each layer's outputs then range within
    bounds that `linf_interval` gives, and the label is certified where the lowest logit it can have
    is above the highest of any other (interval bound propagation: Gowal et al., 2018,
    arXiv 1810.12715). No bound is further than ε from the value at x, so that this is never below
    half the margin, to rounding; where the box is cut off at 0 or 1, it can be above. Rounding is
    taken off the bounds as `certify` takes it off the margin.

    Args:
        model: a net, at p=∞ here whatever its own p.
        x: images, (B, ...), floating point, in [0, 1].
        labels: whole numbers of any type, (B,).
        batch_size: samples that pass through the model at once.

    Returns:
        Radii in pixels, (B,), rounded down to a multiple of 2⁻²⁰; half the margin, negative, where
        misclassified.

    Raises:
        TypeError, ValueError: images or labels are not as above, or the model is no `LpDistNet`, or
            one whose layers are others than its class makes.

    >>> net, x = LpDistNet(4, width=8, depth=2, classes=3).eval(), torch.rand(5, 4)
    >>> labels = net(x).argmax(dim=1)
    >>> bool((interval_radius(net, x, labels) >= certify(net, x, labels).radius - 1e-4).all())
    True
    """
    model = require_plain(model)
    x = check_images(x)
    labels = as_labels(labels, x)
    batch_size = check_count("batch_size", batch_size)
    certificates = certify(model, x, labels, batch_size)
    below = torch.zeros_like(certificates.radius)
    with _as_certified(model):
        for halving in range(1, HALVINGS + 1):
            tried = below + 0.5**halving
            holds = [
                _intervals_certify(model, *rows).to(x.device)
                for rows in batches_for(model, batch_size, x, labels, tried)
            ]
            below = tried.where(torch.cat(holds), below)
    return below.where(certificates.correct, certificates.radius)


def _intervals_certify(model: LpDistNet, x: Tensor, labels: Tensor, eps: Tensor) -> Tensor:
    """Whether each label's lowest logit over its clipped box is above all others' highest, (B,)."""
    wide, eps = to_float64(x), to_float64(eps).view(-1, *[1] * (x.dim() - 1))
    ends = torch.stack([(wide - eps).clamp(min=0), (wide + eps).clamp(max=1)], dim=1).to(x)
    # no image of interest is outside the box, so that nothing is within reach but its values
    at = replace(Rounded.of(x), reach=0.0).after(ends, roundings=1)
    inside = torch.stack([model.normalise(end) for end in ends.unbind(dim=1)], dim=1)
    at = at.times(1 / unit_of(model)).after(inside, roundings=3)
    for layer in model.layers:
        lower, upper = at.value.unbind(dim=1)
        if isinstance(layer, LpDist):
            bounds = linf_interval(lower, upper, layer.weight)
            if layer.bias is not None:
                bounds = bounds[0] + layer.bias, bounds[1] + layer.bias
        else:  # a shift moves both bounds alike
            bounds = layer(lower), layer(upper)
        at = after_layer(layer, at, torch.stack(bounds, dim=1))
    lower, upper = to_float64(at.value).unbind(dim=1)
    labels = labels.to(lower.device)
    # a logit is minus a distance, times the scale: the label's is lowest where that is largest
    of_label = upper.gather(1, labels[:, None]).squeeze(1)
    others = lower.scatter(1, labels[:, None], math.inf)
    # of the bounds, and of the net as it is executed: each twice, for two logits
    rounding = 4 * at.after(at.value, roundings=2).error * (1 + 2**-20)
    return of_label + rounding < others.amin(dim=1)


@contextmanager
def _as_certified(model: nn.Module) -> Iterator[None]:
    """Within the block, the model is the one that is certified: at p=∞, in its own arithmetic."""
    where = device_of(model).type
    with evaluating_at(model, math.inf), torch.autocast(where, enabled=False):
        yield
        if not is_evaluated_at(model, math.inf):
            raise RuntimeError(
                "model must be left alone while it is certified; its p or its mode was changed "
                "meanwhile: beside another thread that trains it, certify a copy"
            )


@contextmanager
def evaluating_at(model: nn.Module, p: float) -> Iterator[nn.Module]:
    """Within the block, the model is in evaluation mode with all its layers at p; then as before.

    Other threads that enter such a block wait meanwhile.

    Raises:
        ValueError: the model stays in training mode.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net = LpDistNet(4, width=8, depth=2, classes=3).train()
    >>> with evaluating_at(net, 8):
    ...     assert net.p == 8 and not net.training
    >>> (net.p, net.training)
    (inf, True)
    """
    with _EVALUATING:
        modes = [(module, module.training) for module in model.modules()]
        exponents: list[tuple[DistanceLayer, float]] = [(at, at.p) for at in distance_layers(model)]
        try:
            model.eval()
            for layer, _ in exponents:
                layer.p = p
            if not is_evaluated_at(model, p):
                raise ValueError(
                    "model must go into evaluation mode; its train() keeps it in training"
                )
            yield model
        finally:
            for module, mode in modes:
                module.training = mode
            for layer, own_p in exponents:
                layer.p = own_p


def is_evaluated_at(model: nn.Module, p: float) -> bool:
    """Whether a model is in evaluation mode with all its layers at p.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net = LpDistNet(4, width=8, depth=2, classes=3).eval()
    >>> is_evaluated_at(net, math.inf), is_evaluated_at(net, 8), is_evaluated_at(net.train(), 8)
    (True, False, False)
    """
    training = any(module.training for module in model.modules())
    return not training and all(layer.p == p for layer in distance_layers(model))
