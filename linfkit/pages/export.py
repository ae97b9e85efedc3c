"""Notebooks and documentation as a site that needs no kernel, no server and no network.

What is shown is what the notebooks' last run left. Their files, and whatever they link to, are
staged in a folder that Sphinx builds by `conf`; figures become HTML that `explorer.js` draws.
"""

from __future__ import annotations

import inspect
import os
import posixpath
import re
import shutil
import tempfile
from collections.abc import Iterator
from importlib import import_module
from io import StringIO
from itertools import count
from pathlib import Path
from urllib.parse import unquote

import nbformat
from nbformat import NotebookNode
from plotly.offline import get_plotlyjs
from sphinx.application import Sphinx
from sphinx.util.console import strip_colors
from sphinx.util.docutils import docutils_namespace, patch_docutils

import linfkit
from linfkit._util.files import expand_user
from linfkit.pages.figures import figure_html
from linfkit.reproduce.outputs import PLOTLY_MIME
from linfkit.reproduce.parameters import read_notebook
from linfkit.reproduce.publish_notebooks import is_current
from linfkit.reproduce.reproduction import notebook_folder

_PICTURE = "<details><summary>This figure as a picture</summary>"
_LINK = re.compile(r'(?:\]\(|(?:src|href)=")([^)#:\s"]+)')
_CAPTIONS = {"notebooks": "Course", "docs": "Guide", "reference": "Reference", "": "Project"}
_INDEX = """# ℓ∞-distance nets, step by step

Networks whose every neuron is an ℓ∞ distance give each prediction a proof: no perturbation smaller
than half its margin can change it. Each notebook answers one question about them. Its figures are
alive on these pages: move their sliders, zoom, and point at what you want to read. To change the
code and run it, open the same notebooks in JupyterLab.
"""


def export(
    notebooks: Path = Path("notebooks"),
    site: Path = Path("_site"),
    readme: Path | None = None,
) -> list[Path]:
    """Write a page for each notebook and whatever they link to; the answer is the pages.

    Args:
        notebooks: the folder of the notebooks, executed.
        site: the folder to write into; an earlier site in it is removed.
        readme: a page beside that folder to begin with, whose links are followed, and a reference
            of every public name with it; by default, a list of the notebooks.

    Raises:
        FileNotFoundError: there is no notebook in the folder.
        ValueError: `site` holds something else than a site; a notebook has no outputs, or other
            sources than its outputs came from; a link leads nowhere, or a formula is not known.
    """
    notebooks, site = expand_user(notebooks), expand_user(site)
    read = {path.name: _read(path) for path in sorted(notebooks.glob("*.ipynb"))}
    if not read:
        raise FileNotFoundError(f"there is no .ipynb file in {notebooks}")
    if site.exists() and any(site.iterdir()) and not (site / "_static/plotly.min.js").is_file():
        raise ValueError(f"site must be a folder of earlier pages, or an empty one; got {site}")
    with tempfile.TemporaryDirectory() as scratch:
        stage, built = Path(scratch, "stage"), Path(scratch, "built")
        index = _list(read, notebooks) if readme is None else expand_user(readme).read_text("utf-8")
        pages = _stage(index, read, notebooks, stage)
        if readme is not None:
            pages += _reference(stage)
        with (stage / "index.md").open("a", encoding="utf-8") as file:
            file.write(_contents(pages))
        _build(stage, built)
        (built / "_static" / "plotly.min.js").write_text(get_plotlyjs(), "utf-8")
        shutil.rmtree(site, ignore_errors=True)
        shutil.copytree(built, site)
    return [site / "index.html", *((site / page).with_suffix(".html") for page in pages)]


def _build(stage: Path, built: Path) -> None:
    warnings = StringIO()
    with patch_docutils(), docutils_namespace():
        app = Sphinx(
            stage,
            Path(__file__).parent,
            built,
            built.with_name("doctrees"),
            "html",
            status=None,
            warning=warnings,
            freshenv=True,
        )
        app.build()
    if warnings.getvalue():
        raise ValueError(strip_colors(warnings.getvalue()).replace(f"{stage}{os.sep}", "").strip())


def _read(path: Path) -> NotebookNode:
    notebook = read_notebook(path)
    if not any(cell.get("outputs") for cell in notebook.cells):
        raise ValueError(f"{path.stem} has no outputs to show; `make notebooks` runs it")
    if not is_current(notebook):
        raise ValueError(f"{path.stem} has changed since it was run; `make notebooks` runs it")
    return notebook


