"""Results of a run: a record of each notebook, and `results.json` of them all."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, computed_field

from linfkit._util.environment import Surroundings, now
from linfkit._util.files import expand_user, write_atomically
from linfkit.course.claims import Claim
from linfkit.reproduce.tasks import Task

Status = Literal["ok", "failed", "dead kernel", "timed out", "lost"]


class Cell(BaseModel):
    """A cell of a notebook: its place, counted from 0, and its first line."""

    index: int
    line: str


class NotebookResult(BaseModel):
    """Outcome of one notebook.

    Attributes:
        name: the notebook's name.
        status: how it ended.
        cell: where it ended, if before its end.
        error: what went wrong, if anything did.
        seconds: how long it took.
        peak_memory: bytes that its kernel held at most; None where that is not known.
        parameters: the values it ran with; ∞ as the word "inf", since JSON knows no other.
        inputs: hash of all that decides its results, by which a later run knows what is left.
        figures: the files made from its figures, relative to the run's folder.
        claims: those that its tables carry.
    """

    name: str
    status: Status
    cell: Cell | None = None
    error: str | None = None
    seconds: float
    peak_memory: int | None = None
    parameters: dict[str, Any]
    inputs: str
    figures: list[str] = []
    claims: list[Claim] = []

    def save(self, folder: Path) -> None:
        """Write the record into a run's folder; last, when all the notebook's files are there."""
        _write_json(self, _record(folder, self.name))

    @staticmethod
    def forget(folder: Path, task: Task) -> None:
        """Remove a task's record, so that none stands beside files that are about to change."""
        _record(folder, task.name).unlink(missing_ok=True)

    @classmethod
    def finished(cls, folder: Path, task: Task) -> NotebookResult | None:
        """Read a task's record if there is nothing to run again, else None.

        That is: the inputs are the same, it ran to its end, no claim failed to hold, and all its
        files are there.
        """
        try:
            result = cls.model_validate_json(_record(folder, task.name).read_text("utf-8-sig"))
        except (FileNotFoundError, UnicodeDecodeError, ValidationError):
            return None
        files = [f"notebooks/{task.name}.ipynb", *result.figures]
        good = (
            result.inputs == task.inputs
            and result.status == "ok"
            and all(claim.holds is not False for claim in result.claims)
            and all((folder / file).is_file() for file in files)
        )
        return result if good else None


class Results(Surroundings):
    """Outcome of a run, with versions and machine.

    Attributes:
        profile: the profile's name.
        started: when the run began.
        seconds: how long it has taken so far.
        planned: the notebooks to run, in order.
        notebooks: one result for each notebook that ran, in order.
    """

    profile: str
    started: datetime = Field(default_factory=now)
    seconds: float = 0.0
    planned: list[str]
    notebooks: list[NotebookResult] = Field(default=[])

    @computed_field  # type: ignore[prop-decorator]
    @property
    def claims(self) -> list[Claim]:
        """The claims of all notebooks, in order."""
        return [claim for result in self.notebooks for claim in result.claims]

    @property
    def success(self) -> bool:
        """True if every planned notebook ran to its end and every claim made on its data holds."""
        ran = [notebook.name for notebook in self.notebooks if notebook.status == "ok"]
        return ran == self.planned and all(claim.holds is not False for claim in self.claims)

    def add(self, notebook: NotebookResult) -> None:
        """Add a notebook's result, at its place among those planned."""
        self.notebooks.append(notebook)
        self.notebooks.sort(key=lambda result: self.planned.index(result.name))
        self.seconds = round((datetime.now(UTC) - self.started).total_seconds(), 1)

    def save(self, folder: Path) -> None:
        """Write `results.json` into a folder, whole or not at all."""
        _write_json(self, folder / "results.json")

    @classmethod
    def load(cls, folder: str | Path) -> Results:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: the folder holds no `results.json`.
        """
        return cls.model_validate_json(
            (expand_user(folder) / "results.json").read_text("utf-8-sig")
        )


def _record(folder: Path, name: str) -> Path:
    return folder / "records" / f"{name}.json"


def _write_json(model: BaseModel, path: Path) -> None:
    write_atomically(path, model.model_dump_json(indent=2).encode() + b"\n")
