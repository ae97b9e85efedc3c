"""Values of the schedules at one moment of a run."""

from __future__ import annotations

from dataclasses import dataclass

from linfkit.recipes import Recipe
from linfkit.training import schedules

__all__ = ["Moment", "moment_of"]


@dataclass(frozen=True)
class Moment:
    """The values that change along a run, at one of its steps.

    Attributes:
        p: the exponent of the distance layers.
        lam: the mixed loss's weight λ of the cross-entropy.
        eps: the ε of the worst logits, in pixels.
        learning_rate: the main one.
    """

    p: float
    lam: float
    eps: float
    learning_rate: float


def moment_of(recipe: Recipe, progress: float) -> Moment:
    """Values of the schedules when that fraction of the steps is completed.

    >>> from linfkit.recipes import load_recipe
    >>> recipe = load_recipe("digits-small")
    >>> moment_of(recipe, 0.0).p, moment_of(recipe, 0.95).p
    (8.0, inf)
    """
    ratio = schedules.ramp(progress, *recipe.p_ramp)
    return Moment(
        p=schedules.p_at(ratio, recipe.p_start, recipe.p_end),
        lam=schedules.geometric(ratio, recipe.lam_start, recipe.lam_end),
        eps=recipe.eps_train * _eps_ratio(recipe, progress),
        learning_rate=recipe.lr * _rate(recipe, progress),
    )


def _eps_ratio(recipe: Recipe, progress: float) -> float:
    if recipe.eps_ramp is None:
        return 1.0
    return schedules.smooth_start(
        schedules.ramp(progress, *recipe.eps_ramp), recipe.eps_smooth_start
    )


def _rate(recipe: Recipe, progress: float) -> float:
    match recipe.lr_schedule:
        case "cosine":
            return schedules.cosine_rate(progress, recipe.lr_hold)
        case "steps":
            return schedules.step_rate(progress, recipe.lr_steps, recipe.lr_factor)
        case "constant":
            return 1.0
