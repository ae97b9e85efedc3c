"""Optimizers: Adam with ℓp weight decay, multiplicative Adam, and the groups of a recipe's net."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.optimizer import ParamsT

from linfkit._util.checks import check_real, check_tensor
from linfkit.functional import check_p
from linfkit.nn.layers import distance_layers
from linfkit.recipes.recipe import Recipe
from linfkit.training.schedules import ScheduleState

#: Learning rate of the loss's scalar, in units of the main one (ICLR 2022 code).
LOGIT_SCALE_RATE = 0.2

#: Decay of the running square of Madam's gradients.
MADAM_BETA = 0.999


class _ByWeight(Optimizer, ABC):
    """Optimizer that moves one weight after the other, by the r.m.s. of its gradients."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Take one step; the closure's loss, where there is a closure."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, weight.grad, group)
        return loss

    @abstractmethod
    def _move(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """Change a weight, given its gradient and the options of its group."""

    def _rms(self, weight: Tensor, gradient: Tensor, beta: float) -> Tensor:
        """Square root of the running mean of g², corrected for its start at 0; counts the step."""
        state = self.state[weight]
        state.setdefault("step", torch.zeros(())).add_(1)
        if "exp_avg_sq" not in state:
            state["exp_avg_sq"] = torch.zeros_like(weight)
        state["exp_avg_sq"].mul_(beta).addcmul_(gradient, gradient, value=1 - beta)
        return (state["exp_avg_sq"] / (1 - beta ** state["step"].item())).sqrt_()


class LpAdamW(_ByWeight):
    """Adam whose weights also decay, each neuron's by the ℓp norm of its row.

    First w ← w − lr · weight_decay · d(w), with d as `row_decay` gives it, at p=∞ the largest
    weight of each row alone; then Adam's step, m and v being the running means of g and g²:
    w ← w − lr · m̂ / (√v̂ + eps), m̂ = m / (1 − β₁ᵗ), v̂ = v / (1 − β₂ᵗ).

    Rows are the first dimension, so a convolution's are its flattened kernels. Parameters of fewer
    dimensions, biases and scalars, do not decay; nor does anything whose gradient is None.

    Args:
        params: parameters, or groups of them. Each group has its own ``p``, which training sets as
            it sets ``lr``; ``p=2`` in a group is the usual weight decay, for plain linear layers.
        lr: learning rate, 0 or more.
        betas: decay of the running means of the gradient and of its square, from 0 to below 1.
        eps: what keeps the division finite, 0 or more.
        weight_decay: how fast weights decay, 0 or more.
        p: the exponent, from 1 up to ``math.inf``; the distance layers' own.

    Raises:
        TypeError, ValueError: an option is out of range; the message names it.

    Zhang et al., ICML 2021, whose CIFAR-10 nets were trained with these defaults; their code lets
    biases decay too.

    >>> weight = torch.nn.Parameter(torch.tensor([[3.0, 1.0], [-1.0, 2.0]]))
    >>> optimizer = LpAdamW([weight], lr=0.5, weight_decay=1.0, p=math.inf)
    >>> weight.grad = torch.zeros_like(weight)
    >>> optimizer.step()
    >>> weight.tolist()
    [[1.5, 1.0], [-1.0, 1.0]]
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 0.02,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-10,
        weight_decay: float = 5e-3,
        p: float = math.inf,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "p": p}
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters, its options checked."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        _check_not_negative(group, "lr", "eps", "weight_decay")
        betas = group["betas"]
        wanted = f"betas must be two numbers from 0 to below 1; got {betas!r}"
        if not isinstance(betas, tuple | list) or not all(isinstance(beta, Real) for beta in betas):
            raise TypeError(wanted)
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(wanted)
        check_p(group["p"])

    def _move(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """Decay a weight, then take Adam's step."""
        pull, (beta1, beta2), p = group["lr"] * group["weight_decay"], group["betas"], group["p"]
        if weight.dim() > 1 and pull:
            weight.sub_(row_decay(weight, p), alpha=pull)
        rms = self._rms(weight, gradient, beta2)
        state = self.state[weight]
        if "exp_avg" not in state:
            state["exp_avg"] = torch.zeros_like(weight)
        state["exp_avg"].lerp_(gradient, 1 - beta1)
        rate = group["lr"] / (1 - beta1 ** state["step"].item())
        weight.addcdiv_(state["exp_avg"], rms.add_(group["eps"]), value=-rate)


class Madam(_ByWeight):
    """Multiplicative Adam: a step changes each weight by a share of itself, and keeps its sign.

    w ← w · exp(−lr · sign(w) · ĝ), where ĝ is the gradient over its running r.m.s. (decay 0.999,
    bias-corrected; 0 where both are 0), clipped at ±`gradient_bound`. Then |w| is kept below
    `weight_bound` times the r.m.s. that the whole parameter had before its first step.

    A weight that is 0 stays 0: biases that start there need another optimiser.

    Args:
        params: parameters, or groups of them.
        lr: learning rate, 0 or more.
        weight_bound: bound on |w|, in units of the initial r.m.s. of the parameter; above 0.
        gradient_bound: bound on the normalised gradient; above 0.

    Raises:
        TypeError, ValueError: an option is out of range; the message names it.

    Bernstein et al., *Learning compositional functions via multiplicative weight updates*, 2020
    (arXiv 2006.14560), algorithm 1, as Li et al., 2021 use it.

    >>> weight = torch.nn.Parameter(torch.tensor([1.0, -1.0]))
    >>> optimizer = Madam([weight], lr=math.log(2))
    >>> weight.grad = torch.tensor([5.0, 0.1])
    >>> optimizer.step()
    >>> [round(w, 4) for w in weight.tolist()]
    [0.5, -2.0]
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 0.01,
        weight_bound: float = 3.0,
        gradient_bound: float = 10.0,
    ) -> None:
        defaults = {"lr": lr, "weight_bound": weight_bound, "gradient_bound": gradient_bound}
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters, its options checked."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        _check_not_negative(group, "lr")
        for name in ("weight_bound", "gradient_bound"):
            check_real(name, group[name], "a number above 0", lambda bound: 0 < bound < math.inf)

    def _move(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """Multiply a weight."""
        state, bound = self.state[weight], group["gradient_bound"]
        if not state:
            state["largest"] = group["weight_bound"] * weight.square().mean().sqrt()
        # 0 / 0 is a weight that has had no gradient yet: it stays; a square may also underflow
        ratio = gradient / self._rms(weight, gradient, MADAM_BETA)
        ratio.nan_to_num_(0.0, bound, -bound).clamp_(-bound, bound)
        weight.mul_(ratio.mul_(weight.sign()).mul_(-group["lr"]).exp_())
        weight.clamp_(-state["largest"], state["largest"])


def row_decay(weight: Tensor, p: float) -> Tensor:
    """Direction of ℓp weight decay: d(w)ᵢ = (|wᵢ| / ‖w‖_p)^(p−2) · wᵢ per row.

    It is the gradient of ½‖w‖_p²: at p=2 the weights themselves, at p=∞ the first largest weight
    of each row and zeros elsewhere. Rows are divided by their largest weight, so that no power
    overflows.

    Args:
        weight: (O, ...); rows are what belongs to one output neuron.
        p: from 1 up to ``math.inf``.

    Returns:
        The direction, in the shape of `weight`.

    Raises:
        TypeError, ValueError: an argument is out of range; the message names it.

    >>> row_decay(torch.tensor([[3.0, -4.0]]), p=2)
    tensor([[ 3., -4.]])
    >>> row_decay(torch.tensor([[3.0, -4.0]]), p=math.inf)
    tensor([[ 0., -4.]])
    """
    check_tensor("weight", weight)
    if weight.dim() < 2 or not weight.numel():
        raise ValueError(f"weight must be non-empty rows, (O, ...); got {tuple(weight.shape)}")
    p = check_p(p)
    rows = weight.flatten(1)
    largest, where = rows.abs().max(dim=1, keepdim=True)
    if math.isinf(p):
        direction = torch.zeros_like(rows).scatter_(1, where, rows.gather(1, where))
    else:
        # a row of zeros has no largest weight to divide by, and nothing to decay
        ratio = rows.abs() / largest.clamp(min=torch.finfo(rows.dtype).tiny)
        powers = ratio.pow(p).sum(dim=1, keepdim=True).clamp(min=1)
        direction = rows.sign() * largest * ratio.pow(p - 1) * powers.pow((2 - p) / p)
    return direction.view_as(weight)


def _check_not_negative(group: dict[str, Any], *names: str) -> None:
    for name in names:
        check_real(name, group[name], "a number of 0 or more", lambda value: 0 <= value < math.inf)


def optimizer_of(recipe: Recipe, model: nn.Module, logit_scale: nn.Parameter) -> Optimizer:
    """Create the recipe's optimizer over a net's parameters and the scalar of the loss.

    Groups: the distance layers' parameters, those of all others (a hybrid's MLP), and the scalar,
    which learns at a fifth of the rate. Adam's constants are the papers': β = (0.9, 0.99),
    ε = 1e-10.

    >>> from linfkit.nn.nets import LpDistNet
    >>> from linfkit.recipes.recipe import load_recipe
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


def apply_schedules(optimizer: Optimizer, schedule: ScheduleState) -> None:
    """Set each group's learning rate, and the p by which the distance layers' weights decay."""
    distances, *_ = optimizer.param_groups
    distances["p"] = schedule.p
    for group in optimizer.param_groups:
        group["lr"] = schedule.learning_rate * group["share"]
