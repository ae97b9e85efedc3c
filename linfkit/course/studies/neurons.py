"""Neurons and nets in the plane: images of two pixels, x₁ and x₂, of which all can be drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from linfkit._util.devices import logits_of, on_device_of_model
from linfkit.certification.margins import certified_radius
from linfkit.course.studies.blowup import at_exponent
from linfkit.data.dataset import Dataset
from linfkit.functional import lp_dist
from linfkit.nn.layers import LpDist
from linfkit.nn.nets import LpDistNet

#: Points keep this far from the unit square's centre, in which the arms would meet, and its edge.
SPIRAL_RADII = (0.07, 0.45)
SPIRAL_TURNS = 0.55


def level_set(w: Tensor, p: float, distance: float, points: int = 160) -> Tensor:
    """Points of the plane at one ℓp distance from w: {x : ‖x − w‖_p = distance}, once around.

    Args:
        w: the neuron's weight, (2,).
        p: the exponent, from 1 up to ``math.inf``.
        distance: the level, above 0.
        points: how many; a multiple of 8 puts some on the corners that p=1 and p=∞ have.

    Returns:
        The points, (points + 1, 2); the last is the first, so that a line through them closes.

    >>> around = level_set(torch.zeros(2), 1, distance=0.5)
    >>> bool((around.abs().sum(dim=1) - 0.5).abs().max() < 1e-6)
    True
    """
    angle = torch.linspace(0, 2 * math.pi, points + 1, dtype=w.dtype)
    towards = torch.stack([angle.cos(), angle.sin()], dim=1)
    return w + distance * towards / lp_dist(towards, w.new_zeros(1, 2), p)


def neuron_gradient(x: Tensor, w: Tensor, p: float) -> Tensor:
    """The gradient of u(x) = ‖x − w‖_p + b in x: sign(xᵢ − wᵢ)(|xᵢ − wᵢ| / ‖x − w‖_p)^(p−1).

    Args:
        x: points, (B, d).
        w: the neuron's weight, (d,).
        p: the exponent, from 1 up to ``math.inf``.

    Returns:
        Gradients, (B, d). At p=∞ each has one coordinate that is not zero.

    >>> neuron_gradient(torch.tensor([[0.9, 0.4]]), torch.tensor([0.5, 0.5]), math.inf)
    tensor([[1., 0.]])
    """
    moved = x.detach().requires_grad_(True)
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(lp_dist(moved, w[None], p).sum(), moved)
    return gradient


def difference_quotients(w: Tensor, p: float, pairs: int = 10_000, seed: int = 0) -> Tensor:
    """|u(x) − u(x')| / ‖x − x'‖_∞ of one neuron at random pairs of points of the unit cube.

    Args:
        w: the neuron's weight, (d,).
        p: the exponent, from 1 up to ``math.inf``.
        pairs: how many.
        seed: of the points.

    Returns:
        Quotients, (pairs,): none above d^(1/p), the neuron's Lipschitz constant in ℓ∞.

    >>> bool(difference_quotients(torch.zeros(2).double(), math.inf).max() <= 1 + 1e-12)
    True
    """
    generator = torch.Generator().manual_seed(seed)
    x, other = torch.rand(2, pairs, len(w), dtype=w.dtype, generator=generator)
    change = (lp_dist(x, w[None], p) - lp_dist(other, w[None], p)).squeeze(1).abs()
    return change / (x - other).abs().amax(dim=1)


@dataclass(frozen=True)
class Stage:
    """Numbers at one place in a net at p=∞, for one input.

    Attributes:
        values: of the input, of a layer after its mean shift, or the logits, (n,).
        decided_by: which number before decides each, (n,); empty for the input.
    """

    values: Tensor
    decided_by: Tensor


@on_device_of_model
@torch.no_grad()
def numbers_through(model: LpDistNet, x: Tensor) -> list[Stage]:
    """The numbers that an input makes on its way through a net at p=∞, from pixels to logits.

    Args:
        model: in evaluation mode.
        x: one input, (d,), in [0, 1].

    >>> net, x = LpDistNet(2, width=4, depth=2, classes=3).eval(), torch.rand(2)
    >>> stages = numbers_through(net, x)
    >>> torch.allclose(stages[-1].values, net(x[None])[0], atol=1e-6)
    True
    """
    stages = [Stage(x, torch.zeros(0, dtype=torch.int64))]
    values = model.normalise(x[None])[0]
    for layer in model.layers:
        if isinstance(layer, LpDist):
            differences = (values - layer.weight).abs()
            values, decided_by = differences.max(dim=1)
            values = values if layer.bias is None else values + layer.bias
            stages.append(Stage(values, decided_by))
        else:
            values = layer(values[None])[0]
            stages[-1] = replace(stages[-1], values=values)
    return [*stages[:-1], replace(stages[-1], values=-model.scale * values)]


def spirals(train_points: int, test_points: int, classes: int = 3, seed: int = 0) -> Dataset:
    """A data set in the plane: one arm of a spiral for each class, as images of two pixels.

    Args:
        train_points: how many points to train on.
        test_points: how many to test on.
        classes: arms.
        seed: of where on its arm a point lies, and how far beside it.

    Returns:
        A `Dataset` of images (2, 1, 1): the coordinates x₁ and x₂, in 256 levels as pixels are.

    >>> spirals(30, 9)
    Dataset('spirals', train=30, test=9, image_shape=(2, 1, 1), classes=3)
    """
    rng = np.random.default_rng(seed)
    train_x, train_y = _on_arms(train_points, classes, rng)
    test_x, test_y = _on_arms(test_points, classes, rng)
    return Dataset.from_arrays(train_x, train_y, test_x, test_y, name="spirals")


def _on_arms(
    points: int, classes: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    labels = np.arange(points) % classes
    from_centre = rng.uniform(*SPIRAL_RADII, points)
    angle = 2 * np.pi * (labels / classes + SPIRAL_TURNS * from_centre / SPIRAL_RADII[1])
    on_arm = 0.5 + from_centre[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    beside = on_arm + rng.normal(0, 0.012, on_arm.shape)
    pixels = np.rint(255 * beside.clip(0, 1)).astype(np.uint8)
    return pixels[:, :, None, None], labels


@dataclass(frozen=True)
class Regions:
    """Predictions of a net all over the unit square, and certificates of some points of it.

    Attributes:
        p: the exponent at which the net is looked at.
        classes: the class predicted at the grid's points, (side, side); a row for each x₂.
        points: the points, (N, 2).
        labels: their labels, (N,).
        radius: half the margin at p, (N,); negative where misclassified. Certified only at p=∞.
        distance: from each point to the nearest point of the grid that is given another class
            than the point's label, in ℓ∞, (N,).
    """

    p: float
    classes: Tensor
    points: Tensor
    labels: Tensor
    radius: Tensor
    distance: Tensor

    @property
    def axis(self) -> Tensor:
        """The grid's coordinates, (side,), the same for x₁ and x₂."""
        return grid_axis(len(self.classes))

    @property
    def crossing(self) -> Tensor:
        """Mask of the points with another class inside the square of half the margin, (N,)."""
        return self.distance < self.radius


def grid_axis(side: int) -> Tensor:
    """The centres of `side` equal parts of [0, 1].

    >>> grid_axis(2)
    tensor([0.2500, 0.7500], dtype=torch.float64)
    """
    return (torch.arange(side, dtype=torch.float64) + 0.5) / side


@torch.no_grad()
def decision_regions(
    model: nn.Module, p: float, data: Dataset, points: int | None = None, side: int = 120
) -> Regions:
    """Look at a net of the plane at one p, in float64: its regions, and test points in them.

    The net's running means are taken anew from the training points, as `at_exponent` says.

    Args:
        model: takes images (2, 1, 1); it stays as it is.
        p: the exponent to look at.
        data: points to take means over, and to test on.
        points: the first so many test points; None takes all.
        side: the grid has side × side points.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net = LpDistNet(2, width=8, depth=2, classes=3)
    >>> regions = decision_regions(net, math.inf, spirals(30, 9), side=20)
    >>> bool(regions.crossing.any())
    False
    """
    data = data.on("cpu")
    net = at_exponent(model, p, data.train_x / 255).cpu().double()
    axis = grid_axis(side)
    x2, x1 = torch.meshgrid(axis, axis, indexing="ij")
    grid = torch.stack([x1.flatten(), x2.flatten()], dim=1)
    classes = net(grid[:, :, None, None]).argmax(dim=1)
    x, labels = data.test_x[:points].double() / 255, data.test_y[:points]
    distances = lp_dist(x.flatten(1), grid, math.inf)
    return Regions(
        p=float(p),
        classes=classes.view(side, side),
        points=x.flatten(1),
        labels=labels,
        radius=certified_radius(net(x), labels),
        distance=distances.masked_fill(classes == labels[:, None], math.inf).amin(dim=1),
    )


@dataclass(frozen=True)
class Line:
    """A net's logits along x + t·v, where v has ℓ∞ size 1, so that the perturbation has size t.

    Attributes:
        start: x, (2,).
        direction: v, (2,).
        sizes: t, (T,), from 0.
        label: y.
        logits: f(x + t·v), (T, classes).
    """

    start: Tensor
    direction: Tensor
    sizes: Tensor
    label: int
    logits: Tensor

    @property
    def own(self) -> Tensor:
        """f_y along the line, (T,)."""
        return self.logits[:, self.label]

    @cached_property
    def rival(self) -> Tensor:
        """max_{j≠y} f_j along the line, (T,); 1-Lipschitz where every f_j is."""
        others = torch.arange(self.logits.shape[1]) != self.label
        return self.logits[:, others].amax(dim=1)

    @property
    def radius(self) -> float:
        """Half the margin at x."""
        return ((self.own[0] - self.rival[0]) / 2).item()

    @property
    def changes_at(self) -> float:
        """The first t at which another class is ahead; infinite if there is none on the line."""
        behind = self.sizes[self.own < self.rival]
        return behind[0].item() if len(behind) else math.inf

    @property
    def leaves_cones(self) -> float:
        """By how much f_y or its rival leaves the cone ± t around where it started, at most.

        0 or less where neither does.
        """
        moved = torch.stack([self.own - self.own[0], self.rival - self.rival[0]]).abs()
        return (moved - self.sizes).amax().item()


@torch.no_grad()
def logits_along(
    model: nn.Module, x: Tensor, label: int, degrees: float, furthest: float, steps: int = 100
) -> Line:
    """The logits of a net of the plane along a straight line.

    Args:
        model: a net in evaluation mode; its own p stands.
        x: where the line starts, (2,).
        label: the label of x.
        degrees: the line's direction, counterclockwise from x₁.
        furthest: the ℓ∞ size of the perturbation at its end.
        steps: how many steps it takes.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net = LpDistNet(2, width=8, depth=2, classes=3).double().eval()
    >>> line = logits_along(net, torch.rand(2).double(), 0, degrees=45, furthest=0.2)
    >>> line.leaves_cones < 1e-12
    True
    """
    angle = torch.tensor(math.radians(degrees), dtype=x.dtype)
    towards = torch.stack([angle.cos(), angle.sin()])
    direction = towards / towards.abs().amax()
    sizes = torch.linspace(0, furthest, steps + 1, dtype=x.dtype)
    along = x + sizes[:, None] * direction
    return Line(x, direction, sizes, int(label), logits_of(model, along[:, :, None, None]))
