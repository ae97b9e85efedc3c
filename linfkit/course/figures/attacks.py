"""Figures of certificates beside attacks, and of changes that no certificate speaks of."""

from __future__ import annotations

import math
from collections.abc import Mapping

import plotly.graph_objects as go
import torch
from torch import Tensor

from linfkit.course.figures.template import COLOURS, new_figure, translucent
from linfkit.course.studies.attacks import Attacked

__all__ = [
    "accuracy_after_changes",
    "certified_and_attacked",
    "image_and_perturbation",
    "radius_against_attack",
    "turned_image",
]

#: Proved, unknown and attacked, the same in every figure.
PROVED, UNKNOWN, ATTACKED = COLOURS[2], "#bbbbbb", COLOURS[1]

_PICTURE_AXIS = dict(
    showticklabels=False, showgrid=False, showline=False, zeroline=False, ticks="", title_text=""
)


def image_and_perturbation(study: Attacked, index: int) -> go.Figure:
    """One image, the perturbation that an attack found for it, and what is known along ε.

    Args:
        study: images, certificates and what the attack found.
        index: which image.
    """
    largest = 1.1 * study.largest  # the same for every image
    radius, size = study.radius[index].item(), study.size[index].item()
    label, read_as = int(study.labels[index]), int(study.read_as[index])
    image = study.images[index].mean(dim=0).cpu()
    change = (study.points[index] - study.images[index]).mean(dim=0).cpu()
    magnified = change / change.abs().max().clamp(min=1e-9)
    if radius <= 0:
        title, found = f"Image {index}, a {label}: read as {read_as} as it is", "no change needed"
        known = [0.0, 0.0, largest]
    else:
        found = f"read as {read_as}: {size:.3f}" if math.isfinite(size) else "none found"
        title = f"Image {index}, a {label}: certified to {radius:.3f}, {found}"
        end = min(max(size, radius), largest)
        known = [radius, end - radius, largest - end]
    figure = new_figure(
        "image-and-perturbation",
        dict(title=title, label=label, proved=max(radius, 0), found=found),
        barmode="stack",
        hovermode="closest",
        height=440,
        margin=dict(l=20, r=20, t=60, b=60),
        legend=dict(y=0.27, traceorder="normal"),
        plot_bgcolor="white",
        xaxis=dict(domain=[0, 1], anchor="y", range=[0, largest]),
        yaxis=dict(domain=[0, 0.22], title_text="", showticklabels=False, ticks=""),
        xaxis2=dict(domain=[0, 0.47], anchor="y2", constrain="domain", **_PICTURE_AXIS),
        yaxis2=_picture_rows("x2", bottom=0.42),
        xaxis3=dict(domain=[0.53, 1], anchor="y3", constrain="domain", **_PICTURE_AXIS),
        yaxis3=_picture_rows("x3", bottom=0.42),
    )
    for name, length, colour in zip(
        ("proved", "unknown", "attacked"), known, (PROVED, UNKNOWN, ATTACKED), strict=True
    ):
        figure.add_bar(
            x=[length],
            y=[""],
            orientation="h",
            name=name,
            marker_color=colour,
            hovertemplate=f"{name}<extra></extra>",
        )
    figure.add_trace(_picture(image, 0, "Greys", "image", "2"))
    return figure.add_trace(_picture(magnified, -1, "RdBu", "perturbation, magnified", "3"))


def radius_against_attack(study: Attacked) -> go.Figure:
    """The size that an attack found against the certified radius, image by image.

    No point can lie below the diagonal; one on it has nothing left unknown.
    """
    shown = study.correct & study.size.isfinite()
    figure = new_figure(
        "radius-against-attack",
        dict(shown=int(shown.sum()), correct=int(study.correct.sum())),
        hovermode="closest",
    )
    radius, size = study.radius[shown].tolist(), study.size[shown].tolist()
    figure.add_scatter(
        x=radius,
        y=size,
        mode="markers",
        marker=dict(color=COLOURS[0], size=6, opacity=0.6),
        name="one image",
        text=[f"image {index}" for index in shown.nonzero().flatten().tolist()],
        hovertemplate="%{text}: proved %{x:.3f}, found %{y:.3f}<extra></extra>",
    )
    end = max(radius)
    return figure.add_scatter(
        x=[0, end], y=[0, end], mode="lines", line=dict(color="#444", dash="dash"), name="equal"
    )


