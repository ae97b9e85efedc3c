"""The one look of all figures: palette, fonts, axes, and a name and description for each."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import plotly.graph_objects as go

__all__ = ["COLOURS", "as_text", "new_figure", "translucent"]

#: Okabe and Ito's palette, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

_TEMPLATE = go.layout.Template(
    layout=go.Layout(
        colorway=COLOURS,
        autotypenumbers="strict",  # "8" beside "∞" is a category, also after a slider has moved
        font=dict(family="Helvetica, Arial, sans-serif", size=14, color="#222"),
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
