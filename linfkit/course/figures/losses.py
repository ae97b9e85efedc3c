"""Figures of hinge against mixed loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean

import plotly.graph_objects as go

from linfkit.course.figures.template import (
    COLOURS,
    GROUPED,
    P_OF_TRAINING,
    SILENT,
    Style,
    add_bars_of_seeds,
    add_line,
    as_text,
    new_figure,
    translucent,
)
from linfkit.course.studies.losses import AtMargin
from linfkit.training.runs import Run

__all__ = ["certified_against_margin", "clean_labels", "learning_curves", "starved_against_p"]

#: One colour for each loss, the same in every figure.
LOSS_COLOURS = {"hinge": COLOURS[1], "mixed": COLOURS[0], "cross_entropy": COLOURS[2]}


def certified_against_margin(table: Mapping[str, Sequence[AtMargin]], eps: float) -> go.Figure:
    """Certified accuracy at ε against the margin asked for in training, for each loss."""
    figure = new_figure("certified-against-margin", dict(eps=eps))
    for loss, rows in table.items():
        margins = [row.eps_train / eps for row in rows]
        seeds = dict(
            type="data",
            symmetric=False,
            array=[max(row.certified) - row.mean for row in rows],
            arrayminus=[row.mean - min(row.certified) for row in rows],
        )
        look = Style(colour=LOSS_COLOURS[loss], mode="lines+markers", error_y=seeds)
        add_line(figure, margins, [row.mean for row in rows], loss, **look)
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
        xaxis=P_OF_TRAINING,
        yaxis_range=[-0.01, 1.05 * max(max(run.column("starved")) for run in runs)],
        hovermode="closest",
    )
    for loss in sorted({run.recipe.loss for run in runs}):
        histories = [
            [row for row in run.history if row["p"] <= run.recipe.p_end]
            for run in _chosen(runs, loss, eps_train)
        ]
        p = [row["p"] for row in histories[0]]
        starved = [[row["starved"] for row in history] for history in histories]
        colour = LOSS_COLOURS[loss]
        thin = Style(colour=translucent(colour, 0.35), width=1, **SILENT)
        for one in starved:
            add_line(figure, p, one, f"{loss}, one seed", **thin)
        hover = f"{loss}, p=%{{x:.3g}}: %{{y:.1%}}<extra></extra>"
        means = [mean(at_p) for at_p in zip(*starved, strict=True)]
        add_line(figure, p, means, loss, colour, width=3, hovertemplate=hover)
    return figure


def learning_curves(runs: Sequence[Run], eps_train: float) -> go.Figure:
    """Loss, accuracy and certified accuracy of each loss epoch by epoch, mean over the seeds.

    The figures 1 (a) and 2 (a) of Zhang et al., ICLR 2022, for runs of one's own.

    Args:
        runs: of both losses, all margins and seeds.
        eps_train: of the runs that are drawn.
    """
    figure = new_figure(
        "learning-curves",
        dict(eps_train=eps_train),
        height=560,
        margin_t=110,
        xaxis_anchor="y",
        yaxis=dict(domain=[0, 0.58], range=[0, 1]),
        yaxis2=dict(domain=[0.66, 1], title_text="loss", rangemode="tozero"),
    )
    for loss in sorted({run.recipe.loss for run in runs}):
        chosen = _chosen(runs, loss, eps_train)
        epochs = chosen[0].column("epoch")
        for name, column, dash, axis in [
            ("loss", "loss", "solid", "y2"),
            ("training accuracy", "accuracy", "dot", "y"),
            ("test accuracy, p=∞", "accuracy_linf", "dash", "y"),
            ("certified", "certified", "solid", "y"),
        ]:
            means = [mean(at) for at in zip(*(run.column(column) for run in chosen), strict=True)]
            named = Style(name=f"{loss}, {name}", colour=LOSS_COLOURS[loss], dash=dash)
            named |= Style(showlegend=name != "loss")
            add_line(figure, epochs, means, **named, yaxis=axis, mode="lines")
    return figure


def _chosen(runs: Sequence[Run], loss: str, eps_train: float) -> list[Run]:
    """Runs of one loss and margin, one a seed."""
    return [
        run
        for run in runs
        if run.recipe.loss == loss and abs(run.recipe.eps_train - eps_train) < 1e-9
    ]


def clean_labels(table: Mapping[str, Sequence[AtMargin]], eps: float) -> go.Figure:
    """Comparison of the losses on clean labels: bars with every seed's point."""
    figure = new_figure(
        "clean-labels",
        dict(eps=eps),
        **GROUPED,
    )
    for loss, rows in table.items():
        at = [as_text(row.eps_train / eps) for row in rows]
        seeds, named = [row.certified for row in rows], f"{loss}, one seed"
        add_bars_of_seeds(figure, at, seeds, loss, LOSS_COLOURS[loss], name_of_points=named)
    return figure
