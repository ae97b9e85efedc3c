"""Options and helpers that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD

from linfkit._util.extras import require

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
    from pydantic import BaseModel
    from rich.table import Table

INTERRUPTED = 130

#: Look of a table: a line under its head alone, and no room at its edges.
PLAIN: dict[str, Any] = {"box": SIMPLE_HEAD, "padding": (0, 1, 0, 0), "pad_edge": False}

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
JsonFile = Annotated[Path | None, typer.Option("--json", help="File for what is found, as JSON.")]
Picture = Annotated[
    Path | None, typer.Option("--figure", help="File for a picture: .html or .png.")
]


@contextmanager
def interruptible(outcome: str) -> Iterator[None]:
    """End the command on Ctrl-C, with a word on what is left of it."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"\ninterrupted; {outcome}", err=True)
        raise typer.Exit(INTERRUPTED) from None


def settings_of(words: list[str] | None, values: bool = False) -> dict[str, Any]:
    """Values that `name=value` words set; with `values`, a list of each `name=v1,v2,…`."""
    from linfkit._util.literals import parse_value, parse_values

    parse = parse_values if values else parse_value
    found = {}
    for word in words or []:
        name, equals, text = word.partition("=")
        if not equals:
            raise ValueError(f"a setting must be NAME=VALUE; got {word!r}")
        found[name] = parse(text)
    return found


def check_picture(figure: Path | None) -> None:
    """Check that a figure can be drawn into that file, before the work for it begins."""
    if figure is None:
        return
    if figure.suffix not in (".html", ".png"):
        raise ValueError(f"figure must be a file that ends in .html or .png; got {figure.name!r}")
    require("plotly", "notebooks")


def hand_over(
    record: BaseModel,
    json: Path | None,
    figure: Path | None,
    draw: Callable[[Any], Figure],
    shown: Iterable[str | Table],
) -> None:
    """Write a record to the files asked for, then print it, even where a file fails.

    Args:
        record: for the JSON file.
        json: the file, if any.
        figure: file for a page or a picture, as its name says, if any.
        draw: gives the figure, from `linfkit.course.figures`, which take long to import.
        shown: lines and tables to print.
    """
    from rich.console import Console

    from linfkit._util.files import write_atomically

    try:
        if json:
            write_atomically(json, record.model_dump_json(indent=2).encode())
        if figure:
            from linfkit.course import figures
            from linfkit.reproduce.pictures import PictureWriter, write_page

            drawn = draw(figures).to_dict()
            if figure.suffix == ".html":
                write_page(drawn, figure)
            else:
                with PictureWriter(
                    on_error=lambda reason: typer.echo(reason, err=True)
                ) as pictures:
                    pictures.write(drawn, figure)
    finally:
        for part in shown:
            Console().print(part, markup=not isinstance(part, str))
