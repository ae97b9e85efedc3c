"""Figures of gradients against p: how few coordinates carry one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go
from torch import Tensor

from linfkit.course.figures.template import COLOURS, as_text, new_figure
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
        figure.add_scatter(
            x=ranks,
            y=[max(layer.profile[rank - 1].item(), _SMALLEST) for rank in ranks],
            name=layer.name,
            mode="lines+markers",
            line_color=colour,
            marker_size=5,
        )
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
    bare = dict(showticklabels=False, showgrid=False, showline=False, zeroline=False, ticks="")
    rows_down = dict(autorange="reversed", constrain="domain", **bare)
    figure = new_figure(
        "gradient-of-margin",
        dict(p=as_text(p), carried=carried, pixels=slope.numel()),
        hovermode="closest",
        margin=dict(l=40, r=20, t=60, b=50),
        xaxis=dict(domain=[0, 0.44], constrain="domain", **bare),
        yaxis=dict(scaleanchor="x", **rows_down),
        xaxis2=dict(domain=[0.5, 0.94], anchor="y2", constrain="domain", **bare),
        yaxis2=dict(scaleanchor="x2", anchor="x2", **rows_down),
    )
    figure.update_layout(xaxis2_title_text="gradient, over its largest")
    columns = list(range(slope.shape[1]))
    figure.add_heatmap(
        x=columns,
        z=images[image].mean(dim=0).numpy(force=True).round(3),
        zmin=0,
        zmax=1,
        colorscale="Greys",
        showscale=False,
        name="image",
    )
    return figure.add_heatmap(
        x=columns,
        z=(slope / (largest or 1.0)).numpy(force=True).round(3),
        zmin=-1,
        zmax=1,
        colorscale="RdBu",
        colorbar=dict(thickness=12, x=1.0),
        name="gradient",
        xaxis="x2",
        yaxis="y2",
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
        style = dict(mode="lines+markers", line_color=colour, legendgroup=layers[0].name)
        figure.add_scatter(
            x=exponents,
            y=[layer.effective for layer in layers],
            name=layers[0].name,
            yaxis="y2",
            **style,
        )
        figure.add_scatter(
            x=exponents,
            y=[layer.moved for layer in layers],
            name=layers[0].name,
            showlegend=False,
            **style,
        )
    return figure
