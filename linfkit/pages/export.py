"""The notebooks as web pages that need no kernel, no server and no network: `make pages`.

Each page holds what its notebook's last run left. Figures are alive, those of Explorers under
sliders; mathematics is MathML, which browsers draw themselves.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from markupsafe import Markup
from nbconvert.filters import Highlight2HTML
from nbformat import NotebookNode
from plotly.offline import get_plotlyjs
from pygments.formatters import HtmlFormatter

from linfkit._util.files import expand_user
from linfkit.pages.prose import prose_html
from linfkit.pages.templates import figure_html, part, render, script
from linfkit.reproduce.outputs import PLOTLY_MIME
from linfkit.reproduce.parameters import read_notebook
from linfkit.reproduce.publish_notebooks import is_current

_PICTURE = "<details><summary>This figure as a picture</summary>"


@dataclass(frozen=True)
class Page:
    """A notebook, and how the index speaks of it.

    Attributes:
        name: the notebook's file name without its ending.
        title: its heading.
        question: the question it answers, as HTML.
        takes: how long it takes, as HTML.
        notebook: the notebook itself.
    """

    name: str
    title: str
    question: Markup
    takes: Markup
    notebook: NotebookNode

    @classmethod
    def read(cls, path: Path) -> Page:
        """Read an executed notebook.

        Raises:
            ValueError: it has no outputs, or those of other sources than it has now.
        """
        notebook = read_notebook(path)
        if not any(cell.get("outputs") for cell in notebook.cells):
            raise ValueError(f"{path.stem} has no outputs to show; `make notebooks` runs it")
        if not is_current(notebook):
            raise ValueError(f"{path.stem} has changed since it was run; `make notebooks` runs it")
        opening = notebook.cells[0].source
        heading = re.search(r"^# (.+)$", opening, re.MULTILINE)
        return cls(
            name=path.stem,
            title=heading[1] if heading else path.stem,
            question=_paragraph(opening, "Question."),
            takes=_paragraph(opening, "Takes"),
            notebook=notebook,
        )


def export(notebooks: Path = Path("notebooks"), site: Path = Path("_site")) -> list[Path]:
    """Write a page for each notebook, an index and a glossary; the answer is their files.

    Args:
        notebooks: the folder of the notebooks, executed; beside it may be `docs/glossary.md`.
        site: the folder to write into; earlier pages in it are removed.

    Raises:
        FileNotFoundError: there is no notebook in the folder.
        ValueError: `site` holds something else than pages; a notebook has no outputs, or other
            sources than its outputs came from; or MathML has no words for a formula.
    """
    notebooks, site = expand_user(notebooks), expand_user(site)
    pages = [Page.read(path) for path in sorted(notebooks.glob("*.ipynb"))]
    if not pages:
        raise FileNotFoundError(f"there is no .ipynb file in {notebooks}")
    glossary = notebooks.parent / "docs" / "glossary.md"
    texts = {"index.html": render("index.html.j2", pages=pages, glossary=glossary.is_file())}
    for before, page, after in zip([None, *pages], pages, [*pages[1:], None], strict=False):
        texts[f"{page.name}.html"] = render(
            "page.html.j2", page=page, body=_body(page), before=before, after=after, script=script()
        )
    if glossary.is_file():
        texts["glossary.html"] = render(
            "page.html.j2",
            page={"title": "Glossary"},
            body=Markup(prose_html(glossary.read_text("utf-8"))),
            before=None,
            after=None,
            script="",
        )
    if site.exists() and any(site.iterdir()) and not (site / "plotly.min.js").is_file():
        raise ValueError(f"site must be a folder of earlier pages, or an empty one; got {site}")
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir(parents=True)
    light, dark = (HtmlFormatter(style=style) for style in ("friendly", "native"))
    texts["style.css"] = (
        f"{part('style.css')}\n{light.get_style_defs('.highlight')}\n"
        f"@media (prefers-color-scheme: dark) {{ {dark.get_style_defs('.highlight')} }}\n"
    )
    texts["plotly.min.js"] = get_plotlyjs()
    for name, text in texts.items():
        (site / name).write_text(text, "utf-8")
    for name in set(re.findall(r'src="figures/([^"/]+\.png)"', "".join(texts.values()))):
        (site / "figures").mkdir(exist_ok=True)
        shutil.copyfile(notebooks.parent / "figures" / name, site / "figures" / name)
    return [site / name for name in texts if name.endswith(".html")]


def _body(page: Page) -> Markup:
    parts: list[str] = []
    number = count(1)
    for cell in page.notebook.cells:
        if cell.cell_type == "markdown" and not cell.source.startswith(_PICTURE):
            try:
                parts.append(prose_html(cell.source))
            except ValueError as error:
                raise ValueError(f"{page.name}: {error}") from None
        elif cell.cell_type == "code":
            parts.append(_code(cell, number))
    return Markup("\n".join(parts))


def _code(cell: NotebookNode, number: count[int]) -> str:
    """A code cell and its outputs; what JupyterLab shows collapsed is folded here too."""
    source = Highlight2HTML(pygments_lexer="ipython3")(cell.source) if cell.source else ""
    outputs = "\n".join(_output(output, number) for output in cell.outputs)
    collapsed = cell.metadata.get("jupyter", {})
    if not collapsed.get("source_hidden"):
        return f"{source}\n{outputs}"
    folded, shown = (source + outputs, "") if collapsed.get("outputs_hidden") else (source, outputs)
    return f'<details class="code"><summary>Code of a check</summary>\n{folded}</details>\n{shown}'


def _output(output: NotebookNode, number: count[int]) -> str:
    if output.output_type == "stream":
        return Markup('<pre class="output">{}</pre>').format(output.text)
    data = output.get("data", {})
    if PLOTLY_MIME in data:
        return figure_html(data[PLOTLY_MIME], next(number))
    if "text/html" in data:
        return f'<div class="output">{data["text/html"]}</div>'
    return Markup('<pre class="output">{}</pre>').format(data.get("text/plain", ""))


def _paragraph(text: str, opening: str) -> Markup:
    """The paragraph that begins with those words in bold, without them."""
    found = re.search(rf"^\*\*{re.escape(opening)}\*\*(.+?)(?:\n\n|\Z)", text, re.M | re.S)
    return Markup(prose_html(found[1].strip())) if found else Markup("")
