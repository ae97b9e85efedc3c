"""The command line: one function a command, each thin over the library."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from linfkit._util.files import expanded
from linfkit._util.text import parse_eps, replace_unprintable

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
    from pydantic import BaseModel
    from rich.table import Table

WRONG_ARGUMENTS = 2
INTERRUPTED = 130


class _PlainErrors(TyperGroup):
    """Commands whose errors are a line for the user, and a traceback only with --debug."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [_as_a_shell(word) for word in args])

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (ValueError, TypeError, OSError, FloatingPointError, ImportError) as error:
            if ctx.params["debug"]:
                raise
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(WRONG_ARGUMENTS) from None


class _PapermillStyle(TyperCommand):
    """A command to which `-p NAME VALUE` means `-p NAME=VALUE`, as it does to papermill."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = list(args)
        for place in range(len(words) - 3, -1, -1):
            if words[place] == "-p" and "=" not in words[place + 1]:
                words[place + 1 : place + 3] = ["=".join(words[place + 1 : place + 3])]
        return super().parse_args(ctx, words)


app = typer.Typer(
    cls=_PlainErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


RecipeOrFile = Annotated[str, typer.Argument(help="A recipe's name, or the path of its TOML file.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe."),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="How many run side by side.", show_default="one a GPU, or a core"),
]
Scheduler = Annotated[
    str | None, typer.Option(metavar="TCP://HOST:PORT", help="A Dask cluster to run on.")
]


@app.callback()
def commands(
    debug: Annotated[bool, typer.Option("--debug", help="Show an error's traceback.")] = False,
) -> None:
    """ℓ∞-distance nets: reproduce the papers' analyses, train, certify."""


@app.command(cls=_PapermillStyle)
def reproduce(
    profile: Annotated[str, typer.Option(help="What to run; --list shows the choice.")] = "quick",
    out: Annotated[
        Path | None, typer.Option(help="Folder for what is found.", show_default="runs/PROFILE")
    ] = None,
    only: Annotated[str, typer.Option(help="Beginnings of notebooks' names: 02,03.")] = "",
    parameters: Annotated[
        list[str] | None,
        typer.Option("-p", metavar="NAME VALUE", help="Override a notebook's parameter."),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=V1,V2,…", help="Run with each of several values."),
    ] = None,
    notebooks: Annotated[
        Path | None, typer.Option(help="A folder of notebooks of your own to run instead.")
    ] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    force: Annotated[
        bool, typer.Option("--force", help="Run also what is finished and has not changed.")
    ] = False,
    list_: Annotated[bool, typer.Option("--list", help="Show the profiles; run nothing.")] = False,
) -> None:
    """Run the notebooks, keep their figures, and judge every claim.

    What an earlier run into the same folder has finished is kept, unless something that it depends
    on has changed. The exit code is 0 if every notebook ran and every claim that is made on its
    data holds, and 1 if not; it is 2 if nothing was run, because an argument is wrong or a data set
    missing.
    """
    from rich.console import Console

    from linfkit.reproduce import load_profile, load_profiles, report
    from linfkit.reproduce import reproduce as run_notebooks

    console = Console()
    if list_:
        console.print(report.profiles_table(load_profiles().values()))
        return
    chosen = load_profile(profile)
    out = out or Path("runs") / chosen.name
    with _interruptible(f"the same command does what is left in {out}"):
        results = run_notebooks(
            chosen,
            out,
            only=[name.strip() for name in only.split(",") if name.strip()],
            parameters=_values(parameters),
            sweep=_lists_of_values(sweep),
            notebooks=notebooks,
            workers=workers,
            scheduler=scheduler,
            force=force,
        )
    console.print(report.claims_table(results.claims))
    console.print(report.notebooks_table(results.notebooks))
    console.print(f"{report.summary(results)}; see {out}")
    raise typer.Exit(0 if results.success else 1)


@app.command()
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
) -> None:
    """Train a net as a recipe says; a run that was interrupted goes on where it was.

    On N GPUs: torchrun --nproc-per-node N -m linfkit train RECIPE.
    """
    from linfkit import fit, load_recipe
    from linfkit._util.distributed import is_first
    from linfkit.training.tensorboard import logging_scalars

    chosen = load_recipe(recipe).replace(**_values(settings))
    out = out or Path("runs") / chosen.name
    logs = tensorboard and is_first()
    logged = logging_scalars(out / "tensorboard") if logs else nullcontext(lambda row: None)
    with _interruptible(f"the same command goes on from {out}"), logged as log:
        run = fit(chosen, out=out, seed=seed, after_epoch=log)
    if not is_first():
        return
    for name, value in run.results.items():
        typer.echo(f"{name}: {value:.4g}")
    typer.echo(f"nets, history and recipe are in {out}")


