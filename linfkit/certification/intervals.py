"""Certificates from interval bounds: boxes of images within [0, 1], followed through a net."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from linfkit._util.checks import check_count, check_eps, check_finite_weights, check_samples
from linfkit._util.devices import batches_for, to_float64
from linfkit.certification.certify import (
    CheckedModel,
    certification_mode,
    certify_checked,
    check_for_proofs,
)
from linfkit.certification.hybrid import Member, worst_rounding
from linfkit.certification.margins import Certificates, largest_eps
from linfkit.certification.rounding import Rounded, normalised, propagate
from linfkit.nn.known_layers import is_plain
from linfkit.nn.layers import LpDist, LpDistConv2d, MeanShift
from linfkit.nn.sortnet import SortDist

#: Halvings of [0, 1] in search of a radius, which is exact to 2⁻²⁰ ≈ 1e-6 pixels.
HALVINGS = 20

#: Layers whose bounds are known: distances, which say them, and layers that keep the order.
BOUNDED = (
    *(LpDist, LpDistConv2d, SortDist, MeanShift),
    *(nn.AvgPool2d, nn.Dropout, nn.Dropout2d, nn.Flatten, nn.Identity, nn.MaxPool2d, nn.ReLU),
    *(nn.Tanh, nn.Unflatten),
)

#: Images, labels and one ε a sample, to a mask of those whose label stands within ε.
Holds = Callable[[Tensor, Tensor, Tensor], Tensor]


def interval_radius(model: nn.Module, x: Tensor, labels: Tensor, batch_size: int = 1024) -> Tensor:
    """Largest ε at which interval bounds certify each sample, found by bisection.

    Every pixel ranges over [x − ε, x + ε] *within [0, 1]*; the outputs of each layer then range
    within bounds (`linfkit.linf_interval` for distances), and the label is certified where the
    lowest logit it can have is above the highest of any other (Gowal et al., 2018, arXiv
    1810.12715; Zhang et al., ICLR 2022, certify so). In a net of distances no bound is further than
    ε from the value at x, so that this is never below half the margin, to rounding; where the box
    is cut off at 0 or 1, it can be above. A hybrid's MLP follows from the box of its features,
    which is within the one that `linfkit.certify` takes. Rounding is counted as `certify` does.

    Args:
        model: a net of distances, a hybrid, an ensemble of such, or an `nn.Sequential` of their
            layers; at p=∞ here whatever its own p.
        x: images, (B, ...), floating point, in [0, 1].
        labels: whole numbers of any type, (B,).
        batch_size: samples that pass through the model at once.

    Returns:
        Radii in pixels, (B,), rounded down to a multiple of 2⁻²⁰; where misclassified, negative:
        that of `certify`.

    Raises:
        TypeError, ValueError: images or labels are not as above; the model is none that `certify`
            takes, or has a layer without known bounds.

    >>> from linfkit.certification.certify import certify
    >>> from linfkit.nn.nets import LpDistNet
    >>> net, x = LpDistNet(4, width=8, depth=2, classes=3).eval(), torch.rand(5, 4)
    >>> labels = net(x).argmax(dim=1)
    >>> bool((interval_radius(net, x, labels) >= certify(net, x, labels).radius - 1e-4).all())
    True
    """
    checked = check_for_proofs(model)
    check_finite_weights(model)
    (x, labels), batch_size = check_samples(x, labels), check_count("batch_size", batch_size)
    if (holds := interval_proof(checked)) is None:
        raise ValueError(
            "model must be made of linfkit's layers, connected by its nets or nn.Sequential, to "
            f"have interval bounds; got {type(model).__name__}"
        )
    certificates = certify_checked(checked, x, labels, batch_size)
    return widest_intervals(checked, holds, x, labels, certificates, batch_size).radius


@torch.no_grad()
def widest_intervals(
    checked: CheckedModel,
    holds: Holds,
    x: Tensor,
    labels: Tensor,
    certificates: Certificates,
    batch_size: int = 1024,
) -> Certificates:
    """Certificates by interval bounds, beside those that a model has already.

    Args:
        checked: the model that both are of.
        holds: its `interval_proof`.
        x: images, (B, ...).
        labels: whole numbers, (B,).
        certificates: by `certify`: what is misclassified keeps its radius.
        batch_size: samples that pass through the model at once.
    """
    radius, right = certificates.radius.clone(), certificates.correct.nonzero().squeeze(1)
    of_each = partial(_hold, checked.model, holds, batch_size, x[right], labels[right])
    if len(right):
        radius[right] = largest_eps(of_each, radius[right], HALVINGS)
    return Certificates(radius, certificates.correct)


@torch.no_grad()
def certified_within(
    checked: CheckedModel, x: Tensor, labels: Tensor, eps: float, certificates: Certificates
) -> Tensor:
    """Mask of the samples that margin or interval bounds certify at eps, bool, (B,).

    One pass, of the samples alone that are classified correctly and not certified by their margin.

    Args:
        checked: the model that all are of.
        x: images, (B, ...).
        labels: whole numbers, (B,).
        eps: in pixels.
        certificates: by `certify`.
    """
    certified, holds = certificates.radius > check_eps(eps), interval_proof(checked)
    left = (certificates.correct & ~certified).nonzero().squeeze(1)
    if holds is not None and len(left):
        at = torch.full((len(left),), eps, dtype=torch.float64)  # moved where that exists
        certified[left] = _hold(checked.model, holds, 1024, x[left], labels[left], at)
    return certified


def _hold(
    model: nn.Module, holds: Holds, batch_size: int, x: Tensor, labels: Tensor, eps: Tensor
) -> Tensor:
    """Mask of all samples whose label stands within its ε, in batches, on the device of x."""
    with certification_mode(model):
        batches = batches_for(model, batch_size, x, labels, eps)
        return torch.cat([holds(*rows).to(x.device) for rows in batches])


def interval_proof(checked: CheckedModel) -> Holds | None:
    """The proof by interval bounds at given ε; None where a layer's bounds are not known."""
    if checked.members is not None:
        known = all(_are_bounded(member.roundings) for member in checked.members)
        return partial(_hybrid_holds, checked.members) if known else None
    if checked.roundings is None or not _are_bounded(checked.roundings):
        return None
    return partial(_net_holds, checked.model, checked.roundings)


