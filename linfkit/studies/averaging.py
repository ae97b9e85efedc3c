"""What averaging gains (Li et al., 2021): over time, EMA weights; over nets, an ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import torch
from torch import Tensor

from linfkit.certificates import Certificates, certify
from linfkit.models import Ensemble
from linfkit.training import Run

__all__ = ["EnsembleGain", "ema_gain", "ensemble_gain", "mean_history"]


def mean_history(runs: Sequence[Run], column: str) -> list[float]:
    """One column of the history, averaged over runs, epoch by epoch."""
    columns = [run.column(column) for run in runs]
    return torch.tensor(columns, dtype=torch.float64).mean(dim=0).tolist()


def ema_gain(runs: Sequence[Run]) -> list[float]:
    """How much more the shadow certifies than the raw weights, averaged over runs, by epoch."""
    raw, shadow = mean_history(runs, "certified"), mean_history(runs, "ema_certified")
    return [after - before for before, after in zip(raw, shadow, strict=True)]


@dataclass(frozen=True)
class EnsembleGain:
    """Certificates of single nets and of the means of the first K of them.

    Attributes:
        members: of each net alone.
        ensembles: of the mean of the first K nets, for K = 1, 2, …
    """

    members: list[Certificates]
    ensembles: list[Certificates]

    def gain(self, eps: float) -> float:
        """Certified accuracy of all members' mean, less that of the members on average."""
        return self.ensembles[-1].accuracy(eps) - mean(
            member.accuracy(eps) for member in self.members
        )


def ensemble_gain(runs: Sequence[Run], x: Tensor, labels: Tensor) -> EnsembleGain:
    """Certify each run's averaged net, and the ensembles of the first K of them.

    Args:
        runs: the members, in the order in which they join.
        x: images, (B, ...), in [0, 1].
        labels: whole numbers, (B,).
    """
    nets = [run.ema_model for run in runs]
    return EnsembleGain(
        members=[certify(net, x, labels) for net in nets],
        ensembles=[certify(Ensemble(nets[:size]), x, labels) for size in range(1, len(nets) + 1)],
    )
