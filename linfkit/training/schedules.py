"""Schedules, as pure functions of progress: the fraction of the steps completed, from 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from linfkit.recipes.recipe import Recipe


@dataclass(frozen=True)
class ScheduleState:
    """Values of the schedules at one step of a run.

    Attributes:
        p: the exponent of the distance layers.
        lam: the mixed loss's weight λ of the cross-entropy.
        eps: the ε of the worst logits, in pixels.
        learning_rate: of all but the loss's scalar.
    """

    p: float
    lam: float
    eps: float
    learning_rate: float


def schedule_at(recipe: Recipe, progress: float) -> ScheduleState:
    """Compute the schedules' values where that fraction of the steps is completed.

    >>> from linfkit.recipes.recipe import load_recipe
    >>> recipe = load_recipe("digits-small")
    >>> schedule_at(recipe, 0.0).p, schedule_at(recipe, 0.95).p
    (8.0, inf)
    """
    ratio = ramp(progress, *recipe.p_ramp)
    eps = recipe.eps_train
    if recipe.eps_ramp is not None:
        eps *= smooth_start(ramp(progress, *recipe.eps_ramp), recipe.eps_smooth_start)
    match recipe.lr_schedule:
        case "cosine":
            rate = cosine_rate(progress, recipe.lr_hold)
        case "steps":
            rate = step_rate(progress, recipe.lr_steps, recipe.lr_factor)
        case "constant":
            rate = 1.0
    return ScheduleState(
        p=p_at(ratio, recipe.p_start, recipe.p_end),
        lam=geometric(ratio, recipe.lam_start, recipe.lam_end),
        eps=eps,
        learning_rate=recipe.lr * rate,
    )


def ramp(progress: float, start: float, end: float) -> float:
    """Progress of a ramp: ρ = clip((t − t₀) / (t₁ − t₀), 0, 1).

    A ramp from 1 to 1 never begins within a run, so what it drives stays constant.

    >>> [ramp(t, 0.25, 0.75) for t in (0.0, 0.5, 1.0)]
    [0.0, 0.5, 1.0]
    """
    if progress >= end:
        return 1.0
    return max(0.0, (progress - start) / (end - start)) if end > start else 0.0


def geometric(ratio: float, start: float, end: float) -> float:
    """From start to end by equal factors: start · (end / start)^ρ; for λ and, below its end, p.

    >>> geometric(0.5, 1.0, 100.0), geometric(0.5, 0.0, 0.0)
    (10.0, 0.0)
    """
    return start if start == end else start * (end / start) ** ratio


def p_at(ratio: float, start: float, end: float) -> float:
    """Exponent along its ramp: p₀ (p₁ / p₀)^ρ, and p=∞ once ρ = 1.

    >>> [round(p_at(ratio, 8, 1000), 2) for ratio in (0.0, 0.5, 1.0)]
    [8.0, 89.44, inf]
    """
    return math.inf if ratio >= 1 else geometric(ratio, start, end)


def cosine_rate(progress: float, hold: float = 0.0) -> float:
    """Factor of the learning rate that falls from 1 to 0 along half a cosine.

    It stays at 1 for the fraction `hold` of the run, as in the code of ICML 2021, which waits for p
    to rise; in that of ICLR 2022 the cosine takes the whole run.

    >>> [round(cosine_rate(t), 2) for t in (0.0, 0.5, 1.0)]
    [1.0, 0.5, 0.0]
    >>> [round(cosine_rate(t, hold=0.5), 2) for t in (0.25, 0.5, 0.75, 1.0)]
    [1.0, 1.0, 0.5, 0.0]
    """
    return (1 + math.cos(math.pi * ramp(progress, hold, 1.0))) / 2


def step_rate(progress: float, steps: Sequence[float], factor: float) -> float:
    """Factor of the learning rate that is multiplied by `factor` at each of the steps.

    >>> [step_rate(t, steps=(0.5, 0.75), factor=0.5) for t in (0.25, 0.5, 0.9)]
    [1.0, 0.5, 0.25]
    """
    return factor ** sum(step <= progress for step in steps)


def smooth_start(ratio: float, share: float) -> float:
    """Ramp from 0 to 1 that starts as a quartic, and goes on as the line that touches it.

    With r the `share` of the ramp that is smooth: ρ⁴ / ((4 − 3r) r³) below r, and above it
    1 − (1 − q)(1 − ρ) / (1 − r) with q = r / (4 − 3r); value and slope agree at r. ε in SortNet's
    hybrids rises so.

    >>> [round(smooth_start(ratio, 0.5), 3) for ratio in (0.0, 0.25, 0.5, 0.75, 1.0)]
    [0.0, 0.013, 0.2, 0.6, 1.0]
    >>> smooth_start(0.25, share=0.0)
    0.25
    """
    if ratio < share:
        return (ratio / share) ** 3 * ratio / (4 - 3 * share)
    touch = share / (4 - 3 * share)  # where the line goes on
    return 1 - (1 - touch) * (1 - ratio) / (1 - share) if share < 1 else 1.0