@app.command()
def ensemble(
    recipe: RecipeOrFile,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the nets.", show_default="runs/RECIPE-ensemble")
    ] = None,
    settings: Settings = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
) -> None:
    """Train a net for each of a recipe's seeds, and take the mean of their logits.

    The mean is certified as its members are. What was interrupted goes on where it was.

    With torchrun, as for `train`, and `--workers 1`, the processes share each net instead.
    """
    from linfkit import fit_ensemble, load_recipe

    chosen = load_recipe(recipe).replace(**_values(settings))
    out = out or Path("runs") / f"{chosen.name}-ensemble"
    with _interruptible(f"the same command goes on from {out}"):
        run = fit_ensemble(chosen, out=out, workers=workers, scheduler=scheduler)
    for member in run.runs:
        found = member.results
        typer.echo(
            f"seed {member.seed}: {found['ema_accuracy']:.4g}, "
            f"{found['ema_certified']:.4g} certified"
        )
    found = run.results
    typer.echo(
        f"together: {found['ema_accuracy']:.4g}, {found['ema_certified']:.4g} certified "
        f"at ε = {chosen.eps:.4g}"
    )
    typer.echo(f"the ensemble and its members are in {out}")


@app.command()
def watch(
    run: Annotated[Path, typer.Argument(help="The folder that a net is being trained in.")],
    once: Annotated[
        bool,
        typer.Option("--once", help="Show it as it is now, as is always done without a terminal."),
    ] = False,
) -> None:
    """Show how far a training run has come, and its curves, until it is finished."""
    from linfkit.cli.watching import show, watch

    with suppress(KeyboardInterrupt):
        show(run) if once else watch(run)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    out: Annotated[
        Path | None, typer.Option(help="File for the page.", show_default="RUN/report.html")
    ] = None,
) -> None:
    """Write a page about a finished run: results, curves, and how it was made."""
    from linfkit.pages.run import write_report

    typer.echo(f"wrote {write_report(run, out)}")


