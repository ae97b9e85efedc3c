"""Figures of one image: what its certified radius means, and its logits under a perturbation."""

from __future__ import annotations

import math

import plotly.graph_objects as go
import torch
from torch import Tensor

from linfkit.course.figures.template import COLOURS, new_figure
from linfkit.course.studies.perturbations import Pushed, random_signs

__all__ = ["image_at_radius", "logits_under_perturbation"]

#: The axis of an image's rows: counted downwards, square, and bare.
_ROWS = dict(
    autorange="reversed",
    scaleanchor="x",
    constrain="domain",
    showline=False,
    showgrid=False,
    zeroline=False,
    showticklabels=False,
    ticks="",
)


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
    height, width = image.shape[1:]
    gap = torch.full((height, 1), math.nan)
    pixels = torch.cat([part for panel in panels.values() for part in (panel[0].cpu(), gap)], dim=1)
    return new_figure(
        "image-at-radius",
        dict(radius=radius),
        height=300,
        hovermode="closest",
        plot_bgcolor="#ccc",
        xaxis=dict(
            tickvals=[(width - 1) / 2 + k * (width + 1) for k in range(len(panels))],
            ticktext=list(panels),
            showline=False,
            showgrid=False,
            zeroline=False,
            ticks="",
        ),
        yaxis=_ROWS,
    ).add_trace(_picture(pixels[:, :-1]).update(showscale=True, colorbar=dict(title="pixel")))


def logits_under_perturbation(pushed: Pushed) -> go.Figure:
    """A moved image, and its logits: where they were, how far they may go, where they are.

    While ε is below the radius, the label's interval lies above all others.
    """
    certified = pushed.radius > pushed.eps
    stands = pushed.moved_logits.argmax().item() == pushed.label
    verdict = "certified" if certified else "not certified"
    outcome = "the prediction stands" if stands else "the prediction is wrong"
    figure = new_figure(
        "logits-under-perturbation",
        dict(
            label=pushed.label,
            eps=pushed.eps,
            verdict=verdict,
            radius=pushed.radius,
            outcome=outcome,
        ),
        hovermode="closest",
        xaxis=dict(
            domain=[0, 0.34], showticklabels=False, showgrid=False, ticks="", showline=False
        ),
        yaxis=_ROWS,
        xaxis2=dict(
            title=dict(text="class"), domain=[0.46, 1], anchor="y2", dtick=1, zeroline=False
        ),
        yaxis2=dict(title=dict(text="logit (pixels)"), anchor="x2"),
    )
    figure.add_trace(_picture(pushed.image[0]))
    classes = list(range(len(pushed.logits)))
    figure.add_scatter(
        x=classes,
        y=pushed.logits.tolist(),
        error_y=dict(array=[pushed.eps] * len(classes), thickness=6, width=0, color="#bbb"),
        mode="markers",
        marker=dict(
            size=9,
            color=[COLOURS[0] if label == pushed.label else "#666" for label in classes],
        ),
        name="f(x) ± ε",
        xaxis="x2",
        yaxis="y2",
    )
    return figure.add_scatter(
        x=classes,
        y=pushed.moved_logits.tolist(),
        mode="markers",
        marker=dict(symbol="x-thin-open", size=10, color=COLOURS[1], line_width=2.5),
        name="f(x + v)",
        xaxis="x2",
        yaxis="y2",
    )


def _picture(pixels: Tensor) -> go.Heatmap:
    """Pixels in [0, 1], ink dark; beyond that range the nearest shade."""
    return go.Heatmap(
        x=list(range(pixels.shape[1])),
        z=pixels.numpy(force=True).round(3),
        zmin=0,
        zmax=1,
        colorscale="Greys",
        showscale=False,
        name="pixel",
    )
