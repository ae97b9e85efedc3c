"""Figures of ensembles: margins, fusion against voting, sizes, training apart and jointly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean

import plotly.graph_objects as go

from linfkit.course.figures.certified import certified_accuracy
from linfkit.course.figures.template import (
    COLOURS,
    Style,
    add_bars,
    add_line,
    add_points,
    new_figure,
)
from linfkit.course.studies.ensembles import (
    Comparison,
    EnsembleGain,
    MarginsAlong,
    Robustness,
    VotingMargins,
)

__all__ = [
    "ensemble_accuracy",
    "ensemble_sizes",
    "ensembles_by_size",
    "ensembles_by_width",
    "fusion_against_voting",
    "joint_gain",
    "margins_on_the_way",
    "voting_margin",
]

#: Names of the kinds of `Comparison.certified`.
KINDS = {
    "single": "one net, on average",
    "apart": "mean, trained apart",
    "joint": "mean, trained jointly",
    "wider": "one wider net, equal cost",
}


def margins_on_the_way(along: MarginsAlong, image: int) -> go.Figure:
    """Margins of members and of their mean on the way out from one image, with the mean's cone."""
    fused = along.ensemble[image]
    radius = fused[0].item() / 2
    figure = new_figure(
        "margins-on-the-way",
        dict(image=image, margin=fused[0], radius=radius),
        yaxis_range=(
            min(-0.3, along.members[:, image].min().item() - 0.05),
            along.members[:, image].max().item() + 0.1,
        ),
        margin_t=110,
    )
    distances = along.distances.tolist()
    for number, member in enumerate(along.members[:, image], start=1):
        grouped = Style(legendgroup="members", showlegend=number == 1)
        hover = f"member {number}: %{{y:.3f}}<extra></extra>"
        look = Style(colour="#999", width=1, hovertemplate=hover)
        add_line(figure, distances, member, "one member", **look, **grouped)
    add_line(figure, distances, fused, "mean", COLOURS[0], width=3)
    cone = fused[0] - 2 * along.distances
    add_line(figure, distances, cone, "lowest it can be", COLOURS[0], "dash", 1.5)
    return figure.add_hline(y=0, line_color="#444", line_width=1)


def fusion_against_voting(results: Mapping[str, Robustness], eps: float) -> go.Figure:
    """Clean, attacked and certified accuracy of each kind of ensemble, as bars."""
    figure = new_figure(
        "fusion-against-voting",
        dict(eps=eps),
        barmode="group",
        yaxis_range=(0, 1.05),
        xaxis_type="category",
        hovermode="closest",
    )
    for (name, result), colour in zip(results.items(), COLOURS, strict=False):
        shares = [result.clean, result.attacked, result.certified]
        text = ["none" if share is None else f"{share:.2f}" for share in shares]
        heights = [share or 0.0 for share in shares]
        kinds = ["clean", "under attack", "certified"]
        add_bars(figure, kinds, heights, name, colour, text=text, textposition="outside")
    return figure


def voting_margin(row: VotingMargins) -> go.Figure:
    """Half the voting's margin against the smallest perturbation found that flips it, by image."""
    refuted = row.refuted
    rightly = row.half_margins > 0
    share = (refuted & rightly).sum() / rightly.sum()
    found = row.flipped_at.isfinite()
    top = max([0.5, *row.flipped_at[found].tolist()])
    figure = new_figure(
        "voting-margin",
        dict(logit_scale=row.logit_scale, share=share),
        hovermode="closest",
        xaxis_range=(0, 0.52),
        yaxis_range=(0, 1.04 * top),
    )
    at = "flipped at %{y:.3f}"
    for name, chosen, colour, symbol, flipped in [
        ("below: no radius", rightly & refuted, COLOURS[1], "x", at),
        ("above: not refuted", rightly & found & ~refuted, COLOURS[0], "circle", at),
        ("none found", rightly & ~found, COLOURS[0], "triangle-up-open", "not flipped"),
    ]:
        places, sizes = row.half_margins[chosen], row.flipped_at[chosen].clamp(max=top)
        hover = f"half margin %{{x:.3f}}, {flipped}<extra></extra>"
        add_points(figure, places, sizes, name, colour, 7, symbol, hovertemplate=hover)
    return add_line(figure, [0, 0.5], [0, 0.5], "equal", "#444", "dot", 1, mode="lines")


def ensemble_sizes(gain: EnsembleGain, eps: float) -> go.Figure:
    """Certified accuracy of the mean of the first K nets against K, beside the nets alone."""
    figure = new_figure("ensemble-sizes", dict(eps=eps), xaxis_dtick=1)
    sizes = list(range(1, len(gain.ensembles) + 1))
    together = [ensemble.accuracy(eps) for ensemble in gain.ensembles]
    add_line(figure, sizes, together, "mean of the first K", COLOURS[0], mode="lines+markers")
    alone = [member.accuracy(eps) for member in gain.members]
    return add_points(figure, sizes, alone, "net K alone", COLOURS[1], 9)


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
        title_text=f"K={size}: the mean certifies {reached:.1%} at ε={eps:.3g}",
        meta=dict(
            name="ensemble-accuracy",
            description=f"Certified accuracy against ε of the mean of {size} nets, over the "
            "curves of the single nets in grey.",
        ),
    )


def ensembles_by_width(compared: Sequence[Comparison], eps: float) -> go.Figure:
    """Certified accuracy of nets alone, apart, jointly trained and wider, against the width.

    Points are means over the repetitions; bars reach from the lowest of them to the highest.

    Args:
        compared: of one number of members, K.
        eps: that is certified.
    """
    fixed, widths = dict(size=compared[0].size), [str(each.width) for each in compared]
    return _by_kind(new_figure("ensembles-by-width", dict(eps=eps, **fixed)), widths, compared)


def ensembles_by_size(compared: Sequence[Comparison], eps: float) -> go.Figure:
    """Certified accuracy of nets alone, apart, jointly trained and wider, against their number K.

    Points and bars are as in `ensembles_by_width`.

    Args:
        compared: of one width.
        eps: that is certified.
    """
    fixed, sizes = dict(width=compared[0].width), [str(each.size) for each in compared]
    return _by_kind(new_figure("ensembles-by-size", dict(eps=eps, **fixed)), sizes, compared)


def _by_kind(figure: go.Figure, x: list[str], compared: Sequence[Comparison]) -> go.Figure:
    """Add a line for each kind, with the spread over repetitions."""
    for (kind, name), colour in zip(KINDS.items(), COLOURS, strict=False):
        turns = [each.certified[kind] for each in compared]
        spread = dict(
            array=[max(each) - mean(each) for each in turns],
            arrayminus=[mean(each) - min(each) for each in turns],
            thickness=1,
        )
        dash = "dash" if kind == "wider" else "solid"
        add_line(figure, x, [mean(each) for each in turns], name, colour, dash, error_y=spread)
    return figure.update_xaxes(type="category")


def joint_gain(compared: Sequence[Comparison], eps: float) -> go.Figure:
    """Gain of joint training over each other way to spend the cost, for each width, as bars."""
    figure = new_figure(
        "joint-gain",
        dict(eps=eps, size=compared[0].size),
        barmode="group",
        xaxis_type="category",
        hovermode="closest",
    )
    widths = [str(each.width) for each in compared]
    for (kind, name), colour in zip(KINDS.items(), COLOURS, strict=False):
        if kind != "joint":
            gains = [each.gain(kind) for each in compared]
            add_bars(figure, widths, gains, f"over {name}", colour)
    return figure
