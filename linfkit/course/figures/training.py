"""One run, epoch by epoch: what it certifies, what it minimises, and how it was steered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from linfkit._util.text import format_eps
from linfkit.course.figures.template import COLOURS, DECADES, Style, add_line, as_text, new_figure
from linfkit.recipes.recipe import Recipe

__all__ = ["accuracy_in_training", "loss_in_training", "schedules_in_training"]

#: One colour for each kind of weights.
RAW, AVERAGED = COLOURS[1], COLOURS[0]

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
