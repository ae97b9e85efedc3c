"""Sphinx's settings for the site that `linfkit.pages.export` stages; none of it needs a network."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

from linfkit.pages.figures import script
from linfkit.pages.mathml import formula

project = html_title = "linfkit"
language = "en"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

nb_execution_mode = "off"  # notebooks are shown as their last run left them
nb_merge_streams = True
nb_code_prompt_show = nb_code_prompt_hide = "Code of a check"
myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 4
myst_footnote_transition = False

default_role = "py:obj"  # `name` in a docstring
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
add_module_names = False
python_display_short_literal_types = True

html_theme = "furo"
html_theme_options = {"dark_css_variables": {"color-background-primary": "#1b1b1b"}}  # figures' own
html_static_path = ["static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = html_show_sourcelink = html_show_copyright = html_show_sphinx = False
html_show_search_summary = False  # it is fetched, which a page from disk may not do


def setup(app: Sphinx) -> None:
    """Register the renderer of mathematics, and what draws figures."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("html-page-context", _draw_figures)
    app.connect("autodoc-process-docstring", _escape_bars)


def _inline(writer: Any, node: nodes.Element) -> None:
    _write(writer, node, "inline")


def _block(writer: Any, node: nodes.Element) -> None:
    _write(writer, node, "block")


def _write(writer: Any, node: nodes.Element, display: str) -> None:
    try:
        writer.body.append(formula(node.astext(), display))
    except ValueError as error:
        logging.getLogger(__name__).warning("%s", error, location=node)
    raise nodes.SkipNode


def _draw_figures(app: Sphinx, page: str, template: str, context: Any, doctree: Any) -> None:
    if page.startswith("notebooks/"):
        app.add_js_file("plotly.min.js", defer="defer")
        app.add_js_file(None, body=script(), type="module")


def _escape_bars(
    app: Sphinx, what: str, name: str, of: Any, options: Any, lines: list[str]
) -> None:
    """Absolute values are no substitutions of reStructuredText."""
    lines[:] = [line if ">>>" in line else line.replace("|", r"\|") for line in lines]
