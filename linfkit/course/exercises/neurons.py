"""Exercises of notebook 01_linf_distance_neurons."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from linfkit.course.exercises.exercise import ask_function
from linfkit.functional import lp_dist


def _gradient(answer: Callable[..., Any]) -> str | None:
    generator = torch.Generator().manual_seed(0)
    pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
    for inputs in (2, 3, 7, 2, 5):
        x, w = torch.rand(2, inputs, generator=generator, dtype=torch.float64)
        given = torch.as_tensor(answer(x.clone(), w.clone()), dtype=torch.float64, device="cpu")
        if given.shape != x.shape:
            raise ValueError(f"the gradient has as many numbers as x, {inputs}; not so yours")
        moved = x[None].clone().requires_grad_(True)
        lp_dist(moved, w[None], math.inf).sum().backward()
        assert moved.grad is not None
        pairs.append((given, moved.grad[0]))

    if all(torch.allclose(given, right) for given, right in pairs):
        return None
    if all(torch.allclose(given, -right) for given, right in pairs):
        return "that is the gradient in w: which way does u grow when x moves?"
    if all(torch.allclose(given, right.abs()) for given, right in pairs):
        return "the place is right; what if x lies below w in that coordinate?"
    if any(int((given != 0).sum()) > 1 for given, _ in pairs):
        return "u depends on one coordinate alone; a small step in the others changes nothing"
    return "a step of h in the coordinate that decides changes u by h: how large is the slope?"


EXERCISES = (
    ask_function(
        "01-gradient",
        "Write a function (x, w) that gives the gradient of ‖x − w‖_∞ in x, for tensors (d,).",
        _gradient,
    ),
)
