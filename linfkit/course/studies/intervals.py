"""The true radius of images beside what is proved below it and what an attack finds above it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from linfkit.certification.exact import exact_radius
from linfkit.course.studies.attacks import attack_images
from linfkit.nn.nets import LpDistNet


@dataclass(frozen=True)
class Enclosed:
    """Sizes of three perturbations of images classified correctly, in pixels.

    Attributes:
        place: where each stands among the images that were given, (B,).
        labels: (B,).
        proved: half the margin, with rounding subtracted, (B,).
        true: size of the smallest perturbation that there is, to the solver's 1e-6, (B,), float64.
        found: size of the smallest that an attack found, (B,); inf where it found none.
    """

    place: Tensor
    labels: Tensor
    proved: Tensor
    true: Tensor
    found: Tensor

    def out_of_order(self, rounding: float = 1e-5) -> float:
        """The share of images for which proved ≤ true ≤ found does not hold, to rounding.

        >>> two = torch.tensor([0.1, 0.2])
        >>> Enclosed(two, two, proved=two, true=two, found=two - 0.01).out_of_order()
        1.0
        """
        below = self.true < self.proved - rounding
        above = self.found < self.true - rounding
        return (below | above).double().mean().item()

    def tight(self, within: float = 1e-4) -> Tensor:
        """Mask of the images whose proof is tight: true − proved radius below `within`, (B,)."""
        return self.true - self.proved < within

    def missed(self, within: float = 1e-3) -> Tensor:
        """Mask of the images with a perturbation nearer than that found by more than `within`."""
        return self.found - self.true > within


def enclose(
    model: LpDistNet, x: Tensor, labels: Tensor, steps: int = 50, seed: int = 0
) -> Enclosed:
    """Certify, solve and attack those images that are classified correctly.

    Args:
        model: a tiny net, as for `linfkit.exact_radius`; it is taken at p=∞.
        x: images, (B, C, H, W), in [0, 1].
        labels: whole numbers, (B,).
        steps: of each search of the attack.
        seed: of the attack's random starts.

    Raises:
        RuntimeError: the solver's time runs out before it knows a radius.

    >>> net, x = LpDistNet(4, width=4, depth=2, classes=3).eval(), torch.rand(5, 1, 2, 2)
    >>> enclose(net, x, net(x).argmax(dim=1), steps=10).out_of_order()
    0.0
    """
    study = attack_images(model, x, labels, steps, seed)
    place = study.correct.nonzero().squeeze(1)
    return Enclosed(
        place=place,
        labels=labels[place],
        proved=study.radius[place],
        true=torch.tensor(
            [_true_radius(model, x[row], int(labels[row])) for row in place.tolist()],
            dtype=torch.float64,
            device=x.device,
        ),
        found=study.size[place],
    )


def _true_radius(model: LpDistNet, image: Tensor, label: int) -> float:
    exact = exact_radius(model, image, label)
    if not exact.solved:
        raise RuntimeError(
            f"the solver's time ran out with a radius between {exact.lower:.4g} and "
            f"{exact.upper:.4g}; take a smaller net"
        )
    return exact.upper
