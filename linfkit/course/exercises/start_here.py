"""Exercises of notebook 00_start_here."""

from __future__ import annotations

from typing import Any

import torch

from linfkit.certification.margins import Certificates, certified_radius
from linfkit.course.exercises.exercise import Exercise, one_number, within

__all__ = ["EXERCISES"]

#: Of the image in exercise 00-radius, whose label is 1.
LOGITS, LABEL = torch.tensor([[-1.9, -1.4, -1.62, -2.3]]), torch.tensor([1])
#: Of the five images in exercise 00-certified-accuracy.
RADII, EPS = (0.14, 0.1, 0.09, -0.02, 0.31), 0.1
GREY_STEPS = 16  # between white and black in a digit's pixels


def _radius(answer: Any) -> str | None:
    number, right = one_number(answer), certified_radius(LOGITS, LABEL).item()
    if within(number, right):
        return None
    if within(number, 2 * right):
        return "that is the margin; both logits may move, towards each other"
    if number < 0:
        return "the prediction is right, so its radius is positive: label minus rival"
    if within(number, (LOGITS.max() - LOGITS.min()).item() / 2):
        return "the rival is the class that comes nearest, not the one that is furthest away"
    return "find the label's logit, then the largest of the others, then the formula of the margin"


def _certified_accuracy(answer: Any) -> str | None:
    number = one_number(answer)
    radii = torch.tensor(RADII, dtype=torch.float64)
    certificates = Certificates(radii)
    if within(number, certificates.accuracy(EPS)):
        return None
    if within(number, (radii >= EPS).double().mean().item()):
        return "at a radius of exactly ε the proof stops short: is r > ε there?"
    if within(number, certificates.clean_accuracy):
        return "that is the clean accuracy: look at how each radius compares with ε"
    if number > 1:
        return "a share is wanted, from 0 to 1"
    return "count the radii above ε, and divide by the number of all images, wrong ones included"


def _grey_steps(answer: Any) -> str | None:
    number = one_number(answer)
    if within(number, EPS * GREY_STEPS):
        return None
    if within(number, EPS * 255):
        return "that is for images of 256 levels; how many steps has a digit from white to black?"
    if within(number, EPS):
        return "that is in pixels of [0, 1]; how many grey steps fit into a whole pixel?"
    return "the whole range, 1, is all grey steps of a digit; take the same share of them"


def _function(answer: Any) -> str | None:
    if not callable(answer):
        raise TypeError(f"a function of (logits, label) is wanted; a {type(answer).__name__} came")
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


EXERCISES: tuple[Exercise, ...] = (
    Exercise(
        "00-radius",
        "Four classes have the logits −1.9, −1.4, −1.62 and −2.3, counted from class 0; the label "
        "is 1. What is the certified radius, in pixels?",
        _radius,
    ),
    Exercise(
        "00-certified-accuracy",
        "Five test images have the certified radii 0.14, 0.1, 0.09, −0.02 and 0.31. What is the "
        "certified accuracy at ε = 0.1?",
        _certified_accuracy,
    ),
    Exercise(
        "00-grey-steps",
        "A pixel of a digit has 17 levels, 0 to 16. How many grey steps is ε = 0.1?",
        _grey_steps,
    ),
    Exercise(
        "00-function",
        "Write a function (logits, label) that gives the certified radius of one image.",
        _function,
    ),
)
