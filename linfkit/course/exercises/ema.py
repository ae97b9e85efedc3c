"""Exercises of notebook 04_ema."""

from __future__ import annotations

import math
from typing import Any

from linfkit.certification.lipschitz import lipschitz_bound
from linfkit.course.exercises.exercise import Exercise, one_number, within
from linfkit.nn.nets import LpDistNet

__all__ = ["EXERCISES"]

#: The decay that the questions are about.
DECAY = 0.99


def shares(decay: float, steps: int) -> list[float]:
    """What the weights of 0, 1, 2, … steps ago have in a moving average: (1 − β)βᵃ.

    >>> shares(0.5, 3)
    [0.5, 0.25, 0.125]
    """
    return [(1 - decay) * decay**age for age in range(steps)]


def _lag(answer: Any) -> str | None:
    steps = one_number(answer)
    ages = shares(DECAY, 10_000)  # the rest is below rounding
    right = math.fsum(age * share for age, share in enumerate(ages))
    if within(steps, right, 0.005):
        return None
    if within(steps, right + 1, 0.005):
        return "nearly: the newest weights are in the average already, and their age is 0"
    if within(steps, math.log(0.5) / math.log(DECAY), 0.02):
        return "that is the median age, by which half of the average has come in; the mean is asked"
    if 0 < steps < 1:
        return "an age is wanted, in steps; the share of the newest weights is something else"
    return "weigh the age a of each step by its share in the average, (1 − β)βᵃ, and add up"


def _noise(answer: Any) -> str | None:
    factor = one_number(answer)
    variance = math.fsum(share**2 for share in shares(DECAY, 10_000))
    right = math.sqrt(variance)
    if within(factor, right, 0.01):
        return None
    if within(factor, variance, 0.01):
        return "that is the factor for the variance; how large noise looks is its root"
    if within(factor, 1 / right, 0.01):
        return "upside down: the noise of the average over that of the raw weights is asked"
    if within(factor, 1 - DECAY, 0.001):
        return "that is the share of the newest step alone; the noise of older steps is in it too"
    if within(factor, math.sqrt(1 - DECAY), 0.001):
        return "variances of independent steps add with the squares of their shares"
    return "add up the squares of the shares (1 − β)βᵃ over all ages a, and think of the root"


def _warm_up(answer: Any) -> str | None:
    if not callable(answer):
        raise TypeError("a function of epoch and largest is wanted")

    def right(epoch: int, largest: float) -> float:
        return min(1 - 1 / (epoch + 1), largest)

    tried = [(epoch, largest) for largest in (0.9, 0.99) for epoch in (0, 1, 2, 5, 50, 1000)]
    try:
        given = [one_number(answer(epoch, largest)) for epoch, largest in tried]
    except ZeroDivisionError:
        return "it divides by zero at one epoch: they are counted from 0"
    wanted = [right(epoch, largest) for epoch, largest in tried]
    if all(math.isclose(g, w, abs_tol=1e-9) for g, w in zip(given, wanted, strict=True)):
        return None
    if any(g > largest + 1e-9 for g, (_, largest) in zip(given, tried, strict=True)):
        return "late in a run it goes above `largest`"
    if not math.isclose(given[0], wanted[0], abs_tol=1e-9):
        return "look at epoch 0: the average should forget the initial weights at once"
    return "early epochs are right at 0; compare epochs 1 and 2 with the formula, then a late one"


def _lipschitz(answer: Any) -> str | None:
    if answer is True or answer is False:
        raise TypeError("one number is wanted, a Lipschitz constant")
    constant = one_number(answer)
    shadow = LpDistNet(64, width=32, depth=3, classes=10)  # any weights, averaged or not
    if within(constant, lipschitz_bound(shadow), 1e-6):
        return None
    if constant < 1:
        return "averaging weights is not averaging outputs: nothing shrinks; what holds at p=∞?"
    return "the shadow is a net like any other: what bounds its constant at p=∞, for any weights?"


EXERCISES: tuple[Exercise, ...] = (
    Exercise(
        "04-lag",
        "With β=0.99 throughout, how many steps old are the weights in the average, on average?",
        _lag,
    ),
    Exercise(
        "04-noise",
        "By what factor is independent noise of the steps smaller in an average with β=0.99?",
        _noise,
    ),
    Exercise(
        "04-warm-up",
        "A function decay(epoch, largest): the warmed-up decay of an epoch, counted from 0.",
        _warm_up,
    ),
    Exercise(
        "04-lipschitz",
        "What does the Lipschitz constant of the shadow net have as its bound at p=∞?",
        _lipschitz,
    ),
)
