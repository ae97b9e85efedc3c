"""What a run will cost, before it is started: the pairs it computes, and the time they take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.func import functional_call

from linfkit.data.sizes import SIZES
from linfkit.nn.checkpoints import ShapesOnly
from linfkit.nn.evaluation_mode import evaluating_at
from linfkit.nn.layers import DistanceLayer, distance_layers
from linfkit.recipes import Recipe
from linfkit.training.building import build_model

__all__ = ["PAIRS_PER_SECOND", "pairs_of_run", "pairs_per_image", "seconds_of_run"]

#: Of whole training runs, forward and backward at all their p, on two cores of an AMD EPYC (Zen 4).
PAIRS_PER_SECOND = 3e9

#: What a step takes however few its pairs are: Python, the optimiser, the moving average.
SECONDS_A_STEP = 6e-3


def pairs_per_image(model: nn.Module, image_shape: Sequence[int]) -> int:
    """How many inputs meet a weight while one image passes through a net's distance layers.

    Of a layer it is outputs × fan_in: of an `LpDist` as many as weights, of an `LpDistConv2d` those
    of a kernel once for each place where the kernel lies.

    Args:
        model: takes images in [0, 1].
        image_shape: (C, H, W): channels, height and width of an image.

    Raises:
        TypeError, ValueError: the model does not take images of that shape.

    >>> from linfkit.nn.nets import LpDistNet
    >>> pairs_per_image(LpDistNet(64, width=32, depth=3, classes=10), (1, 8, 8))
    3392
    >>> 64 * 32 + 32 * 32 + 32 * 10
    3392
    """
    pairs: list[int] = []

    def count(layer: DistanceLayer, _: tuple[Tensor, ...], output: Tensor) -> None:
        pairs.append(output.numel() * layer.fan_in)

    tensors = dict(chain(model.named_parameters(), model.named_buffers()))
    counting = [layer.register_forward_hook(count) for layer in distance_layers(model)]
    try:
        # fake tensors have shapes alone: nothing is computed
        with FakeTensorMode(), torch.no_grad(), evaluating_at(model, math.inf):
            fakes = {name: torch.empty(real.shape) for name, real in tensors.items()}
            functional_call(model, fakes, torch.empty(1, *image_shape))
    finally:
        for hook in counting:
            hook.remove()
    return sum(pairs)


def seconds_of_run(recipe: Recipe) -> float:
    """About how long one seed's run takes on two cores: its pairs, and its steps.

    Raises:
        ValueError: the recipe's data set is none whose size is known.

    >>> from linfkit.recipes import load_recipe
    >>> 5 < seconds_of_run(load_recipe("digits-small")) < 60
    True
    """
    pairs = pairs_of_run(recipe)
    images = recipe.train_images or SIZES[recipe.dataset].train_images
    steps = recipe.epochs * math.ceil(images / recipe.batch_size)
    return pairs / PAIRS_PER_SECOND + steps * SECONDS_A_STEP


def pairs_of_run(recipe: Recipe) -> int:
    """The pairs of one seed's run: training images × epochs × pairs of an image in all members.

    Each is counted once, though it is computed forward and backward.

    Raises:
        ValueError: the recipe's data set is none whose size is known.

    >>> from linfkit.recipes import load_recipe
    >>> pairs_of_run(load_recipe("digits-small").replace(width=32, epochs=10))
    48743040
    >>> 1437 * 10 * (64 * 32 + 32 * 32 + 32 * 10)
    48743040
    """
    if recipe.dataset not in SIZES:
        raise ValueError(
            f"dataset: {recipe.dataset!r} came; one whose size is known is wanted: "
            f"{', '.join(SIZES)}"
        )
    size = SIZES[recipe.dataset]
    one = recipe.replace(members=1)  # members are alike
    with ShapesOnly():
        model = build_model(one, size.image_shape, size.classes)
    images = recipe.train_images or size.train_images
    passes = images * recipe.epochs * recipe.members
    return passes * pairs_per_image(model, size.image_shape)