def _list(read: dict[str, NotebookNode], notebooks: Path) -> str:
    """A page with each notebook's title, question and time."""
    entries = []
    for name, notebook in read.items():
        opening = notebook.cells[0].source
        heading = re.search(r"^# (.+)$", opening, re.MULTILINE)
        entries.append(f"\n[{heading[1] if heading else name}](notebooks/{name})")
        entries += [f": {text}\n" for text in _paragraphs(opening, "Question.", "Takes")]
    if _find("docs/glossary.md", notebooks):
        entries.append("\n[Glossary](docs/glossary.md)\n: every word and symbol, with its meaning")
    return "\n".join([_INDEX, *entries])


def _paragraphs(text: str, *openings: str) -> Iterator[str]:
    """The paragraphs that begin with those words in bold, without them."""
    for opening in openings:
        if found := re.search(rf"^\*\*{re.escape(opening)}\*\*(.+?)(?:\n\n|\Z)", text, re.M | re.S):
            yield " ".join(found[1].split())


def _find(name: str, notebooks: Path) -> Path | None:
    """The file that a page links to: beside the notebooks, or among those that linfkit brings."""
    for folder in (notebooks, notebook_folder()):
        path = folder / name[10:] if name.startswith("notebooks/") else folder.parent / name
        if path.is_file():
            return path
    return None


def _stage(index: str, read: dict[str, NotebookNode], notebooks: Path, stage: Path) -> list[str]:
    """Copy the notebooks, and all that an index and they lead to; the answer is what are pages."""
    files = {"index.md": notebooks} | {f"notebooks/{name}": notebooks / name for name in read}
    names = list(files)
    for name in names:  # which grows by what each links to
        path, target = files[name], stage / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if name == "index.md":
            text = prose = index
        elif target.suffix == ".ipynb":
            notebook = _shown(read.get(target.name) or _read(path))
            cells = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
            text, prose = nbformat.writes(notebook), "\n\n".join(cells)
        elif target.suffix == ".md":
            text = prose = path.read_text("utf-8")
        else:
            shutil.copyfile(path, target)
            continue
        target.write_text(text, "utf-8")
        for link in _LINK.findall(prose):
            other = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(link)))
            if other not in files and (found := _find(other, notebooks)):
                files[other] = found
                names.append(other)
    return [name for name in names[1:] if name.endswith((".md", ".ipynb"))]


def _shown(notebook: NotebookNode) -> NotebookNode:
    """A notebook as Sphinx is to show it: live figures, and folded what JupyterLab collapses."""
    number = count(1)
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    notebook.cells = [cell for cell in notebook.cells if not cell.source.startswith(_PICTURE)]
    for cell in notebook.cells:
        collapsed = cell.metadata.get("jupyter", {})
        if collapsed.get("source_hidden"):
            fold = "hide-cell" if collapsed.get("outputs_hidden") else "hide-input"
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), fold]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if PLOTLY_MIME in data:
                output.data = {"text/html": figure_html(data[PLOTLY_MIME], next(number))}
            elif "text/html" in data:
                output.data = {"text/html": data["text/html"]}
    return notebook


def _reference(stage: Path) -> list[str]:
    """A page for each of linfkit's folders that has public names."""
    pages: dict[str, list[str]] = {}
    for name, module in vars(linfkit)["_MODULES"].items():
        pages.setdefault(module.split(".")[1], []).append(name)
    (stage / "reference").mkdir()
    for room, names in pages.items():
        summary = inspect.getdoc(import_module(f"linfkit.{room}")) or ""
        text = f"# {room}\n\n{summary.splitlines()[0]}\n\n```{{eval-rst}}\n"
        for name in names:
            kind = "class" if inspect.isclass(getattr(linfkit, name)) else "function"
            text += f".. auto{kind}:: linfkit.{name}\n"
        (stage / "reference" / f"{room}.md").write_text(f"{text}```\n", "utf-8")
    return [f"reference/{room}.md" for room in pages]


def _contents(pages: list[str]) -> str:
    """The site's navigation: pages by their folders."""
    trees = []
    for folder, caption in _CAPTIONS.items():
        listed = "\n".join(page for page in pages if posixpath.dirname(page) == folder)
        trees.append(f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{listed}\n```\n")
    return "".join(trees)
