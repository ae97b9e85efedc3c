"""`python -m linfkit.pages`: the notebooks as web pages."""

import sys

import typer

from linfkit._util.text import replace_unprintable
from linfkit.pages.export import export


def main() -> None:
    """Write the pages of notebooks/ into _site/."""
    replace_unprintable()
    try:
        pages = export()
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"{error}")
    typer.echo(f"{len(pages)} pages; open {pages[0]}")


if __name__ == "__main__":
    main()
