"""Certified radii from margins: half the margin of 1-Lipschitz logits, less rounding."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from linfkit._util.checks import check_eps, check_logits, check_tensor
from linfkit._util.devices import to_float64
from linfkit.certification.rounding import Rounded, propagate, rounded_down


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
    labels = check_logits(logits, labels)
    if logits.shape[1] < 2:
        raise ValueError("logits must have at least two classes to have a margin; got one")
    others = logits.scatter(1, labels[:, None], -math.inf)
    return (logits.gather(1, labels[:, None]).squeeze(1) - others.amax(dim=1)) / 2


@dataclass(frozen=True)
class Certificates:
    """Certified radius of each sample, in pixels, and the accuracies that follow.

    Attributes:
        radius: (B,); negative where the sample is misclassified; 0 where it is classified
            correctly, but rounding could account for all of its margin, so nothing is proved.
        correct: True where the sample is classified correctly, bool, (B,); if left out, True where
            the radius is above 0.
        rounding: what was subtracted from half the margin for rounding, in pixels, (B,); None where
            the radius does not come from the margin, or rounding is not counted.
    """

    radius: Tensor
    correct: Tensor = None  # type: ignore[assignment]
    rounding: Tensor | None = None

    def __post_init__(self) -> None:
        check_tensor("radius", self.radius)
        if self.correct is None:
            object.__setattr__(self, "correct", self.radius > 0)

    def accuracy(self, eps: float) -> float:
        """Certified accuracy: the fraction of samples whose radius is above eps, in pixels.

        Raises:
            ValueError: eps is negative, not finite, or above 1, the whole range of a pixel.

        >>> Certificates(torch.tensor([0.2, 0.05, -0.1])).accuracy(eps=0.1)
        0.3333333333333333
        """
        return int((self.radius > check_eps(eps)).sum()) / len(self.radius)

    @property
    def clean_accuracy(self) -> float:
        """The fraction of samples that are classified correctly.

        >>> Certificates(torch.tensor([0.2, -0.1])).clean_accuracy
        0.5
        """
        return int(self.correct.sum()) / len(self.correct)


def join(parts: Sequence[Certificates]) -> Certificates:
    """Certificates of all batches as one.

    >>> join([Certificates(torch.tensor([0.2])), Certificates(torch.tensor([-0.1]))]).radius
    tensor([ 0.2000, -0.1000])
    """
    radius, correct = (
        torch.cat([getattr(p, name) for p in parts]) for name in ("radius", "correct")
    )
    rounding = [part.rounding for part in parts if part.rounding is not None]
    return Certificates(radius, correct, torch.cat(rounding) if rounding else None)


def certify_margins(
    model: nn.Module, roundings: Mapping[nn.Module, int], x: Tensor, labels: Tensor
) -> Certificates:
    """Certify a batch by half the margin less rounding, rounded down.

    Args:
        model: gives 1-Lipschitz logits, at p=∞ and in evaluation mode.
        roundings: of its layers (`linfkit.certification.layer_checks.layer_roundings`).
        x: images, (B, ...).
        labels: (B,).
    """
    logits = propagate(model, Rounded.of(x), roundings)
    wide = to_float64(logits.value)
    half_margin = certified_radius(wide, labels.to(wide.device))
    # the margin is one more difference; what follows is rounded too, but in float64
    rounding = 2 * logits.after(logits.value, roundings=1).error * (1 + 2**-20)
    dtype = torch.promote_types(logits.value.dtype, torch.float32)
    below = (half_margin - rounding).nan_to_num()  # 0 where ∞ is subtracted from ∞
    proved = rounded_down(below, dtype).clamp(min=0)
    correct = half_margin > 0
    return Certificates(proved.where(correct, half_margin.to(dtype)), correct, rounding.to(dtype))


def largest_eps(holds: Callable[[Tensor], Tensor], like: Tensor, halvings: int) -> Tensor:
    """Bisect [0, 1] for the largest ε at which each sample is certified.

    Args:
        holds: of one ε a sample, (B,), says which are certified, bool, (B,).
        like: a tensor of shape (B,) whose dtype and device the result has.
        halvings: of the interval: the result is rounded down to a multiple of 2^−halvings.

    >>> largest_eps(lambda eps: eps < torch.tensor([0.3, 0.0]), torch.zeros(2), halvings=3)
    tensor([0.2500, 0.0000])
    """
    certified = torch.zeros_like(like)
    for halving in range(1, halvings + 1):
        tried = certified + 0.5**halving
        certified = tried.where(holds(tried), certified)
    return certified
