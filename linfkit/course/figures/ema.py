"""Figures of the moving average of the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from linfkit.course.figures.template import COLOURS, DECADES, Style, add_line, new_figure
from linfkit.course.studies.ema import WeightPath, ema_gain
from linfkit.training.runs import Run

__all__ = [
    "certified_with_decay",
    "ema_curves",
    "ema_gain_curves",
    "warm_up",
    "weights_in_plane",
    "weights_moved",
]

#: One colour for each kind of weights, the same in every figure.
RAW, SHADOW, CONSTANT = COLOURS[1], COLOURS[0], COLOURS[2]


def weights_moved(paths: Mapping[str, WeightPath]) -> go.Figure:
    """Distance that raw and averaged weights move from record to record, for each run."""
    every = next(iter(paths.values())).every
    figure = new_figure("weights-moved", dict(every=every), yaxis=DECADES, height=480, margin_t=140)
    for (run, path), dash in zip(paths.items(), ("solid", "dot", "dash"), strict=False):
        look = Style(dash=dash, width=1.5, hovertemplate="%{y:.2g}")
        add_line(figure, path.epochs, path.raw.moved, f"{run}, raw", RAW, **look)
        add_line(figure, path.epochs, path.shadow.moved, f"{run}, average", SHADOW, **look)
    return figure


def weights_in_plane(path: WeightPath) -> go.Figure:
    """The way of raw and averaged weights through a plane, over the last quarter of a run."""
    figure = new_figure("weights-in-plane", hovermode="closest")
    look = Style(mode="lines+markers", marker_size=4)
    raw, shadow = path.raw.plane.T, path.shadow.plane.T
    add_line(figure, raw[0], raw[1], "raw weights", RAW, width=1, **look)
    add_line(figure, shadow[0], shadow[1], "moving average", SHADOW, width=3, **look)
    # one unit is as long across as up, so that lengths can be compared
    return figure.update_yaxes(scaleanchor="x", scaleratio=1)


def ema_curves(run: Run) -> go.Figure:
    """Certified accuracy of raw and averaged weights of one run, epoch by epoch."""
    recipe = run.recipe
    figure = new_figure(
        "ema-curves",
        dict(ema_decay=recipe.ema_decay, lr_schedule=recipe.lr_schedule, eps=recipe.eps),
    )
    epochs = run.column("epoch")
    add_line(figure, epochs, run.column("certified"), "raw weights", RAW)
    return add_line(figure, epochs, run.column("ema_certified"), "moving average", SHADOW)


def ema_gain_curves(runs: Mapping[str, Sequence[Run]]) -> go.Figure:
    """Gain of the average over the raw weights in certified accuracy, by epoch, for each group."""
    figure = new_figure("ema-gain", margin_t=120)
    for name, group in runs.items():
        add_line(figure, group[0].column("epoch"), ema_gain(group), name)
    return figure.add_hline(y=0, line_color="#444", line_width=1)


def certified_with_decay(path: WeightPath, decay: float) -> go.Figure:
    """Certified accuracy of the raw weights and of their average with one decay throughout."""
    track = path.constant[decay]
    jumps = dict(jitter=100 * track.jitter, raw_jitter=100 * path.raw.jitter)
    figure = new_figure(
        "certified-with-decay",
        dict(decay=decay, eps=path.recipe.eps, **jumps),
        yaxis_range=_range_of_certified(path),
    )
    add_line(figure, path.epochs, path.raw.certified, "raw weights", RAW, width=1)
    return add_line(
        figure, path.epochs, track.certified, "average with this β", CONSTANT, width=2.5
    )


def warm_up(path: WeightPath) -> go.Figure:
    """Certified accuracy of the raw weights, of their shadow, and of one that was not warmed up."""
    decay = path.recipe.ema_decay
    figure = new_figure(
        "warm-up",
        dict(decay=decay, eps=path.recipe.eps),
        yaxis_range=_range_of_certified(path),
        margin_t=110,
    )
    add_line(figure, path.epochs, path.raw.certified, "raw weights", RAW)
    add_line(figure, path.epochs, path.shadow.certified, "with warm-up", SHADOW)
    cold = path.constant[decay].certified
    return add_line(figure, path.epochs, cold, "without warm-up", CONSTANT, "dash")


def _range_of_certified(path: WeightPath) -> tuple[float, float]:
    tracks = [path.raw, path.shadow, *path.constant.values()]
    return (0, 1.1 * max(track.certified.max().item() for track in tracks))
