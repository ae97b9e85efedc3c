"""Ensembles of nets that were trained each on its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from linfkit._util.checks import check_count
from linfkit._util.distributed import is_first
from linfkit._util.files import expand_user
from linfkit.certification.certify import certify
from linfkit.data.dataset import Dataset
from linfkit.data.loading import load_dataset
from linfkit.nn.checkpoints import AVERAGED, RAW, read_header, save_model
from linfkit.nn.ensembles import Members, ensemble_of
from linfkit.recipes import Recipe, load_recipe
from linfkit.training.fit import as_the_recipe_asks, fit
from linfkit.training.members import Member, train_side_by_side
from linfkit.training.runs import Run, RunFolder, provenance, results_of, run_key

__all__ = ["EnsembleRun", "fit_ensemble"]


@dataclass(frozen=True)
class EnsembleRun:
    """The nets of a recipe's seeds, and the means of their logits.

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
            of the cores and a GPU of its own; None for as many as there are GPUs, or else cores. By
            default this process trains them one after the other.
        scheduler: address of a Dask cluster whose workers train them instead, such as
            `tcp://host:8786`. They need no folder in common with this process.

    Raises:
        ValueError: the recipe has a single seed, `workers` is less than 1, or torchrun started this
            process, which then has no workers of its own; else as for `fit`.
        WorkerError: a worker has another linfkit, or other data, than this process, or four died
            with the same member.
        ConnectionError: no scheduler answers.
        TypeError, FileNotFoundError: as for `fit`.

    >>> tiny = load_recipe("digits-small").replace(epochs=1, width=8, seeds=[0, 1])
    >>> run = fit_ensemble(tiny, progress=False)
    >>> len(run.runs), sorted(run.results)
    (2, ['accuracy', 'certified', 'ema_accuracy', 'ema_certified'])
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
    tested = as_the_recipe_asks(data, recipe)
    folder = None if out is None else expand_user(out)
    folders = {seed: folder and folder / f"seed-{seed}" for seed in recipe.seeds}
    if workers != 1 or scheduler is not None:
        members = [
            Member(
                recipe,
                seed,
                data=data if own_data else None,
                device=device,
                out=place.absolute() if place and scheduler is None else None,
                folder=RunFolder.of(run_key(recipe, seed, tested), place),
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
    proved = certify(raw, images, tested.test_y), certify(averaged, images, tested.test_y)
    results = results_of(*proved, recipe.eps)
    keys = [run_key(recipe, seed, tested) for seed in recipe.seeds]
    if folder and is_first() and not _holds(folder, keys):
        made = provenance(recipe, tested, results)
        header = {"seeds": list(recipe.seeds), "members": keys, **made}
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
