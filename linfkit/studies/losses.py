"""Hinge against mixed loss (ICLR 2022, sections 3 and 4): what each is, and what it reaches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean

import torch
from torch import Tensor

from linfkit.data import Dataset
from linfkit.recipes import Recipe
from linfkit.training import Run, fit_all

__all__ = [
    "AtMargin",
    "by_margin",
    "compare_losses",
    "early_starvation",
    "losses_of_a_sample",
]


@dataclass(frozen=True)
class AtMargin:
    """What one loss reaches at one training margin: certified accuracy, run by run."""

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
        certified.setdefault(key, []).append(run.results["certified"])
    table: dict[str, list[AtMargin]] = {}
    for loss, eps_train in sorted(certified):
        row = AtMargin(loss, eps_train, tuple(certified[loss, eps_train]))
        table.setdefault(loss, []).append(row)
    return table


def early_starvation(runs: Iterable[Run], up_to_p: float = 32.0) -> dict[str, dict[float, float]]:
    """The share of starved samples while p is small, for each loss and ε_train.

    The mean over the epochs with p ≤ `up_to_p`, and over the seeds. See `linfkit.fit` for what
    counts as starved.
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
    """What each loss charges one sample, by its logit differences f_y − f_j to the wrong classes.

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
