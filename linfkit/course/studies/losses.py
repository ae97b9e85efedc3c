"""Hinge against mixed loss (ICLR 2022, sections 3 and 4): what each is, and what it reaches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean

import torch
from torch import Tensor

from linfkit.data.dataset import Dataset
from linfkit.recipes.recipe import Recipe
from linfkit.training.fit import fit_all
from linfkit.training.runs import Run


@dataclass(frozen=True)
class AtMargin:
    """Certified accuracy of one loss at one training margin, run by run."""

    loss: str
    eps_train: float
    certified: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return mean(self.certified)


def compare_losses(
    recipe: Recipe, margins: Sequence[float], data: Dataset | None = None
) -> list[Run]:
    """Train a recipe with the hinge and with the mixed loss, at each margin, with each seed.

    Args:
        recipe: all that the runs have in common; its own loss and ε_train do not count.
        margins: ε_train as multiples of the recipe's ε.
        data: in place of the recipe's own data set.

    Returns:
        The runs, loss by loss, margin by margin, seed by seed.
    """
    return fit_all(
        [
            (recipe.replace(loss=loss, eps_train=multiple * recipe.eps), seed)
            for loss in ("hinge", "mixed")
            for multiple in margins
            for seed in recipe.seeds
        ],
        data=data,
        description="losses × margins × seeds",
    )


def by_margin(runs: Iterable[Run]) -> dict[str, list[AtMargin]]:
    """Certified accuracy of each loss against its training margin, in rising order.

    All of the test images count; the weights are the raw ones.
    """
    certified: dict[tuple[str, float], list[float]] = {}
    for run in runs:
        key = run.recipe.loss, run.recipe.eps_train
        certified.setdefault(key, []).append(run.results["certified_by_margin"])
    table: dict[str, list[AtMargin]] = {}
    for loss, eps_train in sorted(certified):
        row = AtMargin(loss, eps_train, tuple(certified[loss, eps_train]))
        table.setdefault(loss, []).append(row)
    return table


def early_starvation(runs: Iterable[Run], up_to_p: float = 32.0) -> dict[str, dict[float, float]]:
    """The share of starved samples while p is small, for each loss and ε_train.

    The mean over the epochs with p ≤ `up_to_p`, and over the seeds. See `linfkit.fit` for what
    counts as starved.

    It is a product: the share whose hinge is zero, times the share of those that is not certified.
    The second is larger with the hinge on all data tried, since it stops pulling at θ and leaves
    margins just beyond it. The first is larger with the mixed loss: on digits and MNIST
    twice as large at first, and less later; on CIFAR-10 15 times at first and 3 times later, which
    turns the sign. Misclassified samples, half of all there, pull at the hinge as hard as any, so
    that it gets more of them right, with thin margins: after one epoch 45 % at a median of 0.29 θ,
    the mixed loss, which clips them, 28 % at 1.93 θ. At ε_train = ε, one seed, over 2,000 training
    samples (of digits all), at the end of an epoch:

    ========  =====  ====================  ====================
    data      p      hinge                 mixed loss
    ========  =====  ====================  ====================
    digits    8      0.095 × 0.68 = 0.065  0.209 × 0.29 = 0.060
    digits    10     0.374 × 0.53 = 0.200  0.423 × 0.18 = 0.076
    MNIST     15     0.164 × 0.72 = 0.119  0.295 × 0.24 = 0.070
    CIFAR-10  8.3    0.014 × 0.88 = 0.012  0.206 × 0.51 = 0.105
    CIFAR-10  12     0.020 × 0.67 = 0.013  0.258 × 0.35 = 0.090
    CIFAR-10  26     0.078 × 0.39 = 0.031  0.254 × 0.12 = 0.031
    ========  =====  ====================  ====================
    """
    shares: dict[tuple[str, float], list[float]] = {}
    for run in runs:
        key = run.recipe.loss, run.recipe.eps_train
        early = [row["starved"] for row in run.history if row["p"] <= up_to_p]
        shares.setdefault(key, []).append(mean(early))
    table: dict[str, dict[float, float]] = {}
    for loss, eps_train in sorted(shares):
        table.setdefault(loss, {})[eps_train] = mean(shares[loss, eps_train])
    return table


def losses_of_a_sample(
    differences: Tensor, theta: float, lam: float, logit_scale: float, kappa: float = 0.25
) -> dict[str, Tensor]:
    """Losses of one sample, by its logit differences f_y − f_j to the wrong classes.

    The formulas of `linfkit.hinge_loss` and `linfkit.mixed_loss` before the mean over the batch.

    Args:
        differences: (..., C − 1), in pixels; their smallest is the margin.
        theta: the margin that the hinge asks for, in pixels.
        lam: weight of the cross-entropy.
        logit_scale: the scalar by which the cross-entropy sees the logits.
        kappa: weight of the mean over all C classes in the hinge.

    Returns:
        "hinge", "clipped hinge", "λ·cross-entropy", and "mixed", the sum of those two; (...) each.

    >>> losses = losses_of_a_sample(torch.tensor([0.5]), theta=1.0, lam=0.0, logit_scale=1.0)
    >>> {name: value.item() for name, value in losses.items()}
    {'hinge': 0.4375, 'clipped hinge': 0.5, 'λ·cross-entropy': 0.0, 'mixed': 0.5}
    """
    hinge = (1 - differences / theta).clamp(min=0)
    classes = differences.shape[-1] + 1
    logits = torch.cat([differences.new_zeros(*differences.shape[:-1], 1), -differences], dim=-1)
    clipped = hinge.amax(dim=-1).clamp(max=1)
    cross_entropy = lam * (logit_scale * logits).logsumexp(dim=-1)
    return {
        "hinge": (1 - kappa) * hinge.amax(dim=-1) + kappa * hinge.sum(dim=-1) / classes,
        "clipped hinge": clipped,
        "λ·cross-entropy": cross_entropy,
        "mixed": clipped + cross_entropy,
    }
