"""FGSM and PGD in a few lines, as notebook 02 writes them, and a net's accuracy under them.

They attack a net as it stands, at its own p; `linfkit.survives_pgd` attacks it as certificates see
it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Net = Callable[[Tensor], Tensor]
Attack = Callable[[Net, Tensor, Tensor, float], Tensor]


def fgsm(net: Net, x: Tensor, labels: Tensor, eps: float) -> Tensor:
    """Fast gradient sign method: every pixel moved by eps, the way that the loss rises.

    x' = clip(x + eps · sign ∇ₓ CE(f(x), y), 0, 1) (Goodfellow, Shlens, Szegedy, ICLR 2015).

    Args:
        net: gives logits, (B, C).
        x: images, (B, ...), in [0, 1].
        labels: whole numbers, (B,).
        eps: ℓ∞ size of the perturbation, in pixels.

    Returns:
        The images after it, of the shape of x.

    >>> net = torch.nn.Linear(2, 2)
    >>> moved = fgsm(net, torch.full((1, 2), 0.5), torch.tensor([0]), eps=0.1)
    >>> torch.allclose((moved - 0.5).abs(), torch.tensor(0.1))
    True
    """
    return (x + eps * loss_gradient(net, x, labels).sign()).clamp(0, 1)


def pgd(net: Net, x: Tensor, labels: Tensor, eps: float, steps: int = 20) -> Tensor:
    """Projected gradient descent: many short steps of FGSM, none of which leaves the box.

    Each step has length 2.5 eps / steps; then the image goes back to the nearest within eps of x
    and within [0, 1] (Madry et al., ICLR 2018, here without a random start).

    Args:
        net: gives logits, (B, C).
        x: images, (B, ...), in [0, 1].
        labels: whole numbers, (B,).
        eps: ℓ∞ size of the perturbation, in pixels.
        steps: how many.

    Returns:
        The images after the last step, of the shape of x.

    >>> net = torch.nn.Linear(2, 2)
    >>> moved = pgd(net, torch.full((1, 2), 0.5), torch.tensor([0]), eps=0.1)
    >>> bool((moved - 0.5).abs().max() <= 0.1 + 1e-6)
    True
    """
    moved = x
    for _ in range(steps):
        moved = moved + 2.5 * eps / steps * loss_gradient(net, moved, labels).sign()
        moved = moved.clamp(x - eps, x + eps).clamp(0, 1)
    return moved


def accuracy_within(
    attack: Attack, net: Net, x: Tensor, labels: Tensor, sizes: Sequence[float]
) -> list[float]:
    """Share of images still classified as their label after an attack of each size.

    Args:
        attack: `fgsm`, `pgd` or one of your own.
        net: gives logits, (B, C).
        x: images, (B, ...), in [0, 1].
        labels: whole numbers, (B,).
        sizes: of the perturbations, in pixels.

    >>> net, x = torch.nn.Linear(2, 2), torch.rand(5, 2)
    >>> accuracy_within(fgsm, net, x, net(x).argmax(dim=1), [0.0])
    [1.0]
    """
    shares = []
    for eps in sizes:
        moved = attack(net, x, labels, eps)
        with torch.no_grad():
            shares.append((net(moved).argmax(dim=1) == labels).double().mean().item())
    return shares


def loss_gradient(net: Net, x: Tensor, labels: Tensor) -> Tensor:
    """Gradient in the images of the sum of their cross-entropies, of the shape of x.

    >>> x, labels = torch.rand(5, 2), torch.zeros(5).long()
    >>> loss_gradient(torch.nn.Linear(2, 2), x, labels).shape
    torch.Size([5, 2])
    """
    x = x.detach().requires_grad_(True)
    loss = F.cross_entropy(net(x), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, x)
    return gradient
