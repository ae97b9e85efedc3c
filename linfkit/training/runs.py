"""Runs and the folders that keep them: what is written, under which key, and read again."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from linfkit import __version__
from linfkit._util.environment import hardware, source_hash
from linfkit._util.files import cache_folder, expand_user, write_atomically
from linfkit.certification.certify import certify_checked, check_for_proofs
from linfkit.certification.intervals import certified_within
from linfkit.data.dataset import Dataset
from linfkit.nn.checkpoints import (
    AVERAGED,
    RAW,
    read_header,
    read_tensors,
    save_model,
    write_tensors,
)
from linfkit.nn.known_layers import unwrapped
from linfkit.nn.layers import set_p
from linfkit.recipes.recipe import Recipe

#: Parts of the package that decide what a run results in: a change makes cached nets stale.
DECIDING = ("_util", "certification", "data", "functional.py", "kernels", "nn", "training")

#: All files of a finished run, in the order in which they are written.
FILES = ("recipe.toml", "history.jsonl", AVERAGED, RAW)

#: The newest state of a run under way, and the one before it, in case the newest is damaged.
CHECKPOINTS = ("checkpoint.safetensors", "checkpoint-before.safetensors")


@dataclass(frozen=True)
class Run:
    """Finished training run.

    Attributes:
        recipe: of the run.
        seed: of initial weights, batch order and augmentation.
        model: the net with its raw weights, in evaluation mode, at the p where training ended.
        ema_model: the same with the moving average of the weights.
        history: one row for each epoch; see `fit`.
        results: over all test images: accuracy and certified accuracy at p=∞ and the recipe's eps,
            of the raw weights and (``ema_…``) their average; ``certified`` by margin or interval
            bounds, whichever proves an image, ``certified_by_margin`` by `certify` alone.
        folder: where it was written, or None.
    """

    recipe: Recipe
    seed: int
    model: nn.Module
    ema_model: nn.Module
    history: list[dict[str, float]]
    results: dict[str, float]
    folder: Path | None

    def column(self, name: str) -> list[float]:
        """One column of the history, epoch by epoch.

        Raises:
            ValueError: there is no such column.
        """
        if self.history and name not in self.history[0]:
            raise ValueError(f"history has no column {name!r}; it has {', '.join(self.history[0])}")
        return [row[name] for row in self.history]


@dataclass(frozen=True)
class RunFolder:
    """Folder of a run: its checkpoint while it is in progress, then its nets and history.

    Attributes:
        path: the folder.
        key: what decides the run; a folder that holds another is refused.
    """

    path: Path
    key: str

    @classmethod
    def of(cls, key: str, out: str | Path | None) -> RunFolder:
        """Folder of a run: `out`, or else its place in the cache.

        >>> RunFolder.of("0123abcd", None).path.name
        '0123abcd'
        """
        return cls(cache_folder() / "runs" / key if out is None else expand_user(out), key)

    @property
    def is_finished(self) -> bool:
        """True if the finished run is there.

        Raises:
            ValueError: a finished run is there, but it is another; or its file is damaged.
        """
        if not (self.path / RAW).is_file():
            return False
        self._check_key(read_header(self.path / RAW), self.path)
        return True

    def files(self) -> dict[str, bytes]:
        """Read a finished run's files, by name."""
        return {name: (self.path / name).read_bytes() for name in FILES}

    def take(self, files: Mapping[str, bytes]) -> None:
        """Write the files of a run that was finished elsewhere, the last one last."""
        for name in FILES:
            write_atomically(self.path / name, files[name])
        self._remove(*CHECKPOINTS)

    def save_checkpoint(self, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        """Write the state of a run under way, and keep the one before.

        Raises:
            OSError: it could not be written; the message names the one that is left.
        """
        newest, before = (self.path / name for name in CHECKPOINTS)
        if newest.is_file():
            newest.replace(before)
        try:
            write_tensors(newest, tensors, {**header, "key": self.key})
        except OSError as error:
            left = f"; {before} is left" if before.exists() else ""
            raise OSError(
                error.errno, f"no checkpoint could be written: {error.strerror}{left}"
            ) from error

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Read the newest undamaged state of a run in progress; None if there is none.

        Raises:
            ValueError: no checkpoint is whole, or one is another run's.
        """
        damage: ValueError | None = None
        for path in filter(Path.is_file, (self.path / name for name in CHECKPOINTS)):
            try:
                tensors, header = read_tensors(path)
            except ValueError as error:
                damage = damage or error
                continue
            self._check_key(header, path)
            if damage:
                warnings.warn(f"{damage}; going on from {path}", RuntimeWarning, stacklevel=2)
            return tensors, header
        if damage:
            raise damage
        return None

    def begin(self, recipe: Recipe, history: list[dict[str, float]]) -> None:
        """Write the recipe of a run under way, and its history so far."""
        write_atomically(self.path / "recipe.toml", recipe.to_toml().encode())
        lines = "".join(map(_as_json_line, history))
        write_atomically(self.path / "history.jsonl", lines.encode())

    def add_to_history(self, row: Mapping[str, float]) -> None:
        """Append an epoch to `history.jsonl`."""
        with (self.path / "history.jsonl").open("a", encoding="utf-8", newline="") as lines:
            lines.write(_as_json_line(row))

    def save_run(self, run: Run, data: Dataset) -> None:
        """Write a finished run."""
        header = {
            "key": self.key,
            "seed": run.seed,
            "history": run.history,
            **provenance(run.recipe, data, run.results),
        }
        save_model(self.path / AVERAGED, run.ema_model, header)
        save_model(self.path / RAW, run.model, header)
        self._remove(*CHECKPOINTS)

    def load_run(
        self, recipe: Recipe, seed: int, model: nn.Module, ema_model: nn.Module
    ) -> Run | None:
        """Load the finished run's weights into the given nets; None if it is not finished.

        Raises:
            ValueError: a file is damaged, or another run's.
        """
        if not self.is_finished:
            return None
        files = [read_tensors(self.path / name) for name in (RAW, AVERAGED)]
        for net, (tensors, header) in zip((model, ema_model), files, strict=True):
            unwrapped(net).load_state_dict(tensors)
            set_p(net, float(header["p"]))
            net.eval()
        history, results = header["history"], header["results"]
        return Run(recipe, seed, model, ema_model, history, results, self.path)

    def clear(self) -> None:
        """Remove an earlier run, so that one can start anew."""
        self._remove(*CHECKPOINTS, RAW, AVERAGED)

    def _remove(self, *names: str) -> None:
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def _check_key(self, header: Mapping[str, Any], place: Path) -> None:
        if header.get("key") != self.key:
            raise ValueError(
                f"{place} holds a run of another recipe, seed or data set, or of other code: "
                "choose another folder, or remove what is in it (in Python: resume=False)"
            )


def accuracies(model: nn.Module, x: Tensor, labels: Tensor, eps: float) -> dict[str, float]:
    """Clean and certified accuracy of a net at p=∞: by margin or intervals, and by margin alone."""
    checked = check_for_proofs(model)
    found = certify_checked(checked, x, labels)
    certified = certified_within(checked, x, labels, eps, found)
    return {
        "accuracy": found.clean_accuracy,
        "certified": int(certified.sum()) / len(certified),
        "certified_by_margin": found.accuracy(eps),
    }


def results_of(raw: Mapping[str, float], averaged: Mapping[str, float]) -> dict[str, float]:
    """Accuracies of a run's two nets: the `results` of a `Run`."""
    return dict(raw) | {f"ema_{name}": value for name, value in averaged.items()}


def provenance(recipe: Recipe, data: Dataset, results: Mapping[str, float]) -> dict[str, Any]:
    """Header of a net's file: recipe, data, versions, machine, results."""
    return {
        "recipe": recipe.to_toml(),
        "data": {"name": data.name, "fingerprint": data.fingerprint},
        "versions": {"linfkit": __version__, "torch": torch.__version__.split("+")[0]},
        "machine": hardware(),
        "results": dict(results),
    }


def run_key(
    recipe: Recipe,
    seed: int,
    data: Dataset,
    own_model: nn.Module | None = None,
    own_loss: Callable[..., Tensor] | None = None,
) -> str:
    """Hash of everything that decides a run, the code that trains included.

    Args:
        recipe: of the run.
        seed: of the run.
        data: what it is trained on, as the recipe asks.
        own_model: the net in place of the recipe's, if any.
        own_loss: the loss in place of the recipe's, if any; known by its name and source text.
    """
    dtype = str(torch.get_default_dtype())  # of a new net
    parts = [recipe.fingerprint, str(seed), data.fingerprint, source_hash(*DECIDING), dtype]
    if own_model is not None:
        parts.append(repr(own_model))
        parts += [
            hashlib.sha256(tensor.detach().cpu().numpy().tobytes()).hexdigest()
            for tensor in own_model.state_dict().values()
        ]
    if own_loss is not None:
        parts.append(getattr(own_loss, "__qualname__", type(own_loss).__qualname__))
        with suppress(TypeError, OSError):  # a built-in one, or one whose file is gone
            parts.append(inspect.getsource(own_loss))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def _as_json_line(row: Mapping[str, float]) -> str:
    """One row of the history; p=∞ in quotes, since JSON knows no infinity."""
    return json.dumps({k: v if math.isfinite(v) else str(v) for k, v in row.items()}) + "\n"
