"""Exercises of notebook 07_paper_tables."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from linfkit.course.exercises.exercise import ask_function, one_number

#: Published certified accuracy on MNIST at ε=0.3, in percent: ICML 2021, ICLR 2022.
BEFORE, AFTER = 93.09, 93.20
#: Published share of CIFAR-10's 10,000 test images that is certified at ε=8/255.
SHARE, IMAGES = 0.4006, 10_000
NOISE = 100 * math.sqrt(SHARE * (1 - SHARE) / IMAGES)
#: Weights of the ICLR 2022 net for MNIST: five layers, four of width 5,120.
WEIGHTS = 784 * 5120 + 3 * 5120**2 + 5120 * 10


def _half(answer: Callable[..., Any]) -> str | None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        shares = np.sort(generator.random(12))
        # a curve that rises with wiggles, as training curves do: it may peak before the end
        values = np.linspace(0.05, 0.8, 12) + generator.normal(0, 0.12, 12).clip(-0.3, 0.3)
        given = one_number(answer(shares.tolist(), values.tolist()))
        if abs(given - shares[int((values >= values[-1] / 2).argmax())]) < 1e-9:
            continue
        if abs(given - shares[int((values >= values.max() / 2).argmax())]) < 1e-9:
            return "half of the last value, not of the largest"
        if any(abs(given - place) < 1e-9 for place in range(12)):
            return "the share of the run is wanted, not the place in the list"
        return "on a random curve it gives another share: the first whose value is half the last"
    return None


EXERCISES = (
    ask_function(
        "07-half", "A function (shares, values): when a curve reaches half its end.", _half
    ),
)
