"""Figures of ensembles: margins, fusion against voting, sizes, training apart and jointly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean

import plotly.graph_objects as go

from linfkit.course.figures.certified import certified_accuracy
from linfkit.course.figures.template import COLOURS, new_figure
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
        figure.add_scatter(
            x=distances,
            y=member.tolist(),
            name="one member",
            legendgroup="members",
            showlegend=number == 1,
            line=dict(color="#999", width=1),
            hovertemplate=f"member {number}: %{{y:.3f}}<extra></extra>",
        )
    figure.add_scatter(
        x=distances, y=fused.tolist(), name="mean", line=dict(color=COLOURS[0], width=3)
    )
    figure.add_scatter(
        x=distances,
        y=[fused[0].item() - 2 * distance for distance in distances],
        name="lowest it can be",
        line=dict(color=COLOURS[0], width=1.5, dash="dash"),
    )
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
        figure.add_bar(
            x=["clean", "under attack", "certified"],
            y=[0.0 if share is None else share for share in shares],
            text=["none" if share is None else f"{share:.2f}" for share in shares],
            textposition="outside",
            name=name,
            marker_color=colour,
        )
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
        figure.add_scatter(
            x=row.half_margins[chosen].tolist(),
            y=row.flipped_at[chosen].clamp(max=top).tolist(),
            name=name,
            mode="markers",
            marker=dict(color=colour, symbol=symbol, size=7),
            hovertemplate=f"half margin %{{x:.3f}}, {flipped}<extra></extra>",
        )
    return figure.add_scatter(
        x=[0, 0.5],
        y=[0, 0.5],
        name="equal",
        mode="lines",
        line=dict(color="#444", width=1, dash="dot"),
    )


def ensemble_sizes(gain: EnsembleGain, eps: float) -> go.Figure:
    """Certified accuracy of the mean of the first K nets against K, beside the nets alone."""
    figure = new_figure("ensemble-sizes", dict(eps=eps), xaxis_dtick=1)
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
        figure.add_scatter(
            x=x,
            y=[mean(each) for each in turns],
            error_y=dict(
                array=[max(each) - mean(each) for each in turns],
                arrayminus=[mean(each) - min(each) for each in turns],
                thickness=1,
            ),
            name=name,
            line=dict(color=colour, dash="dash" if kind == "wider" else "solid"),
        )
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
            figure.add_bar(x=widths, y=gains, name=f"over {name}", marker_color=colour)
    return figure
