"""Exercises of notebook 03_hinge_vs_mixed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from linfkit.course.exercises.exercise import Exercise, one_number, within
from linfkit.training.losses import hinge_loss, mixed_loss

__all__ = ["EXERCISES"]

#: The sample of the first exercise: logits of three classes, its label, and θ.
LOGITS, LABEL, THETA = (0.5, 0.4, -0.1), 0, 0.2


def _look_at_hinge(answer: Any) -> str | None:
    given = one_number(answer)
    logits, label = torch.tensor([LOGITS]), torch.tensor([LABEL])
    if within(given, hinge_loss(logits, label, THETA).item(), 2e-3):
        return None
    shortfall = 1 - (logits[0, LABEL] - logits[0, 1:]) / THETA
    positive = shortfall.clamp(min=0)
    largest, classes = positive.max(), logits.shape[1]
    hints = [
        (largest, "that is the maximum alone; κ = 0.25 of the loss is a mean over the classes"),
        (0.75 * largest, "the part with κ is missing"),
        (0.75 * largest + 0.25 * positive.mean(), "the mean is over all classes, y included"),
        (0.75 * largest + 0.25 * shortfall.sum() / classes, "no r counts where it is negative"),
        (0.75 * largest + 0.25 * positive.sum(), "the part with κ is a mean, not a sum"),
    ]
    return next(
        (hint for value, hint in hints if within(given, value.item(), 2e-3)),
        "write down r for each of the two wrong classes first; which of them is positive?",
    )


def _look_at_pull(answer: Any) -> str | None:
    logits, label = torch.tensor([[0.0, 0.3]], requires_grad=True), torch.tensor([0])
    losses = {
        "hinge": hinge_loss(logits, label, THETA),
        "clipped hinge": mixed_loss(logits, label, THETA, lam=0.0, logit_scale=1.0),
        "cross-entropy": F.cross_entropy(logits, label),
    }
    try:
        given = {answer} if isinstance(answer, str) else set(answer)
    except TypeError:
        raise TypeError('a set of names is wanted, such as {"hinge"}') from None
    if not given <= losses.keys():
        raise ValueError(f"the names are {', '.join(losses)}")
    pulling = {name for name, loss in losses.items() if torch.autograd.grad(loss, logits)[0].any()}
    if given - pulling:
        return "at least one of yours is flat there: look at the lower panel, left of 0"
    if pulling - given:
        return "none of yours is flat there, but they are not all: look left of 0 once more"
    return None


def _look_at_mixed(answer: Any) -> str | None:
    if not callable(answer):
        raise TypeError(
            "a function of (logits, labels, theta, lam, logit_scale) is wanted; "
            f"a {type(answer).__name__} came"
        )
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 5, generator=generator)
    labels = torch.randint(5, (40,), generator=generator)
    theta, lam, scale = 0.7, 0.3, 2.0

    def differs(theta: float, lam: float, scale: float, right: Tensor) -> bool:
        given = one_number(answer(logits, labels, theta, lam, scale))
        return not within(given, right.item(), 1e-4)

    if differs(theta, 0.0, scale, mixed_loss(logits, labels, theta, 0.0, scale)):
        unclipped = hinge_loss(logits, labels, theta, kappa=0.0)
        if not differs(theta, 0.0, scale, unclipped):
            return "with λ=0 your hinge grows beyond 1 where a sample is wrong: clip it"
        return "with λ=0 the mean of the clipped hinge should be left, and yours differs"
    if differs(theta, lam, scale, mixed_loss(logits, labels, theta, lam, scale)):
        if not differs(theta, lam, scale, mixed_loss(logits, labels, theta, lam, 1.0)):
            return "the cross-entropy sees s · f, not f"
        return "the hinge is right; the cross-entropy is not: mean over the batch, times λ?"
    return None


def _look_at_starved(answer: Any) -> str | None:
    if not callable(answer):
        raise TypeError(
            "a function of (margin_now, margin_at_infinity, theta, eps) is wanted; "
            f"a {type(answer).__name__} came"
        )
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
        "03-hinge",
        f"The hinge loss, κ=0.25, of logits {LOGITS} with label {LABEL} and θ={THETA}.",
        _look_at_hinge,
    ),
    Exercise(
        "03-pull",
        "Which of hinge, clipped hinge and cross-entropy pull at a sample of negative margin?",
        _look_at_pull,
    ),
    Exercise(
        "03-mixed",
        "The mixed loss as a function of (logits, labels, theta, lam, logit_scale).",
        _look_at_mixed,
    ),
    Exercise(
        "03-starved",
        "Which samples starve, as a function of (margin_now, margin_at_infinity, theta, eps).",
        _look_at_starved,
    ),
)
