"""Figures of the moving average of the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from linfkit.course.figures.template import COLOURS, new_figure
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
    figure = new_figure(
        "weights-moved",
        dict(every=every),
        yaxis=dict(type="log", exponentformat="power", dtick=1),
        height=480,
        margin_t=140,
    )
    for (run, path), dash in zip(paths.items(), ("solid", "dot", "dash"), strict=False):
        for name, track, colour in [("raw", path.raw, RAW), ("average", path.shadow, SHADOW)]:
            figure.add_scatter(
                x=path.epochs.tolist(),
                y=track.moved.tolist(),
                name=f"{run}, {name}",
                line=dict(color=colour, dash=dash, width=1.5),
                hovertemplate="%{y:.2g}",
            )
    return figure


def weights_in_plane(path: WeightPath) -> go.Figure:
    """The way of raw and averaged weights through a plane, over the last quarter of a run."""
    figure = new_figure("weights-in-plane", hovermode="closest")
    for name, track, colour, width in [
        ("raw weights", path.raw, RAW, 1),
        ("moving average", path.shadow, SHADOW, 3),
    ]:
        figure.add_scatter(
            x=track.plane[:, 0].tolist(),
            y=track.plane[:, 1].tolist(),
            name=name,
            mode="lines+markers",
            marker_size=4,
            line=dict(color=colour, width=width),
        )
    # one unit is as long across as up, so that lengths can be compared
    return figure.update_yaxes(scaleanchor="x", scaleratio=1)


def ema_curves(run: Run) -> go.Figure:
    """Certified accuracy of raw and averaged weights of one run, epoch by epoch."""
    recipe = run.recipe
    figure = new_figure(
        "ema-curves",
        dict(ema_decay=recipe.ema_decay, lr_schedule=recipe.lr_schedule, eps=recipe.eps),
    )
    for name, column, colour in [
        ("raw weights", "certified", RAW),
        ("moving average", "ema_certified", SHADOW),
    ]:
        figure.add_scatter(
            x=run.column("epoch"), y=run.column(column), name=name, line_color=colour
        )
    return figure


def ema_gain_curves(runs: Mapping[str, Sequence[Run]]) -> go.Figure:
    """Gain of the average over the raw weights in certified accuracy, by epoch, for each group."""
    figure = new_figure("ema-gain", margin_t=120)
    for name, group in runs.items():
        figure.add_scatter(x=group[0].column("epoch"), y=ema_gain(group), name=name)
    return figure.add_hline(y=0, line_color="#444", line_width=1)


def certified_with_decay(path: WeightPath, decay: float) -> go.Figure:
    """Certified accuracy of the raw weights and of their average with one decay throughout."""
    track = path.constant[decay]
    figure = new_figure(
        "certified-with-decay",
        dict(
            decay=decay,
            jitter=100 * track.jitter,
            raw_jitter=100 * path.raw.jitter,
            eps=path.recipe.eps,
        ),
        yaxis_range=_range_of_certified(path),
    )
    for name, certified, colour, width in [
        ("raw weights", path.raw.certified, RAW, 1),
        ("average with this β", track.certified, CONSTANT, 2.5),
    ]:
        figure.add_scatter(
            x=path.epochs.tolist(),
            y=certified.tolist(),
            name=name,
            line=dict(color=colour, width=width),
        )
    return figure


def warm_up(path: WeightPath) -> go.Figure:
    """Certified accuracy of the raw weights, of their shadow, and of one that was not warmed up."""
    decay = path.recipe.ema_decay
    figure = new_figure(
        "warm-up",
        dict(decay=decay, eps=path.recipe.eps),
        yaxis_range=_range_of_certified(path),
        margin_t=110,
    )
    for name, track, colour, dash in [
        ("raw weights", path.raw, RAW, "solid"),
        ("with warm-up", path.shadow, SHADOW, "solid"),
        ("without warm-up", path.constant[decay], CONSTANT, "dash"),
    ]:
        figure.add_scatter(
            x=path.epochs.tolist(),
            y=track.certified.tolist(),
            name=name,
            line=dict(color=colour, dash=dash),
        )
    return figure


def _range_of_certified(path: WeightPath) -> tuple[float, float]:
    tracks = [path.raw, path.shadow, *path.constant.values()]
    return (0, 1.1 * max(track.certified.max().item() for track in tracks))
