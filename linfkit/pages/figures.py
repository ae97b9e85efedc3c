"""Plotly figures as HTML, drawn in the browser by `explorer.js`."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from markupsafe import Markup

from linfkit.course.scripts import joined


def script() -> Markup:
    """The module that draws a page's figures; inline, as browsers load none from a file."""
    page = (resources.files(__package__) / "page.js").read_text("utf-8")
    return Markup(f"{joined('parts.js', 'explorer.js')}\n{page}")


def figure_html(figure: dict[str, Any], number: int) -> Markup:
    """A figure as data, which `script` draws under its sliders.

    Args:
        figure: as JSON would have it: data, layout, and frames if it has sliders.
        number: of the figure on its page, from 1.

    >>> figure_html({"data": [], "layout": {"meta": {"description": "A bar."}}}, number=1)
    Markup('<figure class="plot" id="figure-1"><noscript>A bar.</noscript>...</figure>')
    """
    meta = figure["layout"].get("meta") or {}
    plain = {key: figure[key] for key in ("data", "layout", "frames") if key in figure}
    # no text within may end the script element
    data = json.dumps(plain, ensure_ascii=False, separators=(",", ":")).replace("</", r"<\/")
    return Markup(
        '<figure class="plot" id="figure-{number}"><noscript>{description}</noscript>'
        '<script type="application/json">{data}</script></figure>'
    ).format(number=number, description=meta.get("description", "a figure"), data=Markup(data))
