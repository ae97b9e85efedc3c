"""`linfkit recipes`, with its table of all that come with linfkit."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from linfkit._util.text import format_eps
from linfkit.cli.common import PLAIN

if TYPE_CHECKING:
    from linfkit.recipes.recipe import Recipe


def recipes(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A recipe to print as TOML, or words of names to list.",
            show_default="a table of all",
        ),
    ] = None,
) -> None:
    """List all recipes, or those with some words in their names; or print one."""
    from linfkit.recipes.recipe import load_recipe, recipe_names

    named = [each for each in recipe_names() if name is None or f"-{name}-" in f"-{each}-"]
    if name is not None and (name in named or not named):
        typer.echo(load_recipe(name).to_toml(), nl=False)
        return
    Console().print(recipes_table(map(load_recipe, named)))


def recipes_table(recipes: Iterable[Recipe]) -> Table:
    """Row for each recipe, with data and net below its name."""
    caption = "Published: certified accuracy at ε."
    table = Table(caption=caption, caption_justify="left", **PLAIN)
    table.add_column("recipe\ndata, net: width × depth", overflow="fold")
    for title in ("ε", "epochs", "seeds", "published"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("source", max_width=10)
    for recipe in recipes:
        table.add_row(
            f"[bold]{recipe.name}[/]\n{recipe.dataset}, {recipe.net}",
            format_eps(recipe.eps),
            str(recipe.epochs),
            str(len(recipe.seeds)),
            "" if recipe.published is None else f"{recipe.published:.2f} %",
            source_in_short(recipe.source),
        )
    return table


def source_in_short(source: str) -> str:
    """The paper's number at arXiv where the source has one, else all of it.

    >>> source_in_short("Zhang, Jiang, He, Wang, ICLR 2022 (arXiv 2110.06850), MNIST at ε = 0.1")
    'arXiv 2110.06850'
    """
    number = re.search(r"arXiv \d{4}\.\d{5}", source)
    return number[0] if number else source
