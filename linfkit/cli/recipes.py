"""`linfkit recipes`, with its table of all that come with linfkit."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from linfkit._util.text import format_eps
from linfkit.cli.common import PLAIN, Json, show_json, show_table

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
    as_json: Json = False,
) -> None:
    """List all recipes, or those with some words in their names; or print one."""
    from linfkit.recipes.recipe import load_recipe, recipe_names

    named = [each for each in recipe_names() if name is None or f"-{name}-" in f"-{each}-"]
    if name is not None and (name in named or not named):
        recipe = load_recipe(name)
        if as_json:
            show_json(recipe.model_dump())
        else:
            typer.echo(recipe.to_toml(), nl=False)
        return
    chosen = [load_recipe(each) for each in named]
    if as_json:
        show_json([recipe.model_dump() for recipe in chosen])
    else:
        show_table(recipes_table(chosen), map(recipe_record, chosen))


def recipe_record(recipe: Recipe) -> dict[str, str]:
    """Fields of a recipe, in words.

    >>> from linfkit.recipes.recipe import load_recipe
    >>> list(recipe_record(load_recipe("digits-small")).values())[:4]
    ['digits-small', 'digits', 'mlp 256 × 3', '0.1']
    """
    return {
        "recipe": recipe.name,
        "data": recipe.dataset,
        "net": recipe.net,
        "eps": format_eps(recipe.eps),
        "epochs": str(recipe.epochs),
        "seeds": str(len(recipe.seeds)),
        "published": "" if recipe.published is None else f"{recipe.published:.2f} %",
        "source": source_in_short(recipe.source),
    }


def recipes_table(recipes: Iterable[Recipe]) -> Table:
    """Row for each recipe, with data and net below its name."""
    caption = "Published: certified accuracy at ε."
    table = Table(caption=caption, caption_justify="left", **PLAIN)
    table.add_column("recipe\ndata, net: width × depth", overflow="fold")
    for title in ("ε", "epochs", "seeds", "published"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("source", max_width=10)
    for record in map(recipe_record, recipes):
        name, data, net, *fields = record.values()
        table.add_row(f"[bold]{name}[/]\n{data}, {net}", *fields)
    return table


def source_in_short(source: str) -> str:
    """The paper's number at arXiv where the source has one, else all of it.

    >>> source_in_short("Zhang, Jiang, He, Wang, ICLR 2022 (arXiv 2110.06850), MNIST at ε = 0.1")
    'arXiv 2110.06850'
    """
    number = re.search(r"arXiv \d{4}\.\d{5}", source)
    return number[0] if number else source
