"""Certified radii of hybrid nets: interval bounds through the MLP behind 1-Lipschitz features.

The radius is one of the net of real numbers. The box around the features is wider by what rounding
can have moved them (`linfkit.certification.rounding`). The MLP is evaluated in float64, where its
worst logits have to be further below 0 than rounding can have moved them (`worst_rounding`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from linfkit._util.checks import check_not_nan
from linfkit._util.devices import to_float64
from linfkit.certification.layer_checks import layer_roundings, not_plain
from linfkit.certification.margins import Certificates, certified_radius, largest_eps
from linfkit.certification.rounding import Rounded, normalised, propagate, rounded_down
from linfkit.nn.ensembles import HybridEnsemble
from linfkit.nn.hybrid import HybridNet, IntervalMLP, ScaledLinear
from linfkit.nn.known_layers import is_plain

#: Halvings of the bisection on ε: from the whole range of a pixel down to 2⁻³⁰ ≈ 1e-9.
HALVINGS = 30


@dataclass(frozen=True)
class Member:
    """A checked hybrid: its features' roundings, and a copy of its MLP in float64."""

    net: HybridNet
    roundings: dict[nn.Module, int]
    mlp: IntervalMLP
    scale: float

    def features(self, x: Tensor) -> Rounded:
        """Features of images, with their error, in normalised units."""
        return propagate(self.net.layers, normalised(self.net, Rounded.of(x)), self.roundings)


def plain_members(model: HybridNet | HybridEnsemble) -> list[Member]:
    """The hybrids of an ensemble, or the one hybrid, checked once.

    Raises:
        ValueError: a module has a hook or overridden methods, or a layer is not 1-Lipschitz.

    >>> from linfkit.nn.nets import LpDistNet
    >>> len(plain_members(HybridNet(LpDistNet(4, width=8, depth=2, classes=3), hidden=6)))
    1
    """
    if isinstance(model, HybridNet):
        return [_checked(model)]
    if not is_plain(model, HybridEnsemble):
        raise not_plain(HybridEnsemble)
    return [_checked(net) for net in model.members()]


def _checked(net: HybridNet) -> Member:
    plain = is_plain(net, HybridNet) and is_plain(net.mlp, IntervalMLP)
    plain = plain and all(is_plain(each, ScaledLinear) for each in (net.mlp.hidden, net.mlp.last))
    roundings = layer_roundings(net.layers) if plain else None
    if roundings is None:
        raise not_plain(HybridNet)
    mlp = copy.deepcopy(net.mlp).to(to_float64(net.scale))
    return Member(net, roundings, mlp, net.scale.item())


def certify_hybrid(members: Sequence[Member], x: Tensor, labels: Tensor) -> Certificates:
    """Certify a batch by bisection on ε: the largest at which the mean worst logits are below 0.

    The distance layers see each image once: only the MLP is evaluated again for each ε.

    Args:
        members: at p=∞ and in evaluation mode.
        x: images, (B, ...).
        labels: (B,).

    Returns:
        Radii of at most 1; where misclassified, negative: minus the radius at which the wrong
        prediction is certified.
    """
    features = [member.features(x) for member in members]
    inputs = [to_float64(each.value) for each in features]
    errors = [each.error * member.scale for each, member in zip(features, members, strict=True)]
    rounding, labels = torch.stack(errors).amax(dim=0).to(inputs[0]), labels.to(inputs[0].device)

    def of_each(function: Callable[[IntervalMLP, Tensor, float], Tensor]) -> Tensor:
        """Apply a function of MLP, features and unit to all members; in pixels, (K, B, ...)."""
        pairs = zip(members, inputs, strict=True)
        return torch.stack([one.scale * function(one.mlp, u, one.scale) for one, u in pairs])

    logits = check_not_nan(of_each(lambda mlp, u, _: mlp(u)).mean(dim=0))
    correct = certified_radius(logits, labels) >= 0  # of the margin only the sign counts here
    predicted = labels.where(correct, logits.argmax(dim=1))
    # their sum is more than their mean by more than the mean rounds; where nothing is known of the
    # features' rounding, it is ∞, and no worst logit is below −∞
    needed = of_each(lambda mlp, u, unit: worst_rounding(mlp, u, (1 + rounding) / unit)).sum(dim=0)
    wider = rounding.where(rounding.isfinite(), 0)

    def holds(eps: Tensor) -> Tensor:
        worst = of_each(
            lambda mlp, u, unit: mlp.worst_logits(u, predicted, (eps + wider) / unit)
        ).mean(dim=0)
        others = worst.scatter(1, predicted[:, None], -math.inf)
        return (others < -needed[:, None]).all(dim=1)

    certified = largest_eps(holds, logits[:, 0], HALVINGS)
    radius = rounded_down(certified, features[0].value.dtype).clamp(min=0)
    tiny = torch.finfo(radius.dtype).tiny  # so that a wrong prediction is never at 0
    return Certificates(radius.where(correct, -radius.clamp(min=tiny)), correct)


def worst_rounding(mlp: IntervalMLP, u: Tensor, radius: Tensor) -> Tensor:
    """Bound on how far `IntervalMLP.worst_logits` can be from those of real numbers, (B,).

    A sum of n products, in any order, is off by at most about n·v times the sum of their sizes, v
    the unit of rounding. So a tanh's argument is off by (in_features + 8)·v·A, where A is
    |W||u| + |b| + r·Σ|W|, and what follows, S being the largest Σ|W_j − W_y|, by S·(that + 8v) and
    (hidden + 8)·v·(S + |b_j − b_y|). The bound is twice as much, which covers products of such
    terms and two roundings of u and r; weights so small that products underflow are left out.

    Args:
        mlp: the MLP.
        u: features, (B, in_features).
        radius: half-width of each sample's box, (B,) or a scalar, or of each feature,
            (B, in_features); the bound holds for smaller ones.
    """
    weights, unit = mlp.hidden.scaled_weight.abs(), torch.finfo(u.dtype).eps / 2
    inside = F.linear(u.abs(), weights, mlp.hidden.bias.abs())
    of_box = radius if radius.dim() == 2 else radius.view(-1, 1).expand(-1, weights.shape[1])
    inside = (inside + F.linear(of_box, weights)).amax(dim=1)
    of_rows = 2 * mlp.last.scaled_weight.abs().sum(dim=1).max()
    of_biases = 2 * mlp.last.bias.abs().max()
    terms = mlp.hidden.in_features + mlp.hidden.out_features + 24
    return 2 * terms * unit * (of_rows * (inside + 1) + of_biases)
