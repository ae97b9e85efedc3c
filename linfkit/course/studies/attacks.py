"""Certified radii beside the perturbations that attacks find, and other changes of images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from linfkit._util.devices import logits_of
from linfkit.certification.attacks import nearest_misclassified
from linfkit.certification.certify import certify
from linfkit.certification.intervals import interval_radius
from linfkit.nn.evaluation_mode import evaluating_at
from linfkit.nn.nets import LpDistNet


@dataclass(frozen=True)
class Attacked:
    """Images, a certified radius for each, and the nearest misclassified image that was found.

    Attributes:
        images: (B, C, H, W), in [0, 1].
        labels: (B,).
        radius: half the margin, (B,), in pixels; negative where misclassified.
        intervals: the radius that interval bounds certify, (B,).
        points: the nearest misclassified images found, of the shape of `images`.
        read_as: the class that each of `points` is given, (B,).
        size: ‖points − images‖_∞, (B,): 0 where misclassified as it is, inf where none was found.
    """

    images: Tensor
    labels: Tensor
    radius: Tensor
    intervals: Tensor
    points: Tensor
    read_as: Tensor
    size: Tensor

    @property
    def correct(self) -> Tensor:
        """Mask of the images that are classified correctly, (B,)."""
        return self.radius > 0

    @property
    def gap(self) -> Tensor:
        """Size found less certified radius, of the images classified correctly: what is unknown."""
        return (self.size - self.radius)[self.correct]

    @property
    def largest(self) -> float:
        """The largest of all certified radii and of all sizes found."""
        return max(*self.radius.tolist(), *self.size[self.size.isfinite()].tolist())

    def beaten(self, rounding: float = 1e-5) -> float:
        """The share of images with a find below the certified radius by more than rounding."""
        return (self.size < self.radius - rounding).double().mean().item()


def attack_images(
    model: LpDistNet, x: Tensor, labels: Tensor, steps: int = 50, seed: int = 0
) -> Attacked:
    """Certify images in two ways, and attack them.

    Args:
        model: a net; it is taken at p=∞.
        x: images, (B, C, H, W), in [0, 1].
        labels: whole numbers, (B,).
        steps: of each search of the attack.
        seed: of the attack's random starts.

    >>> net, x = LpDistNet(4, width=8, depth=2, classes=3), torch.rand(5, 1, 2, 2)
    >>> attack_images(net, x, predictions(net, x), steps=10).beaten()
    0.0
    """
    points, size = nearest_misclassified(model, x, labels, steps, seed)
    return Attacked(
        images=x,
        labels=labels,
        radius=certify(model, x, labels).radius,
        intervals=interval_radius(model, x, labels),
        points=points,
        read_as=predictions(model, points),
        size=size,
    )


@torch.no_grad()
def predictions(model: nn.Module, x: Tensor) -> Tensor:
    """The class that a net at p=∞ gives each image, (B,).

    >>> net = LpDistNet(4, width=8, depth=2, classes=3)
    >>> predictions(net, torch.rand(5, 4)).shape
    torch.Size([5])
    """
    with evaluating_at(model, math.inf):
        return logits_of(model, x).argmax(dim=1)


# --- changes that a certificate in ℓ∞ does not speak of


def rotated(x: Tensor, degrees: float) -> Tensor:
    """Images turned about their middle, counter-clockwise; what comes in from outside is 0.

    Args:
        x: (B, C, H, W), in [0, 1].
        degrees: the angle.

    >>> corner = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    >>> rotated(corner, 90).round()
    tensor([[[[0., 0.],
              [1., 0.]]]])
    """
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = x.new_tensor([[cosine, -sine, 0], [sine, cosine, 0]]).expand(len(x), 2, 3)
    grid = F.affine_grid(turn, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False).clamp(0, 1)


def shifted(x: Tensor, right: int = 0, down: int = 0) -> Tensor:
    """Images moved by whole pixels; what comes in from outside is 0.

    >>> shifted(torch.tensor([[[[1.0, 0.5]]]]), right=1)
    tensor([[[[0., 1.]]]])
    """
    height, width = x.shape[2:]
    left, top = max(right, 0), max(down, 0)
    padded = F.pad(x, (left, max(-right, 0), top, max(-down, 0)))
    return padded[..., top - down :, left - right :][..., :height, :width]


def one_pixel(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """The smallest change of one value to 0 or 1 that has each image misclassified.

    Every pixel is tried, in every channel.

    Args:
        model: a net; it is taken at p=∞.
        x: images, (B, C, H, W), in [0, 1].
        labels: whole numbers, (B,).

    Returns:
        The size of that change, in ℓ2 as in ℓ∞, (B,); inf where no change of one value will do.

    >>> net, x = LpDistNet(4, width=8, depth=2, classes=3), torch.rand(5, 1, 2, 2)
    >>> bool((one_pixel(net, x, predictions(net, x)) > 0).all())
    True
    """
    smallest = x.new_full((len(x),), math.inf)
    for place in range(x[0].numel()):
        for value in (0.0, 1.0):
            changed = x.flatten(1).clone()
            size = (changed[:, place] - value).abs()
            changed[:, place] = value
            fooled = predictions(model, changed.view_as(x)) != labels
            smallest = smallest.minimum(size.where(fooled, math.inf))
    return smallest


def noise(count: int, like: Tensor, seed: int = 0) -> Tensor:
    """Images in which every pixel is drawn evenly from [0, 1], of the shape of those in `like`.

    >>> noise(3, like=torch.zeros(1, 1, 8, 8)).shape
    torch.Size([3, 1, 8, 8])
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, *like.shape[1:], generator=generator).to(like)
