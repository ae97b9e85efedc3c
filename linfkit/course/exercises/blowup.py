"""Exercises of notebook 02_lipschitz_blowup."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from linfkit.certification.lipschitz import lipschitz_bound, neuron_bound
from linfkit.course.exercises.exercise import Exercise, one_number, within
from linfkit.functional import lp_dist
from linfkit.nn.nets import LpDistNet

__all__ = ["EXERCISES"]

#: What each layer of the ICLR 2022 paper's CIFAR-10 net takes in: an image, then five times 5,120.
PAPER_NET = (3072, *(5120,) * 5)
#: The same for the notebook's net on digits.
DIGITS_NET = (64, 256, 256, 256)


def _bound(inputs: Sequence[int], p: float) -> float:
    return math.prod(neuron_bound(fan_in, p) for fan_in in inputs)


def _look_at_bound(answer: Any) -> str | None:
    given, p = one_number(answer), 16
    right = _bound(PAPER_NET, p)
    wrong = [
        (_bound(PAPER_NET, 8), "that is the bound at p=8, which the text gives; here p=16"),
        (_bound(PAPER_NET[:-1], p), "count the layers once more: the last one counts too"),
        (_bound((*PAPER_NET, 5120), p), "count the layers once more: six in all"),
        (_bound((5120,) * 6, p), "what does the first layer take in?"),
        (sum(neuron_bound(d, p) for d in PAPER_NET), "layers one after another multiply"),
        (neuron_bound(PAPER_NET[0], p), "that is the first layer alone"),
    ]
    return _diagnosis(given, right, wrong, "take d^(1/p) of every layer, d what it takes in")


def _look_at_wider(answer: Any) -> str | None:
    wider = (64, 512, 512, 512)
    right = _bound(wider, 8) / _bound(DIGITS_NET, 8)
    wrong = [
        (_bound((128, *wider[1:]), 8) / _bound(DIGITS_NET, 8), "does the first layer's d change?"),
        (neuron_bound(2, 8), "that is one layer; how many take in a hidden layer's output?"),
        (2.0, "d enters by its p-th root"),
        (8.0, "d enters by its p-th root"),
        (_bound(wider, 8), "that is the new bound; its ratio to the old one is asked for"),
    ]
    return _diagnosis(
        one_number(answer), right, wrong, "write the bound as a product, before, after"
    )


def _look_at_attained(answer: Any) -> str | None:
    x = torch.as_tensor(answer, dtype=torch.float64, device="cpu").detach().flatten()
    if len(x) != 16:
        raise ValueError(f"16 coordinates are wanted; {len(x)} came")
    if not x.isfinite().all() or not x.any():
        return "x must be finite, and not w itself, where the distance has a kink"
    x = x[None].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(lp_dist(x, torch.zeros_like(x), 8).sum(), x)
    constant = gradient.abs().sum().item()  # the steepest change for ‖v‖_∞ = 1
    if within(constant, neuron_bound(16, 8), 1e-3):
        return None
    if within(constant, 1.0, 1e-3):
        return "there the constant is 1, the least it can be: one coordinate does all the work"
    return (
        f"there the constant is {constant:.3f}, less than the bound: which coordinates take part?"
    )


def _look_at_exponent(answer: Any) -> str | None:
    if not callable(answer):
        raise TypeError(f"a function of (inputs, wanted) is wanted; a {type(answer).__name__} came")
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        pixels, width, depth = (
            int(torch.randint(low, high, (), generator=generator))
            for low, high in [(10, 60), (10, 60), (2, 5)]
        )
        wanted = 1 + torch.rand((), generator=generator).item() / 2
        inputs = [pixels, *[width] * (depth - 1)]
        p = one_number(answer(inputs, wanted))
        if p < 1:
            return "p below 1 is no norm: which way round does your quotient go?"
        net = LpDistNet(pixels, width, depth, classes=2)
        net.p = p
        reached = lipschitz_bound(net)
        if not within(reached, wanted, 1e-3):
            side = "above" if reached > wanted else "below"
            return (
                f"for inputs {inputs} and a wanted bound of {wanted:.3f}, the bound at your p is "
                f"{reached:.3f}, {side} it; take the logarithm of the product"
            )
    return None


def _diagnosis(
    given: float, right: float, wrong: Sequence[tuple[float, str]], otherwise: str
) -> str | None:
    """None for the right number, the hint of a wrong one that is known, or another."""
    if within(given, right):
        return None
    return next((hint for value, hint in wrong if within(given, value)), otherwise)


EXERCISES = (
    Exercise(
        "02-bound",
        "The bound of the paper's CIFAR-10 net (3,072 inputs, then five layers that take in 5,120) "
        "at p=16.",
        _look_at_bound,
    ),
    Exercise(
        "02-wider",
        "By which factor does the bound at p=8 grow when the hidden layers double from 256 to 512?",
        _look_at_wider,
    ),
    Exercise(
        "02-attained",
        "A point x of 16 coordinates where ‖x‖_8 climbs as steeply as the bound allows.",
        _look_at_attained,
    ),
    Exercise(
        "02-exponent",
        "A function of (inputs, wanted): the p at which the bound of a net is `wanted`.",
        _look_at_exponent,
    ),
)
