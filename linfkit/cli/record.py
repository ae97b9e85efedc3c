"""The record of an evaluation, as `linfkit certify --json` writes it."""

from __future__ import annotations

import math
from datetime import datetime

from pydantic import Field

from linfkit._util.environment import Surroundings, now
from linfkit.certification.evaluation import PGD, Evaluation
from linfkit.data.dataset import Dataset
from linfkit.training.saved import DataIdentity, SavedNet


class Record(Surroundings, ser_json_inf_nan="strings"):
    """Accuracies of a net, with the net, the data and the machine that they are of.

    Attributes:
        net: the recipe's name, or the file's where it names none.
        sha256: of the net's file, in hex.
        data: whose test images were taken.
        trained_on: the data that the net was trained on; None where its file does not say.
        images: how many test images were taken, the first ones.
        p: the norm of the perturbations, ∞.
        eps: their size, in pixels of [0, 1].
        clean: accuracy without perturbations.
        attacked: accuracy under the attack; None without one.
        certified: certified accuracy, by what proves it; see `Evaluation`.
        spread: standard error of the last of them, from the number of images.
        attack: how the images were attacked; None if they were not.
        finished: when the evaluation ended.
        seconds: how long it took.
    """

    net: str
    sha256: str
    data: DataIdentity
    trained_on: DataIdentity | None
    images: int
    p: float = math.inf
    eps: float
    clean: float
    attacked: float | None
    certified: dict[str, float]
    spread: float
    attack: PGD | None
    finished: datetime = Field(default_factory=now)
    seconds: float

    @classmethod
    def of(cls, trained: SavedNet, data: Dataset, evaluation: Evaluation) -> Record:
        """Record of an evaluation of a net from a file, on all or the first of a data's images."""
        return cls(
            net=trained.name,
            sha256=trained.sha256,
            data=DataIdentity.of(data),
            trained_on=trained.trained_on,
            images=evaluation.images,
            eps=evaluation.eps,
            clean=evaluation.clean_accuracy,
            attacked=evaluation.attacked_accuracy,
            certified={
                name: proof.accuracy(evaluation.eps) for name, proof in evaluation.proofs.items()
            },
            spread=evaluation.spread,
            attack=evaluation.attack,
            seconds=evaluation.seconds,
        )

    @property
    def on_other_data(self) -> bool:
        """True if the data is, or may be, other than that the net was trained on."""
        return self.trained_on is None or self.trained_on.fingerprint != self.data.fingerprint
