"""The figure of the benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go

from linfkit.course.figures.template import COLOURS, DECADES, add_bars, new_figure

if TYPE_CHECKING:
    from linfkit.bench import Results

__all__ = ["pairs_per_second"]


def pairs_per_second(results: Results) -> go.Figure:
    """Pairs a second of every contender, for the cases of the first one's size."""
    rows = [row for row in results.rows if row.case.shape == results.rows[0].case.shape]
    contenders = dict.fromkeys(timing.contender for row in rows for timing in row.timings)
    figure = new_figure(
        "pairs-per-second",
        dict(processor=results.processor, shape=rows[0].case.shape),
        barmode="group",
        width=920,
        margin_b=110,
        yaxis=DECADES,
    )
    for contender, colour in zip(contenders, COLOURS, strict=False):
        timings = [
            (row, timing) for row in rows for timing in row.timings if timing.contender == contender
        ]
        names = [_in_lines(row.case.name) for row, _ in timings]
        rates = [row.rate(timing) for row, timing in timings]
        add_bars(figure, names, rates, contender, colour, hovertemplate="%{y:.3s}")
    return figure


def _in_lines(name: str) -> str:
    """A case's name, narrow enough to stand under its bars.

    >>> _in_lines("p=8 forward + backward")
    'p=8<br>forward<br>+ backward'
    """
    return name.replace(" forward", "<br>forward").replace(" + ", "<br>+ ")
