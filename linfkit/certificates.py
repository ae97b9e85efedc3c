"""What is proved: radii within which no perturbation can change a prediction."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from linfkit.layers import DistanceLayer, distance_layers
from linfkit.losses import check_logits

__all__ = ["Certificates", "certified_radius", "certify", "check_images", "evaluating_at"]


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
        model: takes images in [0, 1], gives logits that are 1-Lipschitz in pixels at p=∞.
        x: images, (B, ...), floating point, in [0, 1].
        labels: whole numbers, (B,).
        batch_size: samples that pass through the model at once.

    Returns:
        `Certificates` with ``.radius`` (B,), in pixels, and ``.accuracy(eps)``.

    Raises:
        TypeError, ValueError: images or labels are not as above, or the model holds no distance
            layer; the message names the argument.

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
    with evaluating_at(model, math.inf):
        radius = [
            certified_radius(model(images), targets)
            for images, targets in zip(x.split(batch_size), labels.split(batch_size), strict=True)
        ]
    return Certificates(torch.cat(radius))


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
