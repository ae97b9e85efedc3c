"""Exercises of notebook 05_ensembles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from linfkit.certification.margins import certified_radius
from linfkit.course.exercises.exercise import Exercise, ask_function

EPS = 0.1
#: Weights of a net of width 128, and of one of width 32, on digits: depth 3, ten classes.
WIDE, NARROW = 64 * 128 + 128**2 + 128 * 10, 64 * 32 + 32**2 + 32 * 10


def _radius(answer: Callable[..., Any]) -> str | None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 40, 4, generator=generator)
    labels = torch.randint(4, (40,), generator=generator)
    given = answer(logits.clone(), labels.clone())
    if not isinstance(given, Tensor) or given.shape != labels.shape:
        raise TypeError("it should return a tensor with one radius for each image, (B,)")

    right = certified_radius(logits.mean(dim=0), labels)
    alone = torch.stack([certified_radius(each, labels) for each in logits])

    def same(tensor: Tensor) -> bool:
        return torch.allclose(given.to(tensor.dtype), tensor, atol=1e-5)

    if same(right):
        return None
    if same(2 * right):
        return "that is the margin: how much of it can a perturbation of size r take away?"
    if same(alone.mean(dim=0)):
        return (
            "that is the mean of the members' radii: true, but it proves less than can be proved, "
            "as members may fear different classes; average something else first"
        )
    if same(alone.amin(dim=0)) or same(alone.amax(dim=0)):
        return "one member alone decides there: the ensemble has logits of its own"
    return "first the ensemble's logits, a mean over K; then the certificate of any such logits"


def _two_members(answer: Any) -> str | None:
    try:
        logits = torch.as_tensor(answer, dtype=torch.float64, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        raise TypeError("numbers are wanted, two rows of three") from None
    if logits.shape != (2, 3):
        raise ValueError(f"two rows of three logits are wanted; the shape is {tuple(logits.shape)}")
    label = torch.tensor([0])
    alone = [certified_radius(row[None], label).item() for row in logits]
    if max(alone) > EPS:
        return f"a member alone certifies class 0 at ε={EPS} there"
    if certified_radius(logits.mean(dim=0)[None], label).item() <= EPS:
        return "the mean does not certify it: let the members fear different classes"
    return None


EXERCISES = (
    ask_function(
        "05-radius",
        "A function radius(logits, labels): the certified radius of the fusion of K members.",
        _radius,
    ),
    Exercise(
        "05-together",
        "Logits of two members that certify class 0 at ε=0.1 together, and neither alone.",
        _two_members,
    ),
)
