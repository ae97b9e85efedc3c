"""Training loop: steps, epochs, the moving average, the history, and a state to resume from.

The order of an epoch's batches and their augmentation are functions of (seed, epoch, step), so that
a run that was interrupted and resumed is bit for bit the one that was not.

Several processes take the same steps, each with its share of every batch, and hold the same state;
the run is that of one process but for the order in which sums are rounded. A SortNet's is alike
only in distribution: each process draws the inputs to drop.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from linfkit._util.checks import check_logits, labels_known
from linfkit._util.distributed import (
    all_reduce_sum,
    exchanging_gradients,
    local_slice,
    processes,
    rank,
)
from linfkit._util.progress import progress_bar
from linfkit.certification.lipschitz import lipschitz_bound, lipschitz_estimate
from linfkit.data.augmentations import random_crop, random_flip
from linfkit.data.dataset import Dataset
from linfkit.nn.evaluation_mode import evaluating_at
from linfkit.nn.layers import distance_layers, set_p
from linfkit.nn.nets import common_p
from linfkit.nn.recompute_means import preserve_running_means, recentre, recentred
from linfkit.nn.sortnet import SortDist
from linfkit.recipes.recipe import Recipe
from linfkit.training.objective import Loss, Objective, within_reach, worst_within
from linfkit.training.optimizers import apply_schedules, optimizer_of
from linfkit.training.runs import Run, accuracies, results_of
from linfkit.training.schedules import schedule_at

#: Test images on which the history follows certified accuracy, where none are held out; the end of
#: a run takes all.
HISTORY_IMAGES = 2000
#: Test images around which the history measures the Lipschitz constant.
LIPSCHITZ_IMAGES = 16
#: Training images over which the means of a net that drops inputs are computed again at the end.
RECENTRING_IMAGES = 10_000
#: Training images, the last of an epoch, among which the history counts the starved.
STARVED_IMAGES = 300


@dataclass
class Training:
    """Run in progress: its nets, optimizer, step and history."""

    recipe: Recipe
    seed: int
    data: Dataset
    model: nn.Module
    device: torch.device
    own_loss: Loss | None = None
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not any(distance_layers(self.model)):
            raise ValueError("model must hold ℓp-distance layers; it has none")
        self.model.to(self.device).train()
        # an ensemble's is its first member's; beside a model of the user's own, which may have none
        named = self.model.named_parameters()
        of_model = [w for name, w in named if name.split(".")[-1] == "logit_scale"]
        beside = nn.Parameter(torch.ones((), device=self.device))
        self.logit_scale: nn.Parameter = of_model[0] if of_model else beside
        # before the average copies the weights: from here on they are the first process's
        self.objective = exchanging_gradients(
            Objective(self.model, self.recipe, self.logit_scale, self.own_loss)
        )
        self.ema = AveragedModel(self.model)
        self.averages: list[Tensor] = list(self.ema.module.parameters())
        self.weights: list[Tensor] = list(self.model.parameters())
        self.optimizer = optimizer_of(self.recipe, self.model, self.logit_scale)
        self.schedule = schedule_at(self.recipe, progress=0.0)
        kept = self.recipe.trained_images(len(self.data.train_x))
        held_out = self.data.train_x[kept:], self.data.train_y[kept:]
        few = self.data.test_x[:HISTORY_IMAGES], self.data.test_y[:HISTORY_IMAGES]
        self.watched = held_out if self.recipe.validation_share else few
        self.data = self.data.subset(train_images=kept)
        self.drops_inputs = any(isinstance(at, SortDist) for at in distance_layers(self.model))
        self.data = self.data.on(self.device)
        self.labels_checked = False
        self.steps_per_epoch = math.ceil(len(self.data.train_x) / self.recipe.batch_size)
        self.steps = self.recipe.epochs * self.steps_per_epoch
        last_batch = len(self.data.train_x) - (self.steps_per_epoch - 1) * self.recipe.batch_size
        if last_batch < processes():
            raise ValueError(
                f"batch_size={self.recipe.batch_size} leaves {last_batch} of "
                f"{len(self.data.train_x)} images to the last batch of an epoch, "
                f"and {processes()} processes need one each"
            )
        self._start_epoch()

    @property
    def epoch(self) -> int:
        """Number of epochs completed."""
        return self.step // self.steps_per_epoch

    @property
    def newest_row(self) -> dict[str, float] | None:
        """Row of the history of an epoch that has just ended; None between two rows."""
        ended = self.step % self.steps_per_epoch == 0 and self._is_measured(self.epoch)
        return self.history[-1] if ended and self.history else None

    def _is_measured(self, epoch: int) -> bool:
        return epoch % self.recipe.history_every == 0 or epoch == self.recipe.epochs

    # --- the loop

    def run(
        self,
        progress: bool,
        after_step: Callable[[], None] = lambda: None,
        after_epoch: Callable[[Mapping[str, float]], object] = lambda row: None,
    ) -> None:
        """Take all the steps that are left, calling `after_step` between any two of them.

        `after_epoch` is called before that, with the epoch's row of the history.
        """
        bar = progress_bar(
            total=self.steps,
            initial=self.step,
            desc=f"{self.recipe.name} seed {self.seed}",
            unit="step",
            leave=False,
            mininterval=0.5,
            progress=progress,
        )
        with bar:
            while self.step < self.steps:
                self._take_step()
                if self.step % self.steps_per_epoch == 0:
                    if self._is_measured(self.epoch):
                        self._close_epoch()
                    self._start_epoch()
                if row := self.newest_row:
                    shown = {"p": f"{row['p']:.4g}", "certified": f"{row['certified']:.3f}"}
                    bar.set_postfix(shown, refresh=False)
                    after_epoch(row)
                bar.update()
                # between steps only: half a step could not be resumed
                after_step()

    def _take_step(self) -> None:
        recipe, within = self.recipe, self.step % self.steps_per_epoch
        self.schedule = schedule_at(recipe, self.step / self.steps)
        apply_schedules(self.optimizer, self.schedule)
        set_p(self.model, self.schedule.p)

        rows = self.order[within * recipe.batch_size : (within + 1) * recipe.batch_size]
        images = self.data.train_x[rows].to(self.device)
        mine = local_slice(len(rows))  # after augmenting the whole batch, as one process would
        x = self._augmented(images, within)[mine].float().div(255)
        labels = self.data.train_y[rows[mine]].to(self.device)
        images_left = len(self.data.train_x) - within * recipe.batch_size
        counted = images_left <= max(STARVED_IMAGES, recipe.batch_size)
        counted = counted and self._is_measured(self.epoch + 1)
        seed = _seed(self.seed, self.epoch, 1 + within, rank())
        # in the weights that give this step's logits, so before it moves them
        with labels_known(self.labels_checked):
            at_infinity = _worst_at_infinity(self.model, x, labels, recipe.eps) if counted else None
            with torch.random.fork_rng(devices=[]):  # what layers draw depends on this seed alone
                torch.default_generator.manual_seed(seed)
                logits, worst, loss = self.objective(x, labels, self.schedule)
        if not self.labels_checked:  # once, for all steps to come
            of_all = self.data.train_y
            check_logits(logits[:1].expand(len(of_all), -1), of_all)
            self.labels_checked = True
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self._update_average()

        with torch.no_grad():
            without_hinge = ~within_reach(worst, labels)
            correct = (logits.argmax(dim=1) == labels).sum()
            sums = torch.stack([loss * len(labels), correct, without_hinge.sum()])
            self.totals += all_reduce_sum(sums)
            if at_infinity is not None:
                starved = without_hinge & within_reach(at_infinity, labels)
                counts = torch.stack([starved.sum(), torch.ones_like(starved).sum()])
                self.starved += all_reduce_sum(counts)
        self.step += 1

    @torch.no_grad()
    def _update_average(self) -> None:
        """`AveragedModel.update_parameters`, without asking which weights there are."""
        torch._foreach_lerp_(self.averages, self.weights, 1 - self.decay)
        for shadow, raw in zip(self.ema.module.buffers(), self.model.buffers(), strict=True):
            shadow.copy_(raw)
        self.ema.n_averaged += 1

    def _augmented(self, images: Tensor, within: int) -> Tensor:
        recipe, generator = self.recipe, _generator(self.seed, self.epoch, 1 + within)
        images = random_crop(images, recipe.crop_padding, generator, recipe.crop_padding_mode)
        return random_flip(images, generator) if recipe.flip else images

    def _start_epoch(self) -> None:
        generator = _generator(self.seed, self.epoch, 0)
        order = torch.randperm(len(self.data.train_x), generator=generator)
        self.order = order.to(self.data.train_x.device)
        self.totals = torch.zeros(3, device=self.device)  # loss, correct, hinge zero: sums so far
        self.starved = torch.zeros(2, device=self.device)  # starved, all counted: sums so far
        # the shadow trails by at most one part in epoch + 1, so a short run does not lag behind
        self.decay = min(1 - 1 / (self.epoch + 1), self.recipe.ema_decay)
        if self._is_measured(self.epoch):
            self.started = time.monotonic()  # of the next row

    def _close_epoch(self) -> None:
        loss, correct, without_hinge = (self.totals / len(self.data.train_x)).tolist()
        starved, counted = self.starved.tolist()
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss} after epoch {self.epoch} (p={self.schedule.p:g}, "
                f"learning rate {self.schedule.learning_rate:g}): try a lower lr"
            )
        with self._recentred():
            raw = self._accuracies(self.model, *self.watched)
            averaged = self._accuracies(self.ema.module, *self.watched)
        with evaluating_at(self.model, self.schedule.p):
            around = self._pixels(self.watched[0][:LIPSCHITZ_IMAGES])
            measured = lipschitz_estimate(self.model, around, steps=1).max().item()
            bound = lipschitz_bound(self.model)
        self.history.append(
            {
                "epoch": self.epoch,
                "loss": loss,
                "accuracy": correct,
                "zero_hinge": without_hinge,
                "starved": starved / counted,
                "p": self.schedule.p,
                "lam": self.schedule.lam,
                "learning_rate": self.schedule.learning_rate,
                "lipschitz": measured,
                "lipschitz_bound": bound,
                "accuracy_linf": raw["accuracy"],
                "certified": raw["certified"],
                "ema_accuracy_linf": averaged["accuracy"],
                "ema_certified": averaged["certified"],
                "seconds": time.monotonic() - self.started,
            }
        )
        if self.recipe.best_epoch:
            for net, prefix, column in self._nets():
                *earlier, newest = (row[column] for row in self.history)
                if newest > max(earlier, default=-1.0):
                    weights = net.state_dict().items()
                    self.best |= {prefix + name: value.clone() for name, value in weights}

    def _nets(self) -> list[tuple[nn.Module, str, str]]:
        """Raw net and average, with a prefix for each and its column of certified accuracy."""
        return [(self.model, "model.", "certified"), (self.ema.module, "ema.", "ema_certified")]

    def _accuracies(self, model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, float]:
        with evaluating_at(model, math.inf):  # certify refuses a net whose dropout is active
            at_hand = self._pixels(images), labels.to(self.device)
            return accuracies(model, *at_hand, self.recipe.eps)

    def _pixels(self, images: Tensor) -> Tensor:
        """Images in [0, 1], on the device."""
        return images.to(self.device).float().div(255)

    @contextmanager
    def _recentred(self) -> Iterator[None]:
        """Within the block, the means of nets that drop inputs in training are evaluation's."""
        with ExitStack() as until_then:
            if self.drops_inputs:
                images = self._pixels(self.data.train_x[:HISTORY_IMAGES])
                for net in (self.model, self.ema.module):
                    until_then.enter_context(recentred(net, images))
            yield

    def finished(self, folder: Path | None) -> Run:
        """Certify the nets on all test images, and return the finished run."""
        set_p(self.ema.module, common_p(self.model))
        if self.recipe.best_epoch:
            for net, prefix, _ in self._nets():
                net.load_state_dict(_under(self.best, prefix))
        if self.drops_inputs:
            for net in (self.model, self.ema.module):
                recentre(net, self._pixels(self.data.train_x[:RECENTRING_IMAGES]))
        test = self.data.test_x, self.data.test_y
        found = [self._accuracies(net, *test) for net, *_ in self._nets()]
        return Run(
            recipe=self.recipe,
            seed=self.seed,
            model=self.model.eval(),
            ema_model=self.ema.module.eval(),
            history=self.history,
            results=results_of(*found),
            folder=folder,
        )

    # --- its state, from which it can go on

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and JSON header from which `restore` goes on."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"ema.{name}": value for name, value in self.ema.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        tensors |= {"totals": self.totals, "starved": self.starved}
        tensors |= {"logit_scale": self.logit_scale.detach().clone()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        p = str(common_p(self.model))
        return tensors, {"step": self.step, "p": p, "history": self.history}

    def restore(self, tensors: dict[str, Tensor], header: Mapping[str, Any]) -> None:
        """Go on from the result of `state`."""
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
        self.best = _under(tensors, "best.")
        self.totals = tensors["totals"].to(self.device)
        self.starved = tensors["starved"].to(self.device)
        self.logit_scale.data.copy_(tensors["logit_scale"])
        set_p(self.model, float(header["p"]))


@torch.no_grad()
def _worst_at_infinity(model: nn.Module, x: Tensor, labels: Tensor, eps: float) -> Tensor:
    """Worst logits at p=∞, every mean shift centred on this batch, as in training; the model stays.

    Running means would not do: they belong to the p of training, and centre nothing at another.
    """
    with preserve_running_means(model) as shifts, evaluating_at(model, math.inf):
        for shift in shifts:
            shift.train()
        return worst_within(model, x, labels, eps)


def _generator(*numbers: int) -> torch.Generator:
    """Random generator that depends on these numbers alone."""
    return torch.Generator().manual_seed(_seed(*numbers))


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors whose names begin with the prefix, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
