"""How far a net as it is executed, in floating point, can be from the net of real numbers.

Half the margin is a radius of the *real* net F: weights as they are stored, and arithmetic without
rounding. What is executed is F̂, in which every difference, quotient and product is rounded. Here a
bound δ ≥ |F̂ⱼ − Fⱼ|, the same for every logit and for every image within reach, is carried through
the layers, beside the values themselves.

**One rounding.** To nearest, with unit u (2⁻²⁴ in float32), |fl(t) − t| ≤ u·|fl(t)| + η. The last
term, of the size of the smallest normal number, is there for processors that put 0 in place of what
is smaller; 4η is taken for each rounding. Several in a row, c of them with nothing cancelled in
between, give |v̂ − v| ≤ g·|v̂| + 4cη with g = cu/(1 − 2cu) (Higham, *Accuracy and Stability of
Numerical Algorithms*, section 3.1: γ_c = cu/(1 − cu), relative to v; g is γ_c/(1 − γ_c)).

**One layer.** At p=∞ a distance is rounded once: maxᵢ fl|xᵢ − wᵢ| = fl(maxᵢ |xᵢ − wᵢ|), since
rounding keeps the order and a maximum is exact, in whichever order it is taken. A shift rounds
once, a bias once more, max-pooling, flattening and padding with zeros never. As each layer is
1-Lipschitz in ℓ∞, errors of its input come out no larger, and those of its own are added to them.

**Every image within reach.** A bound at x alone would not do, since F̂ is executed at x' too. An
image x' within ‖x' − x‖_∞ ≤ 1, the whole range of a pixel, moves no value of F by more than R, the
reach: 1 in pixels, 1/scale inside a net that divides by its scale. So |v̂(x')| ≤ |v̂(x)| + R + 2Δ,
where Δ bounds the error after the layer at both; from Δ = Δ_before + g·(|v̂(x)| + R + 2Δ) + 4cη

    Δ = (Δ_before + g·(max|v̂(x)| + R) + 4cη) / (1 − 2g),

the maximum being one over the sample's values, which the forward pass has at hand.

**One net.** (x − mean)/scale is rounded twice, and counted thrice, as some processors multiply by
1/scale; it makes errors of its input 1/scale as large. −scale·u makes them as large again as they
were in pixels, and is rounded once. A mean of K logits is rounded K times, or K + 1 with 1/K.

**The radius.** With m̂ the margin as it was computed at x,

    m̂(x') ≥ m(x') − 2δ ≥ m(x) − 2‖x' − x‖_∞ − 2δ ≥ m̂ − 2‖x' − x‖_∞ − 4δ,

so that below m̂/2 − 2δ the prediction stands: that of F, for which m̂/2 − δ would do, and that of
F̂, at every x' of floating-point numbers, and on any machine that rounds to nearest, since nothing
above depends on the order in which it computes. 2δ is the `rounding` of `linfkit.Certificates`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import reduce
from typing import TypeGuard, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from linfkit.models import DistanceNet, Ensemble
from linfkit.units import PixelUnits

__all__ = [
    "Rounded",
    "is_plain",
    "largest",
    "normalised",
    "rounded_down",
    "rounded_size",
    "roundings_of",
    "through",
    "window_size",
]

Kind = TypeVar("Kind", bound=nn.Module)

#: Roundings of PyTorch's layers; what is 0 moves, selects or forgets values.
OF_TORCH: dict[type[nn.Module], int] = {
    nn.Dropout: 0,
    nn.Dropout2d: 0,
    nn.Flatten: 0,
    nn.Identity: 0,
    nn.MaxPool2d: 0,
    nn.ReLU: 0,
    nn.Tanh: 8,  # four units in the last place, of which each is two roundings
    nn.Unflatten: 0,
}


@dataclass(frozen=True)
class Rounded:
    """Values as they were computed, and how far they are from those of real numbers.

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
        """Images, (B, ...), which are what they are: without error."""
        return cls(x, torch.zeros(len(x), dtype=torch.float64, device=x.device), reach=1.0)

    def times(self, factor: float) -> Rounded:
        """Error and reach in units `factor` times as small; the values are left to be computed."""
        return replace(self, error=self.error * factor, reach=self.reach * factor)

    def after(self, value: Tensor, roundings: int, size: Tensor | None = None) -> Rounded:
        """What a 1-Lipschitz map made of it, rounding so many times.

        Args:
            value: as it was computed, (B, ...).
            roundings: c of the module's docstring.
            size: of the values that were rounded on the way, (B,), where they can be larger than
                those that came out.
        """
        if not roundings:
            return replace(self, value=value)
        size = largest(value) if size is None else size
        of_dtype = torch.finfo(value.dtype)
        in_all = roundings * of_dtype.eps / 2
        share = in_all / (1 - 2 * in_all)
        unchanging = share * self.reach + 4 * roundings * of_dtype.tiny
        error = (self.error + unchanging + share * size) / (1 - 2 * share)
        return Rounded(value, error, self.reach)


