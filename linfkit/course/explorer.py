"""Sliders around figures: each move shows what is already computed, and trains nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import anywidget
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs
from traitlets import Int, List, Unicode

from linfkit.course.figures.template import as_text
from linfkit.course.scripts import joined
from linfkit.course.static_sliders import Drawing, plain_still

_PLOTLY_MIME = "application/vnd.plotly.v1+json"

#: how arguments are written in the notebooks
_NOTATION = dict(
    eps="ε", eps_train="ε_train", theta="θ", lam="λ", kappa="κ", decay="β", members="K"
)

#: Positions that are all drawn when an Explorer is shown; of more, those along each slider alone.
MOST_DRAWN = 400


class Explorer(anywidget.AnyWidget):
    """A figure under one slider for each of its arguments.

    The browser draws it, from figures of all positions that are computed when it is shown: so it
    moves at once, and goes on where there is no kernel. Positions beyond `MOST_DRAWN` are computed
    as the reader comes to them.

    Args:
        draw: a figure function; called with one keyword argument for each slider. Its figures
            have the same number and kinds of traces, wherever the sliders are.
        values: for each argument of `draw`, the values its slider can take, in order. The slider
            starts at the first, or where it is moved before the explorer is shown.

    Attributes:
        position: the place of each slider among its values, in order; setting it moves them.

    Raises:
        ValueError: a slider has no values.

    >>> def draw(p):
    ...     return go.Figure(go.Scatter(y=[p]), layout=dict(title_text=f"p={p}"))
    >>> explorer = Explorer(draw, p=[8, 16])
    >>> explorer.move(p=16)
    >>> explorer.values, explorer.figure.layout.title.text
    ({'p': 16}, 'p=16')
    >>> explorer.visit()
    ['p=8', 'p=16']
    """

    _esm = joined("parts.js", "explorer.js")

    key = Unicode().tag(sync=True)
    position = List(Int()).tag(sync=True)

    def __init__(self, draw: Callable[..., go.Figure], **values: Sequence[Any]) -> None:
        for name, choices in values.items():
            if not len(choices):
                raise ValueError(f"{name} must have at least one value to slide over; got none")
        self._draw = draw
        self._choices = {name: list(choices) for name, choices in values.items()}
        self._drawings: dict[tuple[int, ...], Drawing] = {}
        super().__init__(position=[0] * len(values))
        self.key = self.model_id or ""
        self._drawing(tuple(self.position))
        self.on_msg(self._answer)
        self.observe(self._moved, "position")

    @property
    def values(self) -> dict[str, Any]:
        """Present value of each slider, by name."""
        return self._values_at(self.position)

    @property
    def figure(self) -> go.Figure:
        """Figure at the present position."""
        return self._drawing(tuple(self.position)).figure

    def move(self, **values: Any) -> None:
        """Move sliders to values of theirs.

        Raises:
            ValueError: a name is no slider's, or a value none of its slider's.
        """
        position = dict(zip(self._choices, self.position, strict=True))
        for name, value in values.items():
            if name not in self._choices:
                raise ValueError(f"sliders are {', '.join(self._choices)}; got {name}")
            if value not in self._choices[name]:
                raise ValueError(f"{name} must be one of {self._choices[name]}; got {value!r}")
            position[name] = self._choices[name].index(value)
        self.position = list(position.values())

    def visit(self) -> list[str]:
        """Move each slider over all its values and back; the titles seen on the way.

        Whatever `draw` raises is raised here.
        """
        along = ([*self._along(name)] for name in self._choices)
        places = itertools.chain.from_iterable(along)
        return [self._drawing(place).figure.layout.title.text for place in places]

    def still(self) -> go.Figure:
        """Figure with plotly's sliders, which move without a kernel.

        There is a frame for each combination of the sliders' values, named by their places:
        ``"0,2"`` has the first slider at its first value and the second at its third. A slider
        of the figure itself shows the combinations in which the others are where they are now; a
        page that reads the names can show them all.
        """
        return go.Figure(self._plain_still())

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The widget and its `still`, which JupyterLab shows by linfkit's extension."""
        data, metadata = super()._repr_mimebundle_(**options) or ({}, {})
        description = self._drawing(tuple(self.position)).description
        return data | {"text/plain": description, _PLOTLY_MIME: self._plain_still()}, metadata

    def _plain_still(self) -> dict[str, Any]:
        labels = {
            _NOTATION.get(name, name.replace("_", " ")): [_label(choice) for choice in choices]
            for name, choices in self._choices.items()
        }
        counts = [len(choices) for choices in self._choices.values()]
        positions: Iterable[tuple[int, ...]] = itertools.product(*map(range, counts))
        if math.prod(counts) > MOST_DRAWN:
            positions = itertools.chain.from_iterable(map(self._along, self._choices))
        drawings = {place: self._drawing(place) for place in positions}
        return plain_still(drawings, labels, tuple(self.position))

    def _along(self, name: str) -> list[tuple[int, ...]]:
        """The positions of one slider, the others where they are."""
        which = list(self._choices).index(name)
        before, after = self.position[:which], self.position[which + 1 :]
        return [(*before, place, *after) for place in range(len(self._choices[name]))]

    def _values_at(self, position: Sequence[int]) -> dict[str, Any]:
        chosen = zip(self._choices.items(), position, strict=True)
        return {name: choices[place] for (name, choices), place in chosen}

    def _drawing(self, position: tuple[int, ...]) -> Drawing:
        if position not in self._drawings:
            drawing = Drawing.of(self._draw(**self._values_at(position)))
            first = next(iter(self._drawings.values()), drawing)
            if drawing.kinds != first.kinds:
                raise ValueError(
                    f"draw must give the same traces wherever the sliders are; "
                    f"got {drawing.kinds} and {first.kinds}"
                )
            self._drawings[position] = drawing
        return self._drawings[position]

    def _moved(self, change: Mapping[str, Any]) -> None:
        """Draw a position that the browser has no figure of, and send it there."""
        place = tuple(change["new"])
        if place in self._drawings:
            return
        message = {"at": ",".join(map(str, place))}
        try:
            self.send(message | {"figure": self._drawing(place).plain})
        except Exception as error:  # nobody else would tell the reader
            self.send(message | {"error": f"{type(error).__name__}: {error}"})

    def _answer(self, widget: object, content: Mapping[str, Any], buffers: object) -> None:
        """Give the browser what it asks for once: the still, or plotly's own code."""
        match content.get("ask"):
            case "still":
                self.send({"answer": "still", "value": self._plain_still()})
            case "plotly":
                self.send({"answer": "plotly"}, [get_plotlyjs().encode()])


def _label(value: object) -> str:
    return as_text(value) if isinstance(value, int | float) else str(value)
