"""Figures of hinge against mixed loss: what each is, along a margin, and what it reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean

import plotly.graph_objects as go
import torch

from linfkit.course.figures.template import (
    COLOURS,
    GROUPED,
    P_OF_TRAINING,
    PANEL_2,
    SILENT,
    Style,
    add_bars_of_seeds,
    add_line,
    as_text,
    new_figure,
    translucent,
)
from linfkit.course.studies.losses import AtMargin, losses_of_a_sample
from linfkit.training.runs import Run

__all__ = [
    "certified_against_margin",
    "clean_labels",
    "learning_curves",
    "loss_curves",
    "loss_surface",
    "starved_against_p",
]

#: One colour for each loss, the same in every figure.
LOSS_COLOURS = {"hinge": COLOURS[1], "mixed": COLOURS[0], "cross_entropy": COLOURS[2]}
#: Logit differences that are drawn, in pixels: from plainly wrong to beyond every θ in use.
_LOWEST, _HIGHEST = -0.6, 1.0
#: A wrong class so far away that no loss minds it.
_FAR = 4.0
#: Mixed is drawn first and widest, so that what it coincides with shows on top of it.
_LINES = {
    "mixed": Style(colour=COLOURS[0], width=6),
    "hinge": Style(colour=COLOURS[1], width=2.5),
    "clipped hinge": Style(colour=COLOURS[4], width=2.5, dash="dash"),
    "λ·cross-entropy": Style(colour=COLOURS[2], width=2.5, dash="dot"),
}


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
    figure = new_figure("clean-labels", dict(eps=eps), **GROUPED)
    for loss, rows in table.items():
        at = [as_text(row.eps_train / eps) for row in rows]
        seeds, named = [row.certified for row in rows], f"{loss}, one seed"
        add_bars_of_seeds(figure, at, seeds, loss, LOSS_COLOURS[loss], name_of_points=named)
    return figure


# --- the losses themselves: over the plane of two logit differences, and along a margin


def loss_surface(loss: str, lam: float, theta: float, logit_scale: float) -> go.Figure:
    """A loss of one sample with two wrong classes j, k, over its logit differences to both.

    The margin is the smaller of the two, so the square beyond θ is where the margin is θ or more.
    White is a loss of exactly zero; the slightest loss has a colour.

    Args:
        loss: "hinge", "clipped hinge", "λ·cross-entropy" or "mixed".
        lam: weight λ of the cross-entropy.
        theta: the margin that the hinge asks for, in pixels.
        logit_scale: the learned scalar by which the cross-entropy sees the logits.
    """
    figure = new_figure(
        "loss-surface",
        dict(Loss=loss.capitalize(), theta=theta, lam=lam, loss=loss),
        hovermode="closest",
        height=470,
        margin=dict(t=64),
        xaxis_range=[_LOWEST, _HIGHEST],
        yaxis_range=[_LOWEST, _HIGHEST],
    )
    along = torch.linspace(_LOWEST, _HIGHEST, 33, dtype=torch.float64)
    to_k, to_j = torch.meshgrid(along, along, indexing="ij")  # rows of a contour run upwards
    of_j_and_k = torch.stack([to_j, to_k], dim=-1)
    values = losses_of_a_sample(of_j_and_k, theta, lam, logit_scale)[loss]
    places = along.tolist()
    figure.add_contour(
        x=places,
        y=places,
        z=[[float(f"{value:.4g}") for value in row] for row in values.tolist()],
        zmin=0,
        zmax=3,
        contours=dict(start=0.25, end=2.75, size=0.25, coloring="heatmap"),
        line=dict(color="white", width=1),
        colorscale=[[0, "white"], [1e-5, "#dcebf5"], [0.33, "#56B4E9"], [1, "#00324f"]],
        colorbar=dict(title=dict(text="loss", side="right"), dtick=1, thickness=14),
        hovertemplate="to j %{x:.2f}, to k %{y:.2f}: loss %{z:.2g}<extra></extra>",
    )
    corner = Style(text=["", "", "θ"], textposition="top left", textfont_size=16, mode="lines+text")
    x, y = [theta, theta, _HIGHEST], [_HIGHEST, theta, theta]
    return add_line(figure, x, y, None, "black", "dot", 2, **corner, **SILENT)


def loss_curves(lam: float, theta: float, logit_scale: float) -> go.Figure:
    """Each loss of one sample against its margin, and below it how hard the loss pulls there.

    The pull is the size of the loss's derivative by the margin. One wrong class is at the margin,
    the other is far away: the lower edge of `loss_surface`, moved out of sight.

    Args:
        lam: weight λ of the cross-entropy.
        theta: the margin that the hinge asks for, in pixels.
        logit_scale: the learned scalar by which the cross-entropy sees the logits.
    """
    ticks = dict(tickvals=[1e-4, 0.01, 1], ticktext=["10⁻⁴", "0.01", "1"])
    across = [_LOWEST, _HIGHEST]
    figure = new_figure(
        "loss-curves",
        dict(theta=theta, lam=lam),
        height=560,
        hovermode="closest",
        legend_y=1.01,
        margin=dict(l=80, t=104),
        xaxis_range=across,
        yaxis=dict(domain=[0, 0.47], type="log", range=[-5, 1.2], **ticks),
        xaxis2=dict(range=across, anchor="y2", matches="x", showticklabels=False),
        yaxis2=dict(title_text="loss", domain=[0.55, 1], range=[-0.1, 3], anchor="x2"),
    )
    margin = torch.linspace(_LOWEST, _HIGHEST, 81, dtype=torch.float64).requires_grad_()
    differences = torch.stack([margin, torch.full_like(margin, _FAR)], dim=-1)
    losses = losses_of_a_sample(differences, theta, lam, logit_scale)
    places = [round(place, 4) for place in margin.tolist()]
    for name, look in _LINES.items():
        (slope,) = torch.autograd.grad(losses[name].sum(), margin, retain_graph=True)
        pull = [size or None for size in slope.abs().tolist()]  # a logarithm has no zero
        add_line(figure, places, losses[name], name, **look, legendgroup=name, **PANEL_2)
        hidden = Style(legendgroup=name, showlegend=False)
        add_line(figure, places, pull, f"{name}, slope", **look, **hidden)
    return figure
