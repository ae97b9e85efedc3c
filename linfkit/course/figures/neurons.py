"""Figures of the plane: a neuron's level sets, a net's regions, and why half the margin is safe."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import torch
from torch import Tensor

from linfkit.course.figures.template import (
    COLOURS,
    INK,
    PANEL_2,
    SILENT,
    Style,
    add_line,
    add_points,
    as_text,
    new_figure,
    translucent,
)
from linfkit.course.studies.neurons import Line, Regions, Stage, level_set, neuron_gradient
from linfkit.course.studies.plane import PlaneMoment

__all__ = [
    "decision_regions",
    "level_sets",
    "level_sets_by_p",
    "margin_cones",
    "net_at_work",
    "squares_of_size",
]

#: The level that is compared with a square of the same size, and those drawn lightly around it.
LEVEL = 0.3
LEVELS = (0.1, 0.2, 0.4)

#: The axis of one pixel; the plane's other one is as long.
_PIXEL = Style(range=[0, 1], dtick=0.2, constrain="domain")
_OTHER_PIXEL = Style(**_PIXEL, scaleanchor="x")
#: A plot of the unit square.
SQUARE_PLOT = Style(
    width=560,
    height=600,
    hovermode="closest",
    xaxis=_PIXEL,
    yaxis=_OTHER_PIXEL,
    legend_y=1.03,  # above the highest tick
)
#: An axis that only has names.
_BARE = Style(showgrid=False, zeroline=False, ticks="")
#: A mark with a word beside it, in place of a line in the legend.
_LABELLED = Style(mode="markers+text", showlegend=False)


def level_sets_by_p(w: Tensor, exponents: Sequence[float] = (1, 2, 8, math.inf)) -> go.Figure:
    """One level set of ‖x − w‖_p for each p: all pass through w ± 0.3 on the axes.

    Args:
        w: the neuron's weight, (2,), in the unit square.
        exponents: the values of p, one colour each.
    """
    figure = new_figure("level-sets-by-p", dict(level=LEVEL), **SQUARE_PLOT)
    for p, colour in zip(exponents, COLOURS, strict=False):
        _add_paths(figure, [level_set(w, p, LEVEL)], f"p={as_text(p)}", colour=colour)
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
        **SQUARE_PLOT,
    )
    others = [level_set(w, p, level) for level in LEVELS]
    _add_paths(figure, others, "other levels", colour="#bbb", width=1, showlegend=False)
    _add_paths(figure, [level_set(w, p, LEVEL)], f"u={LEVEL:g}", colour=INK, width=3)
    square = level_set(w, math.inf, LEVEL)
    _add_paths(figure, [square], "square of that size", colour=INK, dash="dot")
    # 16 points a little off the axes and diagonals, where neither coordinate is ahead
    tails = level_set(w, p, LEVEL, points=32)[1:-1:2]
    heads = tails + 0.1 * neuron_gradient(tails, w, p)
    x1_is_further = (tails - w).abs().argmax(dim=1) == 0
    for name, rows, colour in [
        ("gradient, x₁ is further", x1_is_further, COLOURS[0]),
        ("gradient, x₂ is further", ~x1_is_further, COLOURS[1]),
    ]:
        arrows = list(torch.stack([tails[rows], heads[rows]], dim=1))
        _add_paths(figure, arrows, name, colour=colour, **_arrows([0, 11, 0] * len(arrows)))
    corner = w + LEVEL
    look = Style(text=[f"u={LEVEL * constant:.3g}"], textposition="top right", **_LABELLED)
    add_points(figure, corner[:1], corner[1:], "corner", INK, 8, **look)
    return _with_weight(figure, w)


def decision_regions(regions: Regions) -> go.Figure:
    """A net's regions at one p, and around each point the square of half its margin.

    A square in which another class is seen is drawn apart: half the margin proves nothing there.
    """
    held, crossing = (regions.radius > 0) & ~regions.crossing, regions.crossing
    counts = dict(crossing=int(crossing.sum()), squares=int((regions.radius > 0).sum()))
    figure = _regions(regions, "decision-regions", p=as_text(regions.p), **counts)
    for rows, name, look in [
        (held, "holds one class", Style(colour=INK, width=1.5)),
        (crossing, "holds another too", Style(colour=COLOURS[3], width=3)),
    ]:
        _add_squares(figure, regions.points[rows], regions.radius[rows], name, **look)
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
    sizes = torch.full_like(regions.points[:, 0], eps)
    for rows, name, look in [
        (certified, "certified", Style(colour=INK, width=1.5)),
        (stands, "one class, no proof", Style(colour=INK, width=1.5, dash="dot")),
        (fallen, "another class", Style(colour=COLOURS[3], width=2.5)),
    ]:
        _add_squares(figure, regions.points[rows], sizes[rows], name, **look)
    return figure


def net_at_work(stages: Sequence[Stage]) -> go.Figure:
    """A net at p=∞ and the numbers that run through it: neurons as dots, layer by layer.

    A line leads from each neuron to the one number before it that decides its distance; the ways of
    the two largest logits, back to a pixel, are drawn in full, with their numbers.

    Args:
        stages: input, layers and logits, from `numbers_through`.
    """
    first, second = stages[-1].values.topk(2).indices.tolist()
    figure = new_figure(
        "net-at-work",
        dict(label=first, rival=second, margin=f"{_margin(stages):.3f}"),
        hovermode="closest",
        margin_b=90,
        xaxis=dict(_BARE, tickvals=list(range(len(stages))), ticktext=_names(stages)),
        yaxis=dict(_BARE, showticklabels=False, range=[-0.06, 1.06]),
    )
    heights = [_heights(len(stage.values)) for stage in stages]
    for place, stage in enumerate(stages[1:], start=1):
        ends = [(place - 1, int(at), place, n) for n, at in enumerate(stage.decided_by)]
        x = [value for a, _, b, _ in ends for value in (a, b, None)]
        y = [v for a, m, b, n in ends for v in (heights[a][m], heights[b][n], None)]
        add_line(figure, x, y, "decides", "#ccc", width=1, mode="lines", **SILENT)
    for place, stage in enumerate(stages):
        dots = Style(showlegend=False, text=[f"{value:.3f}" for value in stage.values.tolist()])
        hover = Style(hovertemplate="%{text}<extra></extra>")
        column = [place] * len(stage.values)
        add_points(figure, column, heights[place], "neuron", "#888", 7, **dots, **hover)
    for logit, colour, at, name in [
        (first, COLOURS[0], "top center", f"logit {first}, the largest"),
        (second, COLOURS[1], "bottom center", f"logit {second}, its rival"),
    ]:
        way = [logit]
        for stage in reversed(stages[1:]):
            way.insert(0, int(stage.decided_by[way[0]]))
        numbers = [f"{stage.values[n].item():.3f}" for stage, n in zip(stages, way, strict=True)]
        y = [heights[place][n] for place, n in enumerate(way)]
        look = Style(mode="lines+markers+text", text=numbers, textposition=at)
        add_line(figure, list(range(len(way))), y, name, colour, width=3, **look)
    return figure


def _margin(stages: Sequence[Stage]) -> float:
    first, second = stages[-1].values.topk(2).values.tolist()
    return float(first - second)


def _names(stages: Sequence[Stage]) -> list[str]:
    layers = [f"layer {n}<br>less its means" for n in range(1, len(stages) - 1)]
    return ["x", *layers, "logits: minus<br>the distances"]


def _heights(count: int) -> list[float]:
    """Places of neurons in a column, from the top; few of them stand in its middle."""
    gap = min(1 / max(count - 1, 1), 0.3)
    return [0.5 + gap * ((count - 1) / 2 - n) for n in range(count)]


def margin_cones(line: Line, regions: Regions) -> go.Figure:
    """The proof by picture: neither f_y nor its rival can leave its cone ± t, so none cross early.

    On the left the path x + t·v through the regions, on the right the logits along it.

    Args:
        line: logits along a path from a point, at p=∞.
        regions: of the same net.
    """
    found = math.isfinite(line.changes_at)
    change = f"class changes at t={line.changes_at:.3f}" if found else "no class change"
    t_of_v = "t = ‖v‖<sub>∞</sub> (pixels)"
    figure = new_figure(
        "margin-cones",
        dict(radius=line.radius, change=change),
        hovermode="closest",
        height=440,
        xaxis=dict(domain=[0, 0.42], **_PIXEL),
        yaxis=_OTHER_PIXEL,
        xaxis2=dict(title_text=t_of_v, domain=[0.58, 1], anchor="y2", zeroline=False),
        yaxis2=dict(title_text="logit (pixels)", anchor="x2"),
    )
    figure.add_trace(class_map(regions))
    square = _square(line.start, line.radius)
    _add_paths(figure, [square], "certified square", colour=INK, width=1.5)
    furthest = line.sizes[-1].item()
    path = torch.stack([line.start, line.start + furthest * line.direction])
    _add_paths(figure, [path], "path x + v", colour=INK, width=3, **_arrows([0, 13]))
    for name, logit, colour in [
        ("f<sub>y</sub>", line.own, COLOURS[0]),
        ("max f<sub>j</sub>", line.rival, COLOURS[1]),
    ]:
        start = logit[0].item()
        x, y = [0, furthest, furthest], [start, start + furthest, start - furthest]
        filled = Style(mode="lines", width=0, fill="toself", fillcolor=translucent(colour, 0.2))
        add_line(figure, x, y, f"cone of {name}", **filled, **SILENT, **PANEL_2)
        add_line(figure, line.sizes, logit, name, colour, width=3, mode="lines", **PANEL_2)
    ends = [line.rival[0].item() - furthest, line.own[0].item() + furthest]
    return add_line(figure, [line.radius] * 2, ends, "m/2", INK, "dot", mode="lines", **PANEL_2)


def _with_weight(figure: go.Figure, w: Tensor) -> go.Figure:
    look = Style(text=["w"], textposition="bottom right", **_LABELLED)
    return add_points(figure, w[:1], w[1:], "w", INK, 10, "cross", **look)


def _regions(regions: Regions, name: str, **values: object) -> go.Figure:
    """The regions and the points, without any square."""
    figure = new_figure(name, values, **SQUARE_PLOT)
    figure.add_trace(class_map(regions))
    return add_points(
        figure,
        regions.points[:, 0],
        regions.points[:, 1],
        "test point (× wrong)",
        [COLOURS[label] for label in regions.labels.tolist()],
        8,
        ["circle" if radius > 0 else "x" for radius in regions.radius.tolist()],
        marker_line=dict(color="white", width=1),
        text=[f"half the margin: {radius:.3f}" for radius in regions.radius.tolist()],
        hoverinfo="text",
        showlegend=False,
    )


def class_map(regions: Regions | PlaneMoment) -> go.Heatmap:
    """The class predicted all over the unit square, in light colours."""
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


def _add_squares(figure: go.Figure, centres: Tensor, sizes: Tensor, name: str, **look: Any) -> None:
    """Squares around points, half a side long as `sizes` says of each."""
    _add_paths(figure, list(map(_square, centres, sizes)), name, hoverinfo="skip", **look)


def _square(centre: Tensor, size: Tensor | float) -> Tensor:
    """The corners of {x : ‖x − centre‖_∞ = size}, once around and back, (5, 2)."""
    corners = [[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]]
    return centre + size * torch.tensor(corners, dtype=centre.dtype)


def _add_paths(figure: go.Figure, paths: Sequence[Tensor], name: str, **look: Any) -> None:
    """Several paths as one line of plotly's, which breaks where a coordinate is None.

    It ends with such a break, so that it is never empty: there is always something to redraw.
    """
    x1: list[float | None] = []
    x2: list[float | None] = []
    for path in paths:
        x1 += [*path[:, 0].tolist(), None]
        x2 += [*path[:, 1].tolist(), None]
    add_line(figure, x1 or [None], x2 or [None], name, **Style(mode="lines") | look)


def _arrows(sizes: list[int]) -> Style:
    """The look of paths of two points as arrows: the size of the mark at each point and break."""
    marker = dict(symbol="arrow", angleref="previous", size=sizes)
    return dict(mode="lines+markers", marker=marker)
