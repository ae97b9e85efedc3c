"""Parts of pages: templates, the style, and figures as HTML that `figures.js` draws."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from linfkit.course.static_sliders import without_sliders
from linfkit.reproduce.outputs import has_sliders


def part(name: str) -> str:
    """The text of a file that lies beside this one.

    >>> part("figures.js").splitlines()[0]
    "// Draws the page's figures; those with frames follow their sliders."
    """
    return (resources.files(__package__) / name).read_text("utf-8")


def render(template: str, **values: Any) -> str:
    """The page that a template makes of these values; what is no Markup is escaped."""
    return _TEMPLATES.get_template(template).render(**values)


_TEMPLATES = jinja2.Environment(
    loader=jinja2.FunctionLoader(part), autoescape=True, undefined=jinja2.StrictUndefined
)


def figure_html(figure: dict[str, Any], number: int) -> Markup:
    """A figure as data, under a slider for each of its own.

    Args:
        figure: as JSON would have it: data, layout, and frames if it has sliders.
        number: of the figure on its page, from 1.

    >>> figure_html({"data": [], "layout": {"meta": {"description": "A bar."}}}, number=1)
    Markup('<figure class="plot" id="figure-1">...aria-label="A bar."...</figure>')
    """
    figure, sliders = without_sliders(figure) if has_sliders(figure) else (figure, {})
    meta = figure["layout"].get("meta") or {}
    plain = {key: figure[key] for key in ("data", "layout", "frames") if key in figure}
    # no text within may end the script element
    data = json.dumps(plain, ensure_ascii=False, separators=(",", ":")).replace("</", r"<\/")
    controls = Markup("").join(
        Markup(
            '<label>{name} <input type="range" min="0" max="{last}" value="0" '
            'data-labels="{labels}"><output>{first}</output></label>'
        ).format(name=name, last=len(labels) - 1, labels=json.dumps(labels), first=labels[0])
        for name, labels in sliders.items()
    )
    return Markup(
        '<figure class="plot" id="figure-{number}">{controls}'
        '<div class="canvas" role="img" aria-label="{description}"></div>'
        '<script type="application/json">{data}</script></figure>'
    ).format(
        number=number,
        controls=controls,
        description=meta.get("description", "a figure"),
        data=Markup(data),
    )
