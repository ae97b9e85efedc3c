"""Figures of the blow-up: the Lipschitz constant and the margins against p."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from linfkit.figures.template import COLOURS, as_text, new_figure, translucent
from linfkit.lipschitz import LayerConstant
from linfkit.studies.blowup import AtExponent

__all__ = [
    "constant_against_p",
    "constant_by_layer",
    "constant_in_training",
    "margin_histogram",
    "margins_against_p",
]

#: Lipschitz constants lie between 1 and a few dozen.
_LOG_AXIS = dict(type="log", tickvals=[1, 1.5, 2, 3, 5, 10, 20, 50, 100])


def constant_against_p(nets: Mapping[str, Sequence[AtExponent]]) -> go.Figure:
    """Worst measured Lipschitz constant of each net against p, under the bound that all share.

    The nets are of one shape, and so have one bound.
    """
    figure = new_figure(
        "constant-against-p",
        "Lipschitz constant against p",
        "Lipschitz constant in ℓ∞ against p: a line for the worst case measured of each net, and "
        "a dashed one for the product bound, which falls to 1 at p=∞.",
        "p",
        "Lipschitz constant (pixels to logits)",
        yaxis=_LOG_AXIS,
        xaxis_type="category",
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
    figure = new_figure(
        "constant-by-layer",
        "Lipschitz constant by layer",
        "For each layer, a bar for the measured worst case of each net and a line for the bound "
        "d^(1/p).",
        "layer",
        "Lipschitz constant of the layer",
        barmode="group",
    )
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
        marker=dict(symbol="line-ew-open", size=70, color=COLOURS[-1], line=dict(width=2)),
    )
    return figure


def constant_in_training(history: Sequence[Mapping[str, float]]) -> go.Figure:
    """Lipschitz bound and measured constant epoch by epoch, and the share with zero hinge."""
    figure = new_figure(
        "constant-in-training",
        "Lipschitz constant and zero hinge along training",
        "Against the epoch: the bound and the measured Lipschitz constant, which fall to 1 as p "
        "rises, and on the right axis the share of samples with zero hinge.",
        "epoch",
        "Lipschitz constant",
        yaxis=_LOG_AXIS,
        yaxis2=dict(
            title=dict(text="share with zero hinge"),
            overlaying="y",
            side="right",
            range=[0, 1],
            dtick=0.2,
            showgrid=False,
        ),
        margin_r=70,
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
    figure = new_figure(
        "margins-against-p",
        "Margins of the same weights against p",
        "Median and quartiles of the margin against p, and the margin θ that training asked for.",
        "p",
        "margin f<sub>y</sub> − max f<sub>j</sub> (pixels)",
        xaxis_type="category",
    )
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


def margin_histogram(row: AtExponent, theta: float, limits: tuple[float, float]) -> go.Figure:
    """The margins of a net at one p, beside θ; its Lipschitz constant in the title."""
    starved = (row.margins >= theta).double().mean().item()
    figure = new_figure(
        "margin-histogram",
        f"p={as_text(row.p)}: bound {row.bound:.3g}, measured up to {row.measured.max():.3g}, "
        f"zero hinge {starved:.0%}",
        f"Histogram of the margins at p={as_text(row.p)}; {starved:.0%} lie beyond θ.",
        "margin f<sub>y</sub> − max f<sub>j</sub> (pixels)",
        "images",
        xaxis_range=limits,
    )
    width = (limits[1] - limits[0]) / 50
    figure.add_histogram(
        x=row.margins.tolist(),
        xbins=dict(start=limits[0], end=limits[1], size=width),
        marker_color=COLOURS[0],
        name="images",
    )
    return figure.add_vline(x=theta, line_dash="dot", annotation_text="θ")
