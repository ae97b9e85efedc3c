"""Rounding that certificates subtract, beside the rounding that is seen."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from linfkit._util.devices import device_of, logits_of, to_float64
from linfkit.certification.certify import certify
from linfkit.certification.margins import certified_radius
from linfkit.nn.evaluation_mode import evaluating_at


@dataclass(frozen=True)
class Rounding:
    """Effect of rounding on the logits and the certificate of each image, in pixels.

    Attributes:
        half_margin: half the margin of the logits as they were computed, (B,), float64.
        radius: the certified radius, (B,).
        taken_off: subtracted from half the margin, (B,): 2δ and the rounding of the margin.
        seen: the most that any of an image's logits differs between the net as it is executed and
            the same net in float64, (B,), float64.
    """

    half_margin: Tensor
    radius: Tensor
    taken_off: Tensor
    seen: Tensor

    @property
    def allowed(self) -> Tensor:
        """Half of what was subtracted: the δ that bounds each logit's error, (B,)."""
        return self.taken_off / 2

    def lost(self, eps: float) -> int:
        """Number of images that half the margin would certify at eps, and the radius does not."""
        return int(((self.half_margin > eps) & ~(self.radius > eps)).sum())


@torch.no_grad()
def measure_rounding(model: nn.Module, x: Tensor, labels: Tensor) -> Rounding:
    """Certify images, and execute the net on them both as it is and in float64.

    float64 stands in for real numbers: its own rounding is some 2²⁹ times smaller.

    Args:
        model: of layers whose rounding is known (`linfkit.certification.rounding`), in float32;
            it is taken at p=∞.
        x: images, (B, ...), float32, in [0, 1].
        labels: whole numbers, (B,).

    Raises:
        ValueError: no rounding is known for this model.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net, x = LpDistNet(4, width=8, depth=2, classes=3).eval(), torch.rand(5, 4)
    >>> measured = measure_rounding(net, x, net(x).argmax(dim=1))
    >>> bool((measured.seen <= measured.allowed).all()), measured.lost(eps=0.1)
    (True, 0)
    """
    certificates = certify(model, x, labels)
    if certificates.rounding is None:
        raise ValueError(
            f"model must be one whose rounding is known; that of a {type(model).__name__} is not"
        )
    with evaluating_at(model, math.inf):
        logits = to_float64(logits_of(model, x))
        wide = to_float64(x.to(device_of(model)))
        exact = copy.deepcopy(model).to(wide)(wide).to(logits.device)
    return Rounding(
        half_margin=certified_radius(logits, labels),
        radius=certificates.radius,
        taken_off=certificates.rounding,
        seen=(logits - exact).abs().amax(dim=1),
    )
