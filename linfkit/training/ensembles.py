"""Ensembles: a net for each of a recipe's seeds, trained one after the other or by workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import NoReturn

import torch

from linfkit._util.checks import check_count
from linfkit._util.distributed import is_first
from linfkit._util.files import expand_user
from linfkit._util.progress import progress_bar
from linfkit._util.workers import ProgressCallback, WorkerError, run_tasks, shown_in
from linfkit.data.dataset import Dataset
from linfkit.data.loading import load_dataset
from linfkit.nn.checkpoints import AVERAGED, RAW, read_header, save_model
from linfkit.nn.ensembles import Members, ensemble_of
from linfkit.recipes.recipe import Recipe, load_recipe
from linfkit.training.fit import apply_recipe, fit
from linfkit.training.runs import Run, RunFolder, accuracies, provenance, results_of, run_key


@dataclass(frozen=True)
class EnsembleRun:
    """Nets of a recipe's seeds, and the means of their logits.

    Attributes:
        runs: one a seed.
        model: the ensemble of the raw weights.
        ema_model: the ensemble of their moving averages.
        results: over all test images, as those of a `Run`, of the ensembles.
        folder: where it was written, or None.
    """

    runs: list[Run]
    model: Members
    ema_model: Members
    results: dict[str, float]
    folder: Path | None


def fit_ensemble(
    recipe: Recipe | str | Path,
    data: Dataset | None = None,
    out: str | Path | None = None,
    device: str | torch.device = "auto",
    progress: bool = True,
    workers: int | None = 1,
    scheduler: str | None = None,
) -> EnsembleRun:
    """Train a net for each of the recipe's seeds, and take the mean of their logits.

    The mean is certified as its members are (Li et al., 2021, section 4). A recipe with `members`
    trains them together instead, as one net, by `fit`.

    Args:
        recipe: a `Recipe` of two seeds or more, or the name or path of one.
        data: as for `fit`.
        out: folder for the ensembles, the members' folders in it as ``seed-0`` and so on; by
            default the members are in the cache, and the ensembles kept nowhere. A call that was
            interrupted goes on with the member that was under way.
        device: as for `fit`. A worker of this machine sees one GPU, as "cuda".
        progress: show a bar for each member, or one for them all if workers train them.
        workers: how many processes of this machine train members side by side, each with its share
            of the cores and one GPU; None for as many as there are GPUs, or else cores. By
            default this process trains them one after the other.
        scheduler: address of a Dask cluster whose workers train them instead, such as
            `tcp://host:8786`. They need no folder in common with this process.

    Raises:
        ValueError: the recipe has a single seed, `workers` is less than 1, or torchrun started this
            process, which then has no workers; else as for `fit`.
        WorkerError: a worker has another linfkit, or other data, than this process, or four died
            with the same member.
        ConnectionError: no scheduler answers.
        TypeError, FileNotFoundError: as for `fit`.

    >>> tiny = load_recipe("digits-small").replace(epochs=1, width=8, seeds=[0, 1])
    >>> run = fit_ensemble(tiny, progress=False)
    >>> len(run.runs), run.results["certified"] >= run.results["certified_by_margin"]
    (2, True)
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    if len(recipe.seeds) < 2:
        raise ValueError(f"recipe must have two seeds or more; {recipe.name} has {recipe.seeds}")
    if not isinstance(out, str | Path | None):
        raise TypeError(f"out must be the path of a folder; got {out!r}")
    workers = None if workers is None else check_count("workers", workers)
    _check_workers(workers, scheduler)
    own_data = data is not None
    data = load_dataset(recipe.dataset) if data is None else data
    tested = apply_recipe(data, recipe)
    folder = None if out is None else expand_user(out)
    folders = {seed: folder and folder / f"seed-{seed}" for seed in recipe.seeds}
    keys = {seed: run_key(recipe, seed, tested) for seed in recipe.seeds}
    if workers != 1 or scheduler is not None:
        members = [
            Member(
                recipe,
                seed,
                data=data if own_data else None,
                device=device,
                out=place.absolute() if place and scheduler is None else None,
                folder=RunFolder.of(keys[seed], place),
            )
            for seed, place in folders.items()
        ]
        train_side_by_side(members, workers, scheduler, progress)
    runs = [
        fit(recipe, data=data, out=place, device=device, seed=seed, progress=progress)
        for seed, place in folders.items()
    ]
    raw = ensemble_of([run.model for run in runs]).eval()
    averaged = ensemble_of([run.ema_model for run in runs]).eval()
    images = tested.test_x.float().div(255)
    found = [accuracies(net, images, tested.test_y, recipe.eps) for net in (raw, averaged)]
    results = results_of(*found)
    members_of = list(keys.values())
    if folder and is_first() and not _holds(folder, members_of):
        made = provenance(recipe, tested, results)
        header = {"seeds": list(recipe.seeds), "members": members_of, **made}
        save_model(folder / AVERAGED, averaged, header)
        save_model(folder / RAW, raw, header)
    return EnsembleRun(runs, raw, averaged, results, folder)


def _holds(folder: Path, keys: list[str]) -> bool:
    """True if a folder holds the ensembles of these runs already."""
    try:
        return all(read_header(folder / file).get("members") == keys for file in (AVERAGED, RAW))
    except (FileNotFoundError, ValueError):  # not there, or damaged
        return False


def _check_workers(workers: int | None, scheduler: str | None) -> None:
    if torch.distributed.is_torchelastic_launched():
        if workers != 1:
            raise ValueError(
                f"workers must be 1 under torchrun, whose processes share each batch; got {workers}"
            )
        if scheduler is not None:
            raise ValueError(f"scheduler must be None under torchrun; got {scheduler!r}")


#: A process trains one net at a time, whatever its worker's threads: PyTorch's generator is one.
ALONE = Lock()


@dataclass(frozen=True)
class Member:
    """One net to be trained, as a worker is sent it.

    Attributes:
        recipe: of the net.
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
        """Refuse a worker that would train another run.

        Raises:
            WorkerError: linfkit, or the data set, differs from where the member was made.
            FileNotFoundError: the data set is not here.
        """
        data = self.load_data()
        if run_key(self.recipe, self.seed, apply_recipe(data, self.recipe)) != self.folder.key:
            raise WorkerError(
                f"{self.name}: the worker has another linfkit than this process, or other images "
                f"of {data.name}; install the same version, and bring the same files"
            )


def train_side_by_side(
    members: Sequence[Member], workers: int | None, scheduler: str | None, progress: bool
) -> None:
    """Train unfinished members on workers; each run is then where `fit` finds it.

    Interrupted members go on from their checkpoints.

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
        member.folder.load_checkpoint()  # refuse another run's now, not when all are trained
    with progress_bar(
        desc="members",
        total=len(members),
        initial=len(members) - len(left),
        unit="net",
        progress=progress,
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
    """Train a member, or go on with it; return its files if it was trained in the cache."""
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
