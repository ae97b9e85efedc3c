"""Execution of one notebook by papermill."""

from __future__ import annotations

import logging
import re
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill import PapermillExecutionError, execute_notebook

from linfkit._util.workers import ProgressCallback
from linfkit.reproduce.outputs import claims_in, without_widgets
from linfkit.reproduce.parameters import in_json, is_injected
from linfkit.reproduce.results import Cell, NotebookResult, Status
from linfkit.reproduce.tasks import Task

#: A notebook as far as it came, without widgets, and its result, whose figures are not yet written.
Executed = tuple[NotebookNode, NotebookResult]


def execute(task: Task, on_progress: ProgressCallback) -> Executed:
    """Run a notebook in a fresh kernel of this Python.

    However the notebook ends, the result says so; only an interrupt is raised. (What
    papermill notes in the cells is not to be trusted: after a kernel's death, all are "completed".)

    Args:
        task: the notebook, and what to run it with.
        on_progress: gets the task's name, the cells done and the cells in all, as each begins and
            at the end.
    """
    notebook = nbformat.reads(task.notebook, as_version=4)
    progress = _Progress(task, len(notebook.cells), on_progress)
    with TemporaryDirectory(prefix="linfkit-") as folder:
        source, target = Path(folder, "source.ipynb"), Path(folder, "executed.ipynb")
        source.write_text(task.notebook, "utf-8")
        status, error = _run(task, source, target, progress)
        on_progress(task.name, len(notebook.cells), len(notebook.cells))
        executed = without_widgets(nbformat.read(target if target.exists() else source, 4))
    noted = executed.metadata.get("papermill", {})
    for machine_path in ("input_path", "output_path"):
        noted.pop(machine_path, None)
    noted |= {"parameters": in_json(task.overrides)} if noted else {}
    cell, claims = None if status == "ok" else progress.cell, claims_in(executed)
    if status == "ok" and not claims:
        status, error = "failed", "it ran to its end without showing a table of claims"
    return executed, NotebookResult(
        name=task.name,
        status=status,
        cell=cell,
        error=error,
        seconds=round(progress.seconds, 1),
        peak_memory=progress.peak_memory,
        parameters=in_json(task.parameters),
        inputs=task.inputs,
        claims=claims,
    )


def on_lost_worker(task: Task, error: BaseException) -> Executed:
    """Result of a task that was lost with its worker."""
    return nbformat.reads(task.notebook, as_version=4), NotebookResult(
        name=task.name,
        status="lost",
        error=_in_a_line(type(error).__name__, str(error)),
        seconds=0,
        parameters=in_json(task.parameters),
        inputs=task.inputs,
    )


def _run(task: Task, source: Path, target: Path, progress: _Progress) -> tuple[Status, str | None]:
    # What becomes of the notebook is in the answer; papermill need not log it into the bars.
    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    try:
        execute_notebook(
            str(source),
            str(target),
            task.overrides,
            kernel_name="python3",
            language="python",
            kernel_manager_class=type("ThisPython", (ThisPython,), {"progress": progress}),
            timeout_func=progress.seconds_left,
            on_cell_start=progress.cell_starts,
            store_widget_state=False,
            progress_bar=False,
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

    progress: _Progress

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        if self.has_trait("transport_encryption"):  # not before jupyter-client 8.9
            self.transport_encryption = "auto"

    @property
    def kernel_spec(self) -> KernelSpec:
        """Command that starts such a kernel."""
        return KernelSpec(**get_kernel_dict())

    async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
        """Start one; what its process says besides the notebook's outputs is not for the reader."""
        await super().start_kernel(stderr=subprocess.DEVNULL, **options)

    async def shutdown_kernel(self, *arguments: Any, **options: Any) -> None:  # type: ignore[override]
        """End the kernel; before that, see how much memory it took."""
        self.progress.kernel_ends(getattr(self.provisioner, "pid", None))
        await super().shutdown_kernel(*arguments, **options)


class _Progress:
    """Follows a notebook's execution: the cell it is in, the time it has left, its memory."""

    def __init__(self, task: Task, cells: int, on_progress: ProgressCallback) -> None:
        self._started = time.monotonic()
        self._task = task
        self._cells = cells
        self._on_progress = on_progress
        self.cell: Cell | None = None
        self.peak_memory: int | None = None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def seconds_left(self, cell: NotebookNode) -> float:
        """The time for one more cell; not 0, which nbclient takes for no limit."""
        return max(self._task.timeout - self.seconds, 0.01)

    def cell_starts(self, cell: NotebookNode, cell_index: int) -> None:
        """Remember the cell by its place in the source, where the injected one does not count."""
        before = -1 if self.cell is None else self.cell.index
        first_line = cell.source.strip().partition("\n")[0]
        self.cell = Cell(index=before if is_injected(cell) else before + 1, line=first_line)
        self._on_progress(self._task.name, max(self.cell.index, 0), self._cells)

    def kernel_ends(self, pid: int | None) -> None:
        """Remember the most memory that the kernel had resident, as Linux counts it."""
        try:
            status = Path(f"/proc/{pid}/status").read_text("utf-8", "replace")
        except OSError:
            return
        if peak := re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE):
            self.peak_memory = 1024 * int(peak[1])


def _in_a_line(kind: str, message: str) -> str:
    """An error as Python ends a traceback with it, shortened, and without this machine's paths."""
    line = f"{kind}: {message}".strip().splitlines()[0].rstrip(": ")
    return line.replace(str(Path.cwd()), ".").replace(str(Path.home()), "~")[:300]
