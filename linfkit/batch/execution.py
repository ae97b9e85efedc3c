"""One notebook through papermill: what it left, or how and where it died."""

from __future__ import annotations

import logging
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill import PapermillExecutionError, execute_notebook

from linfkit.batch.outputs import without_widgets
from linfkit.batch.results import Cell, Status
from linfkit.checkpoints import write_atomically


@dataclass(frozen=True)
class Task:
    """A notebook to run.

    Attributes:
        name: the notebook's name, without its ending.
        source: the notebook's file, which is only read.
        defaults: the values in its parameters cell.
        overrides: the values to put in their place.
        timeout: seconds after which the notebook is given up.
    """

    name: str
    source: Path
    defaults: dict[str, Any]
    overrides: dict[str, Any]
    timeout: float

    @property
    def parameters(self) -> dict[str, Any]:
        """The values that the notebook runs with."""
        return self.defaults | self.overrides


@dataclass(frozen=True)
class Execution:
    """How a notebook's execution went.

    Attributes:
        notebook: the notebook as far as it came, without widgets.
        seconds: how long it took, its kernel's start and end included.
        status: how it ended.
        cell: the cell in which it ended, unless it came to its own end.
        error: what went wrong, if anything did.
    """

    notebook: NotebookNode
    seconds: float
    status: Status
    cell: Cell | None = None
    error: str | None = None


def execute(task: Task, target: Path) -> Execution:
    """Run a notebook in a fresh kernel of this Python, and write it to `target`, executed.

    Whatever becomes of the notebook is told in the answer; only an interrupt is raised. (What
    papermill notes in the cells is not to be trusted: after a kernel's death, all are "completed".)
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    progress = _Progress(task.timeout)
    status, error = _run(task, target, progress)
    notebook = without_widgets(nbformat.read(target if target.exists() else task.source, 4))
    for machine_path in ("input_path", "output_path"):
        notebook.metadata.get("papermill", {}).pop(machine_path, None)
    write_atomically(target, nbformat.writes(notebook).encode())
    return Execution(
        notebook=notebook,
        seconds=round(progress.seconds, 1),
        status=status,
        cell=None if status == "ok" else progress.cell,
        error=error,
    )


def _run(task: Task, target: Path, progress: _Progress) -> tuple[Status, str | None]:
    # What becomes of the notebook is in the answer; papermill need not log it into the bars.
    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    try:
        execute_notebook(
            str(task.source),
            str(target),
            task.overrides,
            kernel_name="python3",
            language="python",
            kernel_manager_class=ThisPython,
            timeout_func=progress.seconds_left,
            on_cell_start=progress.cell_starts,
            store_widget_state=False,
            progress_bar={"desc": task.name, "leave": False},
        )
    except PapermillExecutionError as error:
        return "failed", _in_a_line(error.ename, error.evalue)
    except CellTimeoutError:
        return "timed out", f"not done after {task.timeout:g} s"
    except DeadKernelError:
        return "dead kernel", "the kernel died: out of memory, or killed"
    except Exception as error:  # of papermill or Jupyter: the other notebooks may fare better
        return "failed", _in_a_line(type(error).__name__, str(error))
    return "ok", None


class ThisPython(AsyncKernelManager):
    """Starts kernels of the running Python, whatever else is registered as `python3`."""

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        if self.has_trait("transport_encryption"):  # not before jupyter-client 8.9
            self.transport_encryption = "auto"

    @property
    def kernel_spec(self) -> KernelSpec:
        """How to start such a kernel."""
        return KernelSpec(**get_kernel_dict())

    async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
        """Start one; what its process says besides the notebook's outputs is not for the reader."""
        await super().start_kernel(stderr=subprocess.DEVNULL, **options)


class _Progress:
    """Follows a notebook's execution: the cell it is in, the time it has left."""

    def __init__(self, timeout: float) -> None:
        self._started = time.monotonic()
        self._timeout = timeout
        self.cell: Cell | None = None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def seconds_left(self, cell: NotebookNode) -> float:
        """The time for one more cell; not 0, which nbclient takes for no limit."""
        return max(self._timeout - self.seconds, 0.01)

    def cell_starts(self, cell: NotebookNode, cell_index: int) -> None:
        """Remember the cell by its place in the source, where the injected one does not count."""
        injected = "injected-parameters" in cell.metadata.get("tags", [])
        before = -1 if self.cell is None else self.cell.index
        first_line = next(iter(cell.source.strip().splitlines()), "")
        self.cell = Cell(index=before if injected else before + 1, line=first_line)


def _in_a_line(kind: str, message: str) -> str:
    """An error as Python ends a traceback with it, shortened, and without this machine's paths."""
    line = f"{kind}: {message}".strip().splitlines()[0].rstrip(": ")
    return line.replace(str(Path.cwd()), ".").replace(str(Path.home()), "~")[:300]
