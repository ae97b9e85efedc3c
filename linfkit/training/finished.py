"""What the folder of a finished run says of it: how it was made, and what it reached."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import BaseModel, field_validator

from linfkit._util.files import expanded
from linfkit.certification.certify import certify
from linfkit.certification.margins import Certificates
from linfkit.data.loading import is_at_hand
from linfkit.nn.checkpoints import AVERAGED, RAW, read_header
from linfkit.recipes import Recipe
from linfkit.training.trained import DataIdentity, load_trained

__all__ = ["FinishedRun"]

#: The two nets of a run, by the weights that they have.
NETS = {"moving average": AVERAGED, "raw weights": RAW}


class FinishedRun(BaseModel, frozen=True):
    """A run from the folder that `fit` or ``linfkit train`` left it in.

    Attributes:
        folder: where it is.
        recipe: what was asked for.
        seed: of initial weights, batch order and augmentation.
        data: what it was trained on.
        versions: of what trained it.
        machine: what it was trained on; empty where its files do not say.
        history: one row for each epoch; see `linfkit.fit`.
        results: over all test images; see `linfkit.Run`.
    """

    folder: Path
    recipe: Recipe
    seed: int
    data: DataIdentity
    versions: dict[str, str]
    machine: dict[str, str | int] = {}
    history: list[dict[str, float]]
    results: dict[str, float]

    @field_validator("recipe", mode="before")
    @classmethod
    def _from_toml(cls, recipe: str) -> Recipe:
        return Recipe.from_toml(recipe)

    @classmethod
    def read(cls, folder: str | Path) -> FinishedRun:
        """The run in a folder.

        Raises:
            FileNotFoundError: there is no such folder, or the run in it is not finished.
            ValueError: its files are damaged, or those of something else than one run.

        >>> from tempfile import TemporaryDirectory
        >>> from linfkit import fit, load_recipe
        >>> tiny = load_recipe("digits-small").replace(epochs=1, width=8)
        >>> with TemporaryDirectory() as folder:
        ...     run = fit(tiny, out=folder, progress=False)
        ...     finished = FinishedRun.read(folder)
        >>> finished.recipe == tiny, finished.results == run.results
        (True, True)
        """
        folder = expanded(folder)
        if not folder.is_dir():
            raise FileNotFoundError(f"run: there is no folder {folder}")
        for file in NETS.values():
            if not (folder / file).is_file():
                raise FileNotFoundError(f"run: {folder} holds no finished run: it has no {file}")
        header = read_header(folder / RAW)
        if "history" not in header:
            raise ValueError(f"run: {folder} holds a net without a history; one run is wanted")
        return cls(**{**header, "folder": folder})

    @property
    def seconds(self) -> float:
        """How long its epochs took together."""
        return sum(row["seconds"] for row in self.history)

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of the nets' files, in hex, by their names."""
        return {
            file: hashlib.sha256((self.folder / file).read_bytes()).hexdigest()
            for file in NETS.values()
        }

    def certificates(self) -> dict[str, Certificates]:
        """Those of both nets, by their weights, on all test images.

        Raises:
            LookupError: nets or test images are not to be had here; the message says why.
        """
        name = self.recipe.dataset
        if not is_at_hand(name):
            raise LookupError(f"the data set {name} is not on this machine")
        try:
            nets = {weights: load_trained(self.folder / file) for weights, file in NETS.items()}
        except ValueError:
            raise LookupError("the net is of a class that is not linfkit's") from None
        try:
            data = nets["raw weights"].load_data()
        except ValueError:
            raise LookupError(f"{name} on this machine is not what it was trained on") from None
        images = data.test_x / 255
        return {weights: certify(net.model, images, data.test_y) for weights, net in nets.items()}
