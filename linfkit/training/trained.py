"""A trained net and what its file says of its making: recipe, data, and the file's own hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel
from torch import nn

from linfkit.data.dataset import Dataset
from linfkit.data.loading import load_dataset
from linfkit.nn.checkpoints import file_of, load_model, read_header
from linfkit.recipes import Recipe
from linfkit.training.fit import as_the_recipe_asks

__all__ = ["DataIdentity", "TrainedNet", "load_trained"]


class DataIdentity(BaseModel, frozen=True):
    """What a data set is called, and the hash of all that is in it.

    >>> DataIdentity(name="digits", fingerprint="4f0c93a1d2e5b6").shown
    'digits (4f0c93a1d2e5…)'
    """

    name: str
    fingerprint: str

    @classmethod
    def of(cls, data: Dataset) -> DataIdentity:
        """That of a data set."""
        return cls(name=data.name, fingerprint=data.fingerprint)

    @property
    def shown(self) -> str:
        """Name and the first twelve digits."""
        return f"{self.name} ({self.fingerprint[:12]}…)"


@dataclass(frozen=True)
class TrainedNet:
    """A net from a file, and what the file says of its making.

    Attributes:
        model: the net, in evaluation mode.
        file: the file's name, without its folder.
        sha256: of the file, in hex.
        recipe: what it was trained by; None where the file does not say.
        trained_on: the data that it was trained on, images counted and labels noisy as the recipe
            asks; None where the file does not say.
    """

    model: nn.Module
    file: str
    sha256: str
    recipe: Recipe | None
    trained_on: DataIdentity | None

    @property
    def name(self) -> str:
        """That of the recipe, or else of the file."""
        return self.file if self.recipe is None else self.recipe.name

    @property
    def eps(self) -> float:
        """The ε that the recipe reports at.

        Raises:
            ValueError: the file does not say what recipe that is.
        """
        return self._known_recipe("eps").eps

    def load_data(self) -> Dataset:
        """The data that the net was trained on.

        Raises:
            ValueError: the file does not say which it is, or what is found under its name is
                something else; the message has both fingerprints.
            FileNotFoundError: its files are not there.
        """
        recipe = self._known_recipe("dataset")
        data = as_the_recipe_asks(load_dataset(recipe.dataset), recipe)
        found = DataIdentity.of(data)
        if self.trained_on is None or found.fingerprint != self.trained_on.fingerprint:
            known = "what it does not name" if self.trained_on is None else self.trained_on.shown
            raise ValueError(
                f"dataset: {self.file} was trained on {known}, and found was {found.shown}; name "
                f"one yourself to take it all the same: --dataset {recipe.dataset}"
            )
        return data

    def _known_recipe(self, wanted: str) -> Recipe:
        if self.recipe is None:
            raise ValueError(
                f"{wanted}: {self.file} holds no recipe to take it from; one is wanted"
            )
        return self.recipe


def load_trained(path: str | Path) -> TrainedNet:
    """A net from a file that linfkit wrote.

    Args:
        path: a ``.safetensors`` file, or a run's folder, of which the averaged weights are taken.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no checkpoint of linfkit.

    >>> from tempfile import TemporaryDirectory
    >>> from linfkit import fit, load_recipe
    >>> tiny = load_recipe("digits-small").replace(epochs=1, width=8)
    >>> with TemporaryDirectory() as folder:
    ...     run = fit(tiny, out=folder, progress=False)
    ...     trained = load_trained(folder)
    >>> trained.recipe == tiny, trained.load_data().name
    (True, 'digits')
    """
    path = file_of(path)
    header = read_header(path)
    recipe, data = header.get("recipe"), header.get("data")
    return TrainedNet(
        model=load_model(path),
        file=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        recipe=None if recipe is None else Recipe.from_toml(recipe),
        trained_on=None if data is None else DataIdentity.model_validate(data),
    )
