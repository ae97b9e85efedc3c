"""Nets in files that training wrote, with the recipe, data and history that the files name."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field, ValidationError
from torch import nn

from linfkit._util.files import expand_user
from linfkit.data.dataset import Dataset
from linfkit.data.loading import load_dataset
from linfkit.nn.checkpoints import AVERAGED, RAW, file_of, load_model, read_header
from linfkit.recipes.recipe import Recipe
from linfkit.training.fit import apply_recipe

#: The two nets of a run, by the weights that they have.
NETS = {"moving average": AVERAGED, "raw weights": RAW}


class DataIdentity(BaseModel, frozen=True):
    """Name of a data set, and the hash of all that is in it.

    >>> DataIdentity(name="digits", fingerprint="4f0c93a1d2e5b6").shown
    'digits (4f0c93a1d2e5…)'
    """

    name: str
    fingerprint: str

    @classmethod
    def of(cls, data: Dataset) -> DataIdentity:
        """Identity of a data set."""
        return cls(name=data.name, fingerprint=data.fingerprint)

    @property
    def shown(self) -> str:
        """Name and the first twelve digits."""
        return f"{self.name} ({self.fingerprint[:12]}…)"


class SavedNet(BaseModel, frozen=True):
    """Net in a file that linfkit wrote; the net itself is built at its first use.

    Attributes:
        path: the file.
        recipe: that it was trained by; None where the file does not say.
        trained_on: data that it was trained on; None where the file does not say.
        seed: of initial weights, batch order and augmentation, if any.
        versions: of the software that trained it.
        machine: that it was trained on; empty where the file does not say.
        history: one row for each epoch; see `linfkit.fit`.
        results: over all test images; see `linfkit.Run`.

    >>> from tempfile import TemporaryDirectory
    >>> from linfkit import fit, load_recipe
    >>> tiny = load_recipe("digits-small").replace(epochs=1, width=8)
    >>> with TemporaryDirectory() as folder:
    ...     run = fit(tiny, out=folder, progress=False)
    ...     saved = SavedNet.read(folder)
    ...     saved.recipe == tiny, saved.results == run.results, saved.load_data().name
    (True, True, 'digits')
    """

    path: Path
    recipe: Annotated[Recipe, BeforeValidator(Recipe.from_toml)] | None = None
    trained_on: DataIdentity | None = Field(None, alias="data")
    seed: int | None = None
    versions: dict[str, str] = {}
    machine: dict[str, str | int] = {}
    history: list[dict[str, float]] = []
    results: dict[str, float] = {}

    @classmethod
    def read(cls, path: str | Path) -> SavedNet:
        """Read the header of a net's file; of a run's folder, that of the averaged weights.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is no checkpoint of linfkit.
        """
        path = file_of(path)
        try:
            return cls(**(read_header(path) | {"path": path}))
        except ValidationError as error:
            raise ValueError(f"{path} must be a file of a run; {error}") from None

    @cached_property
    def model(self) -> nn.Module:
        """Build the net, in evaluation mode."""
        return load_model(self.path)

    @cached_property
    def sha256(self) -> str:
        """Hash of the file, in hex."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    @property
    def name(self) -> str:
        """Name of the recipe, or else of the file."""
        return self.path.name if self.recipe is None else self.recipe.name

    @property
    def eps(self) -> float:
        """ε that the recipe reports at.

        Raises:
            ValueError: the file names no recipe.
        """
        return self._recipe_for("eps").eps

    def load_data(self) -> Dataset:
        """Load the data that the net was trained on.

        Raises:
            ValueError: the file does not name it, or other data is found under its name; the
                message has both fingerprints.
            FileNotFoundError: its files are not there.
        """
        recipe = self._recipe_for("dataset")
        data = apply_recipe(load_dataset(recipe.dataset), recipe)
        found = DataIdentity.of(data)
        if self.trained_on is None or found.fingerprint != self.trained_on.fingerprint:
            known = "what it does not name" if self.trained_on is None else self.trained_on.shown
            raise ValueError(
                f"dataset must be named, since {self.path.name} was trained on {known}; found "
                f"{found.shown}, which --dataset {recipe.dataset} takes all the same"
            )
        return data

    def _recipe_for(self, key: str) -> Recipe:
        if self.recipe is None:
            raise ValueError(f"{key} must be given, since {self.path.name} names no recipe")
        return self.recipe


def saved_nets(folder: str | Path) -> dict[str, SavedNet]:
    """Read the nets of a finished run, by their weights: "moving average" and "raw weights".

    Raises:
        FileNotFoundError: there is no such folder, or the run in it is not finished.
        ValueError: its files are damaged, or of something else than one run.
    """
    folder = expand_user(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"run must be the folder of a finished run; there is no {folder}")
    for file in NETS.values():
        if not (folder / file).is_file():
            raise FileNotFoundError(f"run must be a finished run; {folder} has no {file}")
    nets = {weights: SavedNet.read(folder / file) for weights, file in NETS.items()}
    for net in nets.values():
        if net.recipe is None or not net.history:
            raise ValueError(f"run must be one run; {folder} holds a net without a history")
    return nets
