"""Figures of certificates beside attacks, of one image that moves, and of other changes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
import torch
from torch import Tensor

from linfkit.certification.margins import Certificates
from linfkit.course.figures.template import (
    BESIDE,
    CHANGE,
    COLOURS,
    PANEL_2,
    SCALE,
    SILENT,
    Style,
    add_bars,
    add_line,
    add_panels,
    add_picture,
    add_points,
    new_figure,
    translucent,
)
from linfkit.course.studies.attacks import Attacked
from linfkit.course.studies.intervals import Enclosed
from linfkit.course.studies.perturbations import Pushed, random_signs

__all__ = [
    "accuracy_after_changes",
    "accuracy_under_attacks",
    "certified_and_attacked",
    "image_and_perturbation",
    "image_at_radius",
    "logits_under_perturbation",
    "nearest_misread",
    "proved_true_found",
    "radius_against_attack",
    "turned_image",
    "two_readings",
]

#: Proved, unknown and attacked, the same in every figure.
PROVED, UNKNOWN, ATTACKED = COLOURS[2], "#bbbbbb", COLOURS[1]

#: Marks of a study's three sizes, which can be told apart where they lie on one another.
MARKS = {
    "proved": Style(symbol="line-ns", size=13, marker_line=dict(color=PROVED, width=4)),
    "true": Style(symbol="circle-open", size=12, colour=COLOURS[0], marker_line_width=2.5),
    "found": Style(symbol="x-thin", size=7, marker_line=dict(color=ATTACKED, width=2.5)),
}


def two_readings(
    image: Tensor, moved: Tensor, label: int, readings: Mapping[str, tuple[int, int]]
) -> go.Figure:
    """An image, its perturbation and the two together; what each net reads before and after.

    Args:
        image: grey, (1, H, W), in [0, 1].
        moved: the image with the perturbation.
        label: the image's.
        readings: of each net, by its name, the class before and after.
    """
    change = moved - image
    eps = change.abs().max().item()
    words = "; ".join(f"{net}: {before} → {after}" for net, (before, after) in readings.items())
    figure = new_figure(
        "two-readings",
        dict(label=label, eps=eps, readings=words),
        hovermode="closest",
        height=330,
        margin=dict(l=20, r=20, t=60, b=50),
        title_font_size=15,
        xaxis2=dict(title_text=f"v, magnified {1 / max(eps, 1e-9):.0f} times"),
        xaxis3=dict(title_text="x + v"),
    )
    add_picture(figure, image[0], "x", across=[0, 0.31])
    magnified = change[0] / max(eps, 1e-9)
    add_picture(figure, magnified, "v", "2", across=[0.345, 0.655], **CHANGE)
    return add_picture(figure, moved[0], "x + v", "3", across=[0.69, 1])


def accuracy_under_attacks(
    sizes: Sequence[float], shares: Mapping[tuple[str, str], Sequence[float]], proved: Certificates
) -> go.Figure:
    """Accuracy of nets under attacks against the size of the perturbation, and what is proved.

    Args:
        sizes: of the perturbations, in pixels.
        shares: of images still classified correctly at each of them, by net and attack.
        proved: of the net that is certified.
    """
    figure = new_figure("accuracy-under-attacks", yaxis_range=[-0.02, 1.02])
    colours = dict(zip({net: None for net, _ in shares}, (ATTACKED, COLOURS[0]), strict=False))
    dashes = dict(zip({attack: None for _, attack in shares}, ("dot", None), strict=False))
    for (net, attack), share in shares.items():
        add_line(figure, sizes, share, f"{net}, {attack}", colours[net], dashes[attack])
    certified = [proved.accuracy(size) for size in sizes]
    return add_line(figure, sizes, certified, "proved", PROVED, "dash")


def image_and_perturbation(study: Attacked, index: int) -> go.Figure:
    """One image, the perturbation that an attack found for it, and what is known along ε.

    Args:
        study: images, certificates and what the attack found.
        index: which image.
    """
    largest = 1.1 * study.largest  # the same for every image
    radius, size = study.radius[index].item(), study.size[index].item()
    label, read_as = int(study.labels[index]), int(study.read_as[index])
    change = (study.points[index] - study.images[index]).mean(dim=0)
    if radius > 0:
        found = f"read as {read_as}: {size:.3f}" if math.isfinite(size) else "none found"
        title = f"Image {index}, a {label}: certified to {radius:.3f}, {found}"
        proved, attacked = radius, min(max(size, radius), largest)
    else:
        title, found = f"Image {index}, a {label}: read as {read_as} as it is", "no change needed"
        proved, attacked = 0.0, 0.0
    figure = new_figure(
        "image-and-perturbation",
        dict(title=title, label=label, proved=proved, found=found),
        barmode="stack",
        hovermode="closest",
        height=440,
        margin=dict(l=20, r=20, t=60),
        legend=dict(y=0.27, traceorder="normal"),
        xaxis_range=[0, largest],
        yaxis=dict(domain=[0, 0.22], showticklabels=False, ticks=""),
    )
    for name, length, colour in [
        ("proved", proved, PROVED),
        ("unknown", attacked - proved, UNKNOWN),
        ("attacked", largest - attacked, ATTACKED),
    ]:
        shown = dict(orientation="h", hovertemplate=f"{name}<extra></extra>")
        add_bars(figure, [length], [""], name, colour, **shown)
    magnified = change / change.abs().max().clamp(min=1e-9)
    left, right = dict(across=[0, 0.47], up=[0.42, 1]), dict(across=[0.53, 1], up=[0.42, 1])
    add_picture(figure, study.images[index].mean(dim=0), "image", "2", **left)
    return add_picture(figure, magnified, "perturbation, magnified", "3", **right, **CHANGE)


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
    each = Style(
        text=[f"image {index}" for index in shown.nonzero().flatten().tolist()],
        hovertemplate="%{text}: proved %{x:.3f}, found %{y:.3f}<extra></extra>",
        marker_opacity=0.6,
    )
    add_points(figure, study.radius[shown], study.size[shown], "one image", COLOURS[0], 6, **each)
    diagonal = [0, study.radius[shown].max().item()]
    return add_line(figure, diagonal, diagonal, "equal", "#444", "dash", mode="lines")


def certified_and_attacked(study: Attacked, eps: float, points: int = 120) -> go.Figure:
    """Certified accuracy against ε beside the accuracy under attack; between them, the unknown.

    Args:
        study: images, certificates and what the attack found.
        eps: of the recipe, marked by a line.
        points: along the axis.
    """
    figure = new_figure("certified-and-attacked", yaxis_range=[0, 1])
    sizes = torch.linspace(0, study.largest, points).tolist()
    for name, radius, colour, dash in [
        ("by the margin", study.radius, PROVED, None),
        ("by intervals", study.intervals, COLOURS[0], "dot"),
        ("under attack", study.size, ATTACKED, None),
    ]:
        shares = [(radius > size).double().mean().item() for size in sizes]
        add_line(figure, sizes, shares, name, colour, dash)
    figure.data[-1].update(fill="tonexty", fillcolor=translucent("#888888", 0.3))
    return figure.add_vline(x=eps, line_dash="dot", annotation_text="ε of the recipe")


def proved_true_found(study: Enclosed) -> go.Figure:
    """A row for each image, by rising true radius: what is proved, what is true, what is found.

    Args:
        study: three sizes for each image; one that was not found has no mark.
    """
    order = study.true.argsort()
    tight, missed = int(study.tight().sum()), int(study.missed().sum())
    figure = new_figure(
        "proved-true-found",
        dict(order=len(order), tight=tight, missed=missed),
        height=170 + 22 * len(order),
        hovermode="closest",
        yaxis=dict(showgrid=False, dtick=1, tickfont_size=11),
        xaxis_rangemode="tozero",
    )
    rows = [f"{study.place[image]}, a {study.labels[image]}" for image in order]
    sizes = {name: getattr(study, name)[order].tolist() for name in MARKS}
    # one trace of a line for each image, from what is proved to what is found
    ends = zip(sizes["proved"], sizes["found"], strict=True)
    along = [end for proved, found in ends for end in (proved, min(found, 1.0), None)]
    beside = [row for row in rows for _ in range(3)]
    add_line(figure, along, beside, None, UNKNOWN, width=5, mode="lines", **SILENT)
    for name, look in MARKS.items():
        drawn = [size if size < 1 else None for size in sizes[name]]
        hover = f"%{{y}}: {name} %{{x:.4f}}<extra></extra>"
        add_points(figure, drawn, rows, name, **look, hovertemplate=hover)
    return figure


def accuracy_after_changes(shares: Mapping[str, float]) -> go.Figure:
    """The share of certified images that are still classified correctly, change by change."""
    figure = new_figure(
        "accuracy-after-changes",
        dict(shares="; ".join(f"{name}: {share:.0%}" for name, share in shares.items())),
        hovermode="closest",
        xaxis=dict(range=[0, 1.12], tickformat=".0%"),
        margin_t=56,
        yaxis_autorange="reversed",
    )
    colours = [PROVED, *[ATTACKED] * (len(shares) - 1)]
    text = [f"{share:.0%}" for share in shares.values()]
    shown = dict(text=text, textposition="outside", cliponaxis=False, showlegend=False)
    return add_bars(
        figure, list(shares.values()), list(shares), None, colours, orientation="h", **shown
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
    largest = (turned - image).abs().max().item()
    covered = "within" if largest < radius else "beyond"
    figure = new_figure(
        "turned-image",
        dict(degrees=degrees, read_as=read_as, largest=largest, radius=radius, covered=covered),
        hovermode="closest",
        margin=dict(l=20, r=20, t=60, b=50),
        title_font_size=15,
        xaxis2=dict(title_text="change of pixels"),
    )
    change = (turned - image).mean(dim=0)
    add_picture(figure, turned.mean(dim=0), "image", across=[0, 0.44])
    return add_picture(figure, change, "change", "2", across=[0.5, 0.94], **CHANGE, **SCALE)


# --- what a radius means, on one image


def nearest_misread(
    image: Tensor, label: int, found: Mapping[str, tuple[Tensor, int]]
) -> go.Figure:
    """An image beside the nearest images that an attack has nets misread.

    Args:
        image: grey, (1, H, W), in [0, 1].
        label: of the image.
        found: by the name of each net, the image found, (1, H, W), and the class it is read as.
    """
    panels, sizes = {f"the image, a {label}": image[0]}, {}
    for net, (point, read_as) in found.items():
        sizes[net] = f"{(point - image).abs().max().item():.3f}"
        panels[f"{net} reads {read_as},<br>changed by {sizes[net]}"] = point[0]
    told = ", ".join(f"{size} for {net}" for net, size in sizes.items())
    figure = new_figure("nearest-misread", dict(label=label, told=told), **BESIDE)
    return add_panels(figure, panels).update_layout(height=340, margin_b=80)


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
    classes = list(range(len(pushed.logits)))
    colours = [COLOURS[0] if label == pushed.label else "#666" for label in classes]
    within = dict(array=[pushed.eps] * len(classes), thickness=6, width=0, color="#bbb")
    add_points(figure, classes, pushed.logits, "f(x) ± ε", colours, 9, error_y=within, **PANEL_2)
    cross = Style(symbol="x-thin-open", marker_line_width=2.5)
    moved = pushed.moved_logits
    return add_points(figure, classes, moved, "f(x + v)", COLOURS[1], 10, **cross, **PANEL_2)
