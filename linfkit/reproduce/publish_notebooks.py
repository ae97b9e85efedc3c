"""Executed notebooks and their pictures into the repository: `make notebooks`.

A notebook in the repository shows what a run found, and nothing of the machine it ran on: no
widgets, timings or paths. Its stamp, `metadata.linfkit`, tells from which sources its outputs came.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from linfkit._util.files import expand_user, write_atomically
from linfkit.reproduce.parameters import in_json, is_injected, read_notebook, read_parameters
from linfkit.reproduce.results import NotebookResult, Results
from linfkit.reproduce.tasks import notebook_hash

KERNEL = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}


def publish(
    run: Path, notebooks: Path = Path("notebooks"), figures: Path = Path("figures")
) -> list[Path]:
    """Put a run's outputs into the notebooks it ran, and its PNG pictures beside them.

    Args:
        run: the folder of a finished run with the notebooks' own parameters.
        notebooks: the folder of the notebooks.
        figures: the folder for the pictures; those that it has of these notebooks are replaced.

    Returns:
        The files written.

    Raises:
        ValueError: the run failed, is not finished, had other sources or parameters, or made no
            pictures; or an output shows a path of this machine.
        FileNotFoundError: `run` holds no results.
    """
    run, notebooks, figures = map(expand_user, (run, notebooks, figures))
    results = Results.load(run)
    if not results.success:
        raise ValueError(f"{run} is not a run to publish: a notebook or a claim of it failed")
    published = [_published(run, result, results, notebooks) for result in results.notebooks]
    written = []
    for result, notebook in zip(results.notebooks, published, strict=True):
        target = notebooks / f"{result.name}.ipynb"
        write_atomically(target, nbformat.writes(notebook).encode() + b"\n")
        written += [target, *_copy_pictures(run, result, figures)]
    return written


def is_current(notebook: NotebookNode) -> bool:
    """True if a notebook's outputs came from its sources as they are now."""
    return bool(notebook.metadata.get("linfkit", {}).get("source") == notebook_hash(notebook))


def _published(
    run: Path, result: NotebookResult, results: Results, notebooks: Path
) -> NotebookNode:
    source = read_notebook(notebooks / f"{result.name}.ipynb")
    executed = read_notebook(run / "notebooks" / f"{result.name}.ipynb")
    executed.cells = [cell for cell in executed.cells if not is_injected(cell)]
    if notebook_hash(executed) != notebook_hash(source):
        raise ValueError(f"{result.name} has changed since {run} ran it; run it again")
    if result.parameters != in_json(read_parameters(notebooks / f"{result.name}.ipynb")):
        raise ValueError(f"{run} ran {result.name} with other parameters than its own")
    if not any(figure.endswith(".png") for figure in result.figures):
        raise ValueError(f"{run} has no PNG pictures of {result.name}; is there a Chromium?")

    for cell, executed_cell in zip(source.cells, executed.cells, strict=True):
        if cell.cell_type == "code":
            cell.execution_count = executed_cell.execution_count
            # what went to stderr, bars and warnings, is of the moment
            shown = [output for output in executed_cell.outputs if output.get("name") != "stderr"]
            cell.outputs = [_portable(output, result.name) for output in shown]
            cell.metadata.pop("execution", None)
            cell.metadata.pop("papermill", None)
    source.metadata = {
        "kernelspec": KERNEL,
        "language_info": {"name": "python"},
        "linfkit": {
            "source": notebook_hash(source),
            "profile": results.profile,
            "versions": results.versions,
        },
    }
    return source


def _portable(output: NotebookNode, notebook: str) -> NotebookNode:
    data = output.get("data", {})
    texts = [content for kind, content in data.items() if kind.startswith("text/")]
    for text in (output.get("text", ""), *texts):
        for folder in (Path.cwd(), Path.home()):
            if f"{folder}/" in text:
                raise ValueError(f"{notebook}: an output shows a path of this machine: {folder}")
    return output


def _copy_pictures(run: Path, result: NotebookResult, figures: Path) -> list[Path]:
    figures.mkdir(exist_ok=True)
    for earlier in figures.glob(f"{result.name}-*.png"):
        earlier.unlink()
    pictures = [run / figure for figure in result.figures if figure.endswith(".png")]
    return [Path(shutil.copyfile(picture, figures / picture.name)) for picture in pictures]


if __name__ == "__main__":
    import typer

    from linfkit._util.text import replace_unprintable

    replace_unprintable()
    typer.run(publish)
