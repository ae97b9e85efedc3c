"""Exercises of notebook 03_hinge_vs_mixed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from linfkit.course.exercises.exercise import (
    Exercise,
    ask_function,
    one_number,
    within,
)
from linfkit.training.losses import hinge_loss, mixed_loss

LOSSES = {"hinge", "clipped hinge", "cross-entropy"}


def _pull(answer: Any) -> str | None:
    try:
        given = {answer} if isinstance(answer, str) else set(answer)
    except TypeError:
        raise TypeError('a set of names is wanted, such as {"hinge"}') from None
    if not given <= LOSSES:
        raise ValueError("the names are hinge, clipped hinge, cross-entropy")
    if "clipped hinge" in given:
        return "at least one of yours is flat there: look at the lower panel, left of 0"
    if given != {"hinge", "cross-entropy"}:
        return "none of yours is flat there, but they are not all: look left of 0 once more"
    return None


def _mixed(answer: Callable[..., Any]) -> str | None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 5, generator=generator)
    labels = torch.randint(5, (40,), generator=generator)
    theta, lam, scale = 0.7, 0.3, 2.0

    def differs(lam: float, right: Tensor) -> bool:
        given = one_number(answer(logits, labels, theta, lam, scale))
        return not within(given, right.item(), 1e-4)

    if differs(0.0, mixed_loss(logits, labels, theta, 0.0, scale)):
        if not differs(0.0, hinge_loss(logits, labels, theta, kappa=0.0)):
            return "with λ=0 your hinge grows beyond 1 where a sample is wrong: clip it"
        return "with λ=0 the mean of the clipped hinge should be left, and yours differs"
    if differs(lam, mixed_loss(logits, labels, theta, lam, scale)):
        if not differs(lam, mixed_loss(logits, labels, theta, lam, 1.0)):
            return "the cross-entropy sees s · f, not f"
        return "the hinge is right; the cross-entropy is not: mean over the batch, times λ?"
    return None


def _starved(answer: Callable[..., Any]) -> str | None:
    now, later = (0.05 + 0.1 * torch.arange(12.0) for _ in range(2))
    now, later = (margins.flatten() for margins in torch.meshgrid(now, later, indexing="ij"))
    theta, eps = 0.6, 0.2
    given = torch.as_tensor(answer(now, later, theta, eps))
    if given.shape != now.shape or given.dtype != torch.bool:
        raise ValueError("for tensors of margins, a tensor of as many bools is wanted")
    satisfied = now >= theta
    if given.equal(satisfied & (later <= 2 * eps)):
        return None
    if given.equal(satisfied & (later <= eps)):
        return "a margin of m certifies a radius of m/2, not of m"
    if given.equal(satisfied & (later < theta)):
        return "whether it is certified is asked at ε, not at ε_train"
    if given.equal(satisfied):
        return "some of yours are certified: those have learnt enough, and are not starved"
    if (given & ~satisfied).any():
        return "some of yours still have a hinge above zero: they learn"
    return "you leave out some whose hinge is zero and that are not certified, or take others in"


EXERCISES = (
    Exercise(
        "03-pull",
        "Which of hinge, clipped hinge and cross-entropy pull at a sample of negative margin?",
        _pull,
    ),
    ask_function(
        "03-mixed",
        "The mixed loss as a function of (logits, labels, theta, lam, logit_scale).",
        _mixed,
    ),
    ask_function(
        "03-starved",
        "Which samples starve, as a function of (margin_now, margin_at_infinity, theta, eps).",
        _starved,
    ),
)
