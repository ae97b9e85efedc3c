"""`linfkit course`, `linfkit lab` and `linfkit pages`: the notebooks, from an installed package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from linfkit._util.extras import require

Folder = Annotated[Path, typer.Argument(help="Folder of your own for the notebooks.")]
HERE = Path("linfkit-course")


def course(
    folder: Folder = HERE,
    solutions: Annotated[
        bool, typer.Option("--solutions/--no-solutions", help="Keep the exercises' solutions.")
    ] = True,
) -> None:
    """Copy the course into a folder; notebooks that are there stay as they are."""
    require("nbformat", "notebooks")
    from linfkit.reproduce.course_copies import copy_course

    copied = copy_course(folder, solutions)
    typer.echo(f"{len(copied)} notebooks copied into {folder}/notebooks")
    typer.echo(f"to open them: linfkit lab {folder}")


def lab(folder: Folder = HERE) -> None:
    """Open JupyterLab on the course, copied into a folder if it is not there."""
    require("jupyterlab", "notebooks")
    from linfkit.reproduce.course_copies import copy_course

    copy_course(folder)
    command = [sys.executable, "-m", "jupyter", "lab", "--ip=127.0.0.1", str(folder / "notebooks")]
    raise typer.Exit(subprocess.run(command).returncode)


def pages(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Folder of executed notebooks.", show_default="linfkit's own"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the pages.")] = Path("_site"),
    readme: Annotated[
        Path | None,
        typer.Option(
            help="Page to begin with, beside that folder; its links are followed, and a reference "
            "of all public names is added.",
            show_default="a list of the notebooks",
        ),
    ] = None,
) -> None:
    """Write notebooks as web pages that need no kernel, no server and no network."""
    require("sphinx", "docs")
    from linfkit.pages.export import export
    from linfkit.reproduce.reproduction import notebook_folder

    written = export(folder or notebook_folder(), out, readme)
    typer.echo(f"{len(written)} pages; open {written[0]}")
