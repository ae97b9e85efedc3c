"""The figure of true radii between what is proved and what is found."""

from __future__ import annotations

import plotly.graph_objects as go

from linfkit.course.figures.attacks import ATTACKED, PROVED, UNKNOWN
from linfkit.course.figures.template import COLOURS, SILENT, Style, add_line, add_points, new_figure
from linfkit.course.studies.intervals import Enclosed

__all__ = ["proved_true_found"]

#: Marks of a study's three sizes, which can be told apart where they lie on one another.
MARKS = {
    "proved": Style(symbol="line-ns", size=13, marker_line=dict(color=PROVED, width=4)),
    "true": Style(symbol="circle-open", size=12, colour=COLOURS[0], marker_line_width=2.5),
    "found": Style(symbol="x-thin", size=7, marker_line=dict(color=ATTACKED, width=2.5)),
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
        yaxis=dict(showgrid=False, dtick=1, tickfont_size=11),
        xaxis_rangemode="tozero",
    )
    rows = [f"{study.place[image]}, a {study.labels[image]}" for image in order]
    sizes = {name: getattr(study, name)[order].tolist() for name in MARKS}
    # one trace of a line for each image, from what is proved to what is found
    ends = zip(sizes["proved"], sizes["found"], strict=True)
    along = [end for proved, found in ends for end in (proved, min(found, 1.0), None)]
    beside = [row for row in rows for _ in range(3)]
    add_line(figure, along, beside, None, UNKNOWN, width=5, mode="lines", **SILENT)
    for name, look in MARKS.items():
        drawn = [size if size < 1 else None for size in sizes[name]]
        hover = f"%{{y}}: {name} %{{x:.4f}}<extra></extra>"
        add_points(figure, drawn, rows, name, **look, hovertemplate=hover)
    return figure
