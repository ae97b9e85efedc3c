"""The record of a run: `results.json`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, PrivateAttr

from linfkit._util import environment
from linfkit._util.files import expand_user, write_atomically
from linfkit.course.claims import Claim

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


class Results(BaseModel):
    """Outcome of a run, with versions and machine.

    Attributes:
        profile: the profile's name.
        versions: of linfkit, Python and what else decides a result.
        platform: operating system and kind of processor.
        machine: the processor's name, its cores, the GPU if any.
        started: when the run began.
        seconds: how long it has taken so far.
        planned: the notebooks to run, in order.
        notebooks: one result for each notebook that ran, in order.
        claims: the claims of all notebooks, in order.
    """

    profile: str
    versions: dict[str, str] = Field(default_factory=environment.versions)
    platform: str = Field(default_factory=environment.operating_system)
    machine: dict[str, str | int] = Field(default_factory=environment.hardware)
    started: datetime = Field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    seconds: float = 0.0
    planned: list[str]
    notebooks: list[NotebookResult] = []
    claims: list[Claim] = []
    _claims_of: dict[str, list[Claim]] = PrivateAttr(default_factory=dict)

    @property
    def success(self) -> bool:
        """True if every planned notebook ran to its end and every claim made on its data holds."""
        ran = [notebook.name for notebook in self.notebooks if notebook.status == "ok"]
        return ran == self.planned and all(claim.holds is not False for claim in self.claims)

    def add(self, notebook: NotebookResult, claims: list[Claim]) -> None:
        """Take up one more notebook and what it claims, at its place among those planned."""
        self.notebooks.append(notebook)
        self.notebooks.sort(key=lambda result: self.planned.index(result.name))
        self._claims_of[notebook.name] = claims
        self.claims = [claim for result in self.notebooks for claim in self._claims_of[result.name]]
        self.seconds = round((datetime.now(UTC) - self.started).total_seconds(), 1)

    def claims_of(self, name: str) -> list[Claim]:
        """Claims of one notebook."""
        return self._claims_of.get(name, [])

    def save(self, folder: Path) -> None:
        """Write `results.json` into a folder, whole or not at all."""
        write_atomically(folder / "results.json", self.model_dump_json(indent=2).encode() + b"\n")

    @classmethod
    def load(cls, folder: str | Path) -> Results:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: the folder holds no `results.json`.
        """
        return cls.model_validate_json(
            (expand_user(folder) / "results.json").read_text("utf-8-sig")
        )
