"""Exercises of notebook 08_theory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from linfkit.course.exercises.exercise import ask_function
from linfkit.course.studies.theory import separating_net
from linfkit.functional import lp_dist


def _logits(answer: Callable[..., Any]) -> str | None:
    generator = torch.Generator().manual_seed(0)
    x, images = (torch.rand(n, 6, generator=generator) for n in (5, 12))
    labels = torch.arange(12) % 3
    given = torch.as_tensor(answer(x.clone(), images.clone(), labels.clone(), 3)).detach().cpu()
    if given.shape != (5, 3):
        raise ValueError(f"logits of shape (5, 3) are wanted here; {tuple(given.shape)} came")
    distances = lp_dist(x, images, math.inf)
    if _alike(given, separating_net(images, labels, 3)(x)):
        return None
    if _alike(given, _nearest(distances, labels, of_class=True)):
        return "the nearest class has the lowest of these; which images does the net look at for c?"
    if _alike(given, -_nearest(distances, labels, of_class=True)):
        return "right of the prediction, but these are other logits: its margins may differ"
    if _alike(given, _nearest((x[:, None] - images).norm(dim=2), labels, of_class=False)):
        return "the right images, by another distance"
    if _alike(given, _farthest(distances, labels)):
        return "the right images, but the farthest of them; which of 2 − h is the largest?"
    return "take the smallest of the distances to all images that are not of class c"


def _alike(given: Tensor, wanted: Tensor) -> bool:
    return torch.allclose(given.to(wanted), wanted, atol=1e-5)


def _nearest(distances: Tensor, labels: Tensor, of_class: bool) -> Tensor:
    counted = (labels == torch.arange(3)[:, None]) == of_class  # (classes, N)
    return distances[:, None].where(counted, math.inf).amin(dim=2)


def _farthest(distances: Tensor, labels: Tensor) -> Tensor:
    return distances[:, None].where(labels != torch.arange(3)[:, None], -math.inf).amax(dim=2)


EXERCISES = (
    ask_function(
        "08-logits",
        "A function of (x, images, labels, classes): the logits of the net built of the images.",
        _logits,
    ),
)
