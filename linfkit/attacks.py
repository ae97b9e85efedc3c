"""What is tried: attacks, by foolbox, against a model as `linfkit.certify` sees it."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from linfkit.certificates import check_images, evaluating_at
from linfkit.losses import check_logits

__all__ = ["survives_pgd"]


def survives_pgd(
    model: nn.Module, x: Tensor, labels: Tensor, eps: float | Tensor, steps: int = 50
) -> Tensor:
    """Which samples projected gradient descent fails to have misclassified, at p=∞.

    Args:
        model: takes images in [0, 1].
        x: images, (B, ...), in [0, 1]; the attack stays inside.
        labels: whole numbers, (B,).
        eps: size of the perturbation in pixels, one for all or one for each sample, (B,).
        steps: gradient steps; each starts from the point before, the first from a random one.

    Returns:
        bool, (B,); False where a misclassified point was found.

    Raises:
        TypeError, ValueError: images, labels or eps are not as above.

    >>> from linfkit.models import LpDistNet
    >>> net, x = LpDistNet(4, width=8, depth=2, classes=3), torch.rand(5, 4)
    >>> survives_pgd(net, x, net.eval()(x).argmax(dim=1), eps=0.0)
    tensor([True, True, True, True, True])
    """
    from foolbox.attacks import LinfPGD
    from foolbox.models.pytorch import PyTorchModel

    check_images(x)
    sizes = torch.as_tensor(eps, dtype=x.dtype, device=x.device)
    if sizes.shape not in ((), (len(x),)):
        raise ValueError(f"eps must be one number or {len(x)}; the shape is {tuple(sizes.shape)}")
    if not (sizes.min() >= 0 and sizes.max() <= 1):
        raise ValueError(
            "eps must be finite and 0 or more, in pixels of [0, 1], such as 8/255; "
            f"got values from {sizes.min():g} to {sizes.max():g}"
        )
    sizes = sizes.expand(len(x))
    attacked = copy.deepcopy(model).requires_grad_(False)  # whose weights need no gradients
    with evaluating_at(attacked, math.inf):
        with torch.no_grad():
            logits = attacked(x)
        check_logits(logits, labels)
        survives = logits.argmax(dim=1) == labels
        target = PyTorchModel(attacked, bounds=(0, 1), device=x.device)
        attack = LinfPGD(rel_stepsize=2.5 / steps, steps=steps)
        for size in sizes.unique().tolist():
            rows = (sizes == size) & survives
            if size > 0 and rows.any():
                _, _, fooled = attack(target, x[rows], labels[rows], epsilons=size)
                survives[rows] = ~fooled
    return survives
