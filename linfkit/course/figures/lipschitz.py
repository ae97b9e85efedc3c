"""Figures of the blow-up: the Lipschitz constant and the margins against p."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import torch

from linfkit.certification.lipschitz import LayerConstant
from linfkit.course.figures.template import COLOURS, as_text, new_figure, translucent
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
_LOG_AXIS = dict(type="log", tickvals=[1, 1.5, 2, 3, 5, 10, 20, 50, 100])
#: Under the axis title, where long names have room at half width too.
_LEGEND_BELOW: dict[str, Any] = dict(
    legend=dict(orientation="h", yanchor="top", y=-0.24, x=0.0),
    margin=dict(t=56, b=150),
    height=470,
)


def constant_against_p(nets: Mapping[str, Sequence[AtExponent]]) -> go.Figure:
    """Worst measured Lipschitz constant of each net against p, under the bound that all share.

    The nets are of one shape, and so have one bound.
    """
    figure = new_figure(
        "constant-against-p", yaxis=_LOG_AXIS, xaxis_type="category", **_LEGEND_BELOW
    )
    for (net, rows), colour in zip(nets.items(), COLOURS, strict=False):
        exponents = [as_text(row.p) for row in rows]
        figure.add_scatter(
            x=exponents,
            y=[row.measured.max().item() for row in rows],
            name=f"{net}, measured",
            mode="lines+markers",
            line=dict(color=colour),
        )
    return figure.add_scatter(
        x=exponents,
        y=[row.bound for row in rows],
        name="bound of all",
        mode="lines",
        line=dict(color=COLOURS[-1], dash="dash"),
    )


def constant_by_layer(nets: Mapping[str, Sequence[LayerConstant]]) -> go.Figure:
    """Worst measured Lipschitz constant of each layer, under its bound, for each net."""
    figure = new_figure("constant-by-layer", barmode="group", **_LEGEND_BELOW)
    for (net, rows), colour in zip(nets.items(), COLOURS, strict=False):
        names = [row.name for row in rows]
        figure.add_bar(
            x=names,
            y=[row.measured for row in rows],
            name=f"{net}, measured",
            marker_color=colour,
        )
    figure.add_scatter(
        x=names,
        y=[row.bound for row in rows],
        name="bound d^(1/p)",
        mode="markers",
        marker=dict(symbol="line-ew-open", size=34, color=COLOURS[-1], line=dict(width=2)),
    )
    return figure


def constant_through_layers(nets: Mapping[str, Sequence[AtExponent]], p: float) -> go.Figure:
    """Running products through the layers at one p, of bounds and of what each layer measures.

    A cross after the last layer is the whole net's measured constant: less than the product, since
    no input stretches every layer the most.
    """
    rows = {net: next(row for row in sweep if row.p == p) for net, sweep in nets.items()}
    bound = max(row.bound for row in rows.values())
    figure = new_figure(
        "constant-through-layers",
        dict(p=as_text(p), bound=bound),
        yaxis=dict(
            **_LOG_AXIS,
            # the same at every p, so that the figure can slide
            range=[-0.06, 1.05 * math.log10(_largest_bound(nets))],
        ),
        xaxis=dict(dtick=1),
        **_LEGEND_BELOW,
    )
    for (net, row), colour in zip(rows.items(), COLOURS, strict=False):
        passed = list(range(1, len(row.layers) + 1))
        figure.add_scatter(
            x=passed,
            y=running_product(layer.measured for layer in row.layers),
            name=net,
            mode="lines+markers",
            line=dict(color=colour),
        )
        figure.add_scatter(
            x=passed[-1:],
            y=[row.measured.max().item()],
            name=f"{net}, whole net",
            mode="markers",
            marker=dict(color=colour, symbol="x", size=11),
            showlegend=False,
        )
    return figure.add_scatter(
        x=passed,
        y=running_product(layer.bound for layer in row.layers),
        name="bounds",
        mode="lines",
        line=dict(color=COLOURS[-1], dash="dash"),
    )


def constant_in_training(history: Sequence[Mapping[str, float]]) -> go.Figure:
    """Lipschitz bound and measured constant epoch by epoch, and the share with zero hinge."""
    figure = new_figure(
        "constant-in-training",
        yaxis=_LOG_AXIS,
        yaxis2=dict(
            title=dict(text="share with zero hinge"),
            overlaying="y",
            side="right",
            range=[0, 1],
            dtick=0.2,
            showgrid=False,
        ),
        legend=_LEGEND_BELOW["legend"],
        margin=dict(**_LEGEND_BELOW["margin"], r=70),
        height=_LEGEND_BELOW["height"],
    )
    epochs = [row["epoch"] for row in history]
    p = [as_text(row["p"]) for row in history]
    for name, column, style in [
        ("bound", "lipschitz_bound", dict(color=COLOURS[0], dash="dash")),
        ("measured", "lipschitz", dict(color=COLOURS[0])),
    ]:
        figure.add_scatter(
            x=epochs,
            y=[row[column] for row in history],
            name=name,
            line=style,
            customdata=p,
            hovertemplate="%{y:.3g} at p=%{customdata}",
        )
    return figure.add_scatter(
        x=epochs,
        y=[row["zero_hinge"] for row in history],
        name="zero hinge (right)",
        line=dict(color=COLOURS[1]),
        yaxis="y2",
    )


def margins_against_p(rows: Sequence[AtExponent], theta: float) -> go.Figure:
    """Median and middle half of the margins against p, for the same weights."""
    figure = new_figure("margins-against-p", xaxis_type="category")
    exponents = [as_text(row.p) for row in rows]
    low, middle, high = (
        [row.margins.quantile(share).item() for row in rows] for share in (0.25, 0.5, 0.75)
    )
    figure.add_scatter(x=exponents, y=low, mode="lines", line_width=0, showlegend=False)
    figure.add_scatter(
        x=exponents,
        y=high,
        mode="lines",
        line_width=0,
        fill="tonexty",
        fillcolor=translucent(COLOURS[0], 0.2),
        name="middle half",
    )
    figure.add_scatter(
        x=exponents, y=middle, name="median", mode="lines+markers", line_color=COLOURS[0]
    )
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
    row = next(row for row in rows if row.p == p)
    worst = row.measured.max().item()
    margins = row.margins.double()
    beyond = (margins >= theta).double().mean().item()
    everything = torch.cat([at.margins for sweep in nets.values() for at in sweep])
    low, high = min(everything.min().item(), theta), max(everything.max().item(), theta)
    size = (high - low) / 50
    # counted from θ, so that the bars right of it are just the images beyond it
    places, counts = ((margins - theta) / size).floor().unique(return_counts=True)
    figure = new_figure(
        "net-at-exponent",
        dict(p=as_text(p), worst=worst, bound=row.bound, beyond=beyond, net=net),
        height=560,
        hovermode="closest",
        legend=dict(y=1.01),
        margin_t=72,
        xaxis=dict(range=[low - size, high + size], anchor="y"),
        yaxis=dict(domain=[0, 0.42]),
        xaxis2=dict(title=dict(text="p"), type="category", anchor="y2"),
        yaxis2=dict(
            **_LOG_AXIS,
            title=dict(text="Lipschitz constant"),
            domain=[0.6, 1],
            anchor="x2",
            range=[-0.06, 1.05 * math.log10(_largest_bound(nets))],
        ),
    )
    figure.add_bar(
        x=(theta + (places + 0.5) * size).tolist(),
        y=counts.tolist(),
        width=size,
        marker_color=COLOURS[0],
        name="images",
        showlegend=False,
    )
    exponents = [as_text(row.p) for row in rows]
    against_p = dict(xaxis="x2", yaxis="y2")
    figure.add_scatter(
        x=exponents,
        y=[row.bound for row in rows],
        name="bound",
        mode="lines",
        line=dict(color=COLOURS[-1], dash="dash"),
        **against_p,
    )
    figure.add_scatter(
        x=exponents,
        y=[row.measured.max().item() for row in rows],
        name="measured",
        mode="lines",
        line=dict(color=COLOURS[1]),
        **against_p,
    )
    figure.add_scatter(
        x=[as_text(p)] * 2,
        y=[row.bound, worst],
        name="here",
        mode="markers",
        marker=dict(color=[COLOURS[-1], COLOURS[1]], size=11),
        showlegend=False,
        **against_p,
    )
    return figure.add_vline(x=theta, line_dash="dot", annotation_text="θ")


def _largest_bound(nets: Mapping[str, Sequence[AtExponent]]) -> float:
    return max(row.bound for rows in nets.values() for row in rows)
