"""Commands that train: `linfkit train`, `ensemble`, and `report` on what was trained."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linfkit._util.progress import note
from linfkit.cli.common import (
    Json,
    Quiet,
    RecipeOrFile,
    Scheduler,
    Settings,
    Workers,
    settings_of,
    show_json,
    working,
)

if TYPE_CHECKING:
    from linfkit import Recipe


def train(
    recipe: RecipeOrFile,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the nets.", show_default="runs/RECIPE")
    ] = None,
    settings: Settings = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed.", show_default="the recipe's first")
    ] = None,
    tensorboard: Annotated[
        bool,
        typer.Option("--tensorboard", help="Log the history for TensorBoard, in OUT/tensorboard."),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a net as a recipe says; a run that was interrupted goes on where it was.

    On N GPUs: torchrun --nproc-per-node N -m linfkit train RECIPE.
    """
    from linfkit import load_recipe

    chosen = load_recipe(recipe).replace(**settings_of(settings))
    out = out or Path("runs") / chosen.name
    with working(quiet, f"the same command goes on from {out}"):
        _train(chosen, out, seed, tensorboard, as_json)


def _train(
    recipe: Recipe,
    out: Path,
    seed: int | None = None,
    tensorboard: bool = False,
    as_json: bool = False,
) -> None:
    """Train one net into a folder, and print what it reaches."""
    from linfkit import fit
    from linfkit._util.distributed import is_first
    from linfkit.training.tensorboard import logging_scalars

    logs = tensorboard and is_first()
    logged = logging_scalars(out / "tensorboard") if logs else nullcontext(lambda row: None)
    with logged as log:
        run = fit(recipe, out=out, seed=seed, after_epoch=log)
    if not is_first():
        return
    if as_json:
        found = {"seed": run.seed, "folder": out, "results": run.results}
        show_json({"recipe": recipe.model_dump(), **found})
    else:
        for name, value in run.results.items():
            typer.echo(f"{name}: {value:.4g}")
    note(f"nets, history and recipe are in {out}")


def ensemble(
    recipe: RecipeOrFile,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the nets.", show_default="runs/RECIPE-ensemble")
    ] = None,
    joint: Annotated[
        bool,
        typer.Option("--joint", help="Train them as one net, by one loss of their mean logits."),
    ] = False,
    settings: Settings = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    quiet: Quiet = False,
) -> None:
    """Train a net for each of a recipe's seeds, and take the mean of their logits.

    The mean is certified as its members are. What was interrupted goes on where it was.

    With torchrun, as for `train`, and `--workers 1`, the processes share each net instead.
    """
    from linfkit import fit_ensemble, load_recipe

    chosen = load_recipe(recipe).replace(**settings_of(settings))
    if joint:
        if workers is not None or scheduler is not None:
            raise ValueError("workers and scheduler must be left out with --joint, one net's run")
        if len(chosen.seeds) < 2 or chosen.members > 1:
            raise ValueError(
                "recipe must have two seeds or more and one member, to be trained jointly; "
                f"{chosen.name} has seeds {list(chosen.seeds)}, members {chosen.members}"
            )
        name = f"{chosen.name}-joint"
        chosen = chosen.replace(name=name, members=len(chosen.seeds), seeds=chosen.seeds[:1])
    out = out or Path("runs") / (chosen.name if joint else f"{chosen.name}-ensemble")
    with working(quiet, f"the same command goes on from {out}"):
        if joint:
            _train(chosen, out)
            return
        run = fit_ensemble(chosen, out=out, workers=workers, scheduler=scheduler)
        for member in run.runs:
            typer.echo(f"seed {member.seed}: {_accuracies(member.results)}")
        typer.echo(f"together: {_accuracies(run.results)} at ε = {chosen.eps:.4g}")
        note(f"the ensemble and its members are in {out}")


def _accuracies(results: Mapping[str, float]) -> str:
    return f"{results['ema_accuracy']:.4g}, {results['ema_certified']:.4g} certified"


def report(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    out: Annotated[
        Path | None, typer.Option(help="File for the page.", show_default="RUN/report.html")
    ] = None,
) -> None:
    """Write a page about a finished run: results, curves, and how it was made."""
    from linfkit.pages.run import write_report

    typer.echo(f"wrote {write_report(run, out)}")
