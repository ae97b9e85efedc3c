"""Training in the plane: regions that harden, and training points that starve on the way."""

from __future__ import annotations

import plotly.graph_objects as go

from linfkit.course.figures.neurons import SQUARE_PLOT, class_map
from linfkit.course.figures.template import COLOURS, INK, add_points, as_text, new_figure
from linfkit.course.studies.plane import PlaneMoment

__all__ = ["plane_in_training"]


def plane_in_training(moment: PlaneMoment, loss: str) -> go.Figure:
    """A net's regions at the p of its training, with the training points that starve lit up.

    Args:
        moment: of the training.
        loss: with which it trains, for the title.
    """
    starved, certified = moment.starved, moment.certified
    figure = new_figure(
        "plane-in-training",
        dict(
            loss=loss,
            p=as_text(moment.p),
            starved=f"{starved.double().mean():.0%}",
            certified=f"{certified.double().mean():.0%}",
        ),
        **SQUARE_PLOT,
    )
    figure.add_trace(class_map(moment))
    inks = [COLOURS[label] for label in moment.labels.tolist()]
    points = moment.points.tolist()
    for mask, name, colour, size, symbol in [
        (starved, "starved", COLOURS[3], 15, "star"),
        (certified, "certified", INK, 11, "square-open"),
        (starved | True, "training point", inks, 6, "circle"),
    ]:
        # never empty, so that there is always something to redraw
        shown = [point for point, each in zip(points, mask.tolist(), strict=True) if each]
        x1, x2 = zip(*shown, [None, None], strict=True)
        add_points(figure, x1, x2, name, colour, size, symbol, hoverinfo="skip")
    return figure
