"""Ablations that take longer than a notebook may: computed once, kept in `ablations.csv`.

`python -m linfkit.course.measured digits` computes a data set's rows anew and puts them into the
file; nets that the cache has are read. `README.md` says where and when each was computed.
"""

from __future__ import annotations

import csv
from collections.abc import Hashable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from linfkit._util.files import write_atomically
from linfkit.course.studies.ablations import LOSSES, Ablation, ablate, margins_of, weights_of
from linfkit.data.loading import load_dataset
from linfkit.recipes.recipe import Recipe, load_recipe

Key = TypeVar("Key", bound=Hashable)

#: For each data set: a recipe, what it is changed by, and θ of the losses as a multiple of ε.
BASES: dict[str, tuple[str, dict[str, Any], float]] = {
    "digits": ("digits-noisy", {"epochs": 30}, 6.0),
    "cifar10": ("cifar10-small", {"width": 256}, 6.0),
}
#: For each data set: θ of hinge and mixed loss, λ at the start and λ at the end that are tried.
GRIDS: dict[str, tuple[list[float], list[float], list[float]]] = {
    "digits": ([], [0.02, 0.05, 0.1, 0.2], [0.0001, 0.0002, 0.0005, 0.001, 0.002]),
    "cifar10": ([3.0, 6.0, 8.0], [0.02, 0.1], [0.0001, 0.0005, 0.002]),
}
ACCURACIES = ("clean", "certified", "certified_train")
FILE = Path(str(resources.files(__package__) / "ablations.csv"))


class Variant(NamedTuple):
    """Key of the table's rows: data set, loss, θ as a multiple of ε, λ where the loss has one."""

    dataset: str
    loss: str
    theta: float
    lam_start: float
    lam_end: float

    @classmethod
    def of(cls, recipe: Recipe) -> Variant:
        """Variant that a recipe trains.

        >>> Variant.of(load_recipe("digits-noisy").replace(loss="hinge"))
        Variant(dataset='digits', loss='hinge', theta=2.0, lam_start=0.0, lam_end=0.0)
        """
        weights = (recipe.lam_start, recipe.lam_end) if recipe.loss == "mixed" else (0.0, 0.0)
        return cls(recipe.dataset, recipe.loss, round(recipe.theta / recipe.eps, 6), *weights)


COLUMNS = (*Variant._fields, "seed", *ACCURACIES)


def base(dataset: str) -> Recipe:
    """Recipe of a data set that the table's variants change.

    >>> base("cifar10").width
    256
    """
    name, changes, theta = BASES[dataset]
    recipe = load_recipe(name).replace(**changes)
    return recipe.replace(eps_train=theta * recipe.eps / 2)


def measured(dataset: str, variants: Mapping[Key, Mapping[str, Any]]) -> dict[Key, Ablation]:
    """Accuracies of variants of a data set's `base`, read from the table; otherwise as `ablate`.

    Raises:
        KeyError: a variant is not in the table.

    >>> found = measured("digits", weights_of([0.02, 0.1], [0.0005]))
    >>> [len(each.certified) for each in found.values()]  # one number a seed
    [3, 3]
    """
    recipe, table = base(dataset), _table()
    rows = {name: table[Variant.of(recipe.replace(**keys))] for name, keys in variants.items()}
    return {
        name: Ablation(*([float(row[column]) for row in of_variant] for column in ACCURACIES))
        for name, of_variant in rows.items()
    }


def measure(dataset: str) -> None:
    """Train all variants of a data set, and put their rows in the place of those in the table."""
    recipe = base(dataset)
    thetas, starts, ends = GRIDS[dataset]
    changes = [*LOSSES.values(), *margins_of(recipe, thetas).values()]
    changes += weights_of(starts, ends).values()
    variants = {Variant.of(recipe.replace(**keys)): keys for keys in changes}
    found = ablate(recipe, variants, load_dataset(recipe.dataset))
    rows = [row for of_variant in _table().values() for row in of_variant]
    rows = [row for row in rows if row["dataset"] != dataset]
    for variant, ablation in found.items():
        accuracies = zip(*(getattr(ablation, column) for column in ACCURACIES), strict=True)
        for seed, shares in zip(recipe.seeds, accuracies, strict=True):
            values = (*variant, seed, *(round(share, 6) for share in shares))
            rows.append(dict(zip(COLUMNS, map(str, values), strict=True)))
    lines = [COLUMNS, *(row.values() for row in rows)]
    write_atomically(FILE, "".join(",".join(line) + "\n" for line in lines).encode())


def _table() -> dict[Variant, list[dict[str, str]]]:
    """Rows of the table by variant, in the order of their seeds."""
    table: dict[Variant, list[dict[str, str]]] = {}
    for row in csv.DictReader(FILE.read_text("utf-8").splitlines()):
        numbers = (float(row[name]) for name in Variant._fields[2:])
        table.setdefault(Variant(row["dataset"], row["loss"], *numbers), []).append(row)
    return table