def certified_and_attacked(study: Attacked, eps: float, points: int = 120) -> go.Figure:
    """Certified accuracy against ε beside the accuracy under attack; between them, the unknown.

    Args:
        study: images, certificates and what the attack found.
        eps: of the recipe, marked by a line.
        points: along the axis.
    """
    figure = new_figure("certified-and-attacked", yaxis_range=[0, 1])
    sizes = torch.linspace(0, study.largest, points).tolist()
    for name, accuracy, line in [
        ("by the margin", study.certified_accuracy, dict(color=PROVED)),
        ("by intervals", study.interval_accuracy, dict(color=COLOURS[0], dash="dot")),
        ("under attack", study.attacked_accuracy, dict(color=ATTACKED)),
    ]:
        figure.add_scatter(x=sizes, y=[accuracy(size) for size in sizes], name=name, line=line)
    figure.data[-1].update(fill="tonexty", fillcolor=translucent("#888888", 0.3))
    return figure.add_vline(x=eps, line_dash="dot", annotation_text="ε of the recipe")


def accuracy_after_changes(shares: Mapping[str, float]) -> go.Figure:
    """The share of certified images that are still classified correctly, change by change."""
    figure = new_figure(
        "accuracy-after-changes",
        dict(shares="; ".join(f"{name}: {share:.0%}" for name, share in shares.items())),
        hovermode="closest",
        xaxis_range=[0, 1.12],
        xaxis_tickformat=".0%",
        margin_t=56,
        yaxis=dict(autorange="reversed", automargin=True, title_text="change"),
    )
    return figure.add_bar(
        x=list(shares.values()),
        y=list(shares),
        orientation="h",
        marker_color=[PROVED, *[ATTACKED] * (len(shares) - 1)],
        text=[f"{share:.0%}" for share in shares.values()],
        textposition="outside",
        cliponaxis=False,
        showlegend=False,
    )


def turned_image(
    turned: Tensor, image: Tensor, degrees: float, read_as: int, radius: float
) -> go.Figure:
    """An image, the same turned, and what each pixel changed by.

    Args:
        turned: the image after the turn, (C, H, W).
        image: as it was, (C, H, W).
        degrees: the angle.
        read_as: the class that the turned image is given.
        radius: the certified radius of the image as it was.
    """
    change = (turned - image).mean(dim=0).cpu()
    largest = (turned - image).abs().max().item()
    covered = "within" if largest < radius else "beyond"
    figure = new_figure(
        "turned-image",
        dict(degrees=degrees, read_as=read_as, largest=largest, radius=radius, covered=covered),
        hovermode="closest",
        margin=dict(l=20, r=20, t=60, b=50),
        title_font_size=15,
        xaxis=dict(domain=[0, 0.44], constrain="domain", **_PICTURE_AXIS),
        yaxis=_picture_rows("x"),
        xaxis2=dict(domain=[0.5, 0.94], anchor="y2", constrain="domain", **_PICTURE_AXIS),
        yaxis2=_picture_rows("x2"),
    )
    figure.update_layout(xaxis_title_text="turned", xaxis2_title_text="change of pixels")
    figure.add_trace(_picture(turned.mean(dim=0).cpu(), 0, "Greys", "image", ""))
    return figure.add_trace(
        _picture(change, -1, "RdBu", "change", "2").update(
            showscale=True, colorbar=dict(thickness=12, x=1.0)
        )
    )


def _picture_rows(columns: str, bottom: float = 0.0) -> dict[str, object]:
    """The vertical axis of a picture: rows from the top, as high as the columns are wide."""
    return dict(
        domain=[bottom, 1],
        anchor=columns,
        scaleanchor=columns,
        autorange="reversed",
        constrain="domain",
        **_PICTURE_AXIS,
    )


def _picture(pixels: Tensor, least: float, colours: str, name: str, axis: str) -> go.Heatmap:
    """Grey levels, ink dark; the same kind of trace for every image."""
    return go.Heatmap(
        z=pixels.numpy(force=True).round(3),
        zmin=least,
        zmax=1,
        colorscale=colours,
        showscale=False,
        name=name,
        xaxis=f"x{axis}",
        yaxis=f"y{axis}",
        hovertemplate="%{z:.2f}<extra></extra>",
    )
