"""How far a run has come, read from its folder at any moment."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from linfkit._util.files import expanded
from linfkit.nn.checkpoints import RAW
from linfkit.recipes import Recipe, load_recipe

__all__ = ["Progress"]

#: Epochs, the last ones, whose mean length those that are left are taken to have.
RECENT = 10


@dataclass(frozen=True)
class Progress:
    """A run as its folder shows it.

    Attributes:
        recipe: what was asked for.
        history: one row for each epoch that lies behind; see `linfkit.fit`.
        finished: whether the nets have been written, so that nothing more will come.
        silence: seconds since the history was last written to.
    """

    recipe: Recipe
    history: list[dict[str, float]]
    finished: bool
    silence: float = 0.0

    @classmethod
    def read(cls, folder: str | Path) -> Progress:
        r"""The run in a folder that `fit` or ``linfkit train`` writes into.

        A last line of the history that has only half been written does not count yet.

        Raises:
            FileNotFoundError: the folder, its recipe or its history is not there.
            ValueError: the recipe or a line of the history cannot be read.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     recipe = load_recipe("digits-small").replace(epochs=3)
        ...     _ = Path(folder, "recipe.toml").write_text(recipe.to_toml(), "utf-8")
        ...     _ = Path(folder, "history.jsonl").write_text('{"epoch": 1, "seconds": 4.0}\n{"epo')
        ...     progress = Progress.read(folder)
        >>> progress.epochs, progress.seconds_left, progress.finished
        (1, 8.0, False)
        """
        folder = expanded(folder)
        if not folder.is_dir():
            raise FileNotFoundError(f"run: there is no folder {folder}")
        for name in ("recipe.toml", "history.jsonl"):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"run: {folder} holds no run, for it has no {name}")
        # asked first: what is written before it is then there to be read
        finished = (folder / RAW).is_file()
        recipe = load_recipe(folder / "recipe.toml")
        silence = max(time.time() - (folder / "history.jsonl").stat().st_mtime, 0.0)
        return cls(recipe, list(_rows(folder / "history.jsonl")), finished, silence)

    @property
    def epochs(self) -> int:
        """How many lie behind."""
        return len(self.history)

    @property
    def seconds_an_epoch(self) -> float:
        """The mean of the last ten epochs; ∞ as long as no epoch lies behind."""
        recent = [row["seconds"] for row in islice(reversed(self.history), RECENT)]
        return sum(recent) / len(recent) if recent else math.inf

    @property
    def seconds_left(self) -> float:
        """How long the epochs that are left will take, if they take as long as the last ten did.

        ∞ as long as no epoch lies behind.
        """
        left = self.recipe.epochs - self.epochs
        return left * self.seconds_an_epoch if left else 0.0

    @property
    def seems_stopped(self) -> bool:
        """Whether an epoch is so late that the run was probably interrupted: by two and a minute.

        What trains may be on another machine, so that its process cannot be asked.
        """
        return not self.finished and self.silence > 3 * self.seconds_an_epoch + 60

    def column(self, name: str) -> list[float]:
        """One column of the history, epoch by epoch; NaN where a row has no such number."""
        return [row.get(name, math.nan) for row in self.history]


def _rows(path: Path) -> Iterator[dict[str, float]]:
    whole, _, _half = path.read_bytes().rpartition(b"\n")
    for number, line in enumerate(filter(None, whole.split(b"\n")), start=1):
        try:
            # p=∞ is in quotes, since JSON knows no infinity
            row = {
                name: float(value) for name, value in json.loads(line.decode("utf-8-sig")).items()
            }
            if not row.get("seconds", -1.0) >= 0:
                raise ValueError("it does not say how many seconds its epoch took")
            yield row
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(
                f"{path.name}: line {number} is no row of a history: {error}"
            ) from None
