"""Published figures beside the runs of this machine; what is published is always marked so."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from linfkit.course.figures.table import Table
from linfkit.course.figures.template import COLOURS, new_figure, translucent
from linfkit.course.published import Result, TrainingCurve
from linfkit.course.studies.scale import AtScale, Extrapolation
from linfkit.recipes.recipe import Recipe
from linfkit.training.runs import Run

__all__ = ["certified_against_scale", "certified_by_exponent", "results_table", "training_beside"]

#: One colour for each published run; ours is black.
_PUBLISHED = dict(
    zip(
        (
            "mnist_eps0.1",
            "mnist_eps0.3",
            "cifar10_eps2of255",
            "cifar10_eps8of255",
            "cifar10_eps16of255",
        ),
        COLOURS,
        strict=False,
    )
)
OURS = COLOURS[-1]


def results_table(published: Sequence[Result], runs: Sequence[Run]) -> Table:
    """Published results, and below them what runs of this machine reached, with their scale."""
    rows = [
        [
            "published",
            row.method,
            row.dataset,
            row.eps,
            _percent(row.clean),
            _percent(row.attacked),
            _percent(row.certified),
            "",
        ]
        for row in published
    ]
    rows += [
        [
            "this machine",
            run.recipe.name,
            run.recipe.dataset,
            _eps(run.recipe.eps),
            _percent(run.results["accuracy"]),
            "—",
            _percent(run.results["certified"]),
            f"{run.recipe.depth} × {run.recipe.width}, {run.recipe.epochs} epochs",
        ]
        for run in runs
    ]
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
    figure = new_figure(
        "training-beside",
        dict(curve=_name(curve), dataset=run.recipe.dataset, eps=_eps(run.recipe.eps)),
        height=520,
        title_font_size=15,
        xaxis=dict(range=[0, 1], anchor="y"),
        yaxis=dict(domain=[0, 0.56], range=[0, 1]),
        xaxis2=dict(range=[0, 1], anchor="y2", matches="x", showticklabels=False),
        yaxis2=dict(
            domain=[0.64, 1],
            anchor="x2",
            title_text="p",
            type="log",
            tickvals=[8, 30, 100, 300, 1000],
        ),
    )
    theirs, ours = dict(color=COLOURS[0]), dict(color=OURS, dash="dot")
    epochs = run.recipe.epochs
    figure.add_scatter(
        x=[epoch / curve.epochs for epoch in curve.certified],
        y=list(curve.certified.values()),
        name="published",
        line=theirs,
    )
    figure.add_scatter(
        x=[epoch / epochs for epoch in run.column("epoch")],
        y=run.column("certified"),
        name="this machine",
        line=ours,
    )
    # at p=∞ the line would leave the axis: it ends where the ramp does
    ramp = [(step / curve.epochs, p) for step, p in enumerate(curve.p) if p <= 1000]
    figure.add_scatter(
        x=[share for share, _ in ramp[::10]],
        y=[p for _, p in ramp[::10]],
        line=theirs,
        showlegend=False,
        name="p, published",
        xaxis="x2",
        yaxis="y2",
    )
    own_ramp = [row for row in run.history if row["p"] <= run.recipe.p_end]
    return figure.add_scatter(
        x=[row["epoch"] / epochs for row in own_ramp],
        y=[row["p"] for row in own_ramp],
        line=ours,
        showlegend=False,
        name="p, this machine",
        xaxis="x2",
        yaxis="y2",
    )


def certified_by_exponent(curves: Sequence[TrainingCurve], run: Run) -> go.Figure:
    """Certified accuracy against the p of training: published runs, and one of this machine.

    It is measured at p=∞ in each case, on the weights of that moment.
    """
    figure = new_figure(
        "certified-by-exponent",
        xaxis=dict(type="log", tickvals=[8, 16, 32, 64, 128, 256, 512, 1000]),
        yaxis_range=[0, 1],
        height=520,
        margin_t=180,
    )
    for curve in curves:
        ramp = [(curve.p[done - 1], value) for done, value in curve.certified.items()]
        ramp = [(p, value) for p, value in ramp if p <= 1000]
        figure.add_scatter(
            x=[p for p, _ in ramp],
            y=[value for _, value in ramp],
            name=f"{curve.dataset} {curve.eps} (published)",
            line_color=_PUBLISHED[curve.name],
        )
    own = [row for row in run.history if row["p"] <= run.recipe.p_end]
    return figure.add_scatter(
        x=[row["p"] for row in own],
        y=[row["certified"] for row in own],
        name=f"{run.recipe.dataset} {_eps(run.recipe.eps)} (this machine)",
        line=dict(color=OURS, dash="dot"),
    )


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
        xaxis=dict(type="log", exponentformat="power", dtick=1),
        yaxis_range=[0, 1.05],
        margin_t=120,
    )
    figure.add_scatter(
        x=[row.scale for row in rows],
        y=[row.certified for row in rows],
        mode="markers",
        marker=dict(color=OURS, size=9),
        name=f"{dataset} (this machine)",
        text=[f"width {row.width}, {row.epochs} epochs" for row in rows],
        hovertemplate="%{text}: %{y:.1%}<extra></extra>",
    )
    for name, colour in (("mnist", COLOURS[0]), ("cifar10", COLOURS[1])):
        chosen = [(recipe, scale) for recipe, scale in published if recipe.dataset == name]
        figure.add_scatter(
            x=[scale for _, scale in chosen],
            y=[(recipe.published or 0) / 100 for recipe, _ in chosen],
            mode="markers",
            marker=dict(color=colour, size=12, symbol="diamond-open", line_width=2),
            name=f"{name} (published)",
            text=[f"ε={_eps(recipe.eps)}" for recipe, _ in chosen],
            hovertemplate="%{text}: %{y:.1%}<extra></extra>",
        )
    if line.refusal is None:
        figure.add_scatter(
            x=[line.target, line.target],
            y=[line.low, line.high],
            mode="lines",
            line=dict(color=translucent(OURS, 0.6), width=6),
            name="95 % interval of the line",
        )
    return figure


def _name(curve: TrainingCurve) -> str:
    return f"{curve.dataset}, ε={curve.eps}"


def _percent(share: float | None) -> str:
    return "—" if share is None else f"{100 * share:.2f} %"


def _eps(eps: float) -> str:
    """8/255 where it is that many 255ths, else the number.

    >>> _eps(8 / 255), _eps(0.1)
    ('8/255', '0.1')
    """
    levels = eps * 255
    return f"{levels:.0f}/255" if abs(levels - round(levels)) < 1e-6 else f"{eps:.4g}"
