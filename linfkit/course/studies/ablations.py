"""Ablations of the loss (Zhang et al., ICLR 2022, section 5 and appendices E and F)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any, TypeVar

from linfkit.certification.certify import certify
from linfkit.course import published
from linfkit.data.dataset import Dataset
from linfkit.recipes.recipe import Recipe
from linfkit.training.fit import apply_recipe, fit_all

Key = TypeVar("Key", bound=Hashable)

#: The losses that the paper compares, as keys of a recipe, by the names of its published table.
LOSSES: dict[str, dict[str, Any]] = {
    "hinge": {"loss": "hinge"},
    "cross-entropy": {"loss": "cross_entropy"},
    "clipped hinge": {"lam_start": 0.0, "lam_end": 0.0},
    "mixed, λ fixed": {"lam_start": 0.02, "lam_end": 0.02},
    "mixed, λ decaying": {},
}

#: Optimizers of the papers' codes, one learning rate each: Adam, with ℓp decay, multiplicative.
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "Adam": {},
    "Adam, ℓp decay": {"optimizer": "lp_adamw", "weight_decay": 0.005},
    "Madam": {"optimizer": "madam", "lr": 0.02},
}

#: A SortNet in the MLP's place (NeurIPS 2022); short runs of it do without the identity start. To
#: measure it, its means are computed anew, which takes as long as to train it.
SORTNET: dict[str, Any] = {
    "model": "sortnet",
    "rho": 0.25,
    "identity_start": False,
    "history_every": 10,
}

#: What the published table calls them.
PUBLISHED_LOSSES = {
    "hinge": "hinge (baseline)",
    "cross-entropy": "cross-entropy",
    "clipped hinge": "clipped hinge alone",
    "mixed, λ fixed": "scaled cross-entropy + clipped hinge, fixed lambda",
    "mixed, λ decaying": "scaled cross-entropy + clipped hinge, decaying lambda",
}


@dataclass(frozen=True)
class Ablation:
    """Accuracies of one variant of a recipe, one number a seed, of the raw weights.

    Attributes:
        clean: accuracy on the test images.
        certified: certified accuracy at the recipe's ε on the test images, by margin.
        certified_train: the same on the training images, but for those whose label was drawn anew.
    """

    clean: list[float]
    certified: list[float]
    certified_train: list[float]

    @property
    def gap(self) -> float:
        """Certified accuracy on training images less that on test images, mean over the seeds."""
        return mean(self.certified_train) - mean(self.certified)


def ablate(
    recipe: Recipe, variants: Mapping[Key, Mapping[str, Any]], data: Dataset
) -> dict[Key, Ablation]:
    """Train variants of a recipe with each of its seeds, and certify training and test images.

    Args:
        recipe: that the variants change.
        variants: by name or number, the keys that are other than the recipe's.
        data: the recipe's data set.

    >>> from linfkit import load_dataset, load_recipe
    >>> tiny = load_recipe("digits-small").replace(epochs=1, width=8, seeds=[0])
    >>> list(ablate(tiny, {"mixed": {}, "hinge": {"loss": "hinge"}}, load_dataset("digits")))
    ['mixed', 'hinge']
    """
    pairs = [
        (recipe.replace(**changes), seed) for changes in variants.values() for seed in recipe.seeds
    ]
    runs = iter(fit_all(pairs, data=data, description="variants × seeds"))
    given, data = apply_recipe(data, recipe), apply_recipe(data, recipe.replace(label_noise=0.0))
    right = given.train_y == data.train_y
    train = data.train_x[right] / 255, data.train_y[right]
    test = data.test_x / 255, data.test_y
    found = {}
    for name in variants:
        nets = [next(runs).model for _ in recipe.seeds]
        on_test = [certify(net, *test) for net in nets]
        found[name] = Ablation(
            clean=[each.clean_accuracy for each in on_test],
            certified=[each.accuracy(recipe.eps) for each in on_test],
            certified_train=[certify(net, *train).accuracy(recipe.eps) for net in nets],
        )
    return found


def margins_of(recipe: Recipe, thetas: Sequence[float]) -> dict[tuple[str, float], dict[str, Any]]:
    """Variants of a recipe: hinge and mixed loss with each θ, a multiple of ε.

    >>> from linfkit import load_recipe
    >>> margins_of(load_recipe("digits-noisy"), [4.0])["hinge", 4.0]
    {'loss': 'hinge', 'eps_train': 0.2}
    """
    return {
        (loss, theta): {"loss": loss, "eps_train": theta * recipe.eps / 2}
        for loss in ("hinge", "mixed")
        for theta in thetas
    }


def weights_of(
    starts: Sequence[float], ends: Sequence[float]
) -> dict[tuple[float, float], dict[str, Any]]:
    """Variants of a recipe: λ from each start to each end.

    >>> weights_of([0.1], [0.001])
    {(0.1, 0.001): {'lam_start': 0.1, 'lam_end': 0.001}}
    """
    return {(start, end): {"lam_start": start, "lam_end": end} for start in starts for end in ends}


def published_losses() -> dict[str, float]:
    """Published certified accuracy of each of `LOSSES`, on CIFAR-10 at ε = 8/255.

    >>> published_losses()["mixed, λ decaying"]
    0.4006
    """
    rows = {row.loss: row.certified for row in published.losses()}
    return {name: rows[theirs] for name, theirs in PUBLISHED_LOSSES.items()}
