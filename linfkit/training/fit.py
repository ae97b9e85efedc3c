"""fit(): train a net, in a folder or in the cache."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn

from linfkit._util.checks import check_count, check_real
from linfkit._util.devices import usable_device, with_gradients
from linfkit._util.distributed import any_rank, entered_on_rank_zero, is_first, join, on_rank_zero
from linfkit._util.files import folder_lock
from linfkit._util.progress import leave_line, note, progress_bar
from linfkit._util.text import format_duration, format_eps
from linfkit.data.dataset import Dataset
from linfkit.data.loading import load_dataset
from linfkit.nn.checkpoints import RAW
from linfkit.recipes.recipe import Recipe, load_recipe
from linfkit.training.building import initial_model
from linfkit.training.loop import Training
from linfkit.training.objective import Loss
from linfkit.training.runs import Run, RunFolder, run_key

IN_USE = "is being trained in by another process; wait for it, or choose another folder"


@with_gradients
def fit(
    recipe: Recipe | str | Path,
    data: Dataset | None = None,
    model: nn.Module | None = None,
    out: str | Path | None = None,
    resume: bool = True,
    device: str | torch.device = "auto",
    seed: int | None = None,
    progress: bool = True,
    checkpoint_every: float = 60.0,
    after_epoch: Callable[[Mapping[str, float]], object] = lambda row: None,
    loss: Loss | None = None,
) -> Run:
    """Train a net as a recipe says.

    Under torchrun, each process calls it and shares every batch with the others: the run is that of
    one process but for rounding. The first alone writes, shows a bar and calls `after_epoch`; all
    read `out`. "auto" and "cuda" are then a GPU for each.

    Args:
        recipe: a `Recipe`, or the name or path of one.
        data: a `Dataset` of your own; by default the recipe's, through `load_dataset`.
        model: a net of your own to train, in place of the recipe's; `linfkit.certify` must take it.
        out: folder for the nets, the history and the checkpoint. By default a folder in the cache,
            named by a hash of recipe, seed, data and linfkit's training code, so that the same call
            trains once; with a model or a loss of your own, nothing is kept then.
        resume: go on from the folder's checkpoint, or return its finished run, if it is of this
            very recipe, seed and data. False trains anew.
        device: "auto" takes a GPU where there is one.
        seed: of initial weights, batch order and augmentation; by default the recipe's first.
        progress: show a bar, on stderr or in the notebook; there also how long a run will take that
            takes minutes, and at its end what it reached.
        checkpoint_every: seconds between checkpoints within an epoch; another is written after each
            epoch, unless the last is younger than a second, or than 20 times as long as writing it
            took. 0 writes one after every step. Ctrl-C waits for the step to end, writes one too,
            and the same call goes on from it.
        after_epoch: called after each epoch with its row of the history, to log it somewhere; with
            the recipe's history_every, after the epochs that have one.
        loss: a loss of your own in place of the recipe's, whose `loss` becomes "own". It is called
            with a batch's logits, (B, C); its worst logits, (B, C), the largest that f_j − f_y can
            be within the ε of training (`linfkit.training.losses.worst_logits`), 0 at the label;
            and its labels, (B,). It gives a mean over the batch, a tensor of shape (). A run in
            `out` is another one if the loss has another name or source text; what it reads besides
            its arguments is not looked at.

    Returns:
        A `Run`. Each row of its history has epoch, loss, accuracy (training images, at the p of
        training), zero_hinge (share of training samples whose hinge is zero), starved (see below),
        p, lam, learning_rate, lipschitz (measured at the p of training, worst over 16 test images),
        lipschitz_bound, and accuracy_linf and certified (the first 2,000 test images, at p=∞ and
        the recipe's eps, by margin or interval bounds), the last two also as ema_accuracy_linf and
        ema_certified; seconds. With the recipe's validation_share, the images that it holds out
        stand in place of the test images.

        A training sample is starved if its hinge is zero at the p of training though it is not
        certified: satisfied now, its margin would be no more than 2·eps at p=∞. Both margins are of
        the same weights (those before the step), image (augmented as the recipe says), label (wrong
        ones included) and batch: at p=∞ the mean shifts centre on the batch too, since means of one
        p centre nothing at another. The share is that of the last batches of the epoch, as many as
        hold no more than 300 images, and at least one.

    Raises:
        ValueError, TypeError: an argument is wrong, or `out` holds a run of something else.
        FileNotFoundError: the recipe or its data set is not there.
        FloatingPointError: the loss is no longer finite.
        BlockingIOError: another process is training in `out`.

    >>> def hinge(logits, worst, labels):
    ...     return worst.amax(dim=1).mean()
    >>> tiny = load_recipe("digits-small").replace(epochs=1, width=8)
    >>> fit(tiny, loss=hinge, progress=False).recipe.loss
    'own'
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    seed = check_count("seed", recipe.seeds[0] if seed is None else seed, least=0)
    checkpoint_every = check_real(
        "checkpoint_every", checkpoint_every, "seconds, 0 or more", lambda s: s >= 0
    )
    if not isinstance(out, str | Path | None):
        raise TypeError(f"out must be the path of a folder; got {out!r}")
    if loss is not None:
        recipe = recipe.replace(loss="own", worst_share=0.0)
    if recipe.loss == "own" and not callable(loss):
        raise TypeError(f"loss must be a function of logits, worst logits and labels; got {loss!r}")
    device = usable_device(device)
    data = load_dataset(recipe.dataset) if data is None else data
    data = apply_recipe(data, recipe)
    own_model = model
    model = initial_model(recipe, data, seed) if own_model is None else own_model
    join(device)
    if not is_first():
        progress, after_epoch = False, lambda row: None
    if progress:
        after_epoch = _with_estimate(after_epoch, recipe.epochs, recipe.history_every)
    training = Training(recipe, seed, data, model, device, loss)
    if out is None and (own_model is not None or loss is not None):
        training.run(progress, after_epoch=after_epoch)
        return _reported(training.finished(folder=None), progress)
    folder = RunFolder.of(run_key(recipe, seed, data, own_model, loss), out)
    if resume and any_rank((folder.path / RAW).is_file()):
        with suppress(FileNotFoundError):  # another process starts it again at this moment
            # read without a lock, since that is a file to be written
            run = folder.load_run(recipe, seed, training.model, training.ema.module)
            if run is not None:
                return _reported(run, progress)
    # in the cache, the second process takes the first one's run
    with entered_on_rank_zero(folder_lock(folder.path, wait=out is None, otherwise=IN_USE)):
        run = _fit_in(folder, training, resume, progress, checkpoint_every, after_epoch)
    return _reported(run, progress)


def fit_all(
    recipes: Iterable[tuple[Recipe, int]],
    data: Dataset | None = None,
    device: str | torch.device = "auto",
    description: str = "nets",
) -> list[Run]:
    """Train one net for each (recipe, seed), under one progress bar; nets in the cache are read.

    >>> from linfkit.recipes.recipe import load_recipe
    >>> tiny = load_recipe("digits-small").replace(epochs=1, width=8)
    >>> [run.seed for run in fit_all([(tiny, 0), (tiny, 1)])]
    [0, 1]
    """
    pairs = list(recipes) if isinstance(recipes, Iterable) else [recipes]
    for pair in pairs:
        if not (isinstance(pair, tuple) and len(pair) == 2):
            got = type(pair).__name__
            raise TypeError(f"recipes must be pairs, each of a recipe and a seed; got a {got}")
    todo = [(r if isinstance(r, Recipe) else load_recipe(r), seed) for r, seed in pairs]
    runs: list[Run] = []
    epochs = sum(recipe.epochs for recipe, _ in todo)
    # one bar for all: a bar a net is dozens of messages, more than a notebook's client may hold
    with progress_bar(total=epochs, desc=description, unit="epoch", leave=False) as bar:
        for number, (recipe, seed) in enumerate(todo, start=1):
            advance = partial(_advance, bar, bar.n)
            bar.set_postfix(net=f"{number}/{len(todo)}", refresh=False)
            run = fit(
                recipe,
                data=data,
                seed=seed,
                device=device,
                progress=False,
                after_epoch=advance
                if number > 1
                else _with_estimate(advance, epochs, recipe.history_every),
            )
            advance({"epoch": recipe.epochs})  # of a net in the cache
            runs.append(run)
    if runs:
        shares = [run.results["certified"] for run in runs]
        took = format_duration(sum(sum(run.column("seconds")) for run in runs))
        leave_line(f"{len(runs)} nets: certified {min(shares):.1%} to {max(shares):.1%}, {took}")
    return runs


def _with_estimate(
    after_epoch: Callable[[Mapping[str, float]], object], epochs: int, every: int
) -> Callable[[Mapping[str, float]], object]:
    """After the second row of a history, one for `every` epochs, leave a line if minutes follow.

    In the first, kernels are compiled.
    """
    rows = 0

    def call(row: Mapping[str, float]) -> object:
        nonlocal rows
        rows += 1
        to_go = (epochs - row["epoch"]) * row["seconds"] / every
        if rows == 2 and to_go > 60:
            leave_line(f"about {format_duration(to_go)} to go")
        return after_epoch(row)

    return call


def _reported(run: Run, progress: bool) -> Run:
    """The run, and in a notebook a line of what it reached."""
    if progress:
        leave_line(
            f"{run.recipe.name} seed {run.seed}: clean {run.results['accuracy']:.1%}, certified "
            f"{run.results['certified']:.1%} at ε={format_eps(run.recipe.eps)}, "
            f"{format_duration(sum(run.column('seconds')))}"
        )
    return run


def _advance(bar: Any, start: float, row: Mapping[str, float]) -> None:
    bar.update(start + row["epoch"] - bar.n)


def _fit_in(
    folder: RunFolder,
    training: Training,
    resume: bool,
    progress: bool,
    checkpoint_every: float,
    after_epoch: Callable[[Mapping[str, float]], object],
) -> Run:
    """Go on with the folder's run, or start it, and leave it there finished."""
    if resume:
        run = folder.load_run(training.recipe, training.seed, training.model, training.ema.module)
        if run is not None:
            return run
        checkpoint = folder.load_checkpoint()
        if checkpoint is not None:
            training.restore(*checkpoint)
            if progress:
                note(f"resumed at epoch {training.epoch} of {training.recipe.epochs}")
    else:
        on_rank_zero(folder.clear)
    on_rank_zero(lambda: folder.begin(training.recipe, training.history))
    saved_at, at_epochs = time.monotonic(), 1.0

    def save_checkpoint() -> None:
        nonlocal saved_at, at_epochs
        started = time.monotonic()
        folder.save_checkpoint(*training.state())
        saved_at = time.monotonic()
        at_epochs = max(1.0, 20 * (saved_at - started))  # of a wide net they are gigabytes

    with deferred_interrupts() as interrupted:

        def after_step() -> None:
            age = time.monotonic() - saved_at
            epoch_ended = training.step % training.steps_per_epoch == 0
            due = age >= checkpoint_every or (epoch_ended and age >= at_epochs)
            if is_first() and (row := training.newest_row):
                folder.add_to_history(row)
            if is_first() and due:
                save_checkpoint()
            if any_rank(interrupted()):
                if is_first() and not due:
                    save_checkpoint()
                raise KeyboardInterrupt

        training.run(progress, after_step=after_step, after_epoch=after_epoch)
    run = training.finished(folder.path)
    on_rank_zero(lambda: folder.save_run(run, training.data))
    return run


@contextmanager
def deferred_interrupts() -> Iterator[Callable[[], bool]]:
    """SIGINT and SIGTERM are deferred to the end of the step; a second one interrupts at once.

    Yields a function that tells whether one has come. Only the main thread can defer them; in
    others nothing changes.

    >>> with deferred_interrupts() as interrupted:
    ...     signal.raise_signal(signal.SIGINT)
    ...     interrupted()
    True
    """
    arrived = threading.Event()

    def defer(number: int, frame: FrameType | None) -> None:
        if arrived.is_set():
            raise KeyboardInterrupt
        arrived.set()

    can_defer = threading.current_thread() is threading.main_thread()
    signals = (signal.SIGINT, signal.SIGTERM) if can_defer else ()
    earlier = {number: signal.signal(number, defer) for number in signals}
    try:
        yield arrived.is_set
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def apply_recipe(data: Dataset, recipe: Recipe) -> Dataset:
    """Take the number of images that the recipe states, and add its label noise.

    Raises:
        TypeError: the data is no `Dataset`.

    >>> from linfkit.data.loading import load_dataset
    >>> from linfkit.recipes.recipe import load_recipe
    >>> few = load_recipe("digits-small").replace(train_images=100)
    >>> len(apply_recipe(load_dataset("digits"), few).train_x)
    100
    """
    if not isinstance(data, Dataset):
        raise TypeError(f"data must be a Dataset; got {type(data).__name__}")
    data = data.subset(train_images=recipe.train_images, test_images=recipe.test_images)
    if recipe.label_noise:
        kept = recipe.trained_images(len(data.train_x))
        noisy = data.subset(train_images=kept)
        noisy = noisy.with_label_noise(recipe.label_noise, seed=recipe.label_noise_seed)
        data = replace(data, train_y=torch.cat([noisy.train_y, data.train_y[kept:]]))
    return data
