"""Exercises of notebook 01_linf_distance_neurons."""

from __future__ import annotations

import math
from typing import Any

import torch

from linfkit.certification.lipschitz import neuron_bound
from linfkit.certification.margins import certified_radius
from linfkit.course.exercises.exercise import Exercise, one_number, within
from linfkit.functional import lp_dist

__all__ = ["EXERCISES"]

#: Of exercise 01-neuron.
X, W, BIAS = torch.tensor([[0.2, 0.9, 0.5]]), torch.tensor([[0.6, 0.4, 0.45]]), 0.1
#: Of exercise 01-constant.
INPUTS, EXPONENT, EPS = 81, 4, 0.05
#: Of exercise 01-uneven.
MARGIN, OWN_CONSTANT, RIVAL_CONSTANT = 0.6, 2.0, 1.0
#: Of exercise 01-nearest.
NEAREST = 0.12


def _neuron(answer: Any) -> str | None:
    number, distance = one_number(answer), lp_dist(X, W, math.inf).item()
    if within(number, distance + BIAS):
        return None
    if within(number, distance):
        return "that is the distance; the neuron adds something to it"
    if any(within(number, lp_dist(X, W, p).item() + BIAS) for p in (1, 2)):
        return "that is another p: at p=∞ a single coordinate decides"
    if within(number, (X - W).max().item() + BIAS) and (X - W).max() < distance:
        return "coordinates count by how far they are, above or below the weight"
    return "write down |xᵢ − wᵢ| for the three coordinates and take the largest"


def _gradient(answer: Any) -> str | None:
    if not callable(answer):
        raise TypeError(f"a function of (x, w) is wanted; a {type(answer).__name__} came")
    generator = torch.Generator().manual_seed(0)
    pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
    for inputs in (2, 3, 7, 2, 5):
        x, w = torch.rand(2, inputs, generator=generator, dtype=torch.float64)
        given = torch.as_tensor(answer(x.clone(), w.clone()), dtype=torch.float64, device="cpu")
        if given.shape != x.shape:
            raise ValueError(f"the gradient has as many numbers as x, {inputs}; not so yours")
        pairs.append((given, _gradient_by_autograd(x, w)))

    if all(torch.allclose(given, right) for given, right in pairs):
        return None
    if all(torch.allclose(given, -right) for given, right in pairs):
        return "that is the gradient in w: which way does u grow when x moves?"
    if all(torch.allclose(given, right.abs()) for given, right in pairs):
        return "the place is right; what if x lies below w in that coordinate?"
    if any(int((given != 0).sum()) > 1 for given, _ in pairs):
        return "u depends on one coordinate alone; a small step in the others changes nothing"
    return "a step of h in the coordinate that decides changes u by h: how large is the slope?"


def _constant(answer: Any) -> str | None:
    number, constant = one_number(answer), neuron_bound(INPUTS, EXPONENT)
    if within(number, constant * EPS):
        return None
    if within(number, constant):
        return "that is the neuron's constant; x moves by ε only"
    if within(number, EPS):
        return "that would be so at p=∞; below it all coordinates together count for more"
    if within(number, INPUTS * EPS):
        return "that would be so at p=1; take the p-th root"
    if within(number, math.sqrt(INPUTS) * EPS):
        return "that would be so at p=2"
    return "move every coordinate by ε, away from the weight; how far is that in ℓp?"


def _uneven(answer: Any) -> str | None:
    number = one_number(answer)
    half = _half_margin(MARGIN)  # right where both logits are 1-Lipschitz
    if within(number, half * 2 / (OWN_CONSTANT + RIVAL_CONSTANT)):
        return None
    if within(number, half):
        return "half the margin is for slopes −1 and +1; one of the cones is steeper here"
    if within(number, half / OWN_CONSTANT):
        return "safe, but too careful: only one of the two logits is the fast one"
    return "draw the cone of each logit with its own slope; where do their nearest edges meet?"


def _nearest(answer: Any) -> str | None:
    number = one_number(answer)
    # both logits may run towards each other all the way there
    if within(number, _half_margin(2 * NEAREST)):
        return None
    if within(number, 2 * NEAREST):
        return "that is a margin which such a net may have; how much of it is certified?"
    if number < NEAREST:
        return "safe, but a larger one is possible: how large may the margin be?"
    return "a certified square holds one class only; would that one?"


def _half_margin(margin: float) -> float:
    return certified_radius(torch.tensor([[margin, 0.0]]), torch.tensor([0])).item()


def _gradient_by_autograd(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    moved = x[None].clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(lp_dist(moved, w[None], math.inf).sum(), moved)
    return gradient[0]


EXERCISES: tuple[Exercise, ...] = (
    Exercise(
        "01-neuron",
        "A neuron at p=∞ has w = (0.6, 0.4, 0.45) and b = 0.1. What is u at x = (0.2, 0.9, 0.5)?",
        _neuron,
    ),
    Exercise(
        "01-gradient",
        "Write a function (x, w) that gives the gradient of ‖x − w‖_∞ in x, for tensors (d,).",
        _gradient,
    ),
    Exercise(
        "01-constant",
        "A neuron with 81 inputs is used at p=4, and x moves by at most 0.05 in ℓ∞. By how much "
        "can u change at most?",
        _constant,
    ),
    Exercise(
        "01-nearest",
        "The nearest point that a 1-Lipschitz net gives another class than x is 0.12 away in ℓ∞. "
        "What is the largest radius that half the margin of x can certify?",
        _nearest,
    ),
    Exercise(
        "01-uneven",
        "In a net f_y is 2-Lipschitz in ℓ∞ and every other logit 1-Lipschitz. The margin is 0.6. "
        "What radius is certified?",
        _uneven,
    ),
)
