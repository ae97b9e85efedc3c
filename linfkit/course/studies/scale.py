"""Certified accuracy against the size of a run, and its extrapolation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean

import numpy as np

from linfkit.course.published import Result, TrainingCurve
from linfkit.data.dataset import Dataset
from linfkit.recipes.recipe import Recipe
from linfkit.training.fit import fit_all

#: How many decades beyond the runs a straight line may be carried on: half of what they span.
REACH = 0.5


@dataclass(frozen=True)
class AtScale:
    """Accuracy that one run reached.

    Attributes:
        width: of its hidden layers.
        epochs: of its training.
        scale: weights × epochs.
        certified: certified accuracy on all test images, raw weights.
    """

    width: int
    epochs: int
    scale: float
    certified: float


@dataclass(frozen=True)
class Extrapolation:
    """A straight line of certified accuracy against log10(weights × epochs), carried to a target.

    Attributes:
        slope: gain for each tenfold scale.
        slope_error: its standard error.
        target: the scale that it was carried to.
        low: lower end of the 95 % prediction interval there.
        high: upper end.
        decades_spanned: by the runs.
        decades_beyond: from the largest run to the target.
    """

    slope: float
    slope_error: float
    target: float
    low: float
    high: float
    decades_spanned: float
    decades_beyond: float

    @property
    def refusal(self) -> str | None:
        """Reason for which the line says nothing about the target, or None."""
        if self.decades_beyond > REACH * self.decades_spanned:
            return (
                f"the runs span {self.decades_spanned:.1f} decades, and the target lies "
                f"{self.decades_beyond:.1f} beyond the largest"
            )
        if self.low < 0 or self.high > 1:
            return f"the line leaves [0, 1] there: {self.low:.2f} to {self.high:.2f}"
        return None


def weight_count(in_features: int, width: int, depth: int, classes: int) -> int:
    """Weights of an `LpDistNet`, biases not counted.

    >>> weight_count(3072, width=5120, depth=6, classes=10)  # the ICLR 2022 net for CIFAR-10
    120637440
    """
    sizes = [in_features] + [width] * (depth - 1) + [classes]
    return sum(fan_in * fan_out for fan_in, fan_out in pairwise(sizes))


def scale_of(recipe: Recipe, in_features: int, classes: int = 10) -> float:
    """Weights × epochs of a recipe: what a run costs, but for the number of images.

    >>> from linfkit.recipes.recipe import load_recipe
    >>> round(scale_of(load_recipe("iclr2022-cifar10-8-255"), 3072) / 1e9)
    157
    """
    return weight_count(in_features, recipe.width, recipe.depth, classes) * recipe.epochs


def at_scales(
    recipe: Recipe, widths: Sequence[int], epochs: Sequence[int], data: Dataset
) -> list[AtScale]:
    """Train a recipe at each width for each number of epochs, with its first seed.

    Returns:
        What each run reached, by rising scale.
    """
    runs = fit_all(
        [
            (recipe.replace(width=width, epochs=count), recipe.seeds[0])
            for width in widths
            for count in epochs
        ],
        data=data,
        description="widths × epochs",
    )
    rows = [
        AtScale(
            width=run.recipe.width,
            epochs=run.recipe.epochs,
            scale=scale_of(run.recipe, data.in_features, len(data.classes)),
            certified=run.results["certified"],
        )
        for run in runs
    ]
    return sorted(rows, key=lambda row: row.scale)


def extrapolate(rows: Sequence[AtScale], target: float) -> Extrapolation:
    """Least squares of certified accuracy on log10(scale), with a 95 % prediction interval.

    The interval takes the line for granted: that certified accuracy goes on growing as it did is
    what `Extrapolation.refusal` doubts, wherever the target is far beyond the runs.

    Args:
        rows: at least three runs of at least two scales.
        target: the scale to carry the line to.

    Raises:
        ValueError: there are fewer runs or scales.

    >>> rows = [AtScale(8, 1, 10.0**k, 0.2 + 0.1 * k) for k in range(4)]
    >>> line = extrapolate(rows, target=1e4)
    >>> round(line.slope, 6), round(line.low, 6), line.refusal
    (0.1, 0.6, None)
    >>> extrapolate(rows, target=1e9).refusal
    'the runs span 3.0 decades, and the target lies 6.0 beyond the largest'
    """
    if len(rows) < 3 or len({row.scale for row in rows}) < 2:
        raise ValueError(f"rows must be three runs of two scales at least; got {len(rows)}")
    from scipy import stats  # a second, which nobody should wait for who imports linfkit

    x = np.array([math.log10(row.scale) for row in rows])
    y = np.array([row.certified for row in rows])
    line = stats.linregress(x, y)
    at, centre = math.log10(target), mean(x)
    residual = y - line.intercept - line.slope * x
    freedom = len(rows) - 2
    variance = float(residual @ residual) / freedom
    spread = float(((x - centre) ** 2).sum())
    error = math.sqrt(variance * (1 + 1 / len(rows) + (at - centre) ** 2 / spread))
    half = float(stats.t.ppf(0.975, freedom)) * error
    predicted = float(line.intercept + line.slope * at)
    return Extrapolation(
        slope=float(line.slope),
        slope_error=float(line.stderr),
        target=target,
        low=predicted - half,
        high=predicted + half,
        decades_spanned=float(x.max() - x.min()),
        decades_beyond=float(at - x.max()),
    )


def comparable(results: Sequence[Result], recipe: Recipe) -> list[Result]:
    """The published results on the recipe's own data set and ε: all that a run can be held to.

    >>> from linfkit.course.published import results
    >>> from linfkit.recipes.recipe import load_recipe
    >>> len(comparable(results(), load_recipe("digits-small")))
    0
    >>> {row.eps for row in comparable(results(), load_recipe("mnist-small"))}
    {'0.3'}
    """
    return [
        row
        for row in results
        if row.dataset.lower().replace("-", "") == recipe.dataset
        and math.isclose(row.eps_pixels, recipe.eps, rel_tol=1e-3)
    ]


def exponent_at_half(curve: TrainingCurve) -> float:
    """The p of a published run when its certified accuracy first reached half of its end.

    >>> from linfkit.course.published import training_curve
    >>> round(exponent_at_half(training_curve("cifar10_eps8of255")))
    62
    """
    half = curve.last_certified / 2
    return curve.p[next(done for done, value in curve.certified.items() if value >= half) - 1]
