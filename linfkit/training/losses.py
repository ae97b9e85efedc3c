"""Losses of logits, as pure functions.

All share the *shortfall* of each wrong class: r_j = 1 − (f_y − f_j) / θ for j ≠ y, and 0 for j = y.
It is 1 where the two logits are equal, 0 where the margin is exactly θ, and negative beyond. θ is
2·eps_train in logit units, which are pixels: a margin of θ certifies a radius of eps_train.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from linfkit._util.checks import check_logits, check_real


def hinge_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    theta: float,
    kappa: float = 0.25,
    share: float = 1.0,
) -> torch.Tensor:
    """Multi-class hinge of Zhang et al., ICML 2021: a maximum mixed with a mean.

    (1−κ) · mean_batch max_j max(r_j, 0) + κ · mean of all max(r_j, 0), where
    r_j = share − (f_y − f_j) / θ, and 0 at the label.

    Args:
        logits: (B, C).
        labels: whole numbers from 0 to C−1, (B,).
        theta: the margin from which a sample costs nothing, in pixels; above 0.
        kappa: weight of the mean over all classes, from 0 to 1.
        share: fraction of θ that is asked for, from 0 to 1, where it ramps up.

    Returns:
        The loss, a scalar.

    Raises:
        TypeError, ValueError: an argument has the wrong type, shape or range; the message names it.

    >>> round(hinge_loss(torch.tensor([[0.5, 0.0]]), torch.tensor([0]), theta=1.0).item(), 4)
    0.4375
    """
    labels = check_logits(logits, labels)
    check_real("kappa", kappa, "from 0 to 1", lambda kappa: 0 <= kappa <= 1)
    check_real("share", share, "from 0 to 1", lambda share: 0 <= share <= 1)
    hinge = (_shortfall(logits, labels, theta) - (1 - share)).clamp(min=0)
    return (1 - kappa) * hinge.amax(dim=1).mean() + kappa * hinge.mean()


def mixed_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    theta: float,
    lam: float,
    logit_scale: float | torch.Tensor,
) -> torch.Tensor:
    """Clipped hinge plus scaled cross-entropy of Zhang et al., ICLR 2022, equation (7).

    mean_batch min(max_j max(r_j, 0), 1) + λ · CE(logit_scale · f, y).

    The hinge is clipped at 1, so a sample that is misclassified pulls through the cross-entropy
    alone, which never starves: its gradient is there at any margin.

    Args:
        logits: (B, C).
        labels: whole numbers from 0 to C−1, (B,).
        theta: the margin from which the hinge is zero, in pixels; above 0.
        lam: weight of the cross-entropy, 0 or more.
        logit_scale: the learned scalar by which the cross-entropy sees the logits.

    Returns:
        The loss, a scalar.

    Raises:
        TypeError, ValueError: an argument has the wrong type, shape or range; the message names it.

    >>> logits, labels = torch.tensor([[0.5, 0.0]]), torch.tensor([0])
    >>> round(mixed_loss(logits, labels, theta=1.0, lam=0.0, logit_scale=1.0).item(), 4)
    0.5
    """
    labels = check_logits(logits, labels)
    check_real("lam", lam, "a number of 0 or more", lambda lam: 0 <= lam < math.inf)
    if not isinstance(logit_scale, torch.Tensor):
        check_real("logit_scale", logit_scale, "a finite number or a tensor", math.isfinite)
    elif logit_scale.numel() != 1:
        raise ValueError(f"logit_scale must be one number; got shape {tuple(logit_scale.shape)}")
    clipped = _shortfall(logits, labels, theta).amax(dim=1).clamp(max=1).mean()
    return clipped + lam * F.cross_entropy(logit_scale * logits, labels)


def worst_logits(logits: torch.Tensor, labels: torch.Tensor, eps: float) -> torch.Tensor:
    """Largest f_j − f_y of each class within ε, of a net that is 1-Lipschitz: (B, C).

    f_j − f_y + 2ε for j ≠ y, and 0 for j = y: either logit moves by ε at most. A sample is
    certified at ε where all but the label's are below 0.

    Args:
        logits: (B, C).
        labels: whole numbers from 0 to C−1, (B,).
        eps: in pixels, 0 or more.

    Raises:
        TypeError, ValueError: an argument has the wrong type, shape or range; the message names it.

    >>> worst_logits(torch.tensor([[0.5, 0.0]]), torch.tensor([0]), eps=0.125)
    tensor([[ 0.0000, -0.2500]])
    """
    labels = check_logits(logits, labels)
    check_real("eps", eps, "a number of pixels, 0 or more", lambda eps: 0 <= eps < math.inf)
    of_label = logits.gather(1, labels[:, None])
    return (logits - of_label + 2 * eps).scatter(1, labels[:, None], 0.0)


def worst_cross_entropy(
    logits: torch.Tensor,
    worst: torch.Tensor,
    labels: torch.Tensor,
    kappa: float,
    logit_scale: float | torch.Tensor,
) -> torch.Tensor:
    """κ · CE(s · worst, y) + (1−κ) · CE(s · f, y): the loss of the hybrids of ICML 2021.

    Args:
        logits: (B, C).
        worst: what each f_j − f_y can be within ε, (B, C), 0 at the label; see `worst_logits`.
        labels: int64 from 0 to C−1, (B,).
        kappa: weight of the worst case, from 0 to 1; at 0 this is the usual cross-entropy.
        logit_scale: s, by which the cross-entropy sees both.

    >>> logits, labels = torch.tensor([[0.5, 0.0]]), torch.tensor([0])
    >>> worst = worst_logits(logits, labels, eps=0.25)
    >>> round(worst_cross_entropy(logits, worst, labels, kappa=1.0, logit_scale=9.0).item(), 4)
    0.6931
    """
    clean = F.cross_entropy(logit_scale * logits, labels)
    return clean if kappa == 0 else clean.lerp(F.cross_entropy(logit_scale * worst, labels), kappa)


def worst_mixed_loss(
    logits: torch.Tensor,
    worst: torch.Tensor,
    labels: torch.Tensor,
    theta: float,
    lam: float,
    logit_scale: float | torch.Tensor,
) -> torch.Tensor:
    """Hinge of the worst logits where the prediction is right, plus scaled cross-entropy.

    mean_batch [argmax f = y] · max_j max(1 + worst_j / θ, 0) + λ · CE(s · f, y): how the hybrids of
    SortNet are trained (Zhang et al., NeurIPS 2022). As in `mixed_loss`, what is misclassified
    pulls through the cross-entropy alone.

    Args:
        logits: (B, C).
        worst: what each f_j − f_y can be within ε, (B, C), 0 at the label; see `worst_logits`.
        labels: int64 from 0 to C−1, (B,).
        theta: the margin beyond the worst case from which the hinge is zero; above 0.
        lam: weight of the cross-entropy, 0 or more.
        logit_scale: the learned scalar by which the cross-entropy sees the logits.

    >>> logits, labels = torch.tensor([[0.5, 0.0]]), torch.tensor([0])
    >>> worst = worst_logits(logits, labels, eps=0.125)
    >>> worst_mixed_loss(logits, worst, labels, theta=1.0, lam=0.0, logit_scale=1.0).item()
    0.75
    """
    shortfall = (1 + worst / theta).scatter(1, labels[:, None], 0.0)
    correct = logits.argmax(dim=1) == labels
    hinge = (correct * shortfall.amax(dim=1)).mean()
    return hinge + lam * F.cross_entropy(logit_scale * logits, labels)


def zero_hinge(logits: torch.Tensor, labels: torch.Tensor, theta: float) -> torch.Tensor:
    """Mask of the samples with a hinge of exactly zero, and so no gradient from it: bool, (B,).

    Their margin is θ or more (Zhang et al., ICLR 2022, section 3).

    >>> zero_hinge(torch.tensor([[2.0, 0.0], [0.5, 0.0]]), torch.tensor([0, 0]), theta=1.0)
    tensor([ True, False])
    """
    return _shortfall(logits, check_logits(logits, labels), theta).amax(dim=1) <= 0


def _shortfall(logits: torch.Tensor, labels: torch.Tensor, theta: float) -> torch.Tensor:
    """r_j = 1 − (f_y − f_j) / θ, and 0 at the label: (B, C), of labels that are checked."""
    check_real("theta", theta, "a positive number", lambda theta: 0 < theta < math.inf)
    of_label = logits.gather(1, labels[:, None])
    shortfall = 1 - (of_label - logits) / theta
    return shortfall.scatter(1, labels[:, None], 0.0)
