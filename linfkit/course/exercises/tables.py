"""Exercises of notebook 07_paper_tables."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from linfkit.course import published
from linfkit.course.exercises.exercise import Exercise, one_number, within
from linfkit.recipes import load_recipe

__all__ = ["EXERCISES"]

#: Test images of CIFAR-10 and MNIST.
TEST_IMAGES = 10_000


def _certified(method: str, dataset: str, eps: str) -> float:
    """A published certified accuracy, in percent."""
    (row,) = (
        row
        for row in published.results()
        if (row.method, row.dataset, row.eps) == (method, dataset, eps)
    )
    return 100 * row.certified


def _of_gain(answer: Any) -> str | None:
    number = one_number(answer)
    before = _certified("Linf-dist net (ICML 2021)", "MNIST", "0.3")
    after = _certified("Linf-dist net boosted (ICLR 2022)", "MNIST", "0.3")
    if within(number, after - before, 0.05):
        return None
    if within(number, (after - before) / 100, 0.05):
        return "percentage points are wanted, not a share"
    if within(number, before - after, 0.05):
        return "a gain is what came after, less what came before"
    if within(number, 100 * (after / before - 1), 0.02):
        return "the difference is wanted, not its ratio to what came before"
    return "look at the certified column of both rows of MNIST at ε=0.3"


def _weights(depth_in_full: bool = True) -> int:
    recipe = load_recipe("iclr2022-mnist-0.3")
    hidden = recipe.depth - 2 if depth_in_full else recipe.depth - 1
    return 784 * recipe.width + hidden * recipe.width**2 + recipe.width * 10


def _of_weights(answer: Any) -> str | None:
    number, recipe = one_number(answer), load_recipe("iclr2022-mnist-0.3")
    if within(number, _weights()):
        return None
    if within(number, _weights() / 1e6):
        return "give the number itself, not millions"
    if within(number, recipe.depth * recipe.width**2):
        return "not every layer sees 5,120 inputs, and the last has only ten neurons"
    if within(number, _weights(depth_in_full=False)):
        return "the depth counts all layers, the first and the last too"
    return "a layer has inputs × neurons weights: list the five layers"


def _of_noise(answer: Any) -> str | None:
    number = one_number(answer)
    share = _certified("Linf-dist net boosted (ICLR 2022)", "CIFAR-10", "8/255") / 100
    right = 100 * math.sqrt(share * (1 - share) / TEST_IMAGES)
    if within(number, right, 0.03):
        return None
    if within(number, right / 100, 0.03):
        return "percentage points are wanted, not a share"
    if within(number, 100 * share * (1 - share) / TEST_IMAGES, 0.03):
        return "that is a variance: its root has the unit of a share"
    if within(number, right * math.sqrt(TEST_IMAGES), 0.03):
        return "that is the spread of one image; the mean of many varies less"
    return "each image is certified or not: the share of n such draws has variance q(1 − q)/n"


def _first_at_least_half(shares: np.ndarray, values: np.ndarray) -> float:
    return float(shares[int((values >= values[-1] / 2).argmax())])


def _of_half(answer: Any) -> str | None:
    if not callable(answer):
        raise TypeError("a function of (shares, values) is wanted")
    generator = np.random.default_rng(0)
    for _ in range(20):
        shares = np.sort(generator.random(12))
        # a curve that rises with wiggles, as training curves do: it may peak before the end
        values = np.linspace(0.05, 0.8, 12) + generator.normal(0, 0.12, 12).clip(-0.3, 0.3)
        given = one_number(answer(shares.tolist(), values.tolist()))
        if abs(given - _first_at_least_half(shares, values)) < 1e-9:
            continue
        if abs(given - float(shares[int((values >= values.max() / 2).argmax())])) < 1e-9:
            return "half of the last value, not of the largest"
        if any(abs(given - place) < 1e-9 for place in range(12)):
            return "the share of the run is wanted, not the place in the list"
        return "on a random curve it gives another share: the first whose value is half the last"
    return None


EXERCISES: tuple[Exercise, ...] = (
    Exercise("07-gain", "The ICLR 2022 gain on MNIST at ε=0.3, in points.", _of_gain),
    Exercise("07-weights", "How many weights the ICLR 2022 net for MNIST has.", _of_weights),
    Exercise("07-noise", "The standard error of 40.06 % on 10,000 images, in points.", _of_noise),
    Exercise(
        "07-half", "A function (shares, values): when a curve reaches half its end.", _of_half
    ),
)
