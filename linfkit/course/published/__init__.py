"""Published results as data: final figures, training curves, ablations, seeds.

Nothing here was computed by linfkit. Accuracies are shares in [0, 1]; where each figure comes from
is in its row, or in `README.md` beside the files.
"""

from __future__ import annotations

import csv
import math
from fractions import Fraction
from importlib import resources
from typing import Annotated, TypeVar

from pydantic import BeforeValidator, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from linfkit._util.checks import check_choice

T = TypeVar("T")

#: A percentage that becomes a share; None for one that was not published.
FromPercent = BeforeValidator(lambda text: float(Fraction(text) / 100) if text else None)


@dataclass(frozen=True, kw_only=True)
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
    clean: Annotated[float | None, FromPercent] = Field(alias="clean_acc")
    attacked: Annotated[float | None, FromPercent] = Field(alias="pgd_acc")
    certified: Annotated[float, FromPercent] = Field(alias="certified_acc")
    source: str

    @property
    def eps_pixels(self) -> float:
        """The eps in pixels of [0, 1]."""
        return float(Fraction(self.eps))


@dataclass(frozen=True, kw_only=True)
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
        certified_train: certified accuracy on the training images, likewise.
        loss: of training, by epochs completed.
        accuracy_train: accuracy on the training images at the p of training, likewise.
        seconds: what the epochs took together, as logged.
    """

    name: str
    dataset: str
    eps: str
    epochs: int
    p: tuple[float, ...]
    certified: dict[int, float]
    accuracy: dict[int, float]
    certified_train: dict[int, float]
    loss: dict[int, float]
    accuracy_train: dict[int, float]
    seconds: float

    @property
    def last_certified(self) -> float:
        """Certified accuracy at the end of the run."""
        return self.certified[max(self.certified)]


@dataclass(frozen=True, kw_only=True)
class SeedResult:
    """One published SortNet run: its setting, its seed, and its figures on the test images."""

    setting: str
    seed: int
    epochs: int = Field(alias="epoch")
    accuracy: float = Field(alias="test_acc")
    certified: float = Field(alias="test_certified")


@dataclass(frozen=True, kw_only=True)
class PublishedLoss:
    """Accuracies on CIFAR-10 at ε = 8/255 of one loss; clean is None where it was not published."""

    loss: str
    clean: Annotated[float | None, FromPercent]
    certified: Annotated[float, FromPercent]
    note: str
    source: str


@dataclass(frozen=True, kw_only=True)
class PublishedMargin:
    """Certified accuracies on CIFAR-10 at ε = 8/255 of one loss and one θ, a multiple of ε.

    `certified_train` is None where it was not published.
    """

    loss: str
    theta: float = Field(alias="theta_over_eps")
    certified: Annotated[float, FromPercent] = Field(alias="test_certified")
    certified_train: Annotated[float | None, FromPercent] = Field(alias="train_certified")


def losses() -> list[PublishedLoss]:
    """The published comparison of six losses.

    >>> [row.certified for row in losses() if row.loss == "clipped hinge alone"]
    [0.1]
    """
    return _read("ablations/losses.csv", PublishedLoss)


def margins() -> list[PublishedMargin]:
    """The published certified accuracies by loss and θ, on test and training images.

    >>> [(row.loss, row.certified) for row in margins() if row.theta == 6]
    [('hinge', 0.3079), ('mixed', 0.4006)]
    """
    both = _read("ablations/generalization.csv", PublishedMargin)
    known, adapter = {(row.loss, row.theta) for row in both}, TypeAdapter(PublishedMargin)
    others = [
        adapter.validate_python(row | {"test_certified": row["certified"], "train_certified": ""})
        for row in _rows("ablations/theta.csv")
        if (row["loss"], float(row["theta_over_eps"])) not in known
    ]
    return sorted(both + others, key=lambda row: (row.loss, row.theta))


def weights() -> dict[tuple[float, float], float]:
    """The published certified accuracy on CIFAR-10 at ε = 8/255 by λ₀ and λ_end, medians of three.

    >>> max(weights().values()), weights()[0.1, 0.0005]
    (0.4006, 0.4006)
    """
    return {
        (float(row["lambda0"]), float(row["lambda_end"])): float(row["certified"]) / 100
        for row in _rows("ablations/lambda_grid.csv")
    }


def results() -> list[Result]:
    """The published results, method by method.

    >>> best = max((row for row in results() if row.eps == "8/255"), key=lambda row: row.certified)
    >>> best.method, best.certified
    ('SortNet best of 8 seeds (NeurIPS 2022)', 0.4039)
    """
    return _read("results.csv", Result)


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
    check_choice("name", name, training_curves())
    rows = _rows(f"training_curves/{name}.csv")
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
        certified_train=_by_epochs(trained, "train_linf_certified"),
        loss=_by_epochs(trained, "train_loss"),
        accuracy_train=_by_epochs(trained, "train_acc"),
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
    runs = _read("sortnet_seeds.csv", SeedResult)
    check_choice("setting", setting, sorted({run.setting for run in runs}))
    return [run for run in runs if run.setting == setting]


def _rows(file: str) -> list[dict[str, str]]:
    text = (resources.files(__package__) / file).read_text("utf-8-sig")
    return list(csv.DictReader(text.splitlines()))


def _read(file: str, kind: type[T]) -> list[T]:
    """Rows of a file, as records whose fields are its columns."""
    adapter = TypeAdapter(kind)
    return [adapter.validate_python(row) for row in _rows(file)]


def _by_epochs(rows: list[dict[str, str]], column: str) -> dict[int, float]:
    # a log counts epochs from 0: its row 0 is what one epoch led to
    return {int(row["epoch"]) + 1: float(row[column]) for row in rows if row[column]}
