"""The recipe's optimiser, its parameters in groups, and what it follows along a run."""

from __future__ import annotations

from torch import nn
from torch.optim import Adam, Optimizer

from linfkit.nn.layers import distance_layers
from linfkit.recipes import Recipe
from linfkit.training.lp_optimizers import LpAdamW, Madam
from linfkit.training.moments import Moment

__all__ = ["optimizer_of", "steer"]

#: What the learned scalar of the loss takes of the learning rate (ICLR 2022 code).
LOGIT_SCALE_RATE = 0.2


def optimizer_of(recipe: Recipe, model: nn.Module, logit_scale: nn.Parameter) -> Optimizer:
    """The recipe's optimiser over all of a net's parameters, and the scalar of the loss.

    Groups: the distance layers' parameters, those of all others (a hybrid's MLP), and the scalar,
    which learns at a fifth of the rate. Adam's constants are the papers': β = (0.9, 0.99),
    ε = 1e-10.

    >>> import torch
    >>> from linfkit.nn.nets import LpDistNet
    >>> from linfkit.recipes import load_recipe
    >>> net = LpDistNet(4, 8, 2, 3)
    >>> optimizer = optimizer_of(load_recipe("digits-small"), net, net.logit_scale)
    >>> [len(group["params"]) for group in optimizer.param_groups]
    [3, 1]
    """
    of_distances = [w for layer in distance_layers(model) for w in layer.parameters()]
    known = {id(w) for w in [*of_distances, logit_scale]}
    of_others = [w for w in model.parameters() if id(w) not in known and w.requires_grad]
    groups = [
        {"params": of_distances, "share": 1.0, "weight_decay": recipe.weight_decay},
        {"params": of_others, "share": 1.0, "weight_decay": recipe.mlp_weight_decay, "p": 2.0},
        {"params": [logit_scale], "share": LOGIT_SCALE_RATE, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    match recipe.optimizer:
        case "lp_adamw":
            return LpAdamW(groups, lr=recipe.lr, betas=(0.9, 0.99), eps=1e-10)
        case "madam":
            return Madam(groups, lr=recipe.lr)
        case "adam":
            return Adam(groups, lr=recipe.lr, betas=(0.9, 0.99), eps=1e-10, fused=True)


def steer(optimizer: Optimizer, moment: Moment) -> None:
    """Set each group's learning rate, and the p by which the distance layers' weights decay."""
    distances, *_ = optimizer.param_groups
    distances["p"] = moment.p
    for group in optimizer.param_groups:
        group["lr"] = moment.learning_rate * group["share"]