@app.command()
def certify(
    checkpoint: Annotated[
        Path, typer.Argument(help="A net's .safetensors file, or the folder of its run.")
    ],
    dataset: Annotated[
        str | None,
        typer.Option(help="Whose test images to take.", show_default="what it was trained on"),
    ] = None,
    eps: Annotated[
        str | None,
        typer.Option(
            metavar="8/255",
            help="Size of the perturbations, in pixels.",
            show_default="the recipe's",
        ),
    ] = None,
    attack: Annotated[
        bool, typer.Option("--attack", help="Attack, by PGD, the images that are not certified.")
    ] = False,
    restarts: Annotated[int, typer.Option(min=1, help="Random starts of the attack.")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the attack from each start.")] = 100,
    images: Annotated[
        int | None, typer.Option(min=1, help="The first so many images.", show_default="all")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to compute: cpu or cuda.")] = "cpu",
    json: Annotated[
        Path | None, typer.Option("--json", help="File for what is found, as JSON.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="File for a picture: .html or .png.")
    ] = None,
) -> None:
    """Certify a trained net on its data's test images, as the papers' tables do."""
    from linfkit import PGD, evaluate, load_dataset
    from linfkit._util.devices import usable_device
    from linfkit.course.figures import accuracy_against_eps
    from linfkit.training import table
    from linfkit.training.record import Record
    from linfkit.training.trained import load_trained

    _check_picture(figure)
    where = usable_device(device)
    trained = load_trained(checkpoint)
    size = trained.eps if eps is None else parse_eps(eps)
    data = trained.load_data() if dataset is None else load_dataset(dataset)
    with _interruptible("nothing was written"):
        found = evaluate(
            trained.model.to(where),
            data,
            size,
            attack=PGD(steps, restarts) if attack else None,
            images=images,
        )
    record = Record.of(trained, data, found)
    shown = (table.heading(record), table.accuracies_table(record), table.explanation(record))
    _hand_over(record, json, lambda: accuracy_against_eps(found), figure, shown)


@app.command()
def recipes(
    name: Annotated[
        str | None, typer.Argument(help="A recipe to print as TOML.", show_default="a table of all")
    ] = None,
) -> None:
    """List the recipes that come with linfkit and what they cost, or print one."""
    from rich.console import Console

    from linfkit import load_recipe, recipe_names
    from linfkit.cli.catalogue import cost_in_words, recipes_table

    if name is not None:
        recipe = load_recipe(name)
        typer.echo(f"# {cost_in_words(recipe)}\n{recipe.to_toml()}", nl=False)
        return
    Console().print(recipes_table(load_recipe(each) for each in recipe_names()))


@app.command()
def bench(
    device: Annotated[str, typer.Option(help="Where to compute: cpu or cuda.")] = "cpu",
    quick: Annotated[
        bool, typer.Option("--quick", help="The main rows alone, in less than a minute.")
    ] = False,
    json: Annotated[
        Path | None, typer.Option("--json", help="File for the figures, as JSON.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="File for a picture: .html or .png.")
    ] = None,
) -> None:
    """Measure the distance operators beside torch.cdist and the broadcast formula."""
    from linfkit import bench
    from linfkit.cli.bench import EXPLANATION, heading, timings_table
    from linfkit.course.figures import pairs_per_second

    _check_picture(figure)
    with _interruptible("nothing was written"):
        results = bench.run(device, quick)
    explanation = "\n".join([EXPLANATION, *results.notes])
    shown = (heading(results), timings_table(results), explanation)
    _hand_over(results, json, lambda: pairs_per_second(results), figure, shown)


@app.command()
def doctor() -> None:
    """Say what linfkit finds on this machine."""
    from linfkit.cli.doctor import findings, verdict

    for name, finding in findings().items():
        typer.echo(f"{name:9} {finding}")
    typer.echo(verdict())


@contextmanager
def _interruptible(outcome: str) -> Iterator[None]:
    """Within the block, Ctrl-C ends the command with a word on what is left of it."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"\ninterrupted; {outcome}", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _check_picture(figure: Path | None) -> None:
    """Refuse a name that says neither page nor picture."""
    if figure and figure.suffix not in (".html", ".png"):
        raise ValueError(f"figure: the file's name must end in .html or .png; got {figure.name!r}")


def _hand_over(
    record: BaseModel,
    json: Path | None,
    draw: Callable[[], Figure],
    figure: Path | None,
    shown: Iterable[str | Table],
) -> None:
    """Write what was found to the files asked for, then print it, even where a file fails."""
    from rich.console import Console

    from linfkit._util.files import write_atomically

    try:
        if json:
            write_atomically(json, record.model_dump_json(indent=2).encode())
        if figure:
            _write_figure(draw().to_dict(), figure)
    finally:
        for part in shown:
            Console().print(part, markup=not isinstance(part, str))


def _write_figure(figure: dict[str, Any], path: Path) -> None:
    """Write a page or a picture, as the file's name says."""
    from linfkit.reproduce.pictures import PictureWriter, write_page

    if path.suffix == ".html":
        write_page(figure, path)
        return
    with PictureWriter(tell=lambda reason: typer.echo(reason, err=True)) as pictures:
        pictures.write(figure, path)


def _values(settings: list[str] | None) -> dict[str, Any]:
    """What a list of `name=value` sets."""
    from linfkit.reproduce.parameters import parse_value

    return {name: parse_value(text) for name, text in _split(settings)}


def _lists_of_values(settings: list[str] | None) -> dict[str, list[Any]]:
    """What a list of `name=v1,v2,…` sets."""
    from linfkit.reproduce.parameters import parse_values

    return {name: parse_values(text) for name, text in _split(settings)}


def _split(settings: list[str] | None) -> Iterator[tuple[str, str]]:
    for setting in settings or []:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"wanted a name and a value, got {setting!r} alone")
        yield name, text


def _as_a_shell(word: str) -> str:
    """A word with ~ for the home folder, which shells leave to us after a =, or do not know."""
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{option}{equals}{expanded(value)}" if value.startswith("~") else word


def main() -> None:
    """Run the command line; what the console cannot show is replaced."""
    replace_unprintable()
    app()


if __name__ == "__main__":
    main()
