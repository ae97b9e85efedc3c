"""Training watched in the plane: a net's regions, and its training points that starve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from linfkit.course.studies.neurons import decision_regions, grid_axis
from linfkit.data.dataset import Dataset
from linfkit.recipes.recipe import Recipe
from linfkit.training.building import initial_model
from linfkit.training.fit import fit


@dataclass(frozen=True)
class PlaneMoment:
    """A net of the plane at the end of one epoch of its training.

    Attributes:
        p: of the training, at its end ∞.
        classes: the class predicted at that p at the grid's points, (side, side); rows are x₂.
        points: training points, (N, 2).
        labels: of those, (N,).
        satisfied: mask of those whose margin at that p is θ or more: zero hinge, (N,).
        certified: mask of those certified at ε by the same weights at p=∞, (N,).
    """

    p: float
    classes: Tensor
    points: Tensor
    labels: Tensor
    satisfied: Tensor
    certified: Tensor

    @property
    def axis(self) -> Tensor:
        """The grid's coordinates, (side,), the same for x₁ and x₂."""
        return grid_axis(len(self.classes))

    @property
    def starved(self) -> Tensor:
        """Mask of the points that are satisfied and not certified, (N,)."""
        return self.satisfied & ~self.certified


def watch_plane(
    recipe: Recipe, data: Dataset, epochs: Sequence[int], points: int, side: int
) -> list[PlaneMoment]:
    """Train a net of the plane, and look at it at the end of some epochs, counted from 1.

    Args:
        recipe: of the training; its ε and θ say what certified and satisfied mean.
        data: points of the plane, as images (2, 1, 1).
        epochs: at whose ends to look.
        points: the first so many training points are looked at.
        side: the grid has side × side points.

    >>> from linfkit.course.studies.neurons import spirals
    >>> from linfkit.recipes.recipe import load_recipe
    >>> tiny = load_recipe("digits-small").replace(dataset="spirals", epochs=2, width=8)
    >>> first, second = watch_plane(tiny, spirals(30, 9), [1, 2], points=9, side=10)
    >>> first.p, tuple(second.classes.shape), len(second.starved)
    (8.0, (10, 10), 9)
    """
    train = data.train_x.numpy(), data.train_y.numpy()
    of_training = Dataset.from_arrays(*train, *train, name=data.name)
    model = initial_model(recipe, data, seed=0)
    moments: list[PlaneMoment] = []

    def look(row: Mapping[str, float]) -> None:
        if int(row["epoch"]) not in epochs:
            return
        now, at_infinity = (
            decision_regions(model, p, of_training, points, side) for p in (row["p"], math.inf)
        )
        satisfied, certified = 2 * now.radius >= recipe.theta, at_infinity.radius > recipe.eps
        moments.append(
            PlaneMoment(row["p"], now.classes, now.points, now.labels, satisfied, certified)
        )

    fit(recipe, data=data, model=model, progress=False, after_epoch=look)
    return moments
