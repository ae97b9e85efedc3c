"""Networks that take images in [0, 1] and give logits that are 1-Lipschitz in pixels at p=∞."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from linfkit._util.checks import check_count, check_model, check_real
from linfkit.nn.layers import DistanceLayer, LpDist, MeanShift, distance_layers, set_p
from linfkit.nn.normalization import PixelUnits

__all__ = [
    "DistanceNet",
    "Ensemble",
    "LpDistNet",
    "Members",
    "SharedExponent",
    "VotingEnsemble",
    "centred",
    "common_p",
]


class SharedExponent(nn.Module):
    """A module with distance layers somewhere inside it, which share one exponent.

    Attributes:
        arguments: what to call the class with to build this net again, as JSON has it; None where
            that cannot be said.
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
        """The net without its weights: its class's name, and the arguments of its class."""
        return {"class": type(self).__name__, "arguments": self.arguments}


class DistanceNet(SharedExponent, PixelUnits):
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


class LpDistNet(DistanceNet):
    """An ℓp-distance net: layers of distances with a mean shift after all but the last.

    Args:
        in_features: pixels of one image, channels included.
        width: neurons of each hidden layer.
        depth: layers in all, the last one included.
        classes: number of logits.
        mean: what to subtract from the pixels; one number, or one for each channel.
        scale: what to divide by; one number, so that ε scales with it.
        identity_start: see `LpDist`.

    Attributes:
        p: the exponent of all layers; setting it sets them all.
        logit_scale: the learned scalar s / scale of the mixed loss (`linfkit.mixed_loss`).

    Raises:
        TypeError, ValueError: an argument is out of range; its name is in the message.

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
        in_features = check_count("in_features", in_features)
        width = check_count("width", width)
        depth = check_count("depth", depth)
        classes = check_count("classes", classes)
        super().__init__(in_features, mean, scale)
        self.arguments = {
            "in_features": in_features,
            "width": width,
            "depth": depth,
            "classes": classes,
            "mean": self.mean.tolist(),
            "scale": float(scale),
            "identity_start": bool(identity_start),
        }
        sizes = [in_features] + [width] * (depth - 1)
        self.layers = centred(
            *(LpDist(i, o, identity_start=identity_start) for i, o in pairwise(sizes)),
            LpDist(sizes[-1], classes, bias=True, identity_start=identity_start),
        )


def centred(*layers: DistanceLayer) -> nn.Sequential:
    """The layers in a row, a mean shift after all but the last.

    >>> [type(layer).__name__ for layer in centred(LpDist(4, 8), LpDist(8, 3))]
    ['LpDist', 'MeanShift', 'LpDist']
    """
    *hidden, last = layers
    shifted = ((layer, MeanShift(len(layer.weight))) for layer in hidden)
    return nn.Sequential(*chain.from_iterable(shifted), last)


class Members(SharedExponent):
    """Several models of one task, whose logits are taken together.

    Args:
        models: the members; all take the same input and give the same number of logits.

    Attributes:
        models: the same, as an ``nn.ModuleList``.

    Raises:
        TypeError: a member is no module.
        ValueError: there is no member.

    >>> Members([LpDistNet(4, 8, 2, 3) for _ in range(5)]).logits(torch.rand(2, 4)).shape
    torch.Size([5, 2, 3])
    """

    def __init__(self, models: Iterable[nn.Module]) -> None:
        super().__init__()
        if isinstance(models, str) or not isinstance(models, Iterable):
            raise TypeError(f"models must be several models; got {type(models).__name__}")
        self.models = nn.ModuleList()
        for model in models:
            check_model("each of the models", model)
            self.models.append(model)
        if not len(self.models):
            raise ValueError("models must hold at least one model; got none")
        if all(isinstance(model, SharedExponent) for model in self.models):
            self.arguments = {"models": [model.architecture for model in self.models]}

    def logits(self, x: Tensor) -> Tensor:
        """Each member's logits, (K, B, classes).

        Raises:
            ValueError: the members do not all give the same number of logits.
        """
        logits = [model(x) for model in self.models]
        if any(each.shape != logits[0].shape for each in logits):
            counts = ", ".join(str(each.shape[-1]) for each in logits)
            raise ValueError(f"models must all give the same number of logits; they give {counts}")
        return torch.stack(logits)


class Ensemble(Members):
    """The mean of several models' logits: fusion.

    A mean of 1-Lipschitz functions is 1-Lipschitz, so the ensemble is certified by the same rule;
    if every member certifies the same label at ε, so does the mean (Li et al., 2021, section 4).

    Args:
        models: the members; all take the same input and give the same number of logits.

    Raises:
        ValueError: there is no member, or, when it is called, members differ in their logits.

    >>> members = [LpDistNet(4, 8, 2, 3) for _ in range(5)]
    >>> ensemble, x = Ensemble(members).eval(), torch.rand(2, 4)
    >>> torch.allclose(ensemble(x), sum(net(x) for net in members) / 5)
    True
    """

    def forward(self, x: Tensor) -> Tensor:
        """Mean logits, (B, classes)."""
        return self.logits(x).mean(dim=0)


class VotingEnsemble(Members):
    """The mean of several models' softmaxes: voting, mean over k of softmax(s · f⁽ᵏ⁾).

    Its outputs are probabilities, not distances: where each logit is 1-Lipschitz, a probability can
    still move by s/2 for each pixel unit, so that half their difference is no certified radius, and
    `linfkit.certify` refuses it (Li et al., 2021, section 4, compare voting with fusion).

    Args:
        models: the members; all take the same input and give the same number of logits.
        logit_scale: s, what the logits, in pixels, are multiplied by before the softmax. A large
            one leaves each member a whole vote for its own class.

    Raises:
        TypeError, ValueError: there is no member, the scale is no positive number, or, when it is
            called, members differ in their logits.

    >>> voting = VotingEnsemble([LpDistNet(4, 8, 2, 3) for _ in range(5)], logit_scale=10).eval()
    >>> torch.allclose(voting(torch.rand(2, 4)).sum(dim=1), torch.ones(2))
    True
    """

    def __init__(self, models: Iterable[nn.Module], logit_scale: float) -> None:
        super().__init__(models)
        self.logit_scale = check_real(
            "logit_scale", logit_scale, "a positive number", lambda s: 0 < s < math.inf
        )
        if self.arguments is not None:
            self.arguments |= {"logit_scale": self.logit_scale}

    def forward(self, x: Tensor) -> Tensor:
        """Mean probabilities, (B, classes)."""
        return (self.logit_scale * self.logits(x)).softmax(dim=-1).mean(dim=0)


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
