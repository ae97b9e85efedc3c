"""Figures whose sliders move without a kernel: a frame for every position."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

_ROOM = 80  # pixels under a figure for each slider of its own
_GAP = 34  # pixels between them and the figure, into which a legend may reach

#: what plotly is to do with a frame: show it, and nothing in between
_AT_ONCE = dict(mode="immediate", frame=dict(duration=0, redraw=True), transition=dict(duration=0))


@dataclass(frozen=True)
class Drawing:
    """A figure as drawn.

    Attributes:
        figure: the figure.
        plain: the same as JSON.
        parts: the properties, by path, of its layout and of each of its traces.
    """

    figure: go.Figure
    plain: dict[str, Any]
    parts: list[dict[str, Any]]

    @classmethod
    def of(cls, figure: go.Figure) -> Drawing:
        """Draw a figure."""
        plain = json.loads(figure.to_json(validate=False))
        parts = [_properties(part) for part in (plain["layout"], *plain["data"])]
        return cls(figure, plain, parts)

    @property
    def kinds(self) -> list[str]:
        """Its traces' types."""
        return [trace.type for trace in self.figure.data]

    @property
    def description(self) -> str:
        """Description of the figure for a reader who cannot see it."""
        meta = self.figure.layout.meta
        described = meta.get("description") if isinstance(meta, dict) else None
        return described or self.figure.layout.title.text or "a figure"


def _properties(part: dict[str, Any], parent: str = "") -> dict[str, Any]:
    """Properties by dotted path; an array, a list and what plotly does not read count as one."""
    properties: dict[str, Any] = {}
    for key, value in part.items():
        if isinstance(value, dict) and "bdata" not in value and key != "meta":
            properties |= _properties(value, f"{parent}{key}.")
        else:
            properties[parent + key] = value
    return properties


