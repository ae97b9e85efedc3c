"""Figures of the losses themselves: over the plane of two logit differences, and along a margin."""

from __future__ import annotations

import plotly.graph_objects as go
import torch

from linfkit.course.figures.template import COLOURS, PANEL_2, SILENT, Style, add_line, new_figure
from linfkit.course.studies.losses import losses_of_a_sample

__all__ = ["loss_curves", "loss_surface"]

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
        colorbar=dict(title=dict(text="loss", side="top"), dtick=1, thickness=14),
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
    margin = torch.linspace(_LOWEST, _HIGHEST, 161, dtype=torch.float64).requires_grad_()
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
