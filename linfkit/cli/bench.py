"""`linfkit bench`, with its table of timings."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from linfkit.cli.common import (
    PLAIN,
    Json,
    Picture,
    Quiet,
    check_picture,
    show,
    show_json,
    show_table,
    working,
    write_figure,
)

if TYPE_CHECKING:
    from linfkit.bench.operators import Benchmark, Results, Row

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
    table: Annotated[
        bool,
        typer.Option("--table", help="An iteration of the ICLR 2022 net instead, as Markdown."),
    ] = False,
    figure: Picture = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure the distance operators beside torch.cdist and the broadcast formula."""
    from linfkit.bench import iteration
    from linfkit.bench import operators as bench

    if table:
        if quick or figure:
            raise ValueError("table must stand without quick and figure, which are of operators")
        with working(quiet, "nothing was written"):
            measured = iteration.run(device)
        if as_json:
            show_json(measured)
        else:
            show(heading(measured), "", iteration.markdown(measured), "", *measured.notes)
        return
    check_picture(figure)
    with working(quiet, "nothing was written"):
        results = bench.run(device, quick)
    if as_json:
        show_json(results)
    else:
        show(heading(results))
        records = chain.from_iterable(map(timing_records, results.rows))
        show_table(timings_table(results), records)
        show(EXPLANATION, *results.notes)
    if figure:
        write_figure(figure, lambda figures: figures.pairs_per_second(results))


def heading(results: Benchmark) -> str:
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
        for label, record in zip(labels, timing_records(row), strict=False):
            _, _, *fields = record.values()
            table.add_row(label, *fields)
        table.add_section()
    return table


def timing_records(row: Row) -> Iterator[dict[str, str]]:
    """Fields of each of a case's timings, in words."""
    ours = row.timings[0]
    for timing in row.timings:
        yield {
            "case": row.case.name,
            "shape": row.case.shape,
            "contender": timing.contender,
            "ms": _short(timing.seconds * 1e3),
            "Gpair/s": _short(row.rate(timing) / 1e9),
            "time, ×": "" if timing is ours else _short(timing.seconds / ours.seconds),
            "turns": str(timing.turns),
        }


def _short(number: float) -> str:
    """Three digits.

    >>> [_short(number) for number in (0.01234, 1.234, 12.34, 1234.5)]
    ['0.012', '1.23', '12.3', '1234']
    """
    digits = 3 if number < 0.1 else 2 if number < 10 else 1 if number < 100 else 0
    return f"{number:.{digits}f}"
