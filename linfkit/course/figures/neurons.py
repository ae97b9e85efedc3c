"""Figures of the plane: a neuron's level sets, a net's regions, and why half the margin is safe."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go
import torch
from torch import Tensor

from linfkit.course.figures.template import COLOURS, as_text, new_figure, translucent
from linfkit.course.studies.neurons import Line, Regions, level_set, neuron_gradient

__all__ = [
    "decision_regions",
    "level_sets",
    "level_sets_by_p",
    "margin_cones",
    "squares_of_size",
]

#: The level that is compared with a square of the same size, and those drawn lightly around it.
LEVEL = 0.3
LEVELS = (0.1, 0.2, 0.4)

_SQUARE_PLOT = dict(
    width=560,
    height=600,
    hovermode="closest",
    xaxis=dict(range=[0, 1], dtick=0.2, constrain="domain"),
    yaxis=dict(range=[0, 1], dtick=0.2, scaleanchor="x", constrain="domain"),
)


def level_sets_by_p(w: Tensor, exponents: Sequence[float] = (1, 2, 8, math.inf)) -> go.Figure:
    """One level set of ‖x − w‖_p for each p: all pass through w ± 0.3 on the axes.

    Args:
        w: the neuron's weight, (2,), in the unit square.
        exponents: the values of p, one colour each.
    """
    figure = new_figure("level-sets-by-p", dict(level=LEVEL), **_SQUARE_PLOT)
    for p, colour in zip(exponents, COLOURS, strict=False):
        x1, x2 = level_set(w, p, LEVEL).T.tolist()
        figure.add_scatter(x=x1, y=x2, mode="lines", name=f"p={as_text(p)}", line_color=colour)
    return _with_weight(figure, w)


def level_sets(w: Tensor, p: float) -> go.Figure:
    """Level sets of a neuron at one p, and its gradient around one of them.

    An arrow's colour tells which coordinate is further from the weight's: at p=∞ it alone decides.

    Args:
        w: the neuron's weight, (2,), in the unit square.
        p: the exponent.
    """
    constant = 2 ** (1 / p)
    figure = new_figure(
        "level-sets",
        dict(p=as_text(p), constant=constant, level=LEVEL, distance=LEVEL * constant),
        **_SQUARE_PLOT,
    )
    x1, x2 = _joined([level_set(w, p, level) for level in LEVELS])
    figure.add_scatter(
        x=x1,
        y=x2,
        mode="lines",
        line=dict(color="#bbb", width=1),
        name="other levels",
        showlegend=False,
    )
    x1, x2 = level_set(w, p, LEVEL).T.tolist()
    figure.add_scatter(
        x=x1, y=x2, mode="lines", line=dict(color="#222", width=3), name=f"u={LEVEL:g}"
    )
    x1, x2 = level_set(w, math.inf, LEVEL).T.tolist()
    figure.add_scatter(
        x=x1, y=x2, mode="lines", line=dict(color="#222", dash="dot"), name="square of that size"
    )
    # 16 points a little off the axes and diagonals, where neither coordinate is ahead
    tails = level_set(w, p, LEVEL, points=32)[1:-1:2]
    heads = tails + 0.1 * neuron_gradient(tails, w, p)
    x1_is_further = (tails - w).abs().argmax(dim=1) == 0
    for name, rows, colour in [
        ("gradient, x₁ is further", x1_is_further, COLOURS[0]),
        ("gradient, x₂ is further", ~x1_is_further, COLOURS[1]),
    ]:
        x1, x2 = _joined(list(torch.stack([tails[rows], heads[rows]], dim=1)))
        figure.add_scatter(
            x=x1,
            y=x2,
            mode="lines+markers",
            line_color=colour,
            marker=dict(symbol="arrow", angleref="previous", size=[0, 11, 0] * int(rows.sum())),
            name=name,
        )
    corner = (w + LEVEL).tolist()
    figure.add_scatter(
        x=corner[:1],
        y=corner[1:],
        mode="markers+text",
        text=[f"u={LEVEL * constant:.3g}"],
        textposition="top right",
        marker=dict(color="#222", size=8),
        showlegend=False,
        name="corner",
    )
    return _with_weight(figure, w)


def decision_regions(regions: Regions) -> go.Figure:
    """A net's regions at one p, and around each point the square of half its margin.

    A square in which another class is seen is drawn apart: half the margin proves nothing there.
    """
    held, crossing = (regions.radius > 0) & ~regions.crossing, regions.crossing
    counts = dict(crossing=int(crossing.sum()), squares=int((regions.radius > 0).sum()))
    figure = _regions(regions, "decision-regions", p=as_text(regions.p), **counts)
    radius = regions.radius.tolist()
    _add_squares(figure, regions, held, radius, "holds one class", dict(color="#222", width=1.5))
    _add_squares(
        figure, regions, crossing, radius, "holds another too", dict(color=COLOURS[3], width=3)
    )
    return figure


def squares_of_size(regions: Regions, eps: float) -> go.Figure:
    """Squares of one size ε around all points: certified, standing without a proof, or fallen.

    Fallen are those in which another class than the label is seen, the misclassified points' too.

    Args:
        regions: of a net at p=∞, where half the margin is a certificate.
        eps: half the squares' side.
    """
    certified = regions.radius > eps
    fallen = (regions.radius <= 0) | (regions.distance < eps)
    stands = ~certified & ~fallen
    counted = dict(certified=certified, stands=stands, fallen=fallen)
    counts = {name: int(mask.sum()) for name, mask in counted.items()}
    figure = _regions(regions, "squares-of-size", eps=eps, **counts)
    sizes = [eps] * len(regions.points)
    for name, rows, line in [
        ("certified", certified, dict(color="#222", width=1.5)),
        ("one class, no proof", stands, dict(color="#222", width=1.5, dash="dot")),
        ("another class", fallen, dict(color=COLOURS[3], width=2.5)),
    ]:
        _add_squares(figure, regions, rows, sizes, name, line)
    return figure


def margin_cones(line: Line, regions: Regions) -> go.Figure:
    """The proof by picture: neither f_y nor its rival can leave its cone ± t, so none cross early.

    On the left the path x + t·v through the regions, on the right the logits along it.

    Args:
        line: logits along a path from a point, at p=∞.
        regions: of the same net.
    """
    radius, changes_at = line.radius, line.changes_at
    change = (
        f"class changes at t={changes_at:.3f}" if math.isfinite(changes_at) else "no class change"
    )
    figure = new_figure(
        "margin-cones",
        dict(radius=radius, change=change),
        hovermode="closest",
        height=440,
        xaxis=dict(domain=[0, 0.42], range=[0, 1], dtick=0.2, constrain="domain"),
        yaxis=dict(range=[0, 1], dtick=0.2, scaleanchor="x", constrain="domain"),
        xaxis2=dict(
            title=dict(text="t = ‖v‖<sub>∞</sub> (pixels in [0, 1])"),
            domain=[0.58, 1],
            anchor="y2",
            zeroline=False,
        ),
        yaxis2=dict(title=dict(text="logit (pixels)"), anchor="x2"),
    )
    figure.add_trace(_class_map(regions))
    x1, x2 = _square(line.start, radius).T.tolist()
    figure.add_scatter(
        x=x1, y=x2, mode="lines", line=dict(color="#222", width=1.5), name="certified square"
    )
    ends = torch.stack([line.start, line.start + line.sizes[-1] * line.direction])
    x1, x2 = ends.T.tolist()
    figure.add_scatter(
        x=x1,
        y=x2,
        mode="lines+markers",
        line=dict(color="#222", width=3),
        marker=dict(symbol="arrow", angleref="previous", size=[0, 13]),
        name="path x + v",
    )
    sizes = line.sizes.tolist()
    for name, logit, colour in [
        ("f<sub>y</sub>", line.own, COLOURS[0]),
        ("max f<sub>j</sub>", line.rival, COLOURS[1]),
    ]:
        start = logit[0].item()
        figure.add_scatter(
            x=[0, sizes[-1], sizes[-1]],
            y=[start, start + sizes[-1], start - sizes[-1]],
            mode="lines",
            fill="toself",
            line_width=0,
            fillcolor=translucent(colour, 0.2),
            hoverinfo="skip",
            showlegend=False,
            name=f"cone of {name}",
            xaxis="x2",
            yaxis="y2",
        )
        figure.add_scatter(
            x=sizes,
            y=logit.tolist(),
            mode="lines",
            line=dict(color=colour, width=3),
            name=name,
            xaxis="x2",
            yaxis="y2",
        )
    return figure.add_scatter(
        x=[radius, radius],
        y=[line.rival[0].item() - sizes[-1], line.own[0].item() + sizes[-1]],
        mode="lines",
        line=dict(color="#222", dash="dot"),
        name="m/2",
        xaxis="x2",
        yaxis="y2",
    )


def _with_weight(figure: go.Figure, w: Tensor) -> go.Figure:
    return figure.add_scatter(
        x=[w[0].item()],
        y=[w[1].item()],
        mode="markers+text",
        text=["w"],
        textposition="bottom right",
        marker=dict(color="#222", symbol="cross", size=10),
        showlegend=False,
        name="w",
    )


def _regions(regions: Regions, name: str, **values: object) -> go.Figure:
    """The regions and the points, without any square."""
    figure = new_figure(name, values, **_SQUARE_PLOT)
    figure.add_trace(_class_map(regions))
    right = regions.radius > 0
    x1, x2 = regions.points.T.tolist()
    return figure.add_scatter(
        x=x1,
        y=x2,
        mode="markers",
        marker=dict(
            color=[COLOURS[label] for label in regions.labels.tolist()],
            symbol=["circle" if is_right else "x" for is_right in right.tolist()],
            size=8,
            line=dict(color="white", width=1),
        ),
        name="test point (× wrong)",
        text=[f"half the margin: {radius:.3f}" for radius in regions.radius.tolist()],
        hoverinfo="text",
        showlegend=False,
    )


def _class_map(regions: Regions) -> go.Heatmap:
    axis = regions.axis.numpy(force=True)
    classes = int(regions.labels.max()) + 1
    return go.Heatmap(
        x=axis,
        y=axis,
        z=regions.classes.to(torch.uint8).numpy(force=True),
        zmin=-0.5,
        zmax=classes - 0.5,
        colorscale=[
            (edge / classes, translucent(COLOURS[label], 0.25))
            for label in range(classes)
            for edge in (label, label + 1)
        ],
        showscale=False,
        hoverinfo="skip",
        name="predicted class",
    )


def _add_squares(
    figure: go.Figure,
    regions: Regions,
    rows: Tensor,
    sizes: Sequence[float],
    name: str,
    line: dict[str, object],
) -> None:
    squares = [
        _square(point, size)
        for point, size, drawn in zip(regions.points, sizes, rows.tolist(), strict=True)
        if drawn
    ]
    x1, x2 = _joined(squares)
    figure.add_scatter(x=x1, y=x2, mode="lines", line=line, name=name, hoverinfo="skip")


def _square(centre: Tensor, size: float) -> Tensor:
    """The corners of {x : ‖x − centre‖_∞ = size}, once around and back, (5, 2)."""
    corners = [[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]]
    return centre + size * torch.tensor(corners, dtype=centre.dtype)


def _joined(paths: Sequence[Tensor]) -> tuple[list[float | None], list[float | None]]:
    """Several paths as one line of plotly's, which breaks where a coordinate is None.

    It ends with such a break, so that it is never empty: there is always something to redraw.
    """
    x1: list[float | None] = []
    x2: list[float | None] = []
    for path in paths:
        x1 += [*path[:, 0].tolist(), None]
        x2 += [*path[:, 1].tolist(), None]
    return x1 or [None], x2 or [None]
