"""Networks that take images in [0, 1] and give logits that are 1-Lipschitz in pixels at p=∞."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise, repeat
from typing import Any

from torch import Tensor, nn

from linfkit._util.checks import check_counts
from linfkit.nn.layers import DistanceLayer, LpDist, MeanShift, distance_layers, set_p
from linfkit.nn.normalization import Normalization


class SharedExponent(nn.Module):
    """A module with distance layers inside it, which share one exponent.

    Attributes:
        arguments: of the class, to build this net again, as values of JSON; None where they are
            not known.
    """

    arguments: dict[str, Any] | None = None

    @property
    def p(self) -> float:
        """The exponent that all layers share."""
        return common_p(self)

    @p.setter
    def p(self, p: float) -> None:
        set_p(self, p)

    @property
    def architecture(self) -> dict[str, Any]:
        """Name of the net's class, and the arguments of its class."""
        return {"class": type(self).__name__, "arguments": self.arguments}


class DistanceNet(SharedExponent, Normalization):
    """Distance layers in a row; logits are f(x) = −scale · u of normalised images.

    u is the last layer's output on (x − mean) / scale. Dividing by `scale` inside and multiplying
    outside leaves a function that is 1-Lipschitz in ℓ∞ of the *pixels* at p=∞, if no layer
    lengthens anything in ℓ∞ (Zhang et al., ICML 2021, section 4). A subclass adds the layers.

    Attributes:
        layers: (B, in_features), the normalised images as rows, to (B, classes); the last is a
            layer of distances with a bias.
        p: the exponent of all layers; setting it sets them all.
        logit_scale: the learned scalar s / scale of the mixed loss (`linfkit.mixed_loss`).
    """

    layers: nn.Sequential

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (B, classes), of images in [0, 1], (B, C, H, W) or (B, in_features)."""
        return -self.scale * self.layers(self.normalise(x))

    def keep_arguments(self, scale: float, identity_start: bool, **sizes: Any) -> None:
        """Set `arguments`: sizes of the class, mean, scale and identity_start."""
        units = {"mean": self.mean.tolist(), "scale": float(scale)}
        self.arguments = sizes | units | {"identity_start": bool(identity_start)}


class LpDistNet(DistanceNet):
    """An ℓp-distance net: layers of distances with a mean shift after all but the last.

    Args:
        in_features: pixels of one image, channels included.
        width: neurons of each hidden layer.
        depth: layers in all, the last one included.
        classes: number of logits.
        mean: subtracted from the pixels; one number, or one for each channel.
        scale: the number to divide by: one, so that ε scales with it.
        identity_start: see `LpDist`.

    Attributes:
        p: the exponent of all layers; setting it sets them all.
        logit_scale: the learned scalar s / scale of the mixed loss (`linfkit.mixed_loss`).

    Raises:
        TypeError, ValueError: an argument is out of range; its name is in the message.

    >>> import torch
    >>> net = LpDistNet(64, width=32, depth=3, classes=10, mean=0.3, scale=0.4)
    >>> net(torch.rand(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """

    def __init__(
        self,
        in_features: int,
        width: int,
        depth: int,
        classes: int,
        mean: float | Sequence[float] = 0.0,
        scale: float = 1.0,
        identity_start: bool = True,
    ) -> None:
        sizes = check_counts(in_features=in_features, width=width, depth=depth, classes=classes)
        super().__init__(sizes["in_features"], mean, scale)
        self.keep_arguments(scale, identity_start, **sizes)
        counts = chain([in_features], repeat(width, depth - 1), [classes])
        self.layers = with_mean_shifts(
            *(
                LpDist(i, o, bias=place == depth, identity_start=identity_start)
                for place, (i, o) in enumerate(pairwise(counts), start=1)
            )
        )


def with_mean_shifts(*layers: DistanceLayer) -> nn.Sequential:
    """Put layers in a row, with a mean shift after all but the last.

    >>> [type(layer).__name__ for layer in with_mean_shifts(LpDist(4, 8), LpDist(8, 3))]
    ['LpDist', 'MeanShift', 'LpDist']
    """
    *hidden, last = layers
    shifted = ((layer, MeanShift(len(layer.weight))) for layer in hidden)
    return nn.Sequential(*chain.from_iterable(shifted), last)


def common_p(module: nn.Module) -> float:
    """The one exponent of a module's distance layers.

    Raises:
        ValueError: the layers differ in p, or there is none.

    >>> net = LpDistNet(4, 8, 2, 3)
    >>> net.p = 8
    >>> common_p(net)
    8.0
    """
    exponents = {layer.p for layer in distance_layers(module)}
    if len(exponents) != 1:
        found = ", ".join(f"{p:g}" for p in sorted(exponents)) or "no distance layer"
        raise ValueError(f"the module's layers must share one p; found {found}")
    return exponents.pop()
