"""Figures of hinge against mixed loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from linfkit.figures.template import COLOURS, as_text, new_figure
from linfkit.studies.losses import AtMargin
from linfkit.training import Run

__all__ = ["certified_against_margin", "clean_labels", "starved_against_p"]

#: One colour for each loss, the same in every figure.
LOSS_COLOURS = {"hinge": COLOURS[1], "mixed": COLOURS[0], "cross_entropy": COLOURS[2]}


def certified_against_margin(table: Mapping[str, Sequence[AtMargin]], eps: float) -> go.Figure:
    """Certified accuracy at ε against the margin asked for in training, for each loss."""
    figure = new_figure(
        "certified-against-margin",
        "Certified accuracy against the training margin",
        "Certified accuracy of each loss against its training margin: a line through the means "
        "over seeds, bars for their range.",
        "ε<sub>train</sub> / ε",
        f"certified accuracy at ε={eps:.3g}",
    )
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
    """Share of training samples whose hinge is zero, epoch by epoch against p, at one margin."""
    figure = new_figure(
        "starved-against-p",
        f"Samples with zero hinge along training, ε<sub>train</sub>={eps_train:.3g}",
        "Share of training samples whose hinge is zero, epoch by epoch as p grows: one line for "
        "each run, coloured by loss.",
        "p",
        "share of samples with zero hinge",
        xaxis=dict(type="log", tickvals=[8, 16, 32, 64, 128, 256, 512, 1000]),
        yaxis_range=[0, 1],
    )
    chosen = [run for run in runs if abs(run.recipe.eps_train - eps_train) < 1e-9]
    named: set[str] = set()
    for run in chosen:
        ramp = [row for row in run.history if row["p"] <= run.recipe.p_end]
        figure.add_scatter(
            x=[row["p"] for row in ramp],
            y=[row["zero_hinge"] for row in ramp],
            name=run.recipe.loss,
            legendgroup=run.recipe.loss,
            showlegend=run.recipe.loss not in named,
            line=dict(color=LOSS_COLOURS[run.recipe.loss], width=1.5),
            hovertemplate=f"{run.recipe.loss}, seed {run.seed}: %{{y:.0%}}<extra></extra>",
        )
        named.add(run.recipe.loss)
    return figure


def clean_labels(table: Mapping[str, Sequence[AtMargin]], eps: float) -> go.Figure:
    """The same comparison on the labels as they are: bars with every seed's point."""
    figure = new_figure(
        "clean-labels",
        "Certified accuracy on clean labels",
        "Certified accuracy of each loss on clean labels at each training margin: a bar for the "
        "mean, a point for every seed.",
        "ε<sub>train</sub> / ε",
        f"certified accuracy at ε={eps:.3g}",
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
