"""A notebook's Markdown as HTML, its mathematics as MathML, its links as those between pages."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from latex2mathml.converter import convert
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath


def prose_html(markdown: str) -> str:
    r"""A Markdown cell as HTML.

    Raises:
        ValueError: MathML has no words for a formula in it.

    >>> prose_html("[Notebook 04](04_hinge_vs_mixed.ipynb)")
    '<p><a href="04_hinge_vs_mixed.html">Notebook 04</a></p>\n'
    >>> "<math" in prose_html(r"at most $d^{1/p}$")
    True
    """
    return MarkdownWithMath(renderer=_Pages(escape=False)).render(markdown)


def formula(latex: str, display: str = "inline") -> str:
    r"""A formula as MathML, `"inline"` or as a `"block"`.

    Raises:
        ValueError: it has a command or an environment that is not known.

    >>> formula(r"\thete")
    Traceback (most recent call last):
    ValueError: the formula \thete cannot be written as MathML
    """
    try:
        mathml = convert(latex, display=display)
        understood = "\\" not in "".join(ElementTree.fromstring(mathml).itertext())
    except Exception:  # the converter has a dozen kinds of its own, for malformed LaTeX
        understood = False
    if not understood:
        raise ValueError(f"the formula {latex.strip()} cannot be written as MathML")
    return mathml


class _Pages(IPythonRenderer):
    """Renders for a page that lies beside the other notebooks' pages."""

    def inline_math(self, body: str) -> str:
        return formula(body)

    def block_math(self, body: str) -> str:
        return formula(body, "block")

    def latex_environment(self, name: str, body: str) -> str:
        return formula(rf"\begin{{{name}}}{body}\end{{{name}}}", "block")

    def link(self, text: str, url: str, title: str | None = None) -> str:
        if "://" in url or url.startswith("#"):
            return str(super().link(text, url, title))
        page = re.fullmatch(r"(?:\.\./notebooks/)?([\w-]+)\.ipynb(#.*)?", url)
        if page:
            return str(super().link(text, f"{page[1]}.html{page[2] or ''}", title))
        if url == "../docs/glossary.md":
            return str(super().link(text, "glossary.html", title))
        return text  # a file of the repository, which is not among the pages

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return str(super().image(text, url.removeprefix("../"), title))

    def table(self, text: str) -> str:
        # so that a wide one scrolls, and not the page
        return f'<div class="table"><table>{text}</table></div>\n'
