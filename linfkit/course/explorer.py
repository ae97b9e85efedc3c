"""Sliders around figures: each move redraws from what is already computed, and trains nothing."""

from __future__ import annotations

import asyncio
import html
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ipywidgets
import plotly.graph_objects as go

from linfkit.course.figures.template import as_text
from linfkit.course.static_sliders import Drawing, changed_properties, plain_still

_PLOTLY_MIME = "application/vnd.plotly.v1+json"

#: how arguments are written in the notebooks
_NOTATION = dict(
    eps="ε", eps_train="ε_train", theta="θ", lam="λ", kappa="κ", decay="β", members="K"
)

_PAUSE = 0.012  # seconds in which further moves of a slider are waited for
_SLOW = 0.3  # seconds after which the reader is told that something is being drawn


class Explorer(ipywidgets.VBox):
    """A figure under one slider for each of its arguments.

    Where a kernel runs, moves that follow each other closely are drawn as one, the last. Shown in a
    notebook, an Explorer leaves its `still` beside the widget, for readers without a kernel.

    Args:
        draw: a figure function; called with one keyword argument for each slider. Its figures
            have the same number and kinds of traces, wherever the sliders are.
        values: for each argument of `draw`, the values its slider can take, in order. The slider
            starts at the first.

    Attributes:
        sliders: the sliders by name; setting ``.value`` moves one.
        figure: the FigureWidget that they redraw.

    Raises:
        ValueError: a slider has no values.

    >>> def draw(p):
    ...     return go.Figure(go.Scatter(y=[p]), layout=dict(title_text=f"p={p}"))
    >>> explorer = Explorer(draw, p=[8, 16])
    >>> explorer.sliders["p"].value = 16
    >>> explorer.figure.layout.title.text
    'p=16'
    >>> explorer.visit()
    ['p=8', 'p=16']
    """

    def __init__(self, draw: Callable[..., go.Figure], **values: Sequence[Any]) -> None:
        for name, choices in values.items():
            if not len(choices):
                raise ValueError(f"{name} must have at least one value to slide over; got none")
        self._draw = draw
        self._drawings: dict[tuple[int, ...], Drawing] = {}
        self._waiting: asyncio.TimerHandle | None = None
        written = {name: _NOTATION.get(name, name.replace("_", " ")) for name in values}
        widest = max(map(len, written.values()), default=0)
        self.sliders: Mapping[str, ipywidgets.SelectionSlider] = {
            name: ipywidgets.SelectionSlider(
                options=[(_label(value), value) for value in choices],
                description=written[name],
                style=dict(description_width=f"{max(6, widest + 1)}ch"),
                layout=ipywidgets.Layout(width="480px", max_width="96%"),
            )
            for name, choices in values.items()
        }
        self._shown = self._drawing(self._position)
        # plotly fits a figure into its place only where neither it nor its template has a width
        as_wide_as_there_is_room = dict(width=None, template_layout_width=None, autosize=True)
        self.figure = go.FigureWidget(
            go.Figure(self._shown.figure).update_layout(as_wide_as_there_is_room)
        )
        self.figure._config = {"responsive": True}  # and follows when the room changes
        self._status = ipywidgets.HTML()
        self._description = ipywidgets.HTML(self._shown.described)
        for slider in self.sliders.values():
            slider.observe(self._moved, "index")
        controls = ipywidgets.HBox(
            [ipywidgets.VBox([*self.sliders.values()]), self._status],
            layout=ipywidgets.Layout(flex_flow="row wrap"),
        )
        room = ipywidgets.GridBox(
            [self.figure],
            layout=ipywidgets.Layout(max_width="760px", grid_template_columns="minmax(0, 1fr)"),
        )
        super().__init__([controls, room, self._description])

    def visit(self) -> list[str]:
        """Move each slider over all its values and back; the titles seen on the way.

        Whatever `draw` raises is raised here.
        """
        titles = []
        for slider in self.sliders.values():
            start = slider.index
            for place in range(len(slider.options)):
                slider.index = place
                self._redraw()
                titles.append(self.figure.layout.title.text)
            slider.index = start
            self._redraw()
        return titles

    def still(self) -> go.Figure:
        """Figure with plotly's sliders, which move without a kernel.

        There is a frame for each combination of the sliders' values, named by their places:
        ``"0,2"`` has the first slider at its first value and the second at its third. A slider
        of the figure itself shows the combinations in which the others are at their start; a page
        that reads the names can show them all.
        """
        return go.Figure(self._plain_still())

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """The widget and, for where there is no kernel, its `still`."""
        self.figure._repr_mimebundle_()  # takes up moves of before it was shown; no box asks for it
        bundle = super()._repr_mimebundle_(**options) or {}
        bundle["text/plain"] = self._shown.description
        with self._told():
            bundle[_PLOTLY_MIME] = self._plain_still()
        return bundle

    def _plain_still(self) -> dict[str, Any]:
        labels = {
            slider.description: [label for label, _ in slider.options]
            for slider in self.sliders.values()
        }
        positions = itertools.product(*(range(len(texts)) for texts in labels.values()))
        return plain_still({place: self._drawing(place) for place in positions}, labels)

    @property
    def _position(self) -> tuple[int, ...]:
        return tuple(slider.index for slider in self.sliders.values())

    def _drawing(self, position: tuple[int, ...]) -> Drawing:
        if position not in self._drawings:
            values = {
                name: slider.options[place][1]
                for (name, slider), place in zip(self.sliders.items(), position, strict=True)
            }
            self._drawings[position] = drawing = Drawing.of(self._draw(**values))
            first = next(iter(self._drawings.values()))
            if drawing.kinds != first.kinds:
                raise ValueError(
                    f"draw must give the same traces wherever the sliders are; "
                    f"got {drawing.kinds} and {first.kinds}"
                )
        return self._drawings[position]

    def _moved(self, change: object) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no kernel, so no more moves to wait for
            self._redraw()
            return
        if self._waiting is None:
            self._waiting = loop.call_later(_PAUSE, self._told()(self._redraw))

    def _redraw(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        # what takes long is told from a thread, for the kernel is busy drawing
        slow = threading.Timer(_SLOW, self._tell, ["⏳ drawing …"])
        slow.start()
        try:
            drawing = self._drawing(self._position)
            with self.figure.batch_update():
                _update(self.figure, self._shown, drawing)
            self._description.value = drawing.described
            self._shown = drawing
        finally:
            slow.cancel()
            slow.join()
            self._tell("")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell the reader of an error that nobody else would: a callback's goes nowhere."""
        try:
            yield
        except Exception as error:
            self._tell(f"{type(error).__name__}: {error}")

    def _tell(self, text: str) -> None:
        self._status.value = f'<span role="status">{html.escape(text)}</span>' if text else ""


def _update(shown: go.Figure, before: Drawing, after: Drawing) -> None:
    """Set what differs between two drawings, of which the first is shown."""
    targets = (shown.layout, *shown.data)
    sources = (after.figure.layout, *after.figure.data)
    for target, source, old, new in zip(targets, sources, before.parts, after.parts, strict=True):
        for path in changed_properties(old, new):
            target[path] = source[path]


def _label(value: object) -> str:
    return as_text(value) if isinstance(value, int | float) else str(value)