def through(module: nn.Module, at: Rounded) -> Rounded:
    """What a module makes of values, with the error that its layers and it add.

    Args:
        module: at p=∞ and in evaluation mode; an image is what a net takes, values what a layer
            does.
        at: what comes in.

    Raises:
        ValueError: it holds a layer whose roundings nobody has stated (`roundings_of`);
            `linfkit.check_lipschitz` names all of them.

    >>> from linfkit.models import LpDistNet
    >>> x, net = torch.rand(5, 4), LpDistNet(4, width=8, depth=3, classes=3, scale=0.4).eval()
    >>> logits = through(net, Rounded.of(x))
    >>> torch.equal(logits.value, net(x))
    True
    >>> difference = (logits.value - net.double()(x.double())).abs().amax(dim=1)
    >>> bool((difference <= logits.error).all()), bool((logits.error < 1e-5).all())
    (True, True)
    """
    if is_plain(module, nn.Sequential):
        return reduce(lambda so_far, layer: through(layer, so_far), module, at)
    if is_plain(module, DistanceNet):
        inside = through(module.layers, normalised(module, at))
        scale = module.scale.item()
        return inside.times(scale).after(-module.scale * inside.value, roundings=1)
    if is_plain(module, Ensemble):
        return _mean([through(member, at) for member in module.models])
    if is_plain(module, AveragedModel):
        return through(module.module, at)
    roundings = roundings_of(module)
    if roundings is None:
        raise ValueError(
            f"model must be made of layers whose roundings are known; those of a "
            f"{type(module).__name__} are not"
        )
    value = module(at.value)
    return at.after(value, roundings, rounded_size(module, at.value, value))


def normalised(net: PixelUnits, at: Rounded) -> Rounded:
    """(x − mean) / scale of images, with its error, in the units inside.

    >>> from linfkit.models import LpDistNet
    >>> x, net = torch.rand(5, 4), LpDistNet(4, width=8, depth=3, classes=3, scale=0.5)
    >>> inside = normalised(net, Rounded.of(x))
    >>> torch.equal(inside.value, net.normalise(x)), inside.reach
    (True, 2.0)
    """
    return at.times(1 / net.scale.item()).after(net.normalise(at.value), roundings=3)


def _mean(members: list[Rounded]) -> Rounded:
    """The mean of logits of one shape, as `Ensemble` computes it."""
    logits = torch.stack([member.value for member in members])
    worst = replace(members[0], error=torch.stack([each.error for each in members]).amax(dim=0))
    size = torch.stack([largest(each) for each in logits]).amax(dim=0)
    return worst.after(logits.mean(dim=0), roundings=len(members) + 1, size=size)


def rounded_size(module: nn.Module, before: Tensor, after: Tensor) -> Tensor | None:
    """Where values larger than those that come out are rounded on the way, how large, (B,)."""
    if isinstance(module, nn.AvgPool2d):
        return largest(before)  # of one window, values can cancel
    if isinstance(bias := getattr(module, "bias", None), Tensor):
        return largest(after) + bias.abs().max().double()  # the distance, before it is added
    return None


def roundings_of(layer: nn.Module) -> int | None:
    """How often a layer rounds between its inputs and each output; None where it is not known.

    A layer states it as its class's attribute or property `roundings`, and states by it that it is
    1-Lipschitz in ℓ∞ at p=∞ in evaluation mode, sample by sample, and that none of the values it
    rounds, except for a `bias` added last, cancel. A subclass with a `forward` of its own has to
    state it anew.

    >>> from linfkit.layers import LpDist, MeanShift
    >>> [roundings_of(layer) for layer in (LpDist(2, 3), LpDist(2, 3, bias=True), MeanShift(3))]
    [1, 2, 1]
    >>> roundings_of(nn.Linear(2, 3)) is None
    True
    """
    if is_plain(layer, nn.AvgPool2d):
        return window_size(layer) + 2  # a sum, and a product with 1/count
    for kind in type(layer).__mro__ if "forward" not in vars(layer) else ():
        if "roundings" in vars(kind):
            stated: int = layer.roundings  # type: ignore[assignment]
            return stated
        if kind in OF_TORCH:
            return OF_TORCH[kind]
        if "forward" in vars(kind):
            break
    return None


def is_plain(module: nn.Module, kind: type[Kind]) -> TypeGuard[Kind]:
    """Whether a module computes what that class does: with its `forward`, and no other.

    >>> class Steeper(nn.Sequential):
    ...     def forward(self, x):
    ...         return 2 * super().forward(x)
    >>> is_plain(nn.Sequential(), nn.Sequential), is_plain(Steeper(), nn.Sequential)
    (True, False)
    """
    return "forward" not in vars(module) and type(module).forward is kind.forward


def largest(values: Tensor) -> Tensor:
    """The largest magnitude of each sample, (B, ...) to (B,), float64."""
    rows = values.flatten(1)
    return rows.amax(dim=1).maximum(-rows.amin(dim=1)).double()  # faster than a norm


def rounded_down(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Numbers of that type, each the nearest that is surely below the value.

    >>> bool(rounded_down(torch.tensor(0.1, dtype=torch.float64), torch.float32) < 0.1)
    True
    """
    return value.to(dtype).nextafter(torch.tensor(-math.inf, dtype=dtype, device=value.device))


def window_size(pool: nn.AvgPool2d) -> int:
    """How many values a pool looks at for each of its outputs."""
    size = pool.kernel_size
    return size**2 if isinstance(size, int) else math.prod(size)
