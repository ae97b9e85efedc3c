"""The course in a folder of one's own: notebooks, and the pictures that they link to."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nbformat

from linfkit._util.files import expand_user, write_atomically
from linfkit.reproduce.reproduction import notebook_folder

_SOLUTION = re.compile(r"<details>\s*<summary>Solution</summary>.*?</details>\s*", re.DOTALL)


def copy_course(folder: str | Path, solutions: bool = True) -> list[Path]:
    """Copy the notebooks into ``folder/notebooks``, and pictures and glossary beside that.

    A notebook that is there already stays as it is, with what was written into it.

    Args:
        folder: where to; made if it is not there.
        solutions: keep the exercises' solutions.

    Returns:
        The notebooks that were copied, without those that were there.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first, again = copy_course(folder), copy_course(folder)
    >>> first[0].name, again
    ('00_start_here.ipynb', [])
    """
    source, folder = notebook_folder(), expand_user(folder)
    shutil.copytree(source.parent / "figures", folder / "figures", dirs_exist_ok=True)
    (folder / "docs").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source.parent / "docs" / "glossary.md", folder / "docs" / "glossary.md")
    copied = []
    for path in sorted(source.glob("*.ipynb")):
        target = folder / "notebooks" / path.name
        if target.exists():
            continue
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells if not solutions else []:
            if cell.cell_type == "markdown":
                cell.source = _SOLUTION.sub("", cell.source)
        write_atomically(target, nbformat.writes(notebook).encode() + b"\n")
        copied.append(target)
    return copied
