"""`linfkit bench`, with its table of timings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from linfkit.cli.common import PLAIN, JsonFile, Picture, check_picture, hand_over, interruptible

if TYPE_CHECKING:
    from linfkit.bench import Results

EXPLANATION = (
    "Gpair/s: 10⁹ pairs of an x-coordinate and a weight a second; forward + backward counts each "
    "once.\n"
    "time, ×: how many times as long as linfkit. turns: how often each was measured; times are "
    "medians.\n"
    "All results agreed with the float64 reference before."
)


def bench(
    device: Annotated[str, typer.Option(help="Where to compute: cpu or cuda.")] = "cpu",
    quick: Annotated[
        bool, typer.Option("--quick", help="The main rows alone, in less than a minute.")
    ] = False,
    json: JsonFile = None,
    figure: Picture = None,
) -> None:
    """Measure the distance operators beside torch.cdist and the broadcast formula."""
    from linfkit import bench

    check_picture(figure)
    with interruptible("nothing was written"):
        results = bench.run(device, quick)
    explanation = "\n".join([EXPLANATION, *results.notes])
    shown = (heading(results), timings_table(results), explanation)
    hand_over(results, json, figure, lambda figures: figures.pairs_per_second(results), shown)


def heading(results: Results) -> str:
    """Machine, versions, kernels and date of a benchmark."""
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    return (
        f"{results.processor} ({results.platform}); {versions}; "
        f"linfkit computes by {results.kernels or 'unknown kernels'}; "
        f"{results.started:%d %B %Y, %H:%M} UTC"
    )


def timings_table(results: Results) -> Table:
    """Section for each case, line for each contender."""
    table = Table("case", **PLAIN)
    table.add_column("contender", no_wrap=True)
    for column in ("ms", "Gpair/s", "time, ×", "turns"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in results.rows:
        labels = [f"[bold]{row.case.name}[/]", row.case.shape] + [""] * len(row.timings)
        ours = row.timings[0]
        for label, timing in zip(labels, row.timings, strict=False):
            table.add_row(
                label,
                timing.contender,
                _short(timing.seconds * 1e3),
                _short(row.rate(timing) / 1e9),
                "" if timing is ours else _short(timing.seconds / ours.seconds),
                str(timing.turns),
            )
        table.add_section()
    return table


def _short(number: float) -> str:
    """Three digits.

    >>> [_short(number) for number in (0.01234, 1.234, 12.34, 1234.5)]
    ['0.012', '1.23', '12.3', '1234']
    """
    digits = 3 if number < 0.1 else 2 if number < 10 else 1 if number < 100 else 0
    return f"{number:.{digits}f}"
