"""Lipschitz constant and margins of a net against p (ICLR 2022, section 3)."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn

from linfkit._util.devices import device_of, logits_of
from linfkit.certification.lipschitz import (
    LayerConstant,
    lipschitz_bound,
    lipschitz_by_layer,
    lipschitz_estimate,
)
from linfkit.certification.margins import certified_radius
from linfkit.nn.layers import MeanShift, set_p

#: From the papers' start of training to their end.
EXPONENTS = (8, 11, 16, 32, 64, 128, 256, 512, 1000, math.inf)


@dataclass(frozen=True)
class AtExponent:
    """A net's Lipschitz constant and margins at one p, in pixels.

    Attributes:
        p: the exponent.
        bound: product of the layers' bounds.
        measured: what ascent found around each image, (B,): lower bounds.
        margins: f_y − max_{j≠y} f_j of each image, (B,).
        layers: bound and measured worst case of each distance layer, in order.
    """

    p: float
    bound: float
    measured: Tensor
    margins: Tensor
    layers: Sequence[LayerConstant]


def at_exponent(model: nn.Module, p: float, images: Tensor) -> nn.Module:
    """A copy of a net at another p, in evaluation mode, its running means taken anew from images.

    Distances shrink as p grows, so means that were kept at one p centre nothing at another. A mean
    is only a shift: the Lipschitz constant does not depend on it.

    Args:
        model: a net; it stays as it is.
        p: the exponent of the copy.
        images: whose activations the means are taken of, (B, ...), in [0, 1].

    >>> from linfkit.nn.nets import LpDistNet
    >>> net = LpDistNet(4, width=8, depth=2, classes=3)
    >>> at_exponent(net, 8, torch.rand(16, 4)).p, net.p
    (8.0, inf)
    """
    moved = copy.deepcopy(model)
    set_p(moved, p)
    shifts = [module for module in moved.modules() if isinstance(module, MeanShift)]
    momenta = [shift.momentum for shift in shifts]
    for shift in shifts:
        shift.momentum = 1.0
    with torch.no_grad():
        moved.train()(images.to(device_of(moved)))
    for shift, momentum in zip(shifts, momenta, strict=True):
        shift.momentum = momentum
    return moved.eval()


def sweep_exponents(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    exponents: Sequence[float] = EXPONENTS,
    measured_images: int = 64,
    layer_images: int = 4,
) -> list[AtExponent]:
    """Evaluate the same weights at several p: bound, measured constants, margins.

    Args:
        model: a net; it stays as it is.
        x: images, (B, ...), in [0, 1]; the means are taken anew from them at each p.
        labels: whole numbers, (B,).
        exponents: the values of p.
        measured_images: around how many of the images to measure the net's constant.
        layer_images: around how many to measure each layer's, which has many more outputs.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net = LpDistNet(4, width=8, depth=2, classes=3)
    >>> rows = sweep_exponents(net, torch.rand(9, 4), torch.arange(9) % 3)
    >>> all(row.measured.max() <= row.bound * 1.001 for row in rows)
    True
    """
    rows = []
    for p in exponents:
        net = at_exponent(model, p, x)
        with torch.no_grad():
            margins = 2 * certified_radius(logits_of(net, x), labels)
        measured = lipschitz_estimate(net, x[:measured_images])
        layers = lipschitz_by_layer(net, x[:layer_images])
        rows.append(AtExponent(float(p), lipschitz_bound(net), measured, margins, layers))
    return rows


def margins_left(rows: Sequence[AtExponent]) -> float:
    """Median size of the margins at the last p of a sweep over that at the first.

    Negative margins count too, and they shrink less: where most images are misclassified, little is
    lost of the median. On CIFAR-10, of a net of the quick kind that gets one of five test images
    right, the median margin of those right at p=8 falls to 0.28 of itself at p=∞, that of the wrong
    ones to 0.80, and the size of all to 0.77; on digits all are left with 0.44.

    >>> row = AtExponent(8.0, 2.0, torch.ones(3), torch.tensor([0.4, -0.6, 0.1]), [])
    >>> margins_left([row, AtExponent(math.inf, 1.0, torch.ones(3), row.margins / 2, [])])
    0.5
    """
    first, *_, last = (row.margins.abs().median().item() for row in rows)
    return last / first


def running_product(factors: Iterable[float]) -> list[float]:
    """The product of the first factor, of the first two, and so on: what layers make together.

    >>> running_product([1.5, 2.0, 2.0])
    [1.5, 3.0, 6.0]
    """
    return list(accumulate(factors, operator.mul))
