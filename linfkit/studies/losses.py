"""Hinge against mixed loss over a range of training margins (ICLR 2022, sections 3 and 4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean

from linfkit.data import Dataset
from linfkit.recipes import Recipe
from linfkit.training import Run, fit_all

__all__ = ["AtMargin", "by_margin", "compare_losses"]


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
