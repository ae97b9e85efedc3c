"""Published results as data: final figures, training curves, seeds, kernel times.

Nothing here was computed by linfkit. Accuracies are shares in [0, 1]; where each figure comes from
is in its row, or in `README.md` beside the files.
"""

from __future__ import annotations

import csv
import difflib
import math
from dataclasses import dataclass
from fractions import Fraction
from importlib import resources
from importlib.resources.abc import Traversable


@dataclass(frozen=True)
class Result:
    """The published figures of one net on one data set.

    Attributes:
        method: the method's name and where it appeared.
        dataset: as its makers write it: MNIST, CIFAR-10, …
        eps: size of the perturbations, as published: `"8/255"`.
        clean: accuracy without perturbations, or None where it was not published.
        attacked: accuracy under an attack (PGD) of size eps, or None.
        certified: certified accuracy at eps.
        source: where the figures stand.
    """

    method: str
    dataset: str
    eps: str
    clean: float | None
    attacked: float | None
    certified: float
    source: str

    @property
    def eps_pixels(self) -> float:
        """The eps in pixels of [0, 1]."""
        return float(Fraction(self.eps))


@dataclass(frozen=True)
class TrainingCurve:
    """A published run of the ICLR 2022 paper, epoch by epoch.

    Attributes:
        name: of the file: `"cifar10_eps8of255"`.
        dataset: as its makers write it.
        eps: size of the perturbations: `"8/255"`.
        epochs: how many the run took.
        p: the exponent of each epoch, of length `epochs`.
        certified: certified accuracy on the test images at p=∞, by epochs completed, where it was
            measured.
        accuracy: accuracy on the test images at p=∞, likewise.
        seconds: what the epochs took together, as logged.
    """

    name: str
    dataset: str
    eps: str
    epochs: int
    p: tuple[float, ...]
    certified: dict[int, float]
    accuracy: dict[int, float]
    seconds: float

    @property
    def last_certified(self) -> float:
        """Certified accuracy at the end of the run."""
        return self.certified[max(self.certified)]


@dataclass(frozen=True)
class SeedResult:
    """One published SortNet run: its setting, its seed, and its figures on the test images."""

    setting: str
    seed: int
    epochs: int
    accuracy: float
    certified: float


@dataclass(frozen=True)
class KernelTime:
    """Seconds of an iteration of the authors' kernels at one p, `"general"` being any."""

    kernel: str
    p: str
    seconds_per_iteration: float
    gpu: str
    source: str


def results() -> list[Result]:
    """The published results, method by method.

    >>> best = max((row for row in results() if row.eps == "8/255"), key=lambda row: row.certified)
    >>> best.method, best.certified
    ('SortNet best of 8 seeds (NeurIPS 2022)', 0.4039)
    """
    return [
        Result(
            method=row["method"],
            dataset=row["dataset"],
            eps=row["eps"],
            clean=_share(row["clean_acc"]),
            attacked=_share(row["pgd_acc"]),
            certified=_percent(row["certified_acc"]),
            source=row["source"],
        )
        for row in _rows(_folder() / "results.csv")
    ]


def training_curve(name: str) -> TrainingCurve:
    """The published run of that name.

    Args:
        name: one of `training_curves()`.

    Raises:
        ValueError: there is none; the message names the nearest.

    >>> curve = training_curve("cifar10_eps8of255")
    >>> curve.epochs, curve.last_certified
    (1300, 0.4013)
    """
    if name not in training_curves():
        near = difflib.get_close_matches(name, training_curves(), n=1, cutoff=0)[0]
        raise ValueError(f"name must be a published run; got {name!r}: did you mean {near!r}?")
    rows = _rows(_folder() / "training_curves" / f"{name}.csv")
    trained = [row for row in rows if row["p"]]
    dataset, eps = name.split("_eps")
    return TrainingCurve(
        name=name,
        dataset={"mnist": "MNIST", "cifar10": "CIFAR-10"}[dataset],
        eps=eps.replace("of", "/"),
        epochs=len(trained),
        p=tuple(float(row["p"]) for row in trained),
        certified=_by_epochs(trained, "test_linf_certified"),
        accuracy=_by_epochs(trained, "test_linf_acc"),
        seconds=math.fsum(float(row["seconds"]) for row in trained),
    )


def training_curves() -> list[str]:
    """Names of the published runs, data set by data set, ε rising.

    >>> training_curves()[0]
    'mnist_eps0.1'
    """
    return [
        "mnist_eps0.1",
        "mnist_eps0.3",
        "cifar10_eps2of255",
        "cifar10_eps8of255",
        "cifar10_eps16of255",
    ]


def sortnet_seeds(setting: str) -> list[SeedResult]:
    """The published SortNet runs of one setting, seed by seed.

    Raises:
        ValueError: there is no such setting.

    >>> len(sortnet_seeds("cifar8_255"))
    8
    """
    rows = _rows(_folder() / "sortnet_seeds.csv")
    settings = sorted({row["setting"] for row in rows})
    if setting not in settings:
        raise ValueError(f"setting must be one of {', '.join(settings)}; got {setting!r}")
    return [
        SeedResult(
            setting=setting,
            seed=int(row["seed"]),
            epochs=int(row["epoch"]),
            accuracy=float(row["test_acc"]),
            certified=float(row["test_certified"]),
        )
        for row in rows
        if row["setting"] == setting
    ]


def kernel_times() -> list[KernelTime]:
    """Seconds an iteration of the authors' CUDA kernels.

    >>> {row.gpu for row in kernel_times()}
    {'RTX 3090'}
    """
    return [
        KernelTime(
            kernel=row["kernel"],
            p=row["p"],
            seconds_per_iteration=float(row["seconds_per_iteration"]),
            gpu=row["gpu"],
            source=row["source"],
        )
        for row in _rows(_folder() / "kernel_times.csv")
    ]


def _folder() -> Traversable:
    return resources.files("linfkit.course.published")


def _rows(path: Traversable) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))


def _by_epochs(rows: list[dict[str, str]], column: str) -> dict[int, float]:
    # a log counts epochs from 0: its row 0 is what one epoch led to
    return {int(row["epoch"]) + 1: float(row[column]) for row in rows if row[column]}


def _share(percentage: str) -> float | None:
    return _percent(percentage) if percentage else None


def _percent(percentage: str) -> float:
    return float(Fraction(percentage) / 100)
