"""Exercises of notebook 05_ensembles."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from linfkit.certification.lipschitz import lipschitz_bound
from linfkit.certification.margins import certified_radius
from linfkit.course.exercises.exercise import Exercise, one_number, within
from linfkit.nn.ensembles import VotingEnsemble
from linfkit.nn.layers import distance_layers
from linfkit.nn.nets import LpDistNet

__all__ = ["EXERCISES"]

#: Of the questions.
EPS, LOGIT_SCALE = 0.1, 8.0


def _radius(answer: Any) -> str | None:
    if not callable(answer):
        raise TypeError("a function of logits (K, B, C) and labels (B,) is wanted")
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


def _voting_constant(answer: Any) -> str | None:
    constant = one_number(answer)
    voting = VotingEnsemble([LpDistNet(4, 8, 2, 3) for _ in range(2)], LOGIT_SCALE)
    right = lipschitz_bound(voting)
    if within(constant, right, 1e-6):
        return None
    if within(constant, 2 * right, 1e-6):
        return "safe, but not the smallest: add up |∂P_i/∂z_j| over j, and find where it is largest"
    if within(constant, right / 2, 1e-6):
        return "that lets one logit move; all logits may, the others against it"
    return "the derivative of a probability P_i in its own logit is s·P_i(1 − P_i); and in others?"


def _cost(answer: Any) -> str | None:
    ratio = one_number(answer)
    wide, narrow = _weights(width=128), _weights(width=32)
    right = wide / (4 * narrow)
    if within(ratio, right, 0.01):
        return None
    if within(ratio, 1 / right, 0.01):
        return "upside down: the one wide net over the four narrow ones is asked"
    if within(ratio, wide / narrow, 0.01):
        return "that is against one narrow net; there are four"
    if within(ratio, 4.0, 0.01):
        return "that holds for the hidden layer alone; what of the first and the last?"
    if within(ratio, 1.0, 0.01):
        return "the first and last layer have as many weights in both, but the hidden one?"
    return "count pixels × width, width × width and width × classes, for each net"


def _weights(width: int) -> int:
    net = LpDistNet(64, width=width, depth=3, classes=10)
    return sum(layer.weight.numel() for layer in distance_layers(net))


EXERCISES: tuple[Exercise, ...] = (
    Exercise(
        "05-radius",
        "A function radius(logits, labels): the certified radius of the fusion of K members.",
        _radius,
    ),
    Exercise(
        "05-together",
        "Logits of two members that certify class 0 at ε=0.1 together, and neither alone.",
        _two_members,
    ),
    Exercise(
        "05-voting",
        "The smallest constant that bounds how fast a probability changes, with s=8.",
        _voting_constant,
    ),
    Exercise(
        "05-cost",
        "How many times the weights of four nets of width 32 has one of width 128?",
        _cost,
    ),
)
