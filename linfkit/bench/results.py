"""The record of a benchmark, as `linfkit bench --json` writes it."""

from __future__ import annotations

from datetime import UTC, datetime
from statistics import median

import torch
from pydantic import BaseModel, Field

from linfkit._util import environment
from linfkit.bench.cases import Case

BYTES_A_NUMBER = 4  # float32


class Timing(BaseModel):
    """One contender at one case.

    Attributes:
        contender: its name.
        seconds: of one call; the median over its turns.
        turns: how often it was measured.
        extra_bytes: peak memory of a call beyond what was in use before it, outputs included; None
            where this machine cannot tell.
        error: largest relative error of its outputs, in norm, against the reference in float64.
    """

    contender: str
    seconds: float
    turns: int
    extra_bytes: int | None
    error: float


class Row(BaseModel):
    """Every contender at one case, linfkit first.

    Attributes:
        case: what was measured.
        timings: one for each contender.
        arithmetic: multiply-adds a second and lane of a register-only loop, measured in the same
            turns; where the case has a least number of operations.
        reading: bytes a second at which the weights can be read, measured in the same turns; at
            batch 1.
    """

    case: Case
    timings: list[Timing]
    arithmetic: float | None = None
    reading: float | None = None

    def rate(self, timing: Timing) -> float:
        """Pairs a second."""
        return self.case.pairs / timing.seconds

    @property
    def share_of_arithmetic(self) -> float | None:
        """How near linfkit comes to the arithmetic peak: 1 is all of it."""
        if self.arithmetic is None or self.case.operations is None:
            return None
        return self.rate(self.timings[0]) * self.case.operations / self.arithmetic

    @property
    def share_of_reading(self) -> float | None:
        """How near linfkit comes to reading the weights once and doing nothing else."""
        if self.reading is None:
            return None
        bytes_read = BYTES_A_NUMBER * self.case.in_features * self.case.out_features
        return bytes_read / self.timings[0].seconds / self.reading


class Results(BaseModel):
    """A benchmark, and what it was made on.

    Attributes:
        device: `cpu` or `cuda`.
        threads: of PyTorch and of linfkit.
        versions: of linfkit, Python and what else decides a result.
        platform: operating system and kind of processor.
        machine: the processor's name, its cores, the GPU if any.
        started: when the benchmark began.
        rows: one for each case.
        notes: what was left out, and why.
    """

    device: str
    threads: int = Field(default_factory=torch.get_num_threads)
    versions: dict[str, str] = Field(default_factory=environment.versions)
    platform: str = Field(default_factory=environment.operating_system)
    machine: dict[str, str | int] = Field(default_factory=environment.hardware)
    started: datetime = Field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    rows: list[Row] = []
    notes: list[str] = []

    @property
    def processor(self) -> str:
        """What computed: the GPU's name, or the processor's with its threads."""
        if self.device == "cuda":
            return str(self.machine["gpu"])
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.machine['processor']}, {threads}"

    @property
    def arithmetic(self) -> float | None:
        """Multiply-adds a second and lane, the median over rows."""
        return _median([row.arithmetic for row in self.rows])

    @property
    def reading(self) -> float | None:
        """Bytes read a second, the median over rows."""
        return _median([row.reading for row in self.rows])


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
