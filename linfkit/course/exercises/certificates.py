"""Exercises of notebook 06_certificates_and_attacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from linfkit.certification.margins import Certificates
from linfkit.course.exercises.exercise import Exercise, ask_function, one_number
from linfkit.functional import linf_interval


def _accuracy(answer: Callable[..., Any]) -> str | None:
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


def _interval(answer: Callable[..., Any]) -> str | None:
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


def _possible(answer: Any) -> str | None:
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


EXERCISES = (
    ask_function("06-accuracy", "A function (radius, eps) for certified accuracy.", _accuracy),
    ask_function("06-interval", "A function (lower, upper, w) for a neuron's range.", _interval),
    Exercise("06-possible", "Which of four findings would show a mistake.", _possible),
)
