"""Figures of ablations: losses, margins, the weights of the cross-entropy; ours and published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean

import plotly.graph_objects as go

from linfkit.course.figures.losses import LOSS_COLOURS
from linfkit.course.figures.template import (
    COLOURS,
    GROUPED,
    add_bars,
    add_bars_of_seeds,
    add_line,
    new_figure,
)
from linfkit.course.published import PublishedMargin
from linfkit.course.studies.ablations import Ablation

__all__ = [
    "losses_compared",
    "train_and_test",
    "train_and_test_published",
    "variants_compared",
    "weights_compared",
]

#: Points of the seeds.
BLACK = COLOURS[-1]


def losses_compared(
    found: Mapping[str, Ablation], published: Mapping[str, float], dataset: str, eps: float
) -> go.Figure:
    """Certified accuracy of each loss: ours with every seed's point, and the published figure.

    Args:
        found: by loss.
        published: by loss; of another data set, ε and size of nets.
        dataset: of ours.
        eps: that ours certify.
    """
    figure = new_figure("losses-compared", dict(dataset=dataset, eps=eps), **GROUPED)
    names = list(found)
    ours, theirs = f"{dataset}, this machine", "CIFAR-10, published"
    seeds = [each.certified for each in found.values()]
    add_bars_of_seeds(figure, names, seeds, ours, COLOURS[0], ink=BLACK)
    shares = [published[name] for name in names]
    return add_bars(figure, names, shares, theirs, COLOURS[4], opacity=0.6, offsetgroup="theirs")


def variants_compared(found: Mapping[str, Ablation], eps: float) -> go.Figure:
    """Clean and certified accuracy of each variant as bars, with every seed's point."""
    figure = new_figure("variants-compared", dict(eps=eps), **GROUPED)
    names = list(found)
    for kind, colour in (("clean", COLOURS[5]), ("certified", COLOURS[0])):
        seeds = [getattr(each, kind) for each in found.values()]
        add_bars_of_seeds(figure, names, seeds, kind, colour, ink=BLACK)
    return figure


def train_and_test(found: Mapping[tuple[str, float], Ablation], eps: float) -> go.Figure:
    """Certified accuracy on training and test images against θ, for each loss; means over seeds."""
    rows = [
        (loss, theta, mean(each.certified), mean(each.certified_train))
        for (loss, theta), each in found.items()
    ]
    return _against_theta(new_figure("train-and-test", dict(eps=eps)), rows)


def train_and_test_published(margins: Sequence[PublishedMargin]) -> go.Figure:
    """The published certified accuracy on training and test images against θ, for each loss."""
    rows = [(row.loss, row.theta, row.certified, row.certified_train) for row in margins]
    return _against_theta(new_figure("train-and-test-published"), rows)


def _against_theta(
    figure: go.Figure, rows: Sequence[tuple[str, float, float, float | None]]
) -> go.Figure:
    for loss in sorted({row[0] for row in rows}):
        of_loss = [row for row in rows if row[0] == loss]
        thetas, colour = [theta for _, theta, *_ in of_loss], LOSS_COLOURS[loss]
        train, test = [row[3] for row in of_loss], [row[2] for row in of_loss]
        add_line(figure, thetas, train, f"{loss}, training images", colour, "dash")
        add_line(figure, thetas, test, f"{loss}, test images", colour)
    return figure.update_xaxes(dtick=1)


def weights_compared(certified: Mapping[tuple[float, float], float], source: str) -> go.Figure:
    """Certified accuracy for each λ₀ and λ_end, as a map.

    Args:
        certified: by λ at the start and at the end.
        source: of the figures: data set and ε.
    """
    starts, ends = (sorted(set(values)) for values in zip(*certified, strict=True))
    rows = [[certified[start, end] for start in starts] for end in ends]
    figure = new_figure(
        "weights-compared",
        dict(source=source),
        xaxis_type="category",
        yaxis_type="category",
        hovermode="closest",
    )
    return figure.add_heatmap(
        x=[f"{start:g}" for start in starts],
        y=[f"{end:g}" for end in ends],
        z=rows,
        text=[[f"{cell:.2%}" for cell in row] for row in rows],
        texttemplate="%{text}",
        colorscale="Blues",
        colorbar=dict(tickformat=".1%"),
        hovertemplate="λ from %{x} to %{y}: %{z:.2%}<extra></extra>",
    )
