"""Build the net that a recipe describes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from linfkit._util.checks import check_count
from linfkit.data.dataset import Dataset
from linfkit.nn.convnets import LpDistAlexNet, LpDistCNN7, LpDistConvNet, LpDistLeNet, LpDistVGG
from linfkit.nn.ensembles import ensemble_of
from linfkit.nn.hybrid import HybridNet
from linfkit.nn.nets import DistanceNet, LpDistNet, SharedExponent
from linfkit.nn.sortnet import SortNet
from linfkit.recipes.recipe import Recipe

CONVOLUTIONAL: dict[str, type[LpDistConvNet]] = {
    "lenet": LpDistLeNet,
    "alexnet": LpDistAlexNet,
    "vgg": LpDistVGG,
}


def initial_model(recipe: Recipe, data: Dataset, seed: int = 0) -> SharedExponent:
    """Build the net that `fit` starts from: the recipe's shape, the data's normalisation.

    The mean and scale that the recipe leaves open are those of the training pixels.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.

    >>> from linfkit.data.loading import load_dataset
    >>> from linfkit.recipes.recipe import load_recipe
    >>> initial_model(load_recipe("digits-small"), load_dataset("digits")).in_features
    64
    """
    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe must be a Recipe; got {type(recipe).__name__}")
    if not isinstance(data, Dataset):
        raise TypeError(f"data must be a Dataset; got {type(data).__name__}")
    seed = check_count("seed", seed, least=0)
    mean = data.channel_means if recipe.mean is None else recipe.mean
    scale = data.pixel_scale if recipe.scale is None else recipe.scale
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_model(recipe, data.train_x.shape[1:], len(data.classes), mean, scale)


def build_model(
    recipe: Recipe,
    image_shape: Sequence[int],
    classes: int,
    mean: float | Sequence[float] = 0.0,
    scale: float = 1.0,
) -> SharedExponent:
    """Build a net of the recipe's shape, its weights drawn from PyTorch's generator.

    Args:
        recipe: says which net; several `members` make an ensemble.
        image_shape: (C, H, W).
        classes: number of logits.
        mean: what is subtracted from the pixels.
        scale: what they are divided by.

    >>> from linfkit.recipes.recipe import load_recipe
    >>> recipe = load_recipe("digits-small").replace(mlp_hidden=16)
    >>> type(build_model(recipe, (1, 8, 8), classes=10)).__name__
    'HybridNet'
    """
    members: list[DistanceNet | HybridNet] = []
    shape = list(image_shape), recipe.width, classes
    size = math.prod(image_shape), recipe.width, recipe.depth, classes
    units = mean, scale, recipe.identity_start
    for _ in range(recipe.members):
        net: DistanceNet
        if recipe.filters is not None:
            net = LpDistCNN7(*shape, *units, filters=recipe.filters)
        elif not recipe.layered:
            net = CONVOLUTIONAL[recipe.model](*shape, *units)
        elif recipe.model == "sortnet":
            net = SortNet(*size, recipe.rho, *units)
        else:
            net = LpDistNet(*size, *units)
        members.append(net if recipe.mlp_hidden is None else HybridNet(net, recipe.mlp_hidden))
        # SortNet's hybrids learn the scalar of the mixed loss, the others' cross-entropy has none
        members[-1].logit_scale.requires_grad_(recipe.mlp_hidden is None or recipe.loss == "mixed")
    if recipe.members == 1:
        return members[0]
    return ensemble_of(members)
