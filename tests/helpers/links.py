"""Links in Markdown: which of them lead nowhere."""

import re
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

import nbformat

CODE_BLOCK = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
CODE = re.compile(rf"{CODE_BLOCK.pattern}|`[^`\n]*`", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"""\]\(\s*([^()\s]+)(?:\s+"[^"]*")?\s*\)|\b(?:href|src)="([^"]+)\"""")
ANCHOR = re.compile(r'\b(?:id|name)="([^"]+)"')


def broken_links(path: Path, prose: str) -> list[str]:
    """Links in the prose of a file to files and headings that are not there; others' are not asked.

    Args:
        path: The file that the links start from.
        prose: Its Markdown.
    """
    broken = []
    for found in LINK.finditer(CODE.sub("", prose)):
        link = found[1] or found[2]
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


def anchors(path: Path) -> set[str]:
    """Names of the places in a Markdown file, as GitHub has them; in a notebook, Jupyter's."""
    in_notebook = path.suffix == ".ipynb"
    prose = markdown_of(path)
    seen: Counter[str] = Counter()
    places = set(ANCHOR.findall(prose))
    for heading in re.findall(r"^#{1,6} +(.+?)(?: +#+)?$", CODE_BLOCK.sub("", prose), re.MULTILINE):
        text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)  # a link's own words
        if in_notebook:
            places.add(text.replace(" ", "-"))
            continue
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        places.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return places


def markdown_of(path: Path) -> str:
    """The Markdown of a file, or of a notebook's cells; none of a file of another kind."""
    if path.suffix == ".ipynb":
        cells = nbformat.read(path, 4).cells
        return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return path.read_text("utf-8") if path.suffix == ".md" else ""


def broken_links_of(site: Path) -> list[str]:
    """Links and pictures of a site's pages to files and places that are not there."""
    pages = {page: page.read_text("utf-8") for page in site.rglob("*.html")}
    broken = []
    for page, html in pages.items():
        for link in re.findall(r'<[^>]* (?:href|src)="([^"]*)"', html):
            name, _, anchor = unquote(link.split("?")[0]).partition("#")
            target = (page.parent / name).resolve() if name else page
            if re.match(r"[a-z]+:", link):
                continue
            if not target.is_file() or (anchor and f'id="{anchor}"' not in pages[target]):
                broken.append(f"{page.relative_to(site)}: {link}")
    return broken
