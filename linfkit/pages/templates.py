"""The files that pages are made of: templates, the style, and what draws the figures."""

from __future__ import annotations

from importlib import resources
from typing import Any

import jinja2

_HERE = resources.files("linfkit.pages")


def part(name: str) -> str:
    """The text of a file that lies beside this one.

    >>> part("figures.js").splitlines()[0]
    "// Draws the page's figures; those with frames follow their sliders."
    """
    return (_HERE / name).read_text("utf-8")


def render(template: str, **values: Any) -> str:
    """The page that a template makes of these values; what is no Markup is escaped."""
    return _TEMPLATES.get_template(template).render(**values)


_TEMPLATES = jinja2.Environment(
    loader=jinja2.FunctionLoader(part), autoescape=True, undefined=jinja2.StrictUndefined
)
