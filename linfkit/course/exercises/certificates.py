"""Exercises of notebook 06_certificates_and_attacks."""

from __future__ import annotations

import math
from typing import Any

import torch

from linfkit.certification.margins import Certificates, certified_radius
from linfkit.course.exercises.exercise import Exercise, one_number, within
from linfkit.functional import linf_interval

__all__ = ["EXERCISES"]

#: The image of 06-radius and 06-l2: its logits, and how many pixels it has.
LOGITS, LABEL, PIXELS = (0.62, 0.11, 0.38), 0, 64


def _radius() -> float:
    return certified_radius(torch.tensor([LOGITS]), torch.tensor([LABEL])).item()


def _of_radius(answer: Any) -> str | None:
    number = one_number(answer)
    if within(number, _radius()):
        return None
    if within(number, 2 * _radius()):
        return "that is the margin: two logits move, each towards the other"
    if within(number, (LOGITS[0] - LOGITS[1]) / 2):
        return "the margin is to the highest of the other logits, not to any of them"
    return "take the margin, and ask how much of it one pixel of change can close"


def _of_accuracy(answer: Any) -> str | None:
    if not callable(answer):
        raise TypeError("a function of (radius, eps) is wanted")
    generator = torch.Generator().manual_seed(0)
    for eps in (0.0, 0.05, 0.1):
        # among them images on the very edge, and misclassified ones
        radius = torch.cat([torch.randn(50, generator=generator) / 5, torch.tensor([eps])])
        share, right = one_number(answer(radius, eps)), Certificates(radius).accuracy(eps)
        if abs(share - right) < 1e-6:
            continue
        if abs(share - (radius >= eps).double().mean().item()) < 1e-6:
            return "a radius of exactly eps proves nothing at eps: it must be above"
        if abs(share - (radius > eps).sum().item()) < 1e-6:
            return "a share is wanted, not a number of images"
        correct = radius[radius > 0]
        if abs(share - (correct > eps).double().mean().item()) < 1e-6:
            return "the share is of all images, the misclassified ones too"
        return f"it differs from certified accuracy on random radii at eps={eps:g}"
    return None


def _of_interval(answer: Any) -> str | None:
    if not callable(answer):
        raise TypeError("a function of (lower, upper, w) is wanted")
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        # at times the weight lies inside the box, where the distance can be 0
        w, middle = torch.rand(2, 1, 3, generator=generator)
        reach = torch.rand(1, 3, generator=generator)
        lower, upper = middle - reach, middle + reach
        low, high = (bound.item() for bound in linf_interval(lower, upper, w))
        given = answer(lower[0], upper[0], w[0])
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise TypeError("two numbers are wanted: the least and the largest distance")
        least, largest = one_number(given[0]), one_number(given[1])
        if abs(largest - high) > 1e-5:
            return "the largest distance is at a corner of the box: look at both ends of each side"
        if least < low - 1e-5 and least < -1e-5:
            return "a distance is never negative: what if the weight lies within the box?"
        if abs(least - low) > 1e-5:
            return "the least distance is not at a corner: within a side, x can come up to w itself"
    return None


def _of_l2(answer: Any) -> str | None:
    number, radius = one_number(answer), _radius()
    if within(number, radius):
        return None
    if within(number, radius * math.sqrt(PIXELS)):
        return "that is the longest change inside the box; is every change of that length inside?"
    if within(number, radius / math.sqrt(PIXELS)):
        return "too careful: changes a little longer still have no pixel beyond the radius"
    return "look for the shortest change in ℓ2 that has one pixel beyond the radius"


def _of_possible(answer: Any) -> str | None:
    if isinstance(answer, str) or not isinstance(answer, set | list | tuple):
        raise TypeError('a set of letters is wanted, such as {"a", "d"}')
    given = {str(letter).strip().lower() for letter in answer}
    if unknown := given - set("abcd"):
        raise ValueError(f"the letters are a to d; {', '.join(sorted(unknown))} came too")
    if "a" in given:
        return "an attack that fails proves nothing: it may only be weak"
    if given - {"b", "d"}:
        return "a certificate is about changes of one image, not about what its label should be"
    if given != {"b", "d"}:
        return "there is one more: which numbers bound the true size from below, which from above?"
    return None


EXERCISES: tuple[Exercise, ...] = (
    Exercise(
        "06-radius", "The certified radius of logits (0.62, 0.11, 0.38), label 0.", _of_radius
    ),
    Exercise("06-accuracy", "A function (radius, eps) for certified accuracy.", _of_accuracy),
    Exercise("06-interval", "A function (lower, upper, w) for a neuron's range.", _of_interval),
    Exercise("06-l2", "The largest ℓ2 size that the same certificate still covers.", _of_l2),
    Exercise("06-possible", "Which of four findings would show a mistake.", _of_possible),
)
