"""Figures of the blow-up: the Lipschitz constant and the margins against p."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
import torch

from linfkit.certification.lipschitz import LayerConstant
from linfkit.course.figures.template import (
    BOUND,
    COLOURS,
    PANEL_2,
    Style,
    add_bars,
    add_line,
    add_points,
    as_text,
    new_figure,
    translucent,
)
from linfkit.course.studies.blowup import AtExponent, running_product

__all__ = [
    "constant_against_p",
    "constant_by_layer",
    "constant_in_training",
    "constant_through_layers",
    "margins_against_p",
    "net_at_exponent",
]

#: Lipschitz constants lie between 1 and a few dozen.
_LOG_AXIS = Style(type="log", tickvals=[1, 1.5, 2, 3, 5, 10, 20, 50, 100])
#: Under the axis title, where long names have room at half width too.
_LEGEND_BELOW = Style(legend=dict(yanchor="top", y=-0.24), margin=dict(t=56, b=150), height=470)


def constant_against_p(nets: Mapping[str, Sequence[AtExponent]]) -> go.Figure:
    """Worst measured Lipschitz constant of each net against p, under the bound that all share.

    The nets are of one shape, and so have one bound.
    """
    figure = new_figure(
        "constant-against-p", yaxis=_LOG_AXIS, xaxis_type="category", **_LEGEND_BELOW
    )
    for (net, rows), colour in zip(nets.items(), COLOURS, strict=False):
        exponents, worst = _worst(rows)
        add_line(figure, exponents, worst, f"{net}, measured", colour, mode="lines+markers")
    return add_line(figure, exponents, [row.bound for row in rows], "bound of all", **BOUND)


def constant_by_layer(nets: Mapping[str, Sequence[LayerConstant]]) -> go.Figure:
    """Worst measured Lipschitz constant of each layer, under its bound, for each net."""
    figure = new_figure("constant-by-layer", barmode="group", **_LEGEND_BELOW)
    for (net, rows), colour in zip(nets.items(), COLOURS, strict=False):
        names = [row.name for row in rows]
        add_bars(figure, names, [row.measured for row in rows], f"{net}, measured", colour)
    bounds = [row.bound for row in rows]
    return add_points(
        figure, names, bounds, "bound d^(1/p)", COLOURS[-1], 34, "line-ew-open", marker_line_width=2
    )


def constant_through_layers(nets: Mapping[str, Sequence[AtExponent]], p: float) -> go.Figure:
    """Running products through the layers at one p, of bounds and of what each layer measures.

    A cross after the last layer is the whole net's measured constant: less than the product, since
    no input stretches every layer the most.
    """
    rows = {net: _at(sweep, p) for net, sweep in nets.items()}
    figure = new_figure(
        "constant-through-layers",
        dict(p=as_text(p), bound=max(row.bound for row in rows.values())),
        yaxis=_axis_of_all(nets),
        xaxis_dtick=1,
        **_LEGEND_BELOW,
    )
    for (net, row), colour in zip(rows.items(), COLOURS, strict=False):
        passed = list(range(1, len(row.layers) + 1))
        product = running_product(layer.measured for layer in row.layers)
        add_line(figure, passed, product, net, colour, mode="lines+markers")
        worst = [row.measured.max().item()]
        add_points(
            figure, passed[-1:], worst, f"{net}, whole net", colour, 11, "x", showlegend=False
        )
    product = running_product(layer.bound for layer in row.layers)
    return add_line(figure, passed, product, "bounds", **BOUND)


def constant_in_training(history: Sequence[Mapping[str, float]]) -> go.Figure:
    """Lipschitz bound and measured constant epoch by epoch, and the share with zero hinge."""
    right = dict(overlaying="y", side="right", range=[0, 1], dtick=0.2, showgrid=False)
    figure = new_figure(
        "constant-in-training",
        yaxis=_LOG_AXIS,
        yaxis2=dict(title_text="share with zero hinge", **right),
        **_LEGEND_BELOW,
        margin_r=70,
    )
    epochs = [row["epoch"] for row in history]
    at_p = Style(
        customdata=[as_text(row["p"]) for row in history],
        hovertemplate="%{y:.3g} at p=%{customdata}",
    )
    bound, measured, zero_hinge = (
        [row[column] for row in history]
        for column in ("lipschitz_bound", "lipschitz", "zero_hinge")
    )
    add_line(figure, epochs, bound, "bound", COLOURS[0], "dash", **at_p)
    add_line(figure, epochs, measured, "measured", COLOURS[0], **at_p)
    return add_line(figure, epochs, zero_hinge, "zero hinge (right)", COLOURS[1], yaxis="y2")


def margins_against_p(rows: Sequence[AtExponent], theta: float) -> go.Figure:
    """Median and middle half of the margins against p, for the same weights."""
    figure = new_figure("margins-against-p", xaxis_type="category")
    exponents = [as_text(row.p) for row in rows]
    low, middle, high = (
        [row.margins.quantile(share).item() for row in rows] for share in (0.25, 0.5, 0.75)
    )
    edge = Style(mode="lines", width=0)
    filled = Style(fill="tonexty", fillcolor=translucent(COLOURS[0], 0.2))
    add_line(figure, exponents, low, None, **edge, showlegend=False)
    add_line(figure, exponents, high, "middle half", **edge, **filled)
    add_line(figure, exponents, middle, "median", COLOURS[0], mode="lines+markers")
    return figure.add_hline(
        y=theta, line_dash="dot", annotation_text="θ: beyond it the hinge is zero"
    )


def net_at_exponent(
    nets: Mapping[str, Sequence[AtExponent]], net: str, p: float, theta: float
) -> go.Figure:
    """One net at one p: its constant and bound on their way to 1, and its margins beside θ.

    Args:
        nets: the sweeps of all nets that a slider passes, so that the axes stay.
        net: which of them; how it was trained, as in "at p=8".
        p: one of the sweep's exponents.
        theta: the margin that training asked for, in pixels.
    """
    rows = nets[net]
    row = _at(rows, p)
    worst = row.measured.max().item()
    margins = row.margins.double()
    beyond = (margins >= theta).double().mean().item()
    everything = torch.cat([at.margins for sweep in nets.values() for at in sweep])
    low, high = min(everything.min().item(), theta), max(everything.max().item(), theta)
    size = (high - low) / 50
    # counted from θ, so that the bars right of it are just the images beyond it
    places, counts = ((margins - theta) / size).floor().unique(return_counts=True)
    above = dict(title_text="Lipschitz constant", domain=[0.6, 1], anchor="x2")
    figure = new_figure(
        "net-at-exponent",
        dict(p=as_text(p), worst=worst, bound=row.bound, beyond=beyond, net=net),
        height=560,
        hovermode="closest",
        legend_y=1.01,
        margin_t=72,
        xaxis_range=[low - size, high + size],
        yaxis_domain=[0, 0.42],
        xaxis2=dict(title_text="p", type="category", anchor="y2"),
        yaxis2=dict(**_axis_of_all(nets), **above),
    )
    middles = theta + (places + 0.5) * size
    add_bars(figure, middles, counts, "images", COLOURS[0], width=size, showlegend=False)
    exponents, measured = _worst(rows)
    add_line(figure, exponents, [row.bound for row in rows], "bound", **BOUND, **PANEL_2)
    add_line(figure, exponents, measured, "measured", COLOURS[1], mode="lines", **PANEL_2)
    here, colours = [as_text(p)] * 2, [COLOURS[-1], COLOURS[1]]
    add_points(figure, here, [row.bound, worst], "here", colours, 11, showlegend=False, **PANEL_2)
    return figure.add_vline(x=theta, line_dash="dot", annotation_text="θ")


def _at(sweep: Sequence[AtExponent], p: float) -> AtExponent:
    return next(row for row in sweep if row.p == p)


def _worst(sweep: Sequence[AtExponent]) -> tuple[list[str], list[float]]:
    """The exponents of a sweep as text, and the worst constant measured at each."""
    return [as_text(row.p) for row in sweep], [row.measured.max().item() for row in sweep]


def _axis_of_all(nets: Mapping[str, Sequence[AtExponent]]) -> Style:
    """The logarithmic axis for constants of any net at any p, so that it stays while p slides."""
    largest_bound = max(row.bound for rows in nets.values() for row in rows)
    return dict(**_LOG_AXIS, range=[-0.06, 1.05 * math.log10(largest_bound)])
