"""The training loop: steps, epochs, the moving average, the history, and a state to resume from.

The order of an epoch's batches and their augmentation are functions of (seed, epoch, step), so that
a run that was interrupted and resumed is bit for bit the one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm

from linfkit import schedules
from linfkit.certificates import Certificates, certified_radius, certify, evaluating_at
from linfkit.data import Dataset, random_crop, random_flip
from linfkit.layers import MeanShift, distance_layers, set_p
from linfkit.lipschitz import lipschitz_bound, lipschitz_estimate
from linfkit.losses import hinge_loss, mixed_loss, zero_hinge
from linfkit.models import common_p
from linfkit.recipes import Recipe
from linfkit.training.runs import Run

__all__ = ["Training"]

#: Test images on which the history follows certified accuracy; the end of a run takes all.
HISTORY_IMAGES = 2000
#: Test images around which the history measures the Lipschitz constant.
LIPSCHITZ_IMAGES = 16
#: Training images, the last of an epoch, among which the history counts the starved.
STARVED_IMAGES = 300
#: What the learned scalar of the loss takes of the learning rate (ICLR 2022 code).
LOGIT_SCALE_RATE = 0.2


@dataclass
class Training:
    """A run under way: its nets and optimiser, and how far it has come."""

    recipe: Recipe
    seed: int
    data: Dataset
    model: nn.Module
    device: torch.device
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not any(distance_layers(self.model)):
            raise ValueError("model must hold ℓp-distance layers; it has none")
        self.model.to(self.device).train()
        self.ema = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(0.0))
        # a model of the user's own may have none: it is then trained beside it
        of_model = dict(self.model.named_parameters()).get("logit_scale")
        beside = nn.Parameter(torch.ones((), device=self.device))
        self.logit_scale: nn.Parameter = beside if of_model is None else of_model
        weights = [w for w in self.model.parameters() if w is not self.logit_scale]
        self.optimizer = torch.optim.Adam(
            [
                {"params": weights, "share": 1.0},
                {"params": [self.logit_scale], "share": LOGIT_SCALE_RATE},
            ],
            lr=self.recipe.lr,
            betas=(0.9, 0.99),
            eps=1e-10,
            fused=True,
        )
        self.loss = _loss_of(self.recipe)
        self.train_x = self.data.train_x.to(self.device)
        self.train_y = self.data.train_y.to(self.device)
        self.test_x = self.data.test_x.to(self.device)
        self.test_y = self.data.test_y.to(self.device)
        self.steps_per_epoch = math.ceil(len(self.train_x) / self.recipe.batch_size)
        self.steps = self.recipe.epochs * self.steps_per_epoch
        self._start_epoch()

    @property
    def epoch(self) -> int:
        """Epochs that lie behind."""
        return self.step // self.steps_per_epoch

    # --- the loop

    def run(self, progress: bool, after_step: Callable[[], None] = lambda: None) -> None:
        """Take all the steps that are left, calling `after_step` between any two of them."""
        bar = tqdm(
            total=self.steps,
            initial=self.step,
            desc=f"{self.recipe.name} seed {self.seed}",
            unit="step",
            leave=False,
            mininterval=0.5,
            disable=not progress,
        )
        with bar:
            while self.step < self.steps:
                self._take_step()
                if self.step % self.steps_per_epoch == 0:
                    self._close_epoch()
                    bar.set_postfix(self._shown(), refresh=False)
                bar.update()
                # between steps alone: what a step leaves half done could not be resumed
                after_step()

    def _take_step(self) -> None:
        recipe, within = self.recipe, self.step % self.steps_per_epoch
        progress = self.step / self.steps
        ratio = schedules.ramp(progress, *recipe.p_ramp)
        self.p = schedules.p_at(ratio, recipe.p_start, recipe.p_end)
        self.lam = schedules.geometric(ratio, recipe.lam_start, recipe.lam_end)
        rate = schedules.cosine_rate if recipe.lr_schedule == "cosine" else schedules.constant_rate
        self.learning_rate = recipe.lr * rate(progress)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * group["share"]
        set_p(self.model, self.p)

        rows = self.order[within * recipe.batch_size : (within + 1) * recipe.batch_size]
        images, labels = self._augmented(self.train_x[rows], within), self.train_y[rows]
        x = images.float().div(255)
        logits = self.model(x)
        images_left = len(self.train_x) - within * recipe.batch_size
        counted = images_left <= max(STARVED_IMAGES, recipe.batch_size)
        # in the weights that gave these logits, so before the step moves them
        at_infinity = _logits_at_infinity(self.model, x) if counted else None
        loss = self.loss(logits, labels, self.lam, self.logit_scale)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        # the shadow trails by at most one part in epoch + 1, so a short run does not lag behind
        decay = min(1 - 1 / (self.epoch + 1), recipe.ema_decay)
        self.ema.multi_avg_fn = get_ema_multi_avg_fn(decay)
        self.ema.update_parameters(self.model)

        with torch.no_grad():
            without_hinge = zero_hinge(logits, labels, recipe.theta)
            correct = (logits.argmax(dim=1) == labels).sum()
            self.totals += torch.stack([loss * len(labels), correct, without_hinge.sum()])
            if at_infinity is not None:
                not_certified = certified_radius(at_infinity, labels) <= recipe.eps
                starved = without_hinge & not_certified
                self.starved += torch.stack([starved.sum(), torch.ones_like(starved).sum()])
        self.step += 1

    def _augmented(self, images: Tensor, within: int) -> Tensor:
        if not (self.recipe.crop_padding or self.recipe.flip):
            return images
        generator = _generator(self.seed, self.epoch, 1 + within)
        if self.recipe.crop_padding:
            images = random_crop(images, self.recipe.crop_padding, generator)
        if self.recipe.flip:
            images = random_flip(images, generator)
        return images

    def _start_epoch(self) -> None:
        generator = _generator(self.seed, self.epoch, 0)
        order = torch.randperm(len(self.train_x), generator=generator)
        self.order = order.to(self.device)
        self.totals = torch.zeros(3, device=self.device)  # loss, correct, hinge zero: sums so far
        self.starved = torch.zeros(2, device=self.device)  # starved, all counted: sums so far
        self.started = time.monotonic()

    def _close_epoch(self) -> None:
        loss, correct, without_hinge = (self.totals / len(self.train_x)).tolist()
        starved, counted = self.starved.tolist()
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss} after epoch {self.epoch} (p={self.p:g}, "
                f"learning rate {self.learning_rate:g}): try a lower lr"
            )
        raw = self._certified(self.model, HISTORY_IMAGES)
        averaged = self._certified(self.ema.module, HISTORY_IMAGES)
        with evaluating_at(self.model, self.p):
            around = self.test_x[:LIPSCHITZ_IMAGES].float().div(255)
            measured = lipschitz_estimate(self.model, around, steps=2).max().item()
            bound = lipschitz_bound(self.model)
        self.history.append(
            {
                "epoch": self.epoch,
                "loss": loss,
                "accuracy": correct,
                "zero_hinge": without_hinge,
                "starved": starved / counted,
                "p": self.p,
                "lam": self.lam,
                "learning_rate": self.learning_rate,
                "lipschitz": measured,
                "lipschitz_bound": bound,
                "accuracy_linf": raw.clean_accuracy,
                "certified": raw.accuracy(self.recipe.eps),
                "ema_accuracy_linf": averaged.clean_accuracy,
                "ema_certified": averaged.accuracy(self.recipe.eps),
                "seconds": time.monotonic() - self.started,
            }
        )
        self._start_epoch()

    def _certified(self, model: nn.Module, images: int | None = None) -> Certificates:
        return certify(model, self.test_x[:images].float().div(255), self.test_y[:images])

    def _shown(self) -> dict[str, str]:
        row = self.history[-1]
        return {"p": f"{row['p']:.4g}", "certified": f"{row['certified']:.3f}"}

    def finished(self, folder: Path | None) -> Run:
        """The finished run, its nets certified on all test images."""
        set_p(self.ema.module, common_p(self.model))
        raw, averaged = self._certified(self.model), self._certified(self.ema.module)
        eps = self.recipe.eps
        results = {
            "accuracy": raw.clean_accuracy,
            "certified": raw.accuracy(eps),
            "ema_accuracy": averaged.clean_accuracy,
            "ema_certified": averaged.accuracy(eps),
        }
        return Run(
            recipe=self.recipe,
            seed=self.seed,
            model=self.model.eval(),
            ema_model=self.ema.module.eval(),
            history=self.history,
            results=results,
            folder=folder,
        )

    # --- its state, from which it can go on

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that `restore` needs: tensors, and a header of JSON."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"ema.{name}": value for name, value in self.ema.state_dict().items()}
        tensors |= {"totals": self.totals, "starved": self.starved}
        tensors |= {"logit_scale": self.logit_scale.detach().clone()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        p = str(common_p(self.model))
        return tensors, {"step": self.step, "p": p, "history": self.history}

    def restore(self, tensors: dict[str, Tensor], header: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.step, self.history = header["step"], header["history"]
        self.model.load_state_dict(_under(tensors, "model."))
        self.ema.load_state_dict(_under(tensors, "ema."))
        optimizer = self.optimizer.state_dict()
        of_parameters = _under(tensors, "optimizer.")
        optimizer["state"] = {
            int(index): _under(of_parameters, f"{index}.")
            for index in {name.split(".")[0] for name in of_parameters}
        }
        self.optimizer.load_state_dict(optimizer)
        self._start_epoch()
        self.totals = tensors["totals"].to(self.device)
        self.starved = tensors["starved"].to(self.device)
        self.logit_scale.data.copy_(tensors["logit_scale"])
        set_p(self.model, float(header["p"]))


def _loss_of(recipe: Recipe) -> Callable[[Tensor, Tensor, float, Tensor], Tensor]:
    """The recipe's loss as a function of (logits, labels, lam, logit_scale)."""
    match recipe.loss:
        case "hinge":
            return lambda logits, labels, lam, logit_scale: hinge_loss(
                logits, labels, recipe.theta, recipe.kappa
            )
        case "mixed":
            return lambda logits, labels, lam, logit_scale: mixed_loss(
                logits, labels, recipe.theta, lam, logit_scale
            )
        case "cross_entropy":
            return lambda logits, labels, lam, logit_scale: F.cross_entropy(
                logit_scale * logits, labels
            )
    raise ValueError(f"loss must be hinge, mixed or cross_entropy; got {recipe.loss!r}")


@torch.no_grad()
def _logits_at_infinity(model: nn.Module, x: Tensor) -> Tensor:
    """Logits at p=∞, every mean shift centred on this batch, as in training; the model stays.

    Running means would not do: they belong to the p of training, and centre nothing at another.
    """
    shifts = [module for module in model.modules() if isinstance(module, MeanShift)]
    means = [shift.running_mean.clone() for shift in shifts]
    with evaluating_at(model, math.inf):
        for shift in shifts:
            shift.train()
        logits: Tensor = model(x)
    for shift, mean in zip(shifts, means, strict=True):
        shift.running_mean.copy_(mean)
    return logits


def _generator(seed: int, *numbers: int) -> torch.Generator:
    """A generator that depends on these numbers alone."""
    state = np.random.SeedSequence([seed, *numbers]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with the prefix, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
