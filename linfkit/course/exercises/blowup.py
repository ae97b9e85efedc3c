"""Exercises of notebook 02_lipschitz_blowup."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from linfkit.certification.lipschitz import lipschitz_bound, neuron_bound
from linfkit.course.exercises.exercise import (
    Exercise,
    ask_function,
    one_number,
    within,
)
from linfkit.functional import lp_dist
from linfkit.nn.nets import LpDistNet

#: Constants of layers that take in 3,072 and 5,120 numbers, at p=16 and p=8.
IMAGE, HIDDEN = 3072 ** (1 / 16), 5120 ** (1 / 16)
IMAGE_8, HIDDEN_8 = 3072 ** (1 / 8), 5120 ** (1 / 8)
#: Bound at p=8 of the notebook's net on digits, with hidden layers of 512.
WIDER = 64 ** (1 / 8) * 512 ** (3 / 8)


def _attained(answer: Any) -> str | None:
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


def _exponent(answer: Callable[..., Any]) -> str | None:
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


EXERCISES = (
    Exercise(
        "02-attained",
        "A point x of 16 coordinates where ‖x‖_8 climbs as steeply as the bound allows.",
        _attained,
    ),
    ask_function(
        "02-exponent",
        "A function of (inputs, wanted): the p at which the bound of a net is `wanted`.",
        _exponent,
    ),
)
