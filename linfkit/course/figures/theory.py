"""Figures of the r-separation theorem: distances between classes, and who certifies at r/2."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from linfkit.certification.margins import Certificates
from linfkit.course.figures.template import BESIDE, COLOURS, add_line, add_panels, new_figure
from linfkit.course.studies.theory import Separation

__all__ = ["box_by_layer", "certified_at_half_r", "closest_pair", "distance_between_classes"]

_BARE = dict(showline=False, showgrid=False, zeroline=False, ticks="")


def closest_pair(separation: Separation, label: int) -> go.Figure:
    """An image of a class and the nearest of any other: both, half-way between, and what differs.

    Args:
        separation: the distances between classes.
        label: the class; its nearest other class is chosen here.
    """
    other = separation.nearest_class(label)
    here, there = separation.images[separation.pair[label, other]].mean(dim=1)
    panels = {
        f"a {label}": here,
        "half-way": (here + there) / 2,
        f"a {other}": there,
        "difference": (here - there).abs(),
    }
    distance = separation.distance[label, other].item()
    words = dict(label=label, other=other, distance=distance, half=distance / 2)
    figure = new_figure("closest-pair", words, **BESIDE)
    return add_panels(figure, panels, hovertemplate="%{z:.3f}<extra></extra>")


def distance_between_classes(separation: Separation) -> go.Figure:
    """Smallest ℓ∞ distance between images of every two classes, as a table of shades."""
    distance = separation.distance.cpu()
    apart = distance.where(distance.isfinite(), math.nan)
    a, b = divmod(int(distance.argmin()), len(distance))
    figure = new_figure(
        "distance-between-classes",
        dict(r=separation.r, a=a, b=b, most=apart.nan_to_num().max().item()),
        height=470,
        hovermode="closest",
        xaxis=dict(dtick=1, constrain="domain", **_BARE),
        yaxis=dict(dtick=1, autorange="reversed", scaleanchor="x", constrain="domain", **_BARE),
    )
    return figure.add_heatmap(
        x=list(range(len(apart))),
        z=apart.numpy().round(3),
        name="distance",
        colorscale="Blues_r",
        colorbar_title=dict(text="distance", side="right"),
        hovertemplate="%{z:.3f}<extra></extra>",
        texttemplate="%{z:.2f}",
        textfont_size=11,
    )


def certified_at_half_r(
    nets: Mapping[str, tuple[Certificates, Certificates]], r: float, points: int = 120
) -> go.Figure:
    """Certified accuracy of nets against ε, on training and on test images, up to beyond r/2.

    Args:
        nets: for each net the certificates of training images, and those of test images.
        r: the smallest distance between classes.
        points: of each line.
    """
    figure = new_figure("certified-at-half-r", dict(half=r / 2), height=470)
    sizes = [0.6 * r * place / (points - 1) for place in range(points)]
    for (net, parts), colour in zip(nets.items(), COLOURS, strict=False):
        for part, dash, found in zip(("training", "test"), ("solid", "dot"), parts, strict=True):
            shares = [found.accuracy(size) for size in sizes]
            add_line(figure, sizes, shares, f"{net}, {part}", colour, dash)
    figure.update_layout(
        yaxis_range=[-0.02, 1.02], legend=dict(y=-0.24, yanchor="top"), margin=dict(t=56, b=130)
    )
    return figure.add_vline(x=r / 2, line_dash="dash", annotation=dict(text="R/2", y=0.12))


def box_by_layer(shares: Mapping[str, Mapping[float, Sequence[float]]], eps: float) -> go.Figure:
    """Half-width of interval bounds after each layer of several nets, over the spread of values.

    Args:
        shares: for each net, and each ε that a slider passes, a share for each layer.
        eps: one of them.
    """
    every = [share for net in shares.values() for row in net.values() for share in row]
    figure = new_figure(
        "box-by-layer",
        dict(eps=eps, widest=max(max(net[eps]) for net in shares.values())),
        yaxis=dict(
            type="log", dtick=1, range=[math.log10(min(every) / 1.5), math.log10(1.5 * max(every))]
        ),
        xaxis=dict(dtick=1),
        hovermode="closest",
    )
    for (net, by_eps), colour in zip(shares.items(), COLOURS, strict=False):
        passed = list(range(1, len(by_eps[eps]) + 1))
        add_line(figure, passed, by_eps[eps], net, colour, mode="lines+markers")
    # on a logarithmic axis plotly counts an annotation's place in powers of ten
    return figure.add_hline(y=1, line_dash="dash", annotation=dict(text="the spread itself", y=0))
