"""The recipes that come with linfkit, as a table: what each trains, at what cost, after whom."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.table import Table

from linfkit._util.text import format_eps
from linfkit.cli.cost import PAIRS_PER_SECOND, SECONDS_A_STEP, pairs_of_run, seconds_of_run
from linfkit.data.sizes import SIZES
from linfkit.recipes import Recipe

__all__ = ["cost_in_words", "duration", "net_in_words", "recipes_table", "source_in_short"]

SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

MACHINE = "two cores of an AMD EPYC (Zen 4)"


def recipes_table(recipes: Iterable[Recipe]) -> Table:
    """A row for each recipe, and in it below its name the data and the net."""
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        caption=f"Time: of one seed, on {MACHINE}, estimated at {PAIRS_PER_SECOND / 1e9:g}·10⁹ "
        f"pairs of an input and a weight a second, and {1000 * SECONDS_A_STEP:g} ms a step; "
        "nets of convolutions take several times as long. Published: certified accuracy at ε.",
        caption_justify="left",
    )
    table.add_column("recipe\ndata, net: width × depth", overflow="fold")
    for title in ("ε", "epochs", "seeds", "time", "published"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("source", max_width=10)
    for recipe in recipes:
        table.add_row(
            f"[bold]{recipe.name}[/]\n{recipe.dataset}, {net_in_words(recipe)}",
            format_eps(recipe.eps),
            str(recipe.epochs),
            str(len(recipe.seeds)),
            _time_in_words(recipe),
            "" if recipe.published is None else f"{recipe.published:.2f} %",
            source_in_short(recipe.source),
        )
    return table


def net_in_words(recipe: Recipe) -> str:
    """The kind of net, its width × depth where it has no depth of its own, and what goes with it.

    >>> from linfkit.recipes import load_recipe
    >>> digits = load_recipe("digits-small")
    >>> net_in_words(digits)
    'mlp 256 × 3'
    >>> net_in_words(digits.replace(members=3, mlp_hidden=512))
    '3 of mlp 256 × 3 + 512 tanh'
    """
    members = f"{recipe.members} of " if recipe.members > 1 else ""
    shape = f"{recipe.width} × {recipe.depth}" if recipe.layered else f"{recipe.width}"
    hidden = "" if recipe.mlp_hidden is None else f" + {recipe.mlp_hidden} tanh"
    return f"{members}{recipe.model} {shape}{hidden}"


def cost_in_words(recipe: Recipe) -> str:
    """The pairs of one seed's run, and the time that they take.

    >>> from linfkit.recipes import load_recipe
    >>> print(cost_in_words(load_recipe("digits-small")))
    9.7·10⁹ pairs a seed, about 9 s on two cores of an AMD EPYC (Zen 4)
    """
    if recipe.dataset not in SIZES:
        return f"no cost can be told: how large {recipe.dataset!r} is, linfkit does not know"
    pairs = _power_of_ten(pairs_of_run(recipe))
    return f"{pairs} pairs a seed, about {_time_in_words(recipe)} on {MACHINE}"


def source_in_short(source: str) -> str:
    """The paper's number at arXiv where the source has one, else all of it.

    >>> source_in_short("Zhang, Jiang, He, Wang, ICLR 2022 (arXiv 2110.06850), MNIST at ε = 0.1")
    'arXiv 2110.06850'
    """
    number = re.search(r"arXiv \d{4}\.\d{5}", source)
    return number[0] if number else source


def duration(seconds: float) -> str:
    """A time in the unit that it is long in.

    >>> [duration(seconds) for seconds in (0.2, 45, 600, 4 * 3600, 30 * 86400)]
    ['< 1 s', '45 s', '10 min', '4 h', '30 d']
    """
    if seconds < 1:
        return "< 1 s"
    for unit, length, up_to in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 48)):
        if seconds < up_to * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def _time_in_words(recipe: Recipe) -> str:
    if recipe.dataset not in SIZES:
        return "?"
    return duration(seconds_of_run(recipe))


def _power_of_ten(number: int) -> str:
    """Two digits and the power.

    >>> _power_of_ten(48_743_040)
    '4.9·10⁷'
    """
    digits, _, power = f"{number:.1e}".partition("e+")
    return f"{digits}·10{str(int(power)).translate(SUPERSCRIPTS)}"
