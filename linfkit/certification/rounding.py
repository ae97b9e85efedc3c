"""Bounds on rounding: how far a net in floating point can be from the net of real numbers.

Half the margin is a radius of the *real* net F: weights as they are stored, and arithmetic without
rounding. What runs is F̂, which rounds every difference, quotient and product. This module computes
a bound δ ≥ |F̂ⱼ − Fⱼ| that is the same for every logit and for every image within reach. It
propagates the bound through the layers, together with the values.

**One rounding.** Rounding to nearest, with unit u (2⁻²⁴ in float32), gives |fl(t) − t| ≤ u·|fl(t)|
+ η. The term η is of the size of the smallest normal number, for processors that replace smaller
numbers by 0; the bound uses 4η for each rounding. A row of c roundings, with no cancellation
between them, gives |v̂ − v| ≤ g·|v̂| + 4cη with g = cu/(1 − 2cu) (Higham, *Accuracy and Stability of
Numerical Algorithms*, section 3.1: γ_c = cu/(1 − cu), relative to v; g is γ_c/(1 − γ_c)).

**One layer.** At p=∞ a distance is rounded once: maxᵢ fl|xᵢ − wᵢ| = fl(maxᵢ |xᵢ − wᵢ|), since
rounding keeps the order, and a maximum is exact in any order. A shift rounds once, a bias once
more; max-pooling, flattening and padding with zeros never round. Each layer is 1-Lipschitz in ℓ∞,
so it does not increase the errors of its input; its own errors are added to them.

**Every image within reach.** A bound at x alone is not enough, since F̂ also runs at x'. An image x'
with ‖x' − x‖_∞ ≤ 1, the whole range of a pixel, moves no value of F by more than the reach R: 1 in
pixels, 1/scale inside a net that divides by its scale. So |v̂(x')| ≤ |v̂(x)| + R + 2Δ, where Δ bounds
the error after the layer at both. From Δ = Δ_before + g·(|v̂(x)| + R + 2Δ) + 4cη follows

    Δ = (Δ_before + g·(max|v̂(x)| + R) + 4cη) / (1 − 2g),

where the maximum is over the sample's values, known from the forward pass. If cu ≥ 1/4, then
2g ≥ 1, there is no bound, and Δ = ∞.

**No overflow**, or Δ = ∞: c·(max|v̂(x)| + R + 2Δ) is below the largest number. The intermediate
results of a layer for a value v are at most cv: a window's sum before it is divided, and a
SortNet's largest difference, whose weight is at least one over the number of its terms.

**Several types.** If a layer's input, weights and output are not all of one floating-point type,
each rounding may be in any of them: u, η and the largest number are the worst of them.

**One net.** (x − mean)/scale is rounded twice, and counted three times, as some processors multiply
by 1/scale; it multiplies errors of its input by 1/scale. −scale·u multiplies them by scale again,
back to pixels, and is rounded once. A mean of K logits is rounded K times, or K + 1 with 1/K.

**The radius.** With m̂ the margin as it was computed at x,

    m̂(x') ≥ m(x') − 2δ ≥ m(x) − 2‖x' − x‖_∞ − 2δ ≥ m̂ − 2‖x' − x‖_∞ − 4δ,

so that within m̂/2 − 2δ the prediction stands. It stands for F, for which m̂/2 − δ would do, and for
F̂ at every x' of floating-point numbers, on any machine that rounds to nearest, since nothing above
depends on the order of computation. 2δ is the `rounding` of `linfkit.Certificates`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain

import torch
from torch import Tensor, nn

from linfkit._util.devices import to_float64
from linfkit.nn.ensembles import Ensemble
from linfkit.nn.known_layers import is_plain, unwrapped
from linfkit.nn.nets import DistanceNet
from linfkit.nn.normalization import Normalization


@dataclass(frozen=True)
class Rounded:
    """Values as they were computed, with a bound of their error.

    Attributes:
        value: (B, ...).
        error: the most that any of a sample's values differs from the real net's, at its image or
            at any within reach, (B,), float64.
        reach: how far any of the real net's values can move while its image moves by 1, in pixels.

    >>> at = Rounded.of(torch.ones(2, 3))
    >>> (at.after(at.value + 6, roundings=1).error * 2**24).round()  # 7, and 1 within reach
    tensor([8., 8.], dtype=torch.float64)
    """

    value: Tensor
    error: Tensor
    reach: float

    @classmethod
    def of(cls, x: Tensor) -> Rounded:
        """Images, (B, ...), without error."""
        return cls(x, to_float64(x.new_zeros(len(x))), reach=1.0)

    def times(self, factor: float) -> Rounded:
        """Multiply error and reach by a factor; the values are computed elsewhere."""
        return replace(self, error=self.error * factor, reach=self.reach * factor)

    def after(
        self,
        value: Tensor,
        roundings: int,
        size: Tensor | None = None,
        dtypes: Iterable[torch.dtype] = (),
    ) -> Rounded:
        """Values after a 1-Lipschitz map that rounds a number of times.

        Args:
            value: as it was computed, (B, ...).
            roundings: c of the module's docstring.
            size: of the values that were rounded on the way, (B,), where they can be larger than
                those that came out.
            dtypes: of the computation, other than that of the value, if any.
        """
        if not roundings:
            return replace(self, value=value)
        size = largest(value) if size is None else size
        limits = [torch.finfo(dtype) for dtype in {value.dtype, *dtypes}]
        in_all = roundings * max(of.eps for of in limits) / 2
        if in_all >= 1 / 4:
            return replace(self, value=value, error=torch.full_like(self.error, math.inf))
        share = in_all / (1 - 2 * in_all)
        unchanging = share * self.reach + 4 * roundings * max(of.tiny for of in limits)
        error = (self.error + unchanging + share * size) / (1 - 2 * share)
        fits = roundings * (size + self.reach + 2 * error) < min(of.max for of in limits)
        return Rounded(value, error.where(fits, math.inf), self.reach)


#: How a layer, or a function between layers, is applied to the values that come in.
Apply = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]


def propagate(
    module: nn.Module,
    at: Rounded,
    roundings: Mapping[nn.Module, int],
    apply: Apply = operator.call,
) -> Rounded:
    """Values that a module computes, with the error that its layers add.

    Args:
        module: at p=∞ and in evaluation mode.
        at: what comes in: images for a net, values for a layer.
        roundings: how often each layer rounds, known of all of them
            (`linfkit.certification.layer_checks.layer_roundings`).
        apply: how layers are applied; by default they are called.

    >>> from linfkit.certification.layer_checks import layer_roundings
    >>> from linfkit.nn.nets import LpDistNet
    >>> x, net = torch.rand(5, 4), LpDistNet(4, width=8, depth=3, classes=3, scale=0.4).eval()
    >>> logits = propagate(net, Rounded.of(x), layer_roundings(net))
    >>> torch.equal(logits.value, net(x))
    True
    >>> difference = (logits.value - net.double()(x.double())).abs().amax(dim=1)
    >>> bool((difference <= logits.error).all()), bool((logits.error < 1e-5).all())
    (True, True)
    """
    if is_plain(module, nn.Sequential):
        for layer in module:
            at = propagate(layer, at, roundings, apply)
        return at
    if is_plain(module, DistanceNet):
        inside = propagate(module.layers, normalised(module, at, apply), roundings, apply)
        logits = apply(lambda u: -module.scale * u, inside.value)
        return inside.times(unit_of(module)).after(logits, roundings=1)
    if is_plain(module, Ensemble):
        return _mean([propagate(member, at, roundings, apply) for member in module.models])
    if (wrapped := unwrapped(module)) is not module:
        return propagate(wrapped, at, roundings, apply)
    value = apply(module, at.value)
    own = chain(module.parameters(), module.buffers())
    dtypes = {tensor.dtype for tensor in own if tensor.is_floating_point()} | {at.value.dtype}
    return at.after(value, roundings[module], _rounded_size(module, at.value, value), dtypes)


def normalised(net: Normalization, at: Rounded, apply: Apply = operator.call) -> Rounded:
    """(x − mean) / scale of images, with its error, in the units inside.

    >>> from linfkit.nn.nets import LpDistNet
    >>> x, net = torch.rand(5, 4), LpDistNet(4, width=8, depth=3, classes=3, scale=0.5)
    >>> inside = normalised(net, Rounded.of(x))
    >>> torch.equal(inside.value, net.normalise(x)), inside.reach
    (True, 2.0)
    """
    inside = apply(net.normalise, at.value)
    return at.times(1 / unit_of(net)).after(inside, roundings=3)


def unit_of(net: Normalization) -> float:
    """Scale of a net: the unit of the values inside it, in pixels.

    Raises:
        ValueError: it is not a positive number, since it was changed.
    """
    scale = net.scale.item()
    if not 0 < scale < math.inf:
        raise ValueError(f"model must have a scale that is a positive number; its scale is {scale}")
    return scale


def _mean(members: list[Rounded]) -> Rounded:
    """The mean of logits of one shape, as `Ensemble` computes it."""
    logits = torch.stack([member.value for member in members])
    worst = replace(members[0], error=torch.stack([each.error for each in members]).amax(dim=0))
    size = torch.stack([largest(each) for each in logits]).amax(dim=0)
    return worst.after(logits.mean(dim=0), roundings=len(members) + 1, size=size)


def _rounded_size(layer: nn.Module, before: Tensor, after: Tensor) -> Tensor | None:
    """Size of the values that a layer rounds, (B,), where they are larger than its outputs."""
    if isinstance(layer, nn.AvgPool2d):
        return largest(before)  # of one window, values can cancel
    if isinstance(bias := getattr(layer, "bias", None), Tensor):
        return largest(after) + to_float64(bias.abs().max())  # the distance, before it is added
    return None


def largest(values: Tensor) -> Tensor:
    """The largest magnitude of each sample, (B, ...) to (B,), float64."""
    rows = values.flatten(1)
    return to_float64(rows.amax(dim=1).maximum(-rows.amin(dim=1)))  # faster than a norm


def rounded_down(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Round down to numbers of a dtype, each the nearest that is surely below the value.

    >>> bool(rounded_down(torch.tensor(0.1, dtype=torch.float64), torch.float32) < 0.1)
    True
    """
    return value.to(dtype).nextafter(torch.tensor(-math.inf, dtype=dtype, device=value.device))