def _are_bounded(layers: Mapping[nn.Module, int]) -> bool:
    return all(any(is_plain(layer, kind) for kind in BOUNDED) for layer in layers)


def _net_holds(
    model: nn.Module, roundings: Mapping[nn.Module, int], x: Tensor, labels: Tensor, eps: Tensor
) -> Tensor:
    """True where the label's lowest logit over the clipped box is above all others' highest."""
    at = propagate(model, _boxes(x, eps), roundings, _on_boxes)
    lower, upper = to_float64(at.value).unbind(dim=1)
    labels = labels.to(lower.device)
    of_label = lower.gather(1, labels[:, None]).squeeze(1)
    others = upper.scatter(1, labels[:, None], -math.inf)
    # of the bounds, and of the net as it is executed: each twice, for two logits
    rounding = 4 * at.after(at.value, roundings=1).error * (1 + 2**-20)
    return of_label - rounding > others.amax(dim=1)


def _hybrid_holds(members: list[Member], x: Tensor, labels: Tensor, eps: Tensor) -> Tensor:
    """True where the mean worst logits of hybrids over the clipped box are below 0."""
    worst, needed = [], []
    for member in members:
        box = normalised(member.net, _boxes(x, eps), _on_boxes)
        features = propagate(member.net.layers, box, member.roundings, _on_boxes)
        lower, upper = to_float64(features.value).unbind(dim=1)
        error = features.error[:, None].to(lower)
        wider = error.where(error.isfinite(), 0)
        centre, reach = (lower + upper) / 2, (upper - lower) / 2 + wider
        mlp, labels = member.mlp, labels.to(lower.device)
        worst.append(member.scale * mlp.worst_logits(centre, labels, reach))
        rounding = member.scale * worst_rounding(mlp, centre, reach)
        needed.append(rounding.where(error.squeeze(1).isfinite(), math.inf))
    others = torch.stack(worst).mean(dim=0).scatter(1, labels[:, None], -math.inf)
    # their sum is more than their mean by more than the mean rounds
    return (others < -torch.stack(needed).sum(dim=0)[:, None]).all(dim=1)


def clipped_box(x: Tensor, eps: float | Tensor) -> tuple[Tensor, Tensor]:
    """Ends of the pixels of all images within eps of x and within [0, 1], (B, ...) each.

    Args:
        x: images, (B, ...), in [0, 1].
        eps: in pixels; one number, or one a sample, (B,).

    >>> [end.tolist() for end in clipped_box(torch.tensor([[0.25]]), 0.5)]
    [[[0.0]], [[0.75]]]
    """
    reach = eps.view(-1, *[1] * (x.dim() - 1)) if isinstance(eps, Tensor) else eps
    return (x - reach).clamp(min=0), (x + reach).clamp(max=1)


def _boxes(x: Tensor, eps: Tensor) -> Rounded:
    """Ends of the boxes of images within ε and [0, 1], (B, 2, ...)."""
    ends = torch.stack(clipped_box(to_float64(x), to_float64(eps)), dim=1).to(x)
    # a box holds every image of interest, so its own values are all that is within reach
    return replace(Rounded.of(x), reach=0.0).after(ends, roundings=1)


def _on_boxes(function: Callable[[Tensor], Tensor], ends: Tensor) -> Tensor:
    """Ends of boxes, (B, 2, ...), after a layer of distances or a map that keeps the order."""
    if isinstance(function, LpDist | LpDistConv2d):
        return torch.stack(function.interval(*ends.unbind(dim=1)), dim=1)
    after = function(ends.flatten(0, 1)).unflatten(0, (-1, 2))
    return torch.stack([after.amin(dim=1), after.amax(dim=1)], dim=1)  # minus turns it round
