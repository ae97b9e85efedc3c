"""Figures of hinge against mixed loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean

import plotly.graph_objects as go

from linfkit.course.figures.template import COLOURS, as_text, new_figure, translucent
from linfkit.course.studies.losses import AtMargin
from linfkit.training.runs import Run

__all__ = ["certified_against_margin", "clean_labels", "starved_against_p"]

#: One colour for each loss, the same in every figure.
LOSS_COLOURS = {"hinge": COLOURS[1], "mixed": COLOURS[0], "cross_entropy": COLOURS[2]}


def certified_against_margin(table: Mapping[str, Sequence[AtMargin]], eps: float) -> go.Figure:
    """Certified accuracy at ε against the margin asked for in training, for each loss."""
    figure = new_figure("certified-against-margin", dict(eps=eps))
    for loss, rows in table.items():
        figure.add_scatter(
            x=[row.eps_train / eps for row in rows],
            y=[row.mean for row in rows],
            error_y=dict(
                type="data",
                symmetric=False,
                array=[max(row.certified) - row.mean for row in rows],
                arrayminus=[row.mean - min(row.certified) for row in rows],
            ),
            name=loss,
            mode="lines+markers",
            line_color=LOSS_COLOURS[loss],
        )
    return figure


def starved_against_p(runs: Sequence[Run], eps_train: float) -> go.Figure:
    """Share of starved samples epoch by epoch against p: satisfied now, not yet certified.

    A bold line for the mean over the seeds of each loss, a thin one for each run. See `linfkit.fit`
    for what counts as starved.

    Args:
        runs: of both losses, all margins and seeds, so that the axes stay from one to the next.
        eps_train: of the runs that are drawn.
    """
    figure = new_figure(
        "starved-against-p",
        dict(eps_train=eps_train),
        xaxis=dict(type="log", tickvals=[8, 16, 32, 64, 128, 256, 512, 1000]),
        yaxis=dict(range=[-0.01, 1.05 * max(max(run.column("starved")) for run in runs)]),
        hovermode="closest",
    )
    for loss in sorted({run.recipe.loss for run in runs}):
        histories = [
            [row for row in run.history if row["p"] <= run.recipe.p_end]
            for run in runs
            if run.recipe.loss == loss and abs(run.recipe.eps_train - eps_train) < 1e-9
        ]
        p = [row["p"] for row in histories[0]]
        starved = [[row["starved"] for row in history] for history in histories]
        for one in starved:
            figure.add_scatter(
                x=p,
                y=one,
                name=f"{loss}, one seed",
                showlegend=False,
                hoverinfo="skip",
                line=dict(color=translucent(LOSS_COLOURS[loss], 0.35), width=1),
            )
        figure.add_scatter(
            x=p,
            y=[mean(at_p) for at_p in zip(*starved, strict=True)],
            name=loss,
            line=dict(color=LOSS_COLOURS[loss], width=3),
            hovertemplate=f"{loss}, p=%{{x:.3g}}: %{{y:.1%}}<extra></extra>",
        )
    return figure


def clean_labels(table: Mapping[str, Sequence[AtMargin]], eps: float) -> go.Figure:
    """Comparison of the losses on clean labels: bars with every seed's point."""
    figure = new_figure(
        "clean-labels",
        dict(eps=eps),
        barmode="group",
        hovermode="closest",
        xaxis_type="category",
        scattermode="group",
    )
    for loss, rows in table.items():
        at = [as_text(row.eps_train / eps) for row in rows]
        figure.add_bar(
            x=at,
            y=[row.mean for row in rows],
            name=loss,
            marker_color=LOSS_COLOURS[loss],
            opacity=0.6,
            offsetgroup=loss,
        )
        figure.add_scatter(
            x=[place for place, row in zip(at, rows, strict=True) for _ in row.certified],
            y=[value for row in rows for value in row.certified],
            mode="markers",
            marker=dict(color="#222", size=6),
            offsetgroup=loss,
            showlegend=False,
            name=f"{loss}, one seed",
        )
    return figure
