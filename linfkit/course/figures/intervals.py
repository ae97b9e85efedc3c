"""The figure of true radii between what is proved and what is found."""

from __future__ import annotations

import plotly.graph_objects as go
from torch import Tensor

from linfkit.course.figures.attacks import ATTACKED, PROVED, UNKNOWN
from linfkit.course.figures.template import COLOURS, new_figure
from linfkit.course.studies.intervals import Enclosed

__all__ = ["proved_true_found"]

#: Marks that can be told apart where they lie on one another.
MARKS = {
    "proved": dict(symbol="line-ns", size=13, line=dict(color=PROVED, width=4)),
    "true": dict(symbol="circle-open", size=12, color=COLOURS[0], line_width=2.5),
    "found": dict(symbol="x-thin", size=7, line=dict(color=ATTACKED, width=2.5)),
}


def proved_true_found(study: Enclosed) -> go.Figure:
    """A row for each image, by rising true radius: what is proved, what is true, what is found.

    Args:
        study: three sizes for each image; one that was not found has no mark.
    """
    order = study.true.argsort()
    tight, missed = int(study.tight().sum()), int(study.missed().sum())
    figure = new_figure(
        "proved-true-found",
        dict(order=len(order), tight=tight, missed=missed),
        height=170 + 22 * len(order),
        hovermode="closest",
        yaxis=dict(showgrid=False, dtick=1, tickfont_size=11, title_text="test image"),
        xaxis_rangemode="tozero",
    )
    rows = [
        f"{place}, a {label}"
        for place, label in zip(
            study.place[order].tolist(), study.labels[order].tolist(), strict=True
        )
    ]
    figure.add_scatter(**_between(study, order, rows))
    for name, sizes in zip(MARKS, (study.proved, study.true, study.found), strict=True):
        figure.add_scatter(
            x=[size if size < 1 else None for size in sizes[order].tolist()],
            y=rows,
            mode="markers",
            name=name,
            marker=MARKS[name],
            hovertemplate=f"%{{y}}: {name} %{{x:.4f}}<extra></extra>",
        )
    return figure


def _between(study: Enclosed, order: Tensor, rows: list[str]) -> dict[str, object]:
    """One trace of a line for each image, from what is proved to what is found."""
    ends = zip(study.proved[order].tolist(), study.found[order].tolist(), rows, strict=True)
    lines = [[(proved, row), (min(found, 1.0), row), (None, row)] for proved, found, row in ends]
    return dict(
        x=[size for line in lines for size, _ in line],
        y=[row for line in lines for _, row in line],
        mode="lines",
        line=dict(color=UNKNOWN, width=5),
        showlegend=False,
        hoverinfo="skip",
    )
