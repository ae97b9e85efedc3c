"""Sliders around figures: each move redraws from what is already computed, and trains nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets
import plotly.graph_objects as go

from linfkit.figures.template import as_text

__all__ = ["Explorer"]


class Explorer(ipywidgets.VBox):
    """A figure under one slider for each of its arguments.

    Args:
        draw: a figure function; called with one keyword argument for each slider.
        values: for each argument of `draw`, the values its slider can take, in order. The slider
            starts at the first.

    Attributes:
        sliders: the sliders by name; setting ``.value`` moves one.
        figure: the FigureWidget that they redraw.

    >>> def draw(p):
    ...     return go.Figure(go.Scatter(y=[p]), layout=dict(title_text=f"p={p}"))
    >>> explorer = Explorer(draw, p=[8, 16])
    >>> explorer.sliders["p"].value = 16
    >>> explorer.figure.layout.title.text
    'p=16'
    """

    def __init__(self, draw: Callable[..., go.Figure], **values: Sequence[Any]) -> None:
        for name, choices in values.items():
            if not len(choices):
                raise ValueError(f"{name} must have at least one value to slide over; got none")
        self._draw = draw
        self.sliders: Mapping[str, ipywidgets.SelectionSlider] = {
            name: ipywidgets.SelectionSlider(
                options=[(_label(value), value) for value in choices],
                description=name,
                continuous_update=True,
                layout=ipywidgets.Layout(width="480px"),
            )
            for name, choices in values.items()
        }
        self.figure = go.FigureWidget(self._drawn())
        for slider in self.sliders.values():
            slider.observe(self._redraw, "value")
        super().__init__([*self.sliders.values(), self.figure])

    def visit(self) -> list[str]:
        """Move each slider over all its values and back; the titles seen on the way."""
        titles = []
        for slider in self.sliders.values():
            start = slider.value
            for _, value in slider.options:
                slider.value = value
                titles.append(self.figure.layout.title.text)
            slider.value = start
        return titles

    def _drawn(self) -> go.Figure:
        return self._draw(**{name: slider.value for name, slider in self.sliders.items()})

    def _redraw(self, change: object) -> None:
        drawn = self._drawn()
        with self.figure.batch_update():
            for shown, trace in zip(self.figure.data, drawn.data, strict=True):
                shown.update(trace.to_plotly_json(), overwrite=False)
            self.figure.layout.title.text = drawn.layout.title.text


def _label(value: object) -> str:
    return as_text(value) if isinstance(value, int | float) else str(value)
