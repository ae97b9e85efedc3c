"""Figures of gradients against p: how few coordinates carry one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go
from torch import Tensor

from linfkit.course.figures.template import (
    CHANGE,
    COLOURS,
    SCALE,
    Style,
    add_line,
    add_picture,
    as_text,
    new_figure,
)
from linfkit.course.studies.gradients import Gradients

__all__ = ["gradient_of_margin", "gradient_profile", "gradients_against_p"]

#: Relative sizes below this are drawn at it.
_SMALLEST = 1e-6


def gradient_profile(rows: Sequence[Gradients], p: float) -> go.Figure:
    """Partial derivatives of a neuron, sorted, over the largest: a line for each layer, at one p.

    Args:
        rows: at every p that a slider passes.
        p: one of them.
    """
    row = next(row for row in rows if row.p == p)
    most = max(layer.effective for layer in row.layers)
    widest = max(len(layer.profile) for layer in row.layers)
    figure = new_figure(
        "gradient-profile",
        dict(p=as_text(p), most=most),
        hovermode="closest",
        xaxis=dict(type="log", dtick=1, range=[-0.05, 1.05 * math.log10(widest)]),
        yaxis=dict(type="log", range=[math.log10(_SMALLEST) - 0.2, 0.2], exponentformat="power"),
        yaxis_title_standoff=14,
    )
    for layer, colour in zip(row.layers, COLOURS, strict=False):
        ranks = _ranks(len(layer.profile))
        sizes = [max(layer.profile[rank - 1].item(), _SMALLEST) for rank in ranks]
        look = Style(mode="lines+markers", marker_size=5)
        add_line(figure, ranks, sizes, layer.name, colour, **look)
    # on a logarithmic axis plotly counts an annotation's place in powers of ten
    note = dict(text="1 % of the largest", y=-2)
    return figure.add_hline(y=0.01, line_dash="dot", annotation=note)


def _ranks(count: int) -> list[int]:
    """Ranks from 1 to count, all of the first few, then ever farther apart."""
    steps = {min(count, round(2 ** (k / 4))) for k in range(4 * count.bit_length())}
    return sorted(steps | {count})


def gradient_of_margin(
    rows: Sequence[Gradients], images: Tensor, p: float, image: int
) -> go.Figure:
    """An image beside the gradient of its margin in its pixels, at one p.

    Args:
        rows: at every p that a slider passes.
        images: (B, C, H, W), in [0, 1], in the order of the gradients.
        p: one of the rows'.
        image: place of the image.
    """
    slope = next(row for row in rows if row.p == p).pixels[image].sum(dim=0)
    largest = slope.abs().max().item()
    carried = int((slope.abs() > 0.01 * largest).sum()) if largest else 0
    figure = new_figure(
        "gradient-of-margin",
        dict(p=as_text(p), carried=carried, pixels=slope.numel()),
        hovermode="closest",
        margin=dict(l=40, r=20, t=60, b=50),
        xaxis2=dict(title_text="gradient, over its largest"),
    )
    left, right = Style(across=[0, 0.44]), Style(axis="2", across=[0.5, 0.94], **CHANGE)
    add_picture(figure, images[image].mean(dim=0), "image", **left, hovertemplate=None)
    return add_picture(
        figure, slope / (largest or 1.0), "gradient", **right, **SCALE, hovertemplate=None
    )


def gradients_against_p(rows: Sequence[Gradients]) -> go.Figure:
    """Inputs that carry a neuron's gradient, and share of weights that a step moves, by layer."""
    figure = new_figure(
        "gradients-against-p",
        height=560,
        legend=dict(y=1.01),
        margin_t=72,
        xaxis=dict(type="category", anchor="y"),
        yaxis=dict(
            type="log", dtick=1, domain=[0, 0.44], exponentformat="power", title_standoff=14
        ),
        yaxis2=dict(
            type="log", domain=[0.56, 1], anchor="x", title=dict(text="effective inputs"), dtick=1
        ),
    )
    exponents = [as_text(row.p) for row in rows]
    for place, colour in zip(range(len(rows[0].layers)), COLOURS, strict=False):
        layers = [row.layers[place] for row in rows]
        effective, moved = zip(*((layer.effective, layer.moved) for layer in layers), strict=True)
        name = layers[0].name
        look = Style(colour=colour, mode="lines+markers", legendgroup=name)
        add_line(figure, exponents, effective, name, **look, yaxis="y2")
        add_line(figure, exponents, moved, name, **look, showlegend=False)
    return figure
