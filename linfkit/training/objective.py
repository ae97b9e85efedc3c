"""Objective of a run: the recipe's loss, of 1-Lipschitz nets and of hybrids.

Both kinds bound what f_j − f_y can be within ε, the *worst logits*: a 1-Lipschitz net's are
f_j − f_y + 2ε, a hybrid's come from interval arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor, nn

from linfkit._util.distributed import mean_over_processes
from linfkit.nn.ensembles import HybridEnsemble
from linfkit.nn.hybrid import HybridNet
from linfkit.recipes.recipe import Recipe
from linfkit.training.losses import (
    hinge_loss,
    mixed_loss,
    worst_cross_entropy,
    worst_logits,
    worst_mixed_loss,
)
from linfkit.training.schedules import ScheduleState

#: Loss of a batch, a scalar, of its logits and worst logits, (B, C) each, and labels, (B,).
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


class Objective(nn.Module):
    """Loss of a step, as one module, from one pass through the distance layers.

    Where several processes train, each has its share of the batch, and the loss is that of all: its
    gradients, averaged over the processes, are those of one process that has the whole batch.

    Args:
        model: a hybrid, or a net that is 1-Lipschitz at p=∞.
        recipe: says which loss.
        logit_scale: the factor by which a cross-entropy sees the logits, the model's or beside it.
        own_loss: the loss of a recipe whose loss is "own".
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        logit_scale: nn.Parameter,
        own_loss: Loss | None = None,
    ) -> None:
        super().__init__()
        self.model, self.recipe, self.logit_scale = model, recipe, logit_scale
        self.own_loss = own_loss

    def forward(
        self, x: Tensor, labels: Tensor, schedule: ScheduleState
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits and worst logits, (B, C), without gradients, and the loss, with them.

        Args:
            x: images in [0, 1], (B, ...).
            labels: (B,).
            schedule: λ and ε at this step; ε is that of the worst logits, and of the hinge's margin
                θ = 2ε.

        Raises:
            TypeError, ValueError: a loss of the user's own gives no scalar with a gradient.
        """
        model, recipe, scale = self.model, self.recipe, self.logit_scale
        if isinstance(model, HybridNet | HybridEnsemble):
            logits, worst = model.logits_and_worst(x, labels, schedule.eps)
        else:
            logits = model(x)
            worst = worst_logits(logits, labels, schedule.eps)
        match recipe.loss:
            case "hinge":
                share = schedule.eps / recipe.eps_train
                loss = hinge_loss(logits, labels, recipe.theta, recipe.kappa, share)
            case "mixed" if isinstance(model, HybridNet | HybridEnsemble):
                units = worst / model.scale  # of the MLP's own logits
                loss = worst_mixed_loss(logits, units, labels, 1.0, schedule.lam, scale)
            case "mixed":
                loss = mixed_loss(logits, labels, recipe.theta, schedule.lam, scale)
            case "cross_entropy":
                loss = worst_cross_entropy(logits, worst, labels, recipe.worst_share, scale)
            case "own":
                assert self.own_loss is not None
                loss = _checked(self.own_loss(logits, worst, labels))
        return logits.detach(), worst.detach(), mean_over_processes(loss, rows=len(x))


def _checked(loss: Tensor) -> Tensor:
    """The value of a user's own loss, which can be anything."""
    wanted = "loss must give a tensor of shape () that has a gradient"
    if not isinstance(loss, Tensor):
        raise TypeError(f"{wanted}; got a {type(loss).__name__}")
    if loss.dim() or not loss.requires_grad:
        without = "" if loss.requires_grad else " without a gradient"
        raise ValueError(f"{wanted}; got one of shape {tuple(loss.shape)}{without}")
    return loss


def worst_within(model: nn.Module, x: Tensor, labels: Tensor, eps: float) -> Tensor:
    """Largest f_j − f_y of each class within ε: the net's own bound, or f_j − f_y + 2ε."""
    if isinstance(model, HybridNet | HybridEnsemble):
        return model.worst_logits(x, labels, eps)
    return worst_logits(model(x), labels, eps)


def within_reach(worst: Tensor, labels: Tensor) -> Tensor:
    """Mask of the samples whose label another class can exceed, by the worst logits: bool, (B,).

    Where none can, at ε_train, the hinge is zero: the margin is θ or more.
    """
    return worst.scatter(1, labels[:, None], -math.inf).amax(dim=1) > 0
