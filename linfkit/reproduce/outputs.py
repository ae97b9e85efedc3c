"""Claims and figures in the outputs of an executed notebook; outputs to leave out."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from itertools import chain, count
from typing import Any

from nbformat import NotebookNode
from pydantic import TypeAdapter

from linfkit.course.claims import CLAIMS_MIME, Claim

PLOTLY_MIME = "application/vnd.plotly.v1+json"
SVG_MIME = "image/svg+xml"
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"


def claims_in(notebook: NotebookNode) -> list[Claim]:
    """The claims that a notebook's tables carry; of two with one id, the later."""
    adapter = TypeAdapter(list[Claim])
    tables = (data[CLAIMS_MIME] for data in _output_data(notebook) if CLAIMS_MIME in data)
    claims = (claim for table in tables for claim in adapter.validate_python(table))
    return list({claim.id: claim for claim in claims}.values())


def figures_in(notebook: NotebookNode) -> dict[str, dict[str, Any]]:
    """The plotly figures of a notebook, as plain data, by name.

    A figure's name is its `layout.meta["name"]`; one without is called `figure-1`, `figure-2`, …
    by its place among the notebook's figures. A name that comes again gets a number. What an
    Explorer leaves, a figure with sliders of its own, is not among them: it is for pages.
    """
    figures: dict[str, dict[str, Any]] = {}
    for data in _output_data(notebook):
        if PLOTLY_MIME not in data or has_sliders(data[PLOTLY_MIME]):
            continue
        figure = {key: data[PLOTLY_MIME].get(key) for key in ("data", "layout")}
        meta = (figure["layout"] or {}).get("meta")
        given = meta.get("name") if isinstance(meta, dict) else None
        name = as_file_name(str(given)) if given else f"figure-{len(figures) + 1}"
        figures[_free(name, figures)] = figure
    return figures


def add_svgs(notebook: NotebookNode, draw: Callable[[dict[str, Any]], bytes | None]) -> None:
    """Put a picture beside each plotly figure, for readers without plotly: nbconvert, for one.

    Args:
        notebook: executed; its outputs change.
        draw: gives a figure, as plain data, as SVG, or None.
    """
    for data in _output_data(notebook):
        if PLOTLY_MIME in data and (picture := draw(_at_its_start(data[PLOTLY_MIME]))):
            data[SVG_MIME] = picture.decode()


def _at_its_start(figure: dict[str, Any]) -> dict[str, Any]:
    """A figure without sliders, nor the room that an Explorer's still makes for them."""
    layout = {key: value for key, value in figure["layout"].items() if key != "sliders"}
    if has_sliders(figure) and "room" in layout.get("meta", {}):
        room, margin = layout["meta"]["room"], layout["margin"]
        layout |= {
            "height": layout["height"] - room,
            "margin": margin | {"b": margin["b"] - room},
        }
    return {"data": figure["data"], "layout": layout}


def without_widgets(notebook: NotebookNode) -> NotebookNode:
    """Remove a notebook's widgets, which are dead without a kernel, and large.

    Sliders, live figures and progress bars all go; what was printed and plotted stays, and so does
    what an Explorer leaves for readers without a kernel.
    """
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            outputs, cell.outputs = cell.outputs, []
            for output in outputs:
                widget = output.get("data", {}).pop(WIDGET_MIME, None)
                if widget is None or output.data.keys() - {"text/plain"}:  # more than its name
                    cell.outputs.append(output)
    return notebook


def has_sliders(figure: dict[str, Any]) -> bool:
    """True if a plotly figure has sliders."""
    return bool((figure.get("layout") or {}).get("sliders"))


def _output_data(notebook: NotebookNode) -> Iterator[dict[str, Any]]:
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            yield output.get("data", {})


def _free(name: str, taken: Container[str]) -> str:
    numbered = (f"{name}-{number}" for number in count(2))
    return next(free for free in chain([name], numbered) if free not in taken)


def as_file_name(name: str) -> str:
    """The name with a hyphen for whatever does not belong into a file's.

    >>> as_file_name("p / margin")
    'p---margin'
    """
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)
