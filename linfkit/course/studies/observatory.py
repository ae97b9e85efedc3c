"""Training watched from p=8 to p=∞: margins, Lipschitz constant and certified accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from linfkit._util.devices import logits_of
from linfkit.certification.margins import certified_radius
from linfkit.data.dataset import Dataset
from linfkit.nn.evaluation_mode import evaluating_at
from linfkit.recipes.recipe import Recipe
from linfkit.training.building import initial_model
from linfkit.training.fit import apply_recipe, fit

#: Edges of the margins' bins, in pixels.
EDGES = [round(-0.7 + 0.05 * k, 2) for k in range(41)]


@dataclass(frozen=True)
class Moment:
    """A net at the end of one epoch of its training.

    Attributes:
        p: of the training, at its end ∞.
        counts: test images by their margin at that p, for each bin between `EDGES`; margins beyond
            them are in the outermost bins.
        bound: of the Lipschitz constant at that p.
        measured: the Lipschitz constant measured there, a lower bound.
        starved: share of starved training samples; see `linfkit.fit`.
        certified: certified accuracy at p=∞ and the recipe's ε.
    """

    p: float
    counts: tuple[int, ...]
    bound: float
    measured: float
    starved: float
    certified: float


def watch(recipe: Recipe, data: Dataset, epochs: Sequence[int], seed: int = 0) -> list[Moment]:
    """Train a net, and look at it at the end of some epochs, counted from 1.

    >>> from linfkit.data.loading import load_dataset
    >>> from linfkit.recipes.recipe import load_recipe
    >>> tiny = load_recipe("digits-small").replace(epochs=2, width=8)
    >>> moments = watch(tiny, load_dataset("digits"), epochs=[1, 2])
    >>> [sum(moment.counts) for moment in moments]  # every test image
    [360, 360]
    """
    data = apply_recipe(data, recipe)
    model = initial_model(recipe, data, seed)
    moments: list[Moment] = []

    def look(row: Mapping[str, float]) -> None:
        if int(row["epoch"]) not in epochs:
            return
        names = ("lipschitz_bound", "lipschitz", "starved", "certified")
        counts = _margins(model, row["p"], data)
        moments.append(Moment(row["p"], counts, *(row[name] for name in names)))

    fit(recipe, data=data, model=model, seed=seed, progress=False, after_epoch=look)
    return moments


@torch.no_grad()
def _margins(model: nn.Module, p: float, data: Dataset) -> tuple[int, ...]:
    """Counts of the test images' margins at p, bin by bin."""
    with evaluating_at(model, p):
        logits = logits_of(model, data.test_x / 255)
    margins = 2 * certified_radius(logits, data.test_y)
    inside = margins.clamp(EDGES[0], EDGES[-1]).cpu()
    return tuple(int(count) for count in torch.histogram(inside, torch.tensor(EDGES)).hist)
