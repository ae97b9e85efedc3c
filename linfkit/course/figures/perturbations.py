"""Figures of one image: what its certified radius means, and its logits under a perturbation."""

from __future__ import annotations

import plotly.graph_objects as go
from torch import Tensor

from linfkit.course.figures.template import (
    BESIDE,
    COLOURS,
    PANEL_2,
    Style,
    add_panels,
    add_picture,
    add_points,
    new_figure,
)
from linfkit.course.studies.perturbations import Pushed, random_signs

__all__ = ["image_at_radius", "logits_under_perturbation"]


def image_at_radius(image: Tensor, radius: float) -> go.Figure:
    """An image beside the far ends of its certified ball: x − r, x, x + r, and x ± r at random.

    Args:
        image: grey, (1, H, W), in [0, 1].
        radius: r, in pixels, 0 or more.
    """
    panels = {
        "x − r": image - radius,
        "x": image,
        "x + r": image + radius,
        "x ± r at random": random_signs(image[None], radius)[0],
    }
    figure = new_figure("image-at-radius", dict(radius=radius), **BESIDE)
    return add_panels(figure, {name: panel[0] for name, panel in panels.items()})


def logits_under_perturbation(pushed: Pushed) -> go.Figure:
    """A moved image, and its logits: where they were, how far they may go, where they are.

    While ε is below the radius, the label's interval lies above all others.
    """
    stands = pushed.moved_logits.argmax().item() == pushed.label
    figure = new_figure(
        "logits-under-perturbation",
        dict(
            label=pushed.label,
            eps=pushed.eps,
            radius=pushed.radius,
            verdict="certified" if pushed.radius > pushed.eps else "not certified",
            outcome=f"the prediction {'stands' if stands else 'is wrong'}",
        ),
        hovermode="closest",
        xaxis2=dict(title_text="class", domain=[0.46, 1], anchor="y2", dtick=1, zeroline=False),
        yaxis2=dict(title_text="logit (pixels)", anchor="x2"),
    )
    add_picture(figure, pushed.image[0], "pixel", across=[0, 0.34], hovertemplate=None)
    figure.update_layout(xaxis_constrain="range")
    classes = list(range(len(pushed.logits)))
    colours = [COLOURS[0] if label == pushed.label else "#666" for label in classes]
    within = dict(array=[pushed.eps] * len(classes), thickness=6, width=0, color="#bbb")
    add_points(figure, classes, pushed.logits, "f(x) ± ε", colours, 9, error_y=within, **PANEL_2)
    cross = Style(symbol="x-thin-open", marker_line_width=2.5)
    moved = pushed.moved_logits
    return add_points(figure, classes, moved, "f(x + v)", COLOURS[1], 10, **cross, **PANEL_2)
