"""Runs, epoch by epoch: what they certify and minimise, and what averaging the weights gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from linfkit._util.text import format_eps
from linfkit.course.figures.template import COLOURS, DECADES, Style, add_line, as_text, new_figure
from linfkit.course.studies.ema import WeightPath, ema_gain
from linfkit.recipes.recipe import Recipe
from linfkit.training.runs import Run

__all__ = [
    "accuracy_in_training",
    "certified_with_decay",
    "ema_curves",
    "ema_gain_curves",
    "loss_in_training",
    "schedules_in_training",
    "warm_up",
    "weights_in_plane",
    "weights_moved",
]

#: One colour for each kind of weights; the last is of an average that is not warmed up.
RAW, AVERAGED, CONSTANT = COLOURS[1], COLOURS[0], COLOURS[2]

History = Sequence[Mapping[str, float]]


def accuracy_in_training(recipe: Recipe, history: History) -> go.Figure:
    """Clean and certified accuracy at p=∞ of raw and averaged weights; the published one across.

    Args:
        recipe: of the run; it knows ε, and what was published.
        history: of the run; see `linfkit.fit`.
    """
    eps = format_eps(recipe.eps)
    figure = new_figure(
        "accuracy-in-training", dict(eps=eps), margin_t=110, yaxis_rangemode="tozero"
    )
    epochs = [row["epoch"] for row in history]
    for name, column, colour, dash in [
        ("clean, raw", "accuracy_linf", RAW, "dot"),
        ("clean, averaged", "ema_accuracy_linf", AVERAGED, "dot"),
        ("certified, raw", "certified", RAW, "solid"),
        ("certified, averaged", "ema_certified", AVERAGED, "solid"),
    ]:
        shares = [row[column] for row in history]
        add_line(figure, epochs, shares, name, colour, dash, hovertemplate="%{y:.1%}")
    if recipe.published is not None:
        figure.add_hline(
            y=recipe.published / 100,
            line=dict(color="#444", width=1, dash="dash"),
            annotation_text="certified, published",
            annotation_position="top left",
        )
    return figure


def loss_in_training(history: History) -> go.Figure:
    """The loss, and below it the share of training samples that no hinge moves."""
    figure = new_figure(
        "loss-in-training",
        height=520,
        xaxis=dict(anchor="y"),
        yaxis=dict(domain=[0, 0.45], rangemode="tozero"),
        yaxis2=dict(domain=[0.55, 1], title_text="loss", rangemode="tozero"),
    )
    epochs = [row["epoch"] for row in history]
    for name, column, axis in [
        ("loss", "loss", "y2"),
        ("zero hinge", "zero_hinge", "y"),
        ("starved", "starved", "y"),
    ]:
        values = [row[column] for row in history]
        add_line(figure, epochs, values, name, yaxis=axis, hovertemplate="%{y:.3g}")
    return figure


def schedules_in_training(history: History) -> go.Figure:
    """The learning rate, λ and p of each epoch's end, on logarithmic axes; at p=∞ its line ends."""
    figure = new_figure(
        "schedules-in-training",
        height=520,
        xaxis=dict(anchor="y"),
        yaxis=dict(domain=[0, 0.45], title_standoff=12, **DECADES),
        yaxis2=dict(domain=[0.55, 1], title_text="p", type="log", dtick=1),
    )
    epochs = [row["epoch"] for row in history]
    for name, column, axis in [
        ("p", "p", "y2"),
        ("learning rate", "learning_rate", "y"),
        ("λ", "lam", "y"),
    ]:
        values = [row[column] for row in history]
        texts = Style(text=[as_text(value) for value in values], hovertemplate="%{text}")
        add_line(figure, epochs, values, name, yaxis=axis, **texts)
    return figure


# --- the moving average of the weights


def weights_moved(paths: Mapping[str, WeightPath]) -> go.Figure:
    """Distance that raw and averaged weights move from record to record, for each run."""
    every = next(iter(paths.values())).every
    figure = new_figure("weights-moved", dict(every=every), yaxis=DECADES, height=480, margin_t=140)
    for (run, path), dash in zip(paths.items(), ("solid", "dot", "dash"), strict=False):
        look = Style(dash=dash, width=1.5, hovertemplate="%{y:.2g}")
        add_line(figure, path.epochs, path.raw.moved, f"{run}, raw", RAW, **look)
        add_line(figure, path.epochs, path.shadow.moved, f"{run}, average", AVERAGED, **look)
    return figure


def weights_in_plane(path: WeightPath) -> go.Figure:
    """The way of raw and averaged weights through a plane, over the last quarter of a run."""
    figure = new_figure("weights-in-plane", hovermode="closest")
    look = Style(mode="lines+markers", marker_size=4)
    raw, shadow = path.raw.plane.T, path.shadow.plane.T
    add_line(figure, raw[0], raw[1], "raw weights", RAW, width=1, **look)
    add_line(figure, shadow[0], shadow[1], "moving average", AVERAGED, width=3, **look)
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
    return add_line(figure, epochs, run.column("ema_certified"), "moving average", AVERAGED)


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
    add_line(figure, path.epochs, path.shadow.certified, "with warm-up", AVERAGED)
    cold = path.constant[decay].certified
    return add_line(figure, path.epochs, cold, "without warm-up", CONSTANT, "dash")


def _range_of_certified(path: WeightPath) -> tuple[float, float]:
    tracks = [path.raw, path.shadow, *path.constant.values()]
    return (0, 1.1 * max(track.certified.max().item() for track in tracks))
