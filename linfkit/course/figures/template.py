"""The one look of all figures: palette, fonts, axes, traces; name and description of each."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from itertools import chain
from statistics import mean
from typing import Any

import plotly.graph_objects as go
import torch
from torch import Tensor

Values = Sequence[Any] | Tensor
#: Looks of traces or axes, to be spread into a call: `add_line(…, **BOUND)`.
Style = dict[str, Any]

#: Okabe and Ito's palette, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
#: Of lines and marks that are no data, such as axes and squares.
INK = "#222"

#: A line that no data can cross.
BOUND = Style(mode="lines", colour=COLOURS[-1], dash="dash")
#: The place of a trace in the second panel.
PANEL_2 = Style(xaxis="x2", yaxis="y2")
#: A trace beside the data: neither in the legend nor under the mouse.
SILENT = Style(showlegend=False, hoverinfo="skip")
#: A layout of bars beside each other, with their points on them.
GROUPED = Style(barmode="group", scattermode="group", hovermode="closest", xaxis_type="category")
#: A layout of pictures side by side, which `add_panels` draws.
BESIDE = Style(height=300, hovermode="closest", plot_bgcolor="#ccc")
#: An axis with a tick at each power of ten.
DECADES = Style(type="log", exponentformat="power", dtick=1)
#: The axis of the exponent along a run, from the papers' start to the end of their ramp.
P_OF_TRAINING = Style(type="log", tickvals=[8, 16, 32, 64, 128, 256, 512, 1000])
#: A picture of changes: less in red, more in blue.
CHANGE = Style(zmin=-1, colorscale="RdBu")
#: The narrow scale of a picture's shades, right of all panels.
SCALE = Style(showscale=True, colorbar=dict(thickness=12, x=1.0))
#: An axis of which nothing shows but its title.
_BARE = Style(showticklabels=False, showgrid=False, showline=False, zeroline=False, ticks="")

_TEMPLATE = go.layout.Template(
    layout=go.Layout(
        colorway=COLOURS,
        autotypenumbers="strict",  # "8" beside "∞" is a category, also after a slider has moved
        font=dict(family="Helvetica, Arial, sans-serif", size=14, color=INK),
        title=dict(font=dict(size=17), x=0.02, xanchor="left", y=0.97, yanchor="top"),
        paper_bgcolor="white",
        plot_bgcolor="white",
        xaxis=dict(showline=True, linecolor="#444", gridcolor="#e6e6e6", ticks="outside"),
        yaxis=dict(
            showline=True, linecolor="#444", gridcolor="#e6e6e6", ticks="outside", automargin=True
        ),
        legend=dict(orientation="h", yanchor="bottom", y=1.0, x=0.0),
        margin=dict(l=70, r=20, t=88, b=60),
        hovermode="x unified",
        width=760,
        height=430,
    )
)


@cache
def captions() -> dict[str, dict[str, str]]:
    """Words of all figures, by name: title, description, titles of the axes."""
    return tomllib.loads((resources.files(__package__) / "captions.toml").read_text("utf-8"))


def new_figure(name: str, values: Mapping[str, object] | None = None, **layout: Any) -> go.Figure:
    """Empty figure in linfkit's template, with the words of its name in captions.toml.

    Args:
        name: of the figure, and of its files; lower case and hyphens.
        values: that the words name in braces.
        layout: anything else of plotly's layout.

    >>> new_figure("ema-gain").layout.title.text
    'What the moving average gains'
    """
    words = {key: text.format_map(values or {}) for key, text in captions()[name].items()}
    figure = go.Figure(
        layout=dict(
            template=_TEMPLATE,
            meta=dict(name=name, description=words["description"]),
            title=dict(text=words["title"]),
            xaxis=dict(title=dict(text=words["x"])),
            yaxis=dict(title=dict(text=words["y"])),
        )
    )
    return figure.update_layout(**layout)


def add_line(
    figure: go.Figure,
    x: Values,
    y: Values,
    name: str | None,
    colour: str | None = None,
    dash: str | None = None,
    width: float | None = None,
    **more: Any,
) -> go.Figure:
    """Draw a line; without a `mode` it has marks where its points are few, as plotly decides.

    >>> figure = add_line(new_figure("ema-gain"), [1, 2], [3, 4], "ours", "#222", "dot")
    >>> figure.data[0].line.dash
    'dot'
    """
    line = dict(color=colour, dash=dash, width=width)
    return figure.add_scatter(x=_listed(x), y=_listed(y), name=name, line=line, **more)


def add_points(
    figure: go.Figure,
    x: Values,
    y: Values,
    name: str,
    colour: str | Sequence[str] | None = None,
    size: float | None = None,
    symbol: str | Sequence[str] | None = None,
    **more: Any,
) -> go.Figure:
    """Draw a mark at each point."""
    style = Style(mode="markers", marker=dict(color=colour, size=size, symbol=symbol)) | more
    return figure.add_scatter(x=_listed(x), y=_listed(y), name=name, **style)


def add_bars(
    figure: go.Figure,
    x: Values,
    y: Values,
    name: str | None,
    colour: str | Sequence[str],
    **more: Any,
) -> go.Figure:
    """Draw bars."""
    return figure.add_bar(x=_listed(x), y=_listed(y), name=name, marker_color=colour, **more)


def add_bars_of_seeds(
    figure: go.Figure,
    x: Sequence[str],
    seeds: Sequence[Sequence[float]],
    name: str,
    colour: str,
    name_of_points: str = "one seed",
    ink: str = INK,
) -> go.Figure:
    """Draw bars of means over the seeds, and a point for each seed.

    Args:
        figure: that gets them; its layout is `GROUPED`.
        x: places of the bars.
        seeds: of each bar, the values.
        name: of the bars.
        colour: of the bars.
        name_of_points: what a point is called where the mouse is over it.
        ink: colour of the points.
    """
    means = [mean(values) for values in seeds]
    add_bars(figure, x, means, name, colour, opacity=0.6, offsetgroup=name)
    places = [place for place, values in zip(x, seeds, strict=True) for _ in values]
    beside = Style(offsetgroup=name, showlegend=False)
    return add_points(figure, places, [*chain(*seeds)], name_of_points, ink, 6, **beside)


def add_picture(
    figure: go.Figure,
    pixels: Tensor,
    name: str,
    axis: str = "",
    across: Sequence[float] = (0, 1),
    up: Sequence[float] = (0, 1),
    **more: Any,
) -> go.Figure:
    """Draw an image in a panel of its own: ink dark, pixels square, rows from the top, bare axes.

    Args:
        figure: that gets it.
        pixels: grey, (H, W), in [0, 1] unless `more` says otherwise.
        name: of the trace.
        axis: number of the panel's axes, none for the first.
        across: the panel's share of the figure's width, from and to.
        up: likewise of its height.
        more: anything else of plotly's heatmap.
    """
    x, y = f"x{axis}", f"y{axis}"
    columns = dict(domain=across, anchor=y, constrain="domain", **_BARE)
    rows = dict(domain=up, anchor=x, scaleanchor=x, autorange="reversed", constrain="domain")
    figure.update_layout({f"xaxis{axis}": columns, f"yaxis{axis}": rows | _BARE})
    style = Style(
        zmin=0,
        zmax=1,
        colorscale="Greys",
        showscale=False,
        hovertemplate="%{z:.2f}<extra></extra>",
    )
    places, shades = list(range(pixels.shape[1])), pixels.numpy(force=True).round(3)
    return figure.add_heatmap(x=places, z=shades, name=name, xaxis=x, yaxis=y, **style | more)


def add_panels(
    figure: go.Figure, panels: Mapping[str, Tensor], hovertemplate: str | None = None
) -> go.Figure:
    """Draw images of one size side by side, with a scale of their shades and a name under each.

    Args:
        figure: that gets them; its ground shows between them.
        panels: by name, grey images, (H, W), in [0, 1].
        hovertemplate: what is said of a pixel under the mouse; plotly's own words if not given.
    """
    height, width = next(iter(panels.values())).shape
    gap = torch.full((height, 1), math.nan)
    pixels = torch.cat([part for panel in panels.values() for part in (panel.cpu(), gap)], dim=1)
    scale = Style(showscale=True, colorbar_title=dict(text="pixel", side="right"))
    add_picture(figure, pixels[:, :-1], "pixel", hovertemplate=hovertemplate, **scale)
    middles = [(width - 1) / 2 + k * (width + 1) for k in range(len(panels))]
    labels = dict(showticklabels=True, tickvals=middles, ticktext=list(panels))
    return figure.update_xaxes(**labels)


def _listed(values: Values) -> Sequence[Any]:
    return values.tolist() if isinstance(values, Tensor) else values


def as_text(p: float) -> str:
    """A value of p for an axis or a legend: ∞, or the number.

    >>> [as_text(p) for p in (8.0, 100.5, math.inf)]
    ['8', '100.5', '∞']
    """
    return "∞" if math.isinf(p) else f"{p:.4g}"


def translucent(colour: str, opacity: float) -> str:
    """A colour of the palette, seen through.

    >>> translucent("#0072B2", 0.2)
    'rgba(0,114,178,0.2)'
    """
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"
