"""A notebook to run, and the hash of everything that decides what it will find."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import nbformat
from nbformat import NotebookNode

from linfkit._util.environment import source_hash
from linfkit._util.workers import WorkerError
from linfkit.data.loading import load_dataset


@dataclass(frozen=True)
class Task:
    """A notebook to run.

    Attributes:
        name: what its results are filed under: the notebook's name, and at a sweep its point.
        notebook: the notebook's text; the worker needs no file.
        defaults: the values in its parameters cell.
        overrides: the values to put in their place.
        timeout: seconds after which the notebook is given up.
        library: hash of the linfkit that is to run it.
        dataset: the data set that it needs, if any.
        data: hash of that.
        minutes: about how long it takes, if that is known.
    """

    name: str
    notebook: str
    defaults: dict[str, Any]
    overrides: dict[str, Any]
    timeout: float
    library: str
    dataset: str | None = None
    data: str | None = None
    minutes: float | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """The values that the notebook runs with."""
        return self.defaults | self.overrides

    @property
    def inputs(self) -> str:
        """SHA-256 of the notebook's source, its parameters, its data and linfkit's own source."""
        parts = [
            notebook_hash(nbformat.reads(self.notebook, as_version=4)),
            json.dumps(self.parameters, sort_keys=True, default=repr),
            self.data or "",
            self.library,
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def check_here(self) -> None:
        """Check that linfkit and the data set here are those of the task.

        Raises:
            WorkerError: linfkit, or the data set, is another here than where the task was made.
            FileNotFoundError: the data set is not here.
        """
        if source_hash() != self.library:
            raise WorkerError(
                "linfkit on this worker must be the version that the run was started with"
            )
        if self.dataset and data_hash(self.dataset) != self.data:
            raise WorkerError(
                f"{self.dataset} on this worker must be the data that the run was started with"
            )


def notebook_hash(notebook: NotebookNode) -> str:
    """The SHA-256 of a notebook's cells' sources, whatever their outputs."""
    digest = hashlib.sha256()
    for cell in notebook.cells:
        digest.update(f"{cell.cell_type}\n{cell.source}\0".encode())
    return digest.hexdigest()


@cache
def data_hash(name: str) -> str:
    """The SHA-256 of a data set's images and labels, as they are now.

    >>> data_hash("digits") == data_hash("digits")
    True
    """
    return load_dataset(name).fingerprint
