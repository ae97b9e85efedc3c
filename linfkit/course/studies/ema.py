"""Gain of averaging the weights over time (Li et al., 2021, section 3)."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from linfkit._util.environment import source_hash
from linfkit._util.files import cache_folder, folder_lock
from linfkit.certification.certify import certify
from linfkit.data.dataset import Dataset
from linfkit.data.loading import load_dataset
from linfkit.nn.checkpoints import read_tensors, write_tensors
from linfkit.nn.layers import distance_layers
from linfkit.recipes.recipe import Recipe
from linfkit.training.building import initial_model
from linfkit.training.fit import IN_USE, apply_recipe
from linfkit.training.loop import Training
from linfkit.training.runs import Run, RunFolder, run_key

#: Test images on which certified accuracy is followed.
FOLLOWED_IMAGES = 1000


def mean_history(runs: Sequence[Run], column: str) -> list[float]:
    """One column of the history, averaged over runs, epoch by epoch."""
    columns = [run.column(column) for run in runs]
    return torch.tensor(columns, dtype=torch.float64).mean(dim=0).tolist()


def ema_gain(runs: Sequence[Run]) -> list[float]:
    """Gain of the shadow over the raw weights in certified accuracy, by epoch, mean over runs."""
    raw, shadow = mean_history(runs, "certified"), mean_history(runs, "ema_certified")
    return [after - before for before, after in zip(raw, shadow, strict=True)]


@dataclass(frozen=True)
class Track:
    """One sequence of weights along training, recorded every few steps; T records.

    Attributes:
        certified: certified accuracy at the recipe's ε, at p=∞, (T,).
        moved: root mean square over the weights of their change since the record before, in the
            units of normalised pixels, (T,); the first, since the start.
        plane: where the weights are in the plane that `follow_weights` chooses, for the records of
            the last quarter, (T/4, 2).
    """

    certified: Tensor
    moved: Tensor
    plane: Tensor

    @property
    def jitter(self) -> float:
        """Mean change of certified accuracy from record to record, in the second half.

        >>> Track(torch.tensor([0.0, 0.5, 0.5, 0.75, 0.5]), torch.ones(5), torch.ones(1, 2)).jitter
        0.25
        """
        late = self.certified[len(self.certified) // 2 :]
        return late.diff().abs().mean().item()


@dataclass(frozen=True)
class WeightPath:
    """A run followed through its weights: the raw ones, and shadows of them.

    Attributes:
        recipe: what the run is.
        every: steps from one record to the next.
        epochs: when the records were taken, in epochs, (T,).
        raw: the weights that are trained.
        shadow: their moving average, warmed up to the recipe's decay as training does it.
        constant: by decay β, the moving average with this very β from the first step on.
    """

    recipe: Recipe
    every: int
    epochs: Tensor
    raw: Track
    shadow: Track
    constant: dict[float, Track]


def follow_weights(
    recipe: Recipe,
    decays: Sequence[float],
    data: Dataset | None = None,
    seed: int | None = None,
    every: int = 10,
) -> WeightPath:
    """Train a recipe's net on the CPU, and follow its weights and their averages.

    All averages are taken of the same raw weights. The plane is spanned by the two directions in
    which the raw weights vary most over the last quarter of the records. What was followed is
    kept in the cache, under a hash of all that decides it; so is the run, where `fit` finds it.

    Args:
        recipe: what to train.
        decays: β of the averages that are not warmed up.
        data: in place of the recipe's own data set.
        seed: as in `fit`.
        every: steps from one record to the next.

    >>> from linfkit.recipes.recipe import load_recipe
    >>> tiny = load_recipe("digits-ema").replace(width=4, depth=2, epochs=1, train_images=160)
    >>> path = follow_weights(tiny, [0.9], every=1)  # in epoch 0 the shadow is the raw net itself
    >>> len(path.epochs), bool((path.raw.moved == path.shadow.moved).all())
    (10, True)
    """
    seed = recipe.seeds[0] if seed is None else seed
    data = apply_recipe(load_dataset(recipe.dataset) if data is None else data, recipe)
    own = source_hash("course/studies/ema.py")
    decided_by = f"{run_key(recipe, seed, data, None)} {list(decays)} {every} {own}"
    name = hashlib.sha256(decided_by.encode()).hexdigest()[:24]
    file = cache_folder() / "weight-paths" / f"{name}.safetensors"
    if not file.is_file():
        write_tensors(file, _followed(recipe, decays, data, seed, every), {})
    tensors, _ = read_tensors(file)

    def track(name: str) -> Track:
        return Track(*(tensors[f"{name}.{part}"] for part in ("certified", "moved", "plane")))

    return WeightPath(
        recipe=recipe,
        every=every,
        epochs=tensors["epochs"],
        raw=track("raw"),
        shadow=track("shadow"),
        constant={decay: track(f"constant {decay}") for decay in decays},
    )


def _followed(
    recipe: Recipe, decays: Sequence[float], data: Dataset, seed: int, every: int
) -> dict[str, Tensor]:
    """The tensors of a `WeightPath`, by name."""
    model = initial_model(recipe, data, seed)
    training = Training(recipe, seed, data, model, torch.device("cpu"))
    averages = {decay: copy.deepcopy(model) for decay in decays}
    nets: dict[str, nn.Module] = {"raw": model, "shadow": training.ema.module}
    nets |= {f"constant {decay}": average for decay, average in averages.items()}
    parameters: dict[nn.Module, list[Tensor]]
    parameters = {net: list(net.parameters()) for net in (model, *averages.values())}
    images = data.test_x[:FOLLOWED_IMAGES].float().div(255)
    labels = data.test_y[:FOLLOWED_IMAGES]

    epochs: list[float] = []
    certified: dict[str, list[float]] = {name: [] for name in nets}
    moved: dict[str, list[Tensor]] = {name: [] for name in nets}
    late: dict[str, list[Tensor]] = {name: [] for name in nets}
    before = {name: _weights(net) for name, net in nets.items()}

    @torch.no_grad()
    def after_step() -> None:
        for decay, average in averages.items():
            change = 1 - decay if training.step > 1 else 1.0  # an average starts as the weights
            torch._foreach_lerp_(parameters[average], parameters[model], change)
        if training.step % every:
            return
        for average in averages.values():
            for mean, of_batch in zip(average.buffers(), model.buffers(), strict=True):
                mean.copy_(of_batch)
        epochs.append(training.step / training.steps_per_epoch)
        for name, net in nets.items():
            weights = _weights(net)
            certified[name].append(certify(net, images, labels).accuracy(recipe.eps))
            moved[name].append((weights - before[name]).square().mean().sqrt())
            before[name] = weights
            if training.step > training.steps * 3 / 4:
                late[name].append(weights)

    training.run(progress=True, after_step=after_step)
    folder = RunFolder.of(run_key(recipe, seed, data), None)
    with folder_lock(folder.path, wait=True, otherwise=IN_USE):
        folder.begin(recipe, training.history)
        folder.save_run(training.finished(folder.path), data)
    centre, directions = _plane(torch.stack(late["raw"]))
    tensors = {"epochs": torch.tensor(epochs)}
    for name in nets:
        tensors[f"{name}.certified"] = torch.tensor(certified[name])
        tensors[f"{name}.moved"] = torch.stack(moved[name])
        tensors[f"{name}.plane"] = (torch.stack(late[name]) - centre) @ directions
    return tensors


def _weights(net: nn.Module) -> Tensor:
    """The weights of all distance layers in one row, (n,)."""
    return torch.cat([layer.weight.detach().flatten() for layer in distance_layers(net)])


def _plane(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (n,) and the two main directions (n, 2) of rows (T, n)."""
    centre = rows.mean(dim=0)
    _, _, directions = torch.linalg.svd(rows - centre, full_matrices=False)
    return centre, directions[:2].T
