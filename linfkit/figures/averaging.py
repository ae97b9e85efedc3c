"""Figures of averaging: the EMA of the weights, and ensembles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from linfkit.figures.certified import certified_accuracy
from linfkit.figures.template import COLOURS, new_figure
from linfkit.studies.averaging import EnsembleGain, ema_gain
from linfkit.training import Run

__all__ = ["ema_curves", "ema_gain_curves", "ensemble_accuracy", "ensemble_sizes"]


def ema_curves(run: Run) -> go.Figure:
    """Certified accuracy of raw and averaged weights of one run, epoch by epoch."""
    recipe = run.recipe
    figure = new_figure(
        "ema-curves",
        f"Raw and averaged weights, decay {recipe.ema_decay:g}, {recipe.lr_schedule} rate",
        "Certified accuracy of one run against the epoch: a line for the raw weights, a line for "
        "their moving average.",
        "epoch",
        f"certified accuracy at ε={recipe.eps:.3g}, p=∞",
    )
    for name, column, colour in [
        ("raw weights", "certified", COLOURS[1]),
        ("moving average", "ema_certified", COLOURS[0]),
    ]:
        figure.add_scatter(
            x=run.column("epoch"), y=run.column(column), name=name, line_color=colour
        )
    return figure


def ema_gain_curves(runs: Mapping[str, Sequence[Run]]) -> go.Figure:
    """How much more the average certifies than the raw weights, by epoch; mean over each group."""
    figure = new_figure(
        "ema-gain",
        "What the moving average gains",
        "Certified accuracy of the moving average less that of the raw weights against the epoch, "
        "mean over seeds: a line for each learning rate.",
        "epoch",
        "gain in certified accuracy",
    )
    for name, group in runs.items():
        figure.add_scatter(x=group[0].column("epoch"), y=ema_gain(group), name=name)
    return figure.add_hline(y=0, line_color="#444", line_width=1)


def ensemble_sizes(gain: EnsembleGain, eps: float) -> go.Figure:
    """Certified accuracy of the mean of the first K nets against K, beside the nets alone."""
    figure = new_figure(
        "ensemble-sizes",
        "Ensembles of the first K nets, and each net alone",
        "Certified accuracy against K: a line for the mean of the first K nets, a point for net K "
        "alone.",
        "K",
        f"certified accuracy at ε={eps:.3g}",
        xaxis_dtick=1,
    )
    sizes = list(range(1, len(gain.ensembles) + 1))
    figure.add_scatter(
        x=sizes,
        y=[ensemble.accuracy(eps) for ensemble in gain.ensembles],
        name="mean of the first K",
        mode="lines+markers",
        line_color=COLOURS[0],
    )
    return figure.add_scatter(
        x=sizes,
        y=[member.accuracy(eps) for member in gain.members],
        name="net K alone",
        mode="markers",
        marker=dict(color=COLOURS[1], size=9),
    )


def ensemble_accuracy(gain: EnsembleGain, size: int, eps: float) -> go.Figure:
    """Certified accuracy against ε of the mean of the first `size` nets, over the single nets."""
    figure = certified_accuracy(
        {
            **{f"net {k} alone": one for k, one in enumerate(gain.members, start=1)},
            "ensemble": gain.ensembles[size - 1],
        },
        eps,
    )
    figure.update_traces(line=dict(color="#bbb", width=1), showlegend=False)
    figure.data[-1].update(line=dict(color=COLOURS[0], width=3), showlegend=True)
    reached = gain.ensembles[size - 1].accuracy(eps)
    return figure.update_layout(
        title_text=f"The mean of {size} nets certifies {reached:.1%} at ε={eps:.3g}",
        meta=dict(
            name="ensemble-accuracy",
            description=f"Certified accuracy against ε of the mean of {size} nets, over the "
            "curves of the single nets in grey.",
        ),
    )
