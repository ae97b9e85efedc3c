"""Records of finished notebooks in a run's folder, so that a second run does only what is left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from linfkit._util.files import write_atomically
from linfkit.course.claims import Claim
from linfkit.reproduce.results import NotebookResult
from linfkit.reproduce.tasks import Task


class Record(BaseModel):
    """One notebook's result and its claims; written last, when all its files are there."""

    result: NotebookResult
    claims: list[Claim]


@dataclass(frozen=True)
class Records:
    """The records in a run's folder.

    Attributes:
        folder: the run's.
    """

    folder: Path

    def save(self, record: Record) -> None:
        """Write a record, whole or not at all."""
        write_atomically(
            self._place(record.result.name), record.model_dump_json(indent=2).encode() + b"\n"
        )

    def forget(self, task: Task) -> None:
        """Remove a task's record, so that none stands beside files that are about to change."""
        self._place(task.name).unlink(missing_ok=True)

    def finished(self, task: Task) -> Record | None:
        """A task's record if there is nothing to run again.

        That is: the inputs are the same, it ran to its end, no claim failed to hold, and all its
        files are there.
        """
        try:
            record = Record.model_validate_json(self._place(task.name).read_text("utf-8-sig"))
        except (FileNotFoundError, UnicodeDecodeError, ValidationError):
            return None
        result = record.result
        files = [f"notebooks/{task.name}.ipynb", *result.figures]
        good = (
            result.inputs == task.inputs
            and result.status == "ok"
            and all(claim.holds is not False for claim in record.claims)
            and all((self.folder / file).is_file() for file in files)
        )
        return record if good else None

    def _place(self, name: str) -> Path:
        return self.folder / "records" / f"{name}.json"
