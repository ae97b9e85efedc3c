"""Figures of ensembles: margins, fusion against voting, sizes, widths, cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from linfkit.course.figures.certified import certified_accuracy
from linfkit.course.figures.template import COLOURS, new_figure
from linfkit.course.studies.ensembles import (
    AtCost,
    EnsembleGain,
    MarginsAlong,
    Robustness,
    VotingMargins,
)

__all__ = [
    "certified_against_weights",
    "ensemble_accuracy",
    "ensemble_sizes",
    "fusion_against_voting",
    "gain_by_width",
    "margins_on_the_way",
    "voting_margin",
]


def margins_on_the_way(along: MarginsAlong, image: int) -> go.Figure:
    """Margins of members and of their mean on the way out from one image, with the mean's cone."""
    mean = along.ensemble[image]
    radius = mean[0].item() / 2
    figure = new_figure(
        "margins-on-the-way",
        dict(image=image, margin=mean[0], radius=radius),
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
        x=distances, y=mean.tolist(), name="mean", line=dict(color=COLOURS[0], width=3)
    )
    figure.add_scatter(
        x=distances,
        y=[mean[0].item() - 2 * distance for distance in distances],
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


def gain_by_width(gains: Mapping[int, EnsembleGain], eps: float) -> go.Figure:
    """Certified accuracy of single nets and of the mean of all, for each width."""
    figure = new_figure("gain-by-width", dict(eps=eps), xaxis_type="category")
    widths = [str(width) for width in gains]
    alone = [[member.accuracy(eps) for member in gain.members] for gain in gains.values()]
    figure.add_scatter(
        x=widths,
        y=[gain.ensembles[-1].accuracy(eps) for gain in gains.values()],
        name="ensemble of all",
        mode="lines+markers",
        line_color=COLOURS[0],
    )
    figure.add_scatter(
        x=widths,
        y=[sum(each) / len(each) for each in alone],
        name="net, on average",
        mode="lines+markers",
        line_color=COLOURS[1],
    )
    return figure.add_scatter(
        x=[width for width, each in zip(widths, alone, strict=True) for _ in each],
        y=[accuracy for each in alone for accuracy in each],
        name="one net",
        mode="markers",
        marker=dict(color=COLOURS[1], size=6, symbol="circle-open"),
        hovertemplate="%{y:.3f}",
    )


def certified_against_weights(table: Mapping[int, Sequence[AtCost]], eps: float) -> go.Figure:
    """Certified accuracy against the number of weights: wider nets, and more nets of one width."""
    figure = new_figure(
        "certified-against-weights",
        dict(eps=eps),
        xaxis=dict(type="log", tickvals=[500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 10**5]),
        hovermode="closest",
        margin_t=110,
    )
    singles = [rows[0] for rows in table.values()]
    figure.add_scatter(
        x=[row.weights for row in singles],
        y=[row.certified for row in singles],
        name="one net",
        mode="lines+markers",
        line=dict(color=COLOURS[-1], dash="dash"),
        customdata=[row.width for row in singles],
        hovertemplate="width %{customdata}: %{y:.3f}<extra></extra>",
    )
    several = [rows for rows in table.values() if len(rows) > 1]
    for rows, colour in zip(several, COLOURS, strict=False):
        figure.add_scatter(
            x=[row.weights for row in rows],
            y=[row.certified for row in rows],
            name=f"K × width {rows[0].width}",
            mode="lines+markers",
            line_color=colour,
            customdata=[row.size for row in rows],
            hovertemplate="K=%{customdata}: %{y:.3f}<extra></extra>",
        )
    return figure
