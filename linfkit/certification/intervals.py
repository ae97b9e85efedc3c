"""Certified radii from interval bounds through an ℓ∞-distance net."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from linfkit._util.checks import as_labels, check_count, check_images
from linfkit._util.devices import batches_for, to_float64
from linfkit.certification.certify import certification_mode, certify
from linfkit.certification.layer_checks import check_plain_net, layer_roundings
from linfkit.certification.margins import largest_eps
from linfkit.certification.rounding import Rounded, after_layer, unit_of
from linfkit.functional import linf_interval
from linfkit.nn.layers import LpDist
from linfkit.nn.nets import LpDistNet

#: Halvings of [0, 1] in search of a radius, which is exact to 2⁻²⁰ ≈ 1e-6 pixels.
HALVINGS = 20


@torch.no_grad()
def interval_radius(model: LpDistNet, x: Tensor, labels: Tensor, batch_size: int = 1024) -> Tensor:
    """Largest ε at which interval bounds certify each sample, found by bisection.

    Every pixel ranges over [x − ε, x + ε] *within [0, 1]*; each layer's outputs then range within
    bounds that `linf_interval` gives, and the label is certified where the lowest logit it can have
    is above the highest of any other (interval bound propagation: Gowal et al., 2018,
    arXiv 1810.12715). No bound is further than ε from the value at x, so that this is never below
    half the margin, to rounding; where the box is cut off at 0 or 1, it can be above. Rounding is
    subtracted from the bounds as `certify` subtracts it from the margin.

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
    net = check_plain_net(model)
    x = check_images(x)
    labels = as_labels(labels, x)
    batch_size = check_count("batch_size", batch_size)
    certificates = certify(net, x, labels, batch_size)
    roundings = layer_roundings(net) or {}  # of a plain net they are known

    def holds(eps: Tensor) -> Tensor:
        batches = batches_for(net, batch_size, x, labels, eps)
        return torch.cat([_certified(net, roundings, *rows).to(x.device) for rows in batches])

    with certification_mode(net):
        radius = largest_eps(holds, certificates.radius, HALVINGS)
    return radius.where(certificates.correct, certificates.radius)


def _certified(
    net: LpDistNet, roundings: Mapping[nn.Module, int], x: Tensor, labels: Tensor, eps: Tensor
) -> Tensor:
    """True where the label's lowest logit over the clipped box is above all others' highest."""
    wide, eps = to_float64(x), to_float64(eps).view(-1, *[1] * (x.dim() - 1))
    ends = torch.stack([(wide - eps).clamp(min=0), (wide + eps).clamp(max=1)], dim=1).to(x)
    # the box holds every image of interest, so its own values are all that is within reach
    at = replace(Rounded.of(x), reach=0.0).after(ends, roundings=1)
    inside = torch.stack([net.normalise(end) for end in ends.unbind(dim=1)], dim=1)
    at = at.times(1 / unit_of(net)).after(inside, roundings=3)
    for layer in net.layers:
        lower, upper = at.value.unbind(dim=1)
        if isinstance(layer, LpDist):
            bounds = linf_interval(lower, upper, layer.weight)
            if layer.bias is not None:
                bounds = bounds[0] + layer.bias, bounds[1] + layer.bias
        else:  # a shift moves both bounds alike
            bounds = layer(lower), layer(upper)
        at = after_layer(layer, at, torch.stack(bounds, dim=1), roundings[layer])
    lower, upper = to_float64(at.value).unbind(dim=1)
    labels = labels.to(lower.device)
    # a logit is minus a distance, times the scale: the label's is lowest where that is largest
    of_label = upper.gather(1, labels[:, None]).squeeze(1)
    others = lower.scatter(1, labels[:, None], math.inf)
    # of the bounds, and of the net as it is executed: each twice, for two logits
    rounding = 4 * at.after(at.value, roundings=2).error * (1 + 2**-20)
    return of_label + rounding < others.amin(dim=1)
