"""Published figures beside the runs of this machine; what is published is always marked so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from linfkit._util.text import format_eps
from linfkit.course.figures.table import Table
from linfkit.course.figures.template import (
    COLOURS,
    DECADES,
    P_OF_TRAINING,
    PANEL_2,
    Style,
    add_line,
    add_points,
    new_figure,
    translucent,
)
from linfkit.course.published import Result, TrainingCurve, training_curves
from linfkit.course.studies.scale import AtScale, Extrapolation
from linfkit.recipes.recipe import Recipe
from linfkit.training.runs import Run

__all__ = [
    "certified_against_scale",
    "certified_by_exponent",
    "published_learning",
    "results_table",
    "training_beside",
]

#: One colour for each published run; ours is black.
_PUBLISHED = dict(zip(training_curves(), COLOURS, strict=False))
OURS = COLOURS[-1]


def results_table(published: Sequence[Result], runs: Sequence[Run]) -> Table:
    """Published results, and below them what runs of this machine reached, with their scale."""
    rows = []
    for row in published:
        who = ["published", row.method, row.dataset, row.eps]
        rows.append([*who, *_percents(row.clean, row.attacked, row.certified), ""])
    for run in runs:
        recipe, results = run.recipe, run.results
        who = ["this machine", recipe.name, recipe.dataset, format_eps(recipe.eps)]
        size = f"{recipe.depth} × {recipe.width}, {recipe.epochs} epochs"
        rows.append([*who, *_percents(results["accuracy"], None, results["certified"]), size])
    return Table(
        "Published figures, and runs of this machine; accuracies on test images. Rows can be "
        "compared only where data set and ε are the same.",
        ["who", "method", "data set", "ε", "clean", "PGD", "certified", "layers × width"],
        rows,
    )


def training_beside(curve: TrainingCurve, run: Run) -> go.Figure:
    """The exponent and certified accuracy along a published run, beside a run of this machine.

    Both are drawn against the share of the run, since one takes many more epochs than the other.
    """
    name = f"{curve.dataset}, ε={curve.eps}"
    p_axis = dict(title_text="p", type="log", tickvals=[8, 30, 100, 300, 1000])
    figure = new_figure(
        "training-beside",
        dict(curve=name, dataset=run.recipe.dataset, eps=format_eps(run.recipe.eps)),
        height=520,
        title_font_size=15,
        xaxis_range=[0, 1],
        yaxis=dict(domain=[0, 0.56], range=[0, 1]),
        xaxis2=dict(range=[0, 1], anchor="y2", matches="x", showticklabels=False),
        yaxis2=dict(domain=[0.64, 1], anchor="x2", **p_axis),
    )
    epochs = run.recipe.epochs
    theirs, ours = Style(colour=COLOURS[0]), Style(colour=OURS, dash="dot")
    certified = [(epoch / curve.epochs, share) for epoch, share in curve.certified.items()]
    _add_pairs(figure, certified, "published", **theirs)
    certified = [(row["epoch"] / epochs, row["certified"]) for row in run.history]
    _add_pairs(figure, certified, "this machine", **ours)
    # at p=∞ the line would leave the axis: it ends where the ramp does
    ramp = [(step / curve.epochs, p) for step, p in enumerate(curve.p) if p <= 1000]
    _add_pairs(figure, ramp[::10], "p, published", **theirs, showlegend=False, **PANEL_2)
    ramp = [(row["epoch"] / epochs, row["p"]) for row in _ramp(run)]
    return _add_pairs(figure, ramp, "p, this machine", **ours, showlegend=False, **PANEL_2)


def published_learning(curve: TrainingCurve) -> go.Figure:
    """Loss, accuracy and certified accuracy along a published run, on training and test images."""
    figure = new_figure(
        "published-learning",
        dict(curve=f"{curve.dataset}, ε={curve.eps}"),
        height=520,
        margin_t=110,
        yaxis=dict(domain=[0, 0.58], range=[0, 1]),
        yaxis2=dict(domain=[0.66, 1], title_text="loss", rangemode="tozero"),
    )
    for name, values, colour, dash, axis in [
        ("loss", curve.loss, COLOURS[2], "solid", "y2"),
        ("training accuracy, p of training", curve.accuracy_train, COLOURS[1], "dot", "y"),
        ("training images, certified", curve.certified_train, COLOURS[1], "dash", "y"),
        ("test accuracy, p=∞", curve.accuracy, COLOURS[0], "dot", "y"),
        ("test images, certified", curve.certified, COLOURS[0], "solid", "y"),
    ]:
        pairs = list(values.items())
        few = pairs[:: max(1, len(pairs) // 150)]  # enough for a line of this width
        _add_pairs(figure, few, name, colour=colour, dash=dash, yaxis=axis, mode="lines")
    return figure.update_xaxes(anchor="y")


def certified_by_exponent(curves: Sequence[TrainingCurve], run: Run) -> go.Figure:
    """Certified accuracy against the p of training: published runs, and one of this machine.

    It is measured at p=∞ in each case, on the weights of that moment.
    """
    figure = new_figure(
        "certified-by-exponent", xaxis=P_OF_TRAINING, yaxis_range=[0, 1], height=520, margin_t=180
    )
    for curve in curves:
        certified = [(curve.p[done - 1], share) for done, share in curve.certified.items()]
        ramp = [(p, share) for p, share in certified if p <= 1000]
        name = f"{curve.dataset} {curve.eps} (published)"
        _add_pairs(figure, ramp, name, colour=_PUBLISHED[curve.name])
    ramp = [(row["p"], row["certified"]) for row in _ramp(run)]
    name = f"{run.recipe.dataset} {format_eps(run.recipe.eps)} (this machine)"
    return _add_pairs(figure, ramp, name, colour=OURS, dash="dot")


def certified_against_scale(
    rows: Sequence[AtScale],
    line: Extrapolation,
    published: Sequence[tuple[Recipe, float]],
    dataset: str,
) -> go.Figure:
    """Certified accuracy against weights × epochs: runs of this machine, and published ones.

    Args:
        rows: this machine's.
        line: the straight line through them, with its 95 % interval at the published scale; it is
            drawn only where it is not refused.
        published: recipes of published runs, with their weights × epochs.
        dataset: of this machine's runs.
    """
    figure = new_figure(
        "certified-against-scale",
        dict(dataset=dataset, largest=max(row.scale for row in rows)),
        hovermode="closest",
        xaxis=DECADES,
        yaxis_range=[0, 1.05],
        margin_t=120,
    )
    hover = "%{text}: %{y:.1%}<extra></extra>"
    scales, certified = [row.scale for row in rows], [row.certified for row in rows]
    texts = [f"width {row.width}, {row.epochs} epochs" for row in rows]
    name = f"{dataset} (this machine)"
    add_points(figure, scales, certified, name, OURS, 9, text=texts, hovertemplate=hover)
    for name, colour in (("mnist", COLOURS[0]), ("cifar10", COLOURS[1])):
        chosen = [(recipe, scale) for recipe, scale in published if recipe.dataset == name]
        scales = [scale for _, scale in chosen]
        certified = [(recipe.published or 0) / 100 for recipe, _ in chosen]
        texts = [f"ε={format_eps(recipe.eps)}" for recipe, _ in chosen]
        open_diamond = Style(symbol="diamond-open", size=12, marker_line_width=2)
        look = Style(colour=colour, text=texts, hovertemplate=hover, **open_diamond)
        add_points(figure, scales, certified, f"{name} (published)", **look)
    if line.refusal is None:
        look = Style(colour=translucent(OURS, 0.6), width=6, mode="lines")
        interval = [line.low, line.high]
        add_line(figure, [line.target] * 2, interval, "95 % interval of the line", **look)
    return figure


def _ramp(run: Run) -> list[dict[str, float]]:
    """The history of a run while p rises."""
    return [row for row in run.history if row["p"] <= run.recipe.p_end]


def _add_pairs(
    figure: go.Figure, pairs: Sequence[tuple[float, float]], name: str, **look: Any
) -> go.Figure:
    return add_line(figure, [x for x, _ in pairs], [y for _, y in pairs], name, **look)


def _percents(*shares: float | None) -> list[str]:
    return ["—" if share is None else f"{100 * share:.2f} %" for share in shares]
