"""Exact radii of tiny nets: the smallest perturbation that changes a prediction, by a MILP solver.

At p=∞ a net is built of maxima of affine functions, so that "how near to x is an image of class j?"
is a mixed-integer linear program: a neuron's output is at least every ±(x_i − w_i), and one binary
variable for each of them tells which it equals. `scipy.optimize.milp` (HiGHS) solves it to
optimality for nets of a few layers of sixteen neurons.

HiGHS sometimes misses the nearest image, and calls a farther one optimal or the program infeasible,
with its presolve or without (issues 3094 and 2122 of ERGO-Code/HiGHS are such). So every program is
solved both with and without, and the smaller of the two answers counts. A perturbation that is
found is real whatever the solver says; that there is no smaller one relies on its not having erred
twice.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from itertools import chain, cycle, zip_longest
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from linfkit._util.checks import check_count, check_finite_weights, check_images, check_real
from linfkit._util.devices import on_device_of_model
from linfkit.certification.layer_checks import not_plain
from linfkit.certification.rounding import unit_of
from linfkit.nn.known_layers import is_plain, unwrapped
from linfkit.nn.layers import LpDist, MeanShift
from linfkit.nn.nets import LpDistNet

Array = NDArray[np.float64]

#: HiGHS keeps constraints to within about this, in pixels.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class ExactRadius:
    """Size of the smallest perturbation that changes a prediction, in pixels.

    Attributes:
        lower: no smaller perturbation does, to within the solver's tolerance of 1e-6.
        upper: `point` is that far away; inf where no image in [0, 1] is put into another class.
        point: the perturbed image, (d,), or None; there, the label's logit ties with another's.
    """

    lower: float
    upper: float
    point: Tensor | None

    @property
    def solved(self) -> bool:
        """True if the two bounds meet, and so the radius is known.

        >>> ExactRadius(0.1, 0.1, None).solved, ExactRadius(0.1, 0.2, None).solved
        (True, False)
        """
        return self.upper - self.lower <= 2 * TOLERANCE or math.isinf(self.lower)


@dataclass(frozen=True)
class _Layer:
    """One layer in pixels: u_o = max_i |h_i − w_oi| − shift_o."""

    weight: Array
    shift: Array

    def interval(self, low: Array, high: Array) -> tuple[Array, Array]:
        """Bounds of u over a box of h, exact for each neuron."""
        below, above = low - self.weight, self.weight - high
        nearest = np.maximum(np.maximum(below, above), 0).max(axis=1)
        farthest = np.maximum(np.abs(below), np.abs(above)).max(axis=1)
        return nearest - self.shift, farthest - self.shift


@on_device_of_model
def exact_radius(model: LpDistNet, x: Tensor, label: int, time_limit: float = 60.0) -> ExactRadius:
    """Size of the smallest adversarial ℓ∞ perturbation of one image at p=∞, in [0, 1], by MILP.

    The box around the image in which the solver looks is doubled until it holds a perturbation, and
    shrinks to the smallest found as one class after another is looked for, the nearest first, so
    that most candidates of most maxima are ruled out beforehand. No bound is assumed but those that
    follow from the box.

    Args:
        model: a tiny net: about 3 layers of 16 on 64 pixels. It is taken in evaluation mode.
        x: the image, with or without a batch dimension of 1, in [0, 1].
        label: its class.
        time_limit: seconds for each of the solver's calls, above 0; when they run out, the bounds
            that were reached by then are returned.

    Returns:
        An `ExactRadius`; 0 where the image is not classified as the label.

    Raises:
        TypeError, ValueError: an argument is not as above.

    >>> net = LpDistNet(2, width=4, depth=2, classes=2)
    >>> x = torch.tensor([0.5, 0.5])
    >>> label = net.eval()(x[None]).argmax().item()
    >>> exact = exact_radius(net, x, label)
    >>> margin = net(x[None]).sort(descending=True).values
    >>> exact.lower >= (margin[0, 0] - margin[0, 1]).item() / 2 - 1e-5
    True
    """
    model = _plain(model)
    if not isinstance(x, Tensor) or x.numel() != model.in_features:
        raise ValueError(f"x must be one image of {model.in_features} pixels")
    x = check_images(x.reshape(1, -1)).detach()[0]
    check_real("time_limit", time_limit, "a positive number of seconds", lambda s: s > 0)
    layers = _in_pixels(model)
    classes = len(layers[-1].weight)
    label = check_count("label", label, least=0)
    if label >= classes:
        raise ValueError(f"label must be from 0 to {classes - 1}; got {label}")
    image = distances = x.cpu().double().numpy()
    for layer in layers:
        distances, _ = layer.interval(distances, distances)  # of a box that is one point
    others = sorted((j for j in range(classes) if j != label), key=lambda j: distances[j])
    margin = distances[others[0]] - distances[label]
    if margin <= 0:
        return ExactRadius(0.0, 0.0, x.clone())

    box = min(1.0, 0.6 * margin)  # half the margin, where most are, and a fifth of it
    while True:
        answer = _within(layers, image, label, others, box, time_limit)
        if answer.upper < math.inf or box >= 1 or answer.lower < box:
            return answer
        box = min(1.0, 2 * box)


def _plain(model: nn.Module) -> LpDistNet:
    """The net unwrapped, which must have the layers that its class makes, one by one."""
    model = unwrapped(model)
    if not isinstance(model, LpDistNet):
        raise TypeError(f"model must be an LpDistNet; got {type(model).__name__}")
    if not (is_plain(model, LpDistNet) and is_plain(model.layers, nn.Sequential)):
        raise not_plain(LpDistNet)
    check_finite_weights(model)
    for place, (layer, kind) in enumerate(zip(model.layers, cycle((LpDist, MeanShift)))):
        if not is_plain(layer, kind):
            raise ValueError(
                "model must be a plain LpDistNet, distances and mean shifts in turn; its layer "
                f"'layers.{place}', a {type(layer).__name__}, is not"
            )
    return model


def _in_pixels(model: LpDistNet) -> list[_Layer]:
    """The net's layers with weights, means and biases in pixels, in float64."""
    unit, model = unit_of(model), copy.deepcopy(model).cpu().double().requires_grad_(False)
    mean = model.mean.repeat_interleave(model.in_features // model.mean.numel())
    modules: list[Any] = list(model.layers)
    layers: list[_Layer] = []
    for layer, mean_shift in zip_longest(modules[::2], modules[1::2]):
        shift = layer.weight.new_zeros(()) if mean_shift is None else mean_shift.running_mean
        if layer.bias is not None:
            shift = shift - layer.bias
        weight = unit * layer.weight + (0 if layers else mean)
        layers.append(_Layer(weight.numpy(), (unit * shift).numpy()))
    return layers


def _within(
    layers: list[_Layer], image: Array, label: int, others: list[int], box: float, seconds: float
) -> ExactRadius:
    """The exact radius if it is at most `box`; else a lower bound of `box` and no upper one."""
    best = ExactRadius(math.inf if box >= 1 else box, math.inf, None)
    lower = best.lower
    for other in others:
        program = _Program(image, min(box, best.upper))
        h = program.image
        for layer in layers:
            h = program.add_layer(layer, h)
        program.at_most({h[other]: 1, h[label]: -1}, 0.0)
        found = program.solve(seconds)
        lower = min(lower, found.lower)
        if found.upper < best.upper:
            best = found
    return ExactRadius(min(lower, best.upper), best.upper, best.point)


class _Program:
    """A mixed-integer program under construction: variables with bounds, and rows A v ≤ b."""

    def __init__(self, image: Array, box: float) -> None:
        self._variables: list[tuple[float, float, bool]] = []  # bounds; whether it is integer
        self._rows: list[tuple[dict[int, float], float, float]] = []
        self._box = box
        self._size = self._variable(0.0, box)
        self.image = [
            self._variable(max(0.0, pixel - box), min(1.0, pixel + box)) for pixel in image
        ]
        for variable, pixel in zip(self.image, image, strict=True):
            self.at_most({variable: 1, self._size: -1}, pixel)
            self.at_most({variable: -1, self._size: -1}, -pixel)

    def add_layer(self, layer: _Layer, inputs: list[int]) -> list[int]:
        """Add variables for a layer's outputs, each the maximum of the sides of its coordinates."""
        low, high, _ = np.array([self._variables[variable] for variable in inputs]).T
        nearest, farthest = layer.interval(low, high)
        neurons = zip(layer.weight, layer.shift, nearest, farthest, strict=True)
        outputs = []
        for weights, shift, least, most in neurons:
            output = self._variable(least, most)
            choices = {}
            for variable, weight, bottom, top in zip(inputs, weights, low, high, strict=True):
                for sign in (1.0, -1.0):
                    # one side of one coordinate: sign · h + constant
                    constant = -sign * weight - shift
                    ends = [sign * (end - weight) - shift for end in (bottom, top)]
                    if max(ends) < least:
                        continue  # it is never the maximum
                    self.at_most({variable: sign, output: -1}, -constant)
                    # and the output is at most this side, if it is the one chosen
                    slack = most - min(ends)
                    choice = self._variable(0.0, 1.0, integer=True)
                    choices[choice] = 1.0
                    self.at_most({output: 1, variable: -sign, choice: slack}, constant + slack)
            # at least one: exactly one would add nothing, and HiGHS errs more often with it
            self._rows.append((choices, 1.0, np.inf))
            outputs.append(output)
        return outputs

    def at_most(self, terms: dict[int, float], bound: float) -> None:
        """Require Σ factor · variable ≤ bound."""
        self._rows.append((terms, -np.inf, bound))

    def solve(self, seconds: float) -> ExactRadius:
        """Minimise the perturbation's size."""
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csr_array

        low, high, integer = np.array(self._variables).T
        cost = np.zeros(len(low))
        cost[self._size] = 1.0
        terms, least, most = zip(*self._rows, strict=True)
        rows = np.repeat(np.arange(len(terms)), [len(factors) for factors in terms])
        columns = list(chain.from_iterable(terms))
        values = list(chain.from_iterable(factors.values() for factors in terms))
        matrix = csr_array((values, (rows, columns)), shape=(len(terms), len(cost)))
        answers = []
        for presolve in (True, False):
            found = milp(
                cost,
                integrality=integer,
                bounds=Bounds(low, high),
                constraints=LinearConstraint(matrix, least, most),
                options={"time_limit": seconds, "mip_rel_gap": 0.0, "presolve": presolve},
            )
            if found.status == 2:  # infeasible: nothing in the box
                reached = self._box if self._box < 1 else math.inf
            else:
                reached = max(0.0, found.mip_dual_bound or 0.0)
            point = None if found.x is None else torch.from_numpy(found.x[self.image])
            size = math.inf if found.x is None else found.fun
            answers.append(ExactRadius(reached, size, point))
        nearest = min(answers, key=lambda answer: answer.upper)
        return replace(nearest, lower=min(answer.lower for answer in answers))

    def _variable(self, low: float, high: float, integer: bool = False) -> int:
        self._variables.append((low, high, integer))
        return len(self._variables) - 1
