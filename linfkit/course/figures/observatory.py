"""The observatory: p and the margin θ, and what they do to margins, constant and certificates."""

from __future__ import annotations

from itertools import pairwise

import plotly.graph_objects as go

from linfkit.course.figures.template import (
    BOUND,
    COLOURS,
    INK,
    SILENT,
    Style,
    add_bars,
    add_line,
    add_points,
    new_figure,
)
from linfkit.course.measured.observatory import Observations
from linfkit.course.studies.observatory import EDGES

__all__ = ["observatory"]

LOSSES = {"hinge": COLOURS[1], "mixed": COLOURS[0]}
_CONSTANT, _CERTIFIED = Style(xaxis="x2", yaxis="y2"), Style(xaxis="x3", yaxis="y3")


def observatory(runs: Observations, p: float, theta: float, loss: str, eps: float) -> go.Figure:
    """Margins of a net in training, its Lipschitz constant, its certified accuracy.

    Left: margins of the test images at that p, θ and 2ε. Right, above: the Lipschitz constant
    against p, its bound and what was measured. Below: certified accuracy of both losses against θ.

    Args:
        runs: moments of training by loss and θ.
        p: one of theirs.
        theta: one of theirs, in pixels.
        loss: "hinge" or "mixed".
        eps: ε at which certified accuracy is meant, in pixels.
    """
    moments = runs[loss, theta]
    exponents = [moment.p for moment in moments]
    place = exponents.index(p)
    now, colour = moments[place], LOSSES[loss]
    labels = [f"{each:.0f}".replace("inf", "∞") for each in exponents]
    highest = 1.15 * max(max(moment.counts) for run in runs.values() for moment in run)
    figure = new_figure(
        "observatory",
        dict(
            loss=f"{loss} loss",
            theta=f"{theta:g}",
            p=labels[place],
            certified=f"{now.certified:.0%}",
            starved=f"{now.starved:.0%}",
            measured=f"{now.measured:.2f}",
        ),
        hovermode="closest",
        bargap=0,
        showlegend=False,
        margin_t=70,
        xaxis=dict(domain=[0, 0.48], range=[EDGES[0], EDGES[-1]]),
        yaxis_range=[0, highest],
        xaxis2=dict(
            domain=[0.66, 1],
            anchor="y2",
            type="category",
            title_text="p",
            tickangle=0,
            tickfont_size=10,
        ),
        yaxis2=dict(domain=[0.62, 1], anchor="x2", range=[0.9, 6], title_text="Lipschitz"),
        xaxis3=dict(domain=[0.66, 1], anchor="y3", range=[0.1, 0.9], title_text="θ"),
        yaxis3=dict(domain=[0, 0.34], anchor="x3", range=[0, 0.8], title_text="certified"),
    )
    middles = [(low + high) / 2 for low, high in pairwise(EDGES)]
    add_bars(figure, middles, now.counts, "test images", colour, width=0.05)
    for at, name, dash, side in [
        (2 * eps, "2ε\u00a0", "dash", "left"),
        (theta, "\u00a0θ", "dot", "right"),
    ]:
        mark = Style(mode="lines+text", text=["", name], textposition=f"top {side}")
        add_line(figure, [at, at], [0, 0.9 * highest], name, INK, dash, **mark, **SILENT)
    add_line(figure, labels, [each.bound for each in moments], "bound", **BOUND, **_CONSTANT)
    constants = [each.measured for each in moments]
    add_line(figure, labels, constants, "measured", colour, **_CONSTANT)
    add_points(figure, [labels[place]], [now.measured], "now", colour, 13, **_CONSTANT)
    for name, its_colour in LOSSES.items():
        thetas = [at for of_loss, at in runs if of_loss == name]
        shares = [runs[name, at][place].certified for at in thetas]
        add_line(figure, thetas, shares, name, its_colour, **_CERTIFIED)
    return add_points(figure, [theta], [now.certified], "now", colour, 13, **_CERTIFIED)
