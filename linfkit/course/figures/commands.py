"""Figures that commands draw: of `linfkit bench`, and of a sweep of `linfkit reproduce`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from linfkit.course.figures.template import COLOURS, DECADES, Style, add_bars, add_line, new_figure

if TYPE_CHECKING:
    from linfkit.bench.operators import Results

__all__ = ["claims_against", "pairs_per_second"]


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


def claims_against(parameter: str, rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """The value of each claim against one swept parameter; a panel for each claim.

    Args:
        parameter: the one on the horizontal axis.
        rows: one for each claim at each point: the swept parameters, `claim` and `value`. Points
            that differ in other parameters too share a panel.

    >>> figure = claims_against("p", [{"p": p, "claim": "a", "value": 2 * p} for p in (1, 2)])
    >>> figure.data[0].y
    (2, 4)
    """
    numbers = all(isinstance(row[parameter], int | float) for row in rows)  # ∞ is a word
    claims = list(dict.fromkeys(row["claim"] for row in rows))
    share = 1 / len(claims)
    figure = new_figure(
        "sweep", dict(parameter=parameter), height=120 + 200 * len(claims), hovermode="closest"
    )
    for number, claim in enumerate(claims):
        axis = "" if number == 0 else str(number + 1)
        measured = [row for row in rows if row["claim"] == claim]
        at = [row[parameter] if numbers else str(row[parameter]) for row in measured]
        look = Style(colour=COLOURS[number % len(COLOURS)], mode="lines+markers")
        add_line(figure, at, [row["value"] for row in measured], claim, yaxis=f"y{axis}", **look)
        below = 1 - (number + 1) * share
        panel = dict(domain=[below + 0.2 * share, below + share], title_text="value")
        figure.update_layout({f"yaxis{axis}": panel})
    kind = "-" if numbers else "category"
    return figure.update_layout(xaxis=dict(anchor="free", position=0.0, type=kind))
