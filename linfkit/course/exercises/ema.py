"""Exercises of notebook 04_ema."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from linfkit.course.exercises.exercise import ask_function, one_number

BETA = 0.99
#: Standard deviation of the average of independent noise, over that of the noise: √Σₐ((1 − β)βᵃ)².
NOISE = math.sqrt((1 - BETA) / (1 + BETA))


def _warm_up(answer: Callable[..., Any]) -> str | None:
    tried = [(epoch, largest) for largest in (0.9, 0.99) for epoch in (0, 1, 2, 5, 50, 1000)]
    try:
        given = [one_number(answer(epoch, largest)) for epoch, largest in tried]
    except ZeroDivisionError:
        return "it divides by zero at one epoch: they are counted from 0"
    wanted = [min(1 - 1 / (epoch + 1), largest) for epoch, largest in tried]
    if all(math.isclose(g, w, abs_tol=1e-9) for g, w in zip(given, wanted, strict=True)):
        return None
    if any(g > largest + 1e-9 for g, (_, largest) in zip(given, tried, strict=True)):
        return "late in a run it goes above `largest`"
    if not math.isclose(given[0], wanted[0], abs_tol=1e-9):
        return "look at epoch 0: the average should forget the initial weights at once"
    return "early epochs are right at 0; compare epochs 1 and 2 with the formula, then a late one"


EXERCISES = (
    ask_function(
        "04-warm-up",
        "A function decay(epoch, largest): the warmed-up decay of an epoch, counted from 0.",
        _warm_up,
    ),
)
