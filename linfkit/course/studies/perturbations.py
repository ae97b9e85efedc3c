"""Perturbations of one size: pushed towards another class, or drawn at random."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from linfkit._util.devices import logits_of, on_device_of_model
from linfkit.certification.margins import certified_radius
from linfkit.nn.evaluation_mode import evaluating_at


@dataclass(frozen=True)
class Pushed:
    """An image, moved by a perturbation of ℓ∞ size eps or less, and a net's logits at p=∞.

    Attributes:
        eps: the size, in pixels.
        image: x + v, (C, H, W), in [0, 1].
        label: y.
        logits: f(x), (classes,).
        moved_logits: f(x + v), (classes,).
    """

    eps: float
    image: Tensor
    label: int
    logits: Tensor
    moved_logits: Tensor

    @property
    def radius(self) -> float:
        """Half the margin at x; negative if x is misclassified."""
        return certified_radius(self.logits[None], torch.tensor([self.label])).item()


@on_device_of_model
def push(model: nn.Module, x: Tensor, label: int, eps: float, p: float = 8) -> Pushed:
    """Move every pixel by eps against the gradient of the margin, and clip the image to [0, 1].

    The gradient is taken at a small p: at p=∞ it sees few of the pixels. The logits are those at
    p=∞. This is a single step, so a prediction that withstands it may yield to a better attack.

    Args:
        model: a net; its p and mode are put back.
        x: one image, (C, H, W), in [0, 1].
        label: its label.
        eps: ℓ∞ size of the perturbation, in pixels.
        p: the exponent at which the gradient is taken.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net = LpDistNet(4, width=8, depth=2, classes=3)
    >>> pushed = push(net, torch.rand(1, 2, 2), label=0, eps=0.1)
    >>> bool((pushed.moved_logits - pushed.logits).abs().max() <= 0.1 + 1e-5)
    True
    """
    start = x[None].detach().requires_grad_(True)
    labels = torch.tensor([label])
    with evaluating_at(model, p), torch.enable_grad():
        half_margin = certified_radius(model(start), labels).sum()
        (gradient,) = torch.autograd.grad(half_margin, start)
    moved = (x - eps * gradient[0].sign()).clamp(0, 1)
    with evaluating_at(model, math.inf), torch.no_grad():
        logits, moved_logits = model(torch.stack([x, moved]))
    return Pushed(eps, moved, label, logits, moved_logits)


def random_signs(x: Tensor, size: float | Tensor, seed: int = 0) -> Tensor:
    """Images moved by ± size in every pixel, the signs drawn at random; not clipped.

    Args:
        x: images, (B, C, H, W), in [0, 1].
        size: ℓ∞ size of the perturbation, one for all or one for each image, (B,).
        seed: of the signs.

    >>> moved = random_signs(torch.zeros(2, 1, 8, 8), size=0.25)
    >>> bool((moved.abs() == 0.25).all())
    True
    """
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, x.shape, generator=generator).to(x.device) * 2 - 1
    return x + torch.as_tensor(size, dtype=x.dtype, device=x.device).view(-1, 1, 1, 1) * signs


@torch.no_grad()
def predictions_changed(
    model: nn.Module, x: Tensor, labels: Tensor, size: Tensor, tries: int = 20
) -> int:
    """Number of random perturbations of each size that make a prediction wrong at p=∞.

    Args:
        model: a net; its p and mode are put back.
        x: images, (B, C, H, W), in [0, 1].
        labels: their labels, (B,).
        size: ℓ∞ size for each image, (B,).
        tries: how many draws of random signs; all pixels up and all pixels down come on top.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net, x = LpDistNet(4, width=8, depth=2, classes=3).eval(), torch.rand(5, 1, 2, 2)
    >>> predictions_changed(net, x, net(x).argmax(dim=1), torch.zeros(5))
    0
    """
    shift = size.view(-1, 1, 1, 1)
    tried = [x - shift, x + shift, *(random_signs(x, size, seed) for seed in range(tries))]
    with evaluating_at(model, math.inf):
        return sum(int((logits_of(model, moved).argmax(dim=1) != labels).sum()) for moved in tried)