def changed_properties(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[str]:
    """The paths at which two sets of properties differ.

    >>> sorted(changed_properties({"a": 1, "b.c": 2}, {"b.c": 3, "d": 4}))
    ['a', 'b.c', 'd']
    """
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def plain_still(
    drawings: Mapping[tuple[int, ...], Drawing],
    labels: Mapping[str, list[str]],
    start: tuple[int, ...],
) -> dict[str, Any]:
    """A figure with sliders and frames, as JSON, in which a frame can say that something is gone.

    There is a frame for each position of the sliders, named by their places: ``"0,2"`` has the
    first slider at its first value and the second at its third. A slider of the figure itself shows
    the positions in which the others are at their start; a page that reads the names can show all.

    Args:
        drawings: the figure drawn at every position.
        labels: for each slider, by its name, what its values are called.
        start: the position to start from, one of these.
    """
    first = drawings[start]
    return {
        "data": _compact(first.plain["data"]),
        "layout": _with_sliders(_compact(first.plain["layout"]), labels, start),
        "frames": _frames(drawings),
    }


def _name(position: tuple[int, ...]) -> str:
    return ",".join(map(str, position))


def _frames(drawings: Mapping[tuple[int, ...], Drawing]) -> list[dict[str, Any]]:
    """A still's frames: how each drawing has whatever differs between any two of them."""
    first, *others = drawings.values()
    frames: list[dict[str, Any]] = [
        dict(name=_name(position), data=[], traces=[]) for position in drawings
    ]
    for which, before in enumerate(first.parts):
        changing = set[str]().union(
            *(changed_properties(before, other.parts[which]) for other in others)
        )
        if not changing:
            continue
        columns = {
            path: _alike(
                [_compact(drawing.parts[which].get(path), path) for drawing in drawings.values()]
            )
            for path in sorted(changing)
        }
        for place, frame in enumerate(frames):
            part = _tree({path: column[place] for path, column in columns.items()})
            if which == 0:
                frame["layout"] = part
            else:
                frame["traces"].append(which - 1)
                frame["data"].append(dict(type=first.kinds[which - 1]) | part)
    for position, frame in zip(drawings, frames, strict=True):
        # each slider shows where it is, also when another has put it back to its start
        moved = dict(sliders=[dict(active=place) for place in position])
        frame["layout"] = frame.get("layout", {}) | moved
    return frames


def _alike(values: list[Any]) -> list[Any]:
    """Values of one property, in which lists of shapes or annotations have like items.

    plotly lays a frame's list over the one shown, item by item and property by property, so that
    what a frame does not mention would stay.
    """
    items = [item for value in values if isinstance(value, list) for item in value]
    if not items or not all(isinstance(item, dict) for item in items):
        return values
    longest = max(len(value or []) for value in values)
    padded = [[*(value or []), *[dict(visible=False)] * longest][:longest] for value in values]
    known = dict.fromkeys(path for item in items for path in _properties(item))
    blank = dict.fromkeys(known) | dict(visible=True)
    return [[_tree(blank | _properties(item)) for item in value] for value in padded]


def _tree(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Nested properties from the flat ones of `_properties`."""
    tree: dict[str, Any] = {}
    for path, value in properties.items():
        *parents, key = path.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[key] = value
    return tree


def _with_sliders(
    layout: dict[str, Any], labels: Mapping[str, list[str]], start: tuple[int, ...]
) -> dict[str, Any]:
    """A layout with sliders under all that it has; each step shows a frame."""
    defaults = layout.get("template", {}).get("layout", {})
    height = layout.get("height") or defaults.get("height") or 450
    margin = dict(l=80, r=80, t=100, b=80)  # plotly's own
    margin |= defaults.get("margin", {}) | layout.get("margin", {})
    pixel = 1 / (height - margin["t"] - margin["b"])  # as a share of the plot's height
    sliders = [
        dict(
            name=name,
            active=start[which],
            currentvalue=dict(prefix=f"{name} = "),
            pad=dict(t=0, b=0),
            y=-(margin["b"] + _GAP + which * _ROOM) * pixel,
            steps=[
                dict(
                    label=label,
                    method="animate",
                    args=[[_name((*start[:which], place, *start[which + 1 :]))], _AT_ONCE],
                )
                for place, label in enumerate(texts)
            ],
        )
        for which, (name, texts) in enumerate(labels.items())
    ]
    room = _GAP + _ROOM * len(sliders)
    meta = layout.get("meta")
    return layout | dict(
        height=height + room,
        margin=margin | {"b": margin["b"] + room},
        sliders=sliders,
        # explorer.js takes both away again
        meta=(meta if isinstance(meta, dict) else {}) | {"room": room},
    )


def _compact(value: Any, key: str = "") -> Any:
    """Shorten data: floats of five digits, arrays of float32."""
    match value:
        case {"bdata": numbers, "dtype": "f8"}:
            floats = np.frombuffer(base64.b64decode(numbers))
            return value | _packed(floats)
        case dict():
            return {name: _compact(item, name) for name, item in value.items()}
        case [[*_], *_] if key == "z" and all(map(_is_numeric, value)):
            rows = np.array(value, dtype=float)
            return _packed(rows) | {"shape": ", ".join(map(str, rows.shape))}
        case [_, *_] if key in ("x", "y", "z") and _is_numeric(value) and len(value) > 8:
            return _packed(np.array(value, dtype=float))
        case list():
            return [_compact(item) for item in value]
        case float() if math.isfinite(value):
            return float(f"{value:.5g}")
    return value


def _is_numeric(values: Any) -> bool:
    """True if these are numbers, or gaps between numbers."""
    return isinstance(values, list) and all(
        item is None or (isinstance(item, int | float) and not isinstance(item, bool))
        for item in values
    )


def _packed(numbers: np.ndarray) -> dict[str, str]:
    """An array as plotly takes it in JSON; a gap is NaN."""
    return {"dtype": "f4", "bdata": base64.b64encode(numbers.astype("<f4").tobytes()).decode()}
