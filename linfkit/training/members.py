"""The nets of an ensemble, each a task of its own, trained side by side by workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import NoReturn

import torch
from tqdm.auto import tqdm

from linfkit._util.workers import ProgressCallback, WorkerError, run_tasks, shown_in
from linfkit.data.dataset import Dataset
from linfkit.data.loading import load_dataset
from linfkit.recipes import Recipe
from linfkit.training.fit import as_the_recipe_asks, fit
from linfkit.training.runs import RunFolder, run_key

__all__ = ["Member", "train_side_by_side"]


#: A process trains one net at a time, whatever its worker's threads: PyTorch's generator is one.
ALONE = Lock()


@dataclass(frozen=True)
class Member:
    """One net to be trained, as a worker is sent it.

    Attributes:
        recipe: what is asked for.
        seed: of initial weights, batch order and augmentation.
        data: what to train on; None for the recipe's data set, which the worker then reads.
        device: as for `fit`.
        out: the folder that the worker trains in; None for a place in its cache.
        folder: where the process that asks keeps the finished run, by its own code and data.
    """

    recipe: Recipe
    seed: int
    data: Dataset | None
    device: str | torch.device
    out: Path | None
    folder: RunFolder

    @property
    def name(self) -> str:
        """Name that its progress is shown under."""
        return f"seed {self.seed}"

    def load_data(self) -> Dataset:
        """Load the data to train on."""
        return load_dataset(self.recipe.dataset) if self.data is None else self.data

    def check_here(self) -> None:
        """Refuse a worker that would train another run than the one that is asked for.

        Raises:
            WorkerError: linfkit, or the data set, is another here than where the member was made.
            FileNotFoundError: the data set is not here.
        """
        data = self.load_data()
        if (
            run_key(self.recipe, self.seed, as_the_recipe_asks(data, self.recipe))
            != self.folder.key
        ):
            raise WorkerError(
                f"{self.name}: the worker has another linfkit than this process, or other images "
                f"of {data.name}; install the same version, and bring the same files"
            )


def train_side_by_side(
    members: Sequence[Member], workers: int | None, scheduler: str | None, progress: bool
) -> None:
    """Train what is not finished yet, on workers; each run then is where `fit` finds it.

    What a worker was interrupted in goes on from its checkpoint.

    Args:
        members: the nets.
        workers: how many processes share them, as for `fit_ensemble`.
        scheduler: address of the cluster that trains them instead.
        progress: show one bar for them all.

    Raises:
        ValueError: a member's folder holds another run.
        WorkerError: a worker has another linfkit, or other data, than this process, or four died
            with a member.
        ConnectionError: no scheduler answers; and whatever `fit` raises.
    """
    left = [member for member in members if not member.folder.is_finished]
    for member in left:
        member.folder.load_checkpoint()  # another run's is refused now, not when all are trained
    with tqdm(
        desc="members",
        total=len(members),
        initial=len(members) - len(left),
        unit="net",
        disable=not progress,
    ) as bar:
        for member, files in run_tasks(
            left,
            _train,
            _lost,
            workers=workers,
            scheduler=scheduler,
            on_progress=shown_in(bar, "epoch"),
        ):
            if not member.folder.is_finished:  # it was trained in another machine's cache
                member.folder.take(files)
            bar.update()


def _train(member: Member, on_progress: ProgressCallback) -> dict[str, bytes]:
    """Train a member, or go on with it; the answer is its files, if it was in the cache."""
    with ALONE:
        fit(
            member.recipe,
            data=member.load_data(),
            out=member.out,
            device=member.device,
            seed=member.seed,
            progress=False,
            after_epoch=lambda row: on_progress(
                member.name, int(row["epoch"]), member.recipe.epochs
            ),
        )
    return RunFolder.of(member.folder.key, member.out).files() if member.out is None else {}


def _lost(member: Member, error: BaseException) -> NoReturn:
    raise error
