"""fit(): from a recipe to a trained net, with its moving average, history and checkpoint.

The order of an epoch's batches and their augmentation are functions of (seed, epoch, step), so that
a run that was interrupted and resumed is bit for bit the one that was not.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from linfkit import schedules
from linfkit.certificates import Certificates, certify, evaluating_at
from linfkit.checkpoints import read_tensors, save_model, write_atomically, write_tensors
from linfkit.layers import distance_layers, set_p
from linfkit.lipschitz import lipschitz_bound, lipschitz_estimate
from linfkit.losses import hinge_loss, mixed_loss, zero_hinge
from linfkit.models import LpDistNet, common_p

if TYPE_CHECKING:
    from linfkit.data import Dataset
    from linfkit.recipes import Recipe

__all__ = ["Run", "fit", "fit_all", "initial_model"]

#: Test images on which the history follows certified accuracy; the end of a run takes all.
HISTORY_IMAGES = 2000
#: Test images around which the history measures the Lipschitz constant.
LIPSCHITZ_IMAGES = 16
#: What the learned scalar of the loss takes of the learning rate (ICLR 2022 code).
LOGIT_SCALE_RATE = 0.2
#: Sources that decide what a run results in; a change of one makes cached nets stale.
TRAINING_SOURCES = [
    "checkpoints.py",
    "certificates.py",
    "data",
    "functional.py",
    "kernels",
    "layers.py",
    "lipschitz.py",
    "losses.py",
    "models.py",
    "schedules.py",
    "training.py",
]


@dataclass(frozen=True)
class Run:
    """A finished training run.

    Attributes:
        recipe, seed: what was asked for.
        model: the net with its raw weights, in evaluation mode, at the p where training ended.
        ema_model: the same with the moving average of the weights.
        history: one row for each epoch; see `fit`.
        results: over all test images: accuracy and certified accuracy at p=∞ and the recipe's eps,
            of the raw weights and (``ema_…``) their average.
        folder: where it was written, or None.
    """

    recipe: Recipe
    seed: int
    model: nn.Module
    ema_model: nn.Module
    history: list[dict[str, float]]
    results: dict[str, float]
    folder: Path | None

    def column(self, name: str) -> list[float]:
        """One column of the history, epoch by epoch.

        Raises:
            ValueError: there is no such column.
        """
        if self.history and name not in self.history[0]:
            raise ValueError(f"history has no column {name!r}; it has {', '.join(self.history[0])}")
        return [row[name] for row in self.history]


def fit(
    recipe: Recipe | str | Path,
    data: Dataset | None = None,
    model: nn.Module | None = None,
    out: str | Path | None = None,
    resume: bool = True,
    device: str | torch.device = "auto",
    seed: int | None = None,
    progress: bool = True,
    checkpoint_every: float = 10.0,
) -> Run:
    """Train a net as a recipe says.

    Args:
        recipe: a `Recipe`, or the name or path of one.
        data: a `Dataset` of your own; by default the recipe's, through `load_dataset`.
        model: a net of your own to train, in place of the recipe's `LpDistNet`.
        out: folder for the nets, the history and the checkpoint. By default a folder in the cache,
            named by a hash of recipe, seed, data and linfkit's training code, so that the same call
            trains once; a model of your own is then kept nowhere.
        resume: go on from the folder's checkpoint, or return its finished run, if it is of this
            very recipe, seed and data. False trains anew.
        device: "auto" takes a GPU where there is one.
        seed: of initial weights, batch order and augmentation; by default the recipe's first.
        progress: show a bar, on stderr or in the notebook.
        checkpoint_every: seconds between checkpoints; 0 writes one after every step.

    Returns:
        A `Run`. Each row of its history has epoch, loss, accuracy (training images, at the p of
        training), zero_hinge (share of training samples whose hinge is zero), p, lam,
        learning_rate, lipschitz (measured at the p of training, worst over 16 test images),
        lipschitz_bound, and accuracy_linf and certified (the first 2,000 test images, at p=∞ and
        the recipe's eps), the last two also as ema_accuracy_linf and ema_certified; seconds.

    Raises:
        ValueError, TypeError: an argument is wrong, or `out` holds a run of something else.
        FileNotFoundError: the recipe or its data set is not there.
        FloatingPointError: the loss is no longer finite.
    """
    from linfkit.data import Dataset, load_dataset
    from linfkit.recipes import Recipe, load_recipe

    if isinstance(recipe, str | Path):
        recipe = load_recipe(recipe)
    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe must be a Recipe, a name or a path; got {type(recipe).__name__}")
    seed = recipe.seeds[0] if seed is None else seed
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed must be a whole number; got {seed!r}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more; got {seed}")
    data = load_dataset(recipe.dataset) if data is None else data
    if not isinstance(data, Dataset):
        raise TypeError(f"data must be a Dataset; got {type(data).__name__}")
    data = _as_the_recipe_asks(data, recipe)
    own_model = model is not None
    model = initial_model(recipe, data, seed) if model is None else model
    key = _key(recipe, seed, data, model if own_model else None)
    folder = Path(out) if out is not None else None if own_model else _cache_folder() / key
    training = _Training(recipe, seed, data, model, _device(device), key, folder)
    if folder is not None and resume:
        training.resume()
    elif folder is not None:
        training.clear_folder()
    finished = training.finished_run()
    if finished is not None:
        return finished
    return training.run(progress, checkpoint_every)


def fit_all(
    recipes: Iterable[tuple[Recipe, int]],
    data: Dataset | None = None,
    device: str | torch.device = "auto",
    description: str = "nets",
) -> list[Run]:
    """Train one net for each (recipe, seed), under one progress bar; nets in the cache are read.

    >>> from linfkit.recipes import load_recipe
    >>> tiny = load_recipe("digits-small").replace(epochs=1, width=8)
    >>> [run.seed for run in fit_all([(tiny, 0), (tiny, 1)])]
    [0, 1]
    """
    from tqdm.auto import tqdm

    todo = list(recipes)
    return [
        fit(recipe, data=data, seed=seed, device=device)
        for recipe, seed in tqdm(todo, desc=description, unit="net", leave=False)
    ]


# --- what a run is made of


def _as_the_recipe_asks(data: Dataset, recipe: Recipe) -> Dataset:
    data = data.subset(train_images=recipe.train_images, test_images=recipe.test_images)
    if recipe.label_noise:
        data = data.with_label_noise(recipe.label_noise, seed=recipe.label_noise_seed)
    return data


def initial_model(recipe: Recipe, data: Dataset, seed: int = 0) -> LpDistNet:
    """The net that `fit` starts from: the recipe's shape, the data's normalisation.

    The mean and scale that the recipe leaves open are those of the training pixels.

    >>> from linfkit.data import load_dataset
    >>> from linfkit.recipes import load_recipe
    >>> initial_model(load_recipe("digits-small"), load_dataset("digits")).in_features
    64
    """
    mean = data.channel_means if recipe.mean is None else recipe.mean
    scale = data.pixel_scale if recipe.scale is None else recipe.scale
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LpDistNet(
            data.in_features,
            width=recipe.width,
            depth=recipe.depth,
            classes=len(data.classes),
            mean=mean,
            scale=scale,
            identity_start=recipe.identity_start,
        )


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


def _device(device: str | torch.device) -> torch.device:
    if device != "auto":
        return torch.device(device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _cache_folder() -> Path:
    from linfkit.data import cache_folder

    return cache_folder() / "runs"


@cache
def _code_fingerprint() -> str:
    """Hash of the sources in TRAINING_SOURCES."""
    digest = hashlib.sha256()
    package = resources.files("linfkit")
    for name in TRAINING_SOURCES:
        place = Path(str(package / name))
        for source in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(source.read_bytes())
    return digest.hexdigest()


def _key(recipe: Recipe, seed: int, data: Dataset, own_model: nn.Module | None) -> str:
    """Hash of everything that decides a run."""
    parts = [recipe.fingerprint, str(seed), data.fingerprint, _code_fingerprint()]
    if own_model is not None:
        parts.append(repr(own_model))
        parts += [
            hashlib.sha256(tensor.detach().cpu().numpy().tobytes()).hexdigest()
            for tensor in own_model.state_dict().values()
        ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def _generator(seed: int, *numbers: int) -> torch.Generator:
    """A generator that depends on these numbers alone."""
    state = np.random.SeedSequence([seed, *numbers]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)


@dataclass
class _Training:
    """A run under way: its nets and optimiser, and how far it has come."""

    recipe: Recipe
    seed: int
    data: Dataset
    model: nn.Module
    device: torch.device
    key: str
    folder: Path | None
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
        return self.step // self.steps_per_epoch

    # --- the loop

    def run(self, progress: bool, checkpoint_every: float) -> Run:
        from tqdm.auto import tqdm

        saved_at = time.monotonic()
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
                if time.monotonic() - saved_at >= checkpoint_every:
                    self.save()
                    saved_at = time.monotonic()
        return self._finish()

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
        logits = self.model(images.float().div(255))
        loss = self.loss(logits, labels, self.lam, self.logit_scale)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        # the shadow trails by at most one part in epoch + 1, so a short run does not lag behind
        decay = min(1 - 1 / (self.epoch + 1), recipe.ema_decay)
        self.ema.multi_avg_fn = get_ema_multi_avg_fn(decay)
        self.ema.update_parameters(self.model)

        with torch.no_grad():
            starved = zero_hinge(logits, labels, recipe.theta).sum()
            correct = (logits.argmax(dim=1) == labels).sum()
            self.totals += torch.stack([loss * len(labels), correct, starved])
        self.step += 1

    def _augmented(self, images: Tensor, within: int) -> Tensor:
        from linfkit.data import random_crop, random_flip

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
        self.started = time.monotonic()

    def _close_epoch(self) -> None:
        loss, correct, starved = (self.totals / len(self.train_x)).tolist()
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
                "zero_hinge": starved,
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

    def _finish(self) -> Run:
        raw, averaged = self._certified(self.model), self._certified(self.ema.module)
        results = {
            "accuracy": raw.clean_accuracy,
            "certified": raw.accuracy(self.recipe.eps),
            "ema_accuracy": averaged.clean_accuracy,
            "ema_certified": averaged.accuracy(self.recipe.eps),
        }
        if self.folder is not None:
            self._write_run(results)
        return self._as_run(results)

    def _as_run(self, results: dict[str, float]) -> Run:
        ema_model = self.ema.module
        set_p(ema_model, common_p(self.model))
        return Run(
            recipe=self.recipe,
            seed=self.seed,
            model=self.model.eval(),
            ema_model=ema_model.eval(),
            history=self.history,
            results=results,
            folder=self.folder,
        )

    # --- what is written, and read again

    def _write_run(self, results: dict[str, float]) -> None:
        """The finished run; model.safetensors last, since it marks the run as finished."""
        assert self.folder is not None
        set_p(self.ema.module, common_p(self.model))
        header = {**self._header(), "history": self.history, "results": results}
        write_atomically(self.folder / "recipe.toml", self.recipe.to_toml().encode())
        write_atomically(
            self.folder / "history.jsonl",
            "".join(_as_json_line(row) for row in self.history).encode(),
        )
        save_model(self.folder / "ema_model.safetensors", self.ema.module, header)
        save_model(self.folder / "model.safetensors", self.model, header)
        self._checkpoint.unlink(missing_ok=True)

    @property
    def _checkpoint(self) -> Path:
        assert self.folder is not None
        return self.folder / "checkpoint.safetensors"

    def _header(self) -> dict[str, Any]:
        from linfkit import __version__

        return {
            "key": self.key,
            "recipe": self.recipe.to_toml(),
            "seed": self.seed,
            "data": {"name": self.data.name, "fingerprint": self.data.fingerprint},
            "versions": {"linfkit": __version__, "torch": torch.__version__.split("+")[0]},
        }

    def save(self) -> None:
        """Write the state of the run, from which `resume` goes on; nothing without a folder."""
        if self.folder is None:
            return
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"ema.{name}": value for name, value in self.ema.state_dict().items()}
        tensors |= {"totals": self.totals, "logit_scale": self.logit_scale.detach().clone()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        header = {**self._header(), "step": self.step, "p": str(common_p(self.model))}
        header["history"] = self.history
        write_tensors(self._checkpoint, tensors, header)

    def resume(self) -> None:
        """Go on from the folder's checkpoint, if there is one.

        Raises:
            ValueError: the checkpoint is of another recipe, seed, data set or version of the code.
        """
        if not self._checkpoint.is_file():
            return
        tensors, header = read_tensors(self._checkpoint)
        self._check_key(header, self._checkpoint)
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
        self.logit_scale.data.copy_(tensors["logit_scale"])
        set_p(self.model, float(header["p"]))

    def finished_run(self) -> Run | None:
        """The folder's finished run, if it is this one.

        Raises:
            ValueError: it is a run of another recipe, seed, data set or version of the code.
        """
        if self.folder is None or not (self.folder / "model.safetensors").is_file():
            return None
        tensors, header = read_tensors(self.folder / "model.safetensors")
        self._check_key(header, self.folder)
        averaged, _ = read_tensors(self.folder / "ema_model.safetensors")
        self.model.load_state_dict(tensors)
        self.ema.module.load_state_dict(averaged)
        set_p(self.model, float(header["p"]))
        self.history = header["history"]
        return self._as_run(header["results"])

    def clear_folder(self) -> None:
        """Clear the folder of an earlier run, so that this one starts anew."""
        assert self.folder is not None
        for name in ["checkpoint", "model", "ema_model"]:
            (self.folder / f"{name}.safetensors").unlink(missing_ok=True)

    def _check_key(self, header: dict[str, Any], place: Path) -> None:
        if header.get("key") != self.key:
            raise ValueError(
                f"{place} holds a run of another recipe, seed or data set, or of other code: "
                "choose another folder, or resume=False to train anew there"
            )


def _as_json_line(row: Mapping[str, float]) -> str:
    """One row of the history; p=∞ in quotes, since JSON knows no infinity."""
    return json.dumps({k: "inf" if v == math.inf else v for k, v in row.items()}) + "\n"


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with the prefix, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
