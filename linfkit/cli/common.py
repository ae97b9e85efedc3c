"""Options and output that several commands share: results on stdout, all else on stderr.

At a terminal, results are tables, and bars show progress. In a pipe or a file, a record is a line
with tabs between its fields, and there are no bars.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD

from linfkit._util.extras import require
from linfkit._util.progress import hidden

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
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
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")]
Quiet = Annotated[
    bool, typer.Option("-q", "--quiet", help="Print results alone: no progress, no notes.")
]
Picture = Annotated[
    Path | None, typer.Option("--figure", help="File for a picture: .html or .png.")
]


@contextmanager
def working(quiet: bool, outcome: str) -> Iterator[None]:
    """Show a person how the work goes, unless quiet; end it on Ctrl-C with a word on what is left.

    Args:
        quiet: hide progress and notes.
        outcome: what is left after an interrupt.
    """
    try:
        with hidden(bars=quiet or not sys.stderr.isatty(), notes=quiet):
            yield
    except KeyboardInterrupt:
        typer.echo(f"\ninterrupted; {outcome}", err=True)
        raise typer.Exit(INTERRUPTED) from None


def show(*lines: str) -> None:
    """Print text, wrapped at words for a person."""
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(*lines, sep="\n", markup=False)
    else:
        print(*lines, sep="\n", flush=True)


def show_table(table: Table, records: Iterable[Mapping[str, str]]) -> None:
    """Print a table to a person; to a pipe or a file its records, one a line.

    Args:
        table: for a person.
        records: the same, each with the same names of its fields. Their first line is the names.
    """
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(table)
        return
    for place, record in enumerate(records):
        if place == 0:
            print(*record, sep="\t")
        print(*(" ".join(field.split()) for field in record.values()), sep="\t", flush=True)


def show_json(document: object) -> None:
    """Print one JSON document, in ASCII, since a console may know no more; ∞ is "Infinity"."""
    from pydantic_core import to_json

    print(json.dumps(json.loads(to_json(document, inf_nan_mode="strings")), indent=2), flush=True)


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


def write_figure(figure: Path, draw: Callable[[Any], Figure]) -> None:
    """Write a figure as a page or a picture, as the file's name says.

    Args:
        figure: the file.
        draw: gives the figure, from `linfkit.course.figures`, which take long to import.
    """
    from linfkit.course import figures
    from linfkit.reproduce.pictures import PictureWriter, write_page

    drawn = draw(figures).to_dict()
    if figure.suffix == ".html":
        write_page(drawn, figure)
        return
    with PictureWriter(on_error=lambda reason: typer.echo(reason, err=True)) as pictures:
        pictures.write(drawn, figure)
