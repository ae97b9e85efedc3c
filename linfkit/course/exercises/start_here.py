"""Exercises of notebook 00_start_here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from linfkit.certification.margins import certified_radius
from linfkit.course.exercises.exercise import ask_function, one_number, within


def _function(answer: Callable[..., Any]) -> str | None:
    generator = torch.Generator().manual_seed(0)
    for label in range(5):
        logits = torch.randn(5, generator=generator, dtype=torch.float64)
        right = certified_radius(logits[None], torch.tensor([label])).item()
        number = one_number(answer(logits.clone(), label))
        if within(number, right, 1e-6):
            continue
        if within(number, 2 * right, 1e-6):
            return "it gives the margin, and half of it is certified"
        if right < 0 and within(number, -right, 1e-6):
            return "where another class is ahead the radius is negative: nothing is certified"
        if number == 0:
            return "it gives 0; is the label's own logit among the others?"
        return "for some logits and label it is off; try it on the numbers of exercise 1 first"
    return None


EXERCISES = (
    ask_function(
        "00-function",
        "Write a function (logits, label) that gives the certified radius of one image.",
        _function,
    ),
)
