"""Tested: that fit, on tiny nets, repeats itself, resumes bit for bit, caches and does as told.
Not tested: figures of full-sized runs, which the notebooks claim, and GPUs."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
import tqdm.auto
from torch import nn
from torch.nn import functional as F

import linfkit as lk
from linfkit.nn.checkpoints import read_header
from linfkit.training import fit as fit_module
from linfkit.training import loop, objective, runs

INF = math.inf
TINY = lk.Recipe(
    name="tiny",
    dataset="digits",
    train_images=96,
    test_images=40,
    eps=0.1,
    eps_train=0.3,
    width=12,
    depth=3,
    epochs=3,
    batch_size=32,
    lr=0.03,
    p_ramp=(0.2, 0.8),
)
COLUMNS = {
    "epoch",
    "loss",
    "accuracy",
    "zero_hinge",
    "starved",
    "p",
    "lam",
    "learning_rate",
    "lipschitz",
    "lipschitz_bound",
    "accuracy_linf",
    "certified",
    "ema_accuracy_linf",
    "ema_certified",
    "seconds",
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LINFKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fit(TINY, out=tmp_path_factory.mktemp("run"))


def fit(recipe, **arguments):
    return lk.fit(recipe, device="cpu", progress=False, **arguments)


def states(run):
    return {"raw": run.model.state_dict(), "averaged": run.ema_model.state_dict()}


def without_seconds(history):
    return [{name: row[name] for name in row if name != "seconds"} for row in history]


def assert_same_run(run, other):
    for of_run, of_other in zip(states(run).values(), states(other).values(), strict=True):
        assert of_run.keys() == of_other.keys()
        assert all(torch.equal(of_run[name], of_other[name]) for name in of_run)
    assert without_seconds(run.history) == without_seconds(other.history)
    assert run.results == other.results
    assert run.model.p == other.model.p == run.ema_model.p == other.ema_model.p


def no_training(monkeypatch):
    """From here on, a step of training fails the test."""
    monkeypatch.setattr(objective, "mixed_loss", lambda *_: pytest.fail("a net was trained"))


def stop_at(monkeypatch, name, call, exception):
    """Raise in place of the n-th call of one of the functions that training calls."""
    places = loop, objective, runs, loop.Training
    module = next(place for place in places if hasattr(place, name))
    original, calls = getattr(module, name), itertools.count(1)

    def stopping(*arguments, **keywords):
        if next(calls) == call:
            raise exception
        return original(*arguments, **keywords)

    monkeypatch.setattr(module, name, stopping)


# --- the same again


def test_the_same_seed_gives_the_same_run_whatever_torch_s_own_generator(run, tmp_path):
    torch.manual_seed(12345)
    assert_same_run(fit(TINY, out=tmp_path / "again"), run)


def test_another_seed_gives_another_run(run, tmp_path):
    other = fit(TINY, out=tmp_path / "other", seed=1)
    assert other.seed == 1
    assert other.column("loss") != run.column("loss")
    weight = "layers.0.weight"
    assert not torch.equal(states(other)["raw"][weight], states(run)["raw"][weight])


def test_the_recipe_s_first_seed_is_taken(tmp_path):
    once = fit(TINY.replace(seeds=(3, 4), epochs=1), out=tmp_path / "a")
    again = fit(TINY.replace(epochs=1), out=tmp_path / "b", seed=3)
    assert once.seed == 3
    assert_same_run(once, again)


def test_a_seed_may_be_a_whole_number_of_any_type(tmp_path):
    once = fit(TINY.replace(epochs=1), out=tmp_path, seed=np.int64(3))
    again = fit(TINY.replace(epochs=1), out=tmp_path, seed=3)  # it is that run's folder
    assert once.seed == again.seed == 3
    assert type(once.seed) is int
    assert_same_run(once, again)


def test_training_leaves_torch_s_own_generator_alone(tmp_path):
    before = torch.get_rng_state()
    fit(TINY.replace(epochs=1, crop_padding=1, flip=True), out=tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


# --- interrupted and resumed

AUGMENTED = TINY.replace(crop_padding=1, flip=True)  # three epochs of three steps
MOMENTS = {
    "between two steps of an epoch": ("set_p", 6),
    "between two epochs": ("set_p", 4),
    "before the first step": ("set_p", 1),
    "within a step, after the net has run": ("mixed_loss", 6),
    "within a step, before the average": ("_update_average", 6),
    "within a step, after the average": ("within_reach", 6),
    "while an epoch is closed": ("certify_checked", 3),
    "while the end is measured": ("certify_checked", 7),
    "while the nets are written": ("save_model", 2),
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return fit(AUGMENTED, out=tmp_path_factory.mktemp("uninterrupted"))


@pytest.mark.parametrize("exception", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize(("name", "call"), MOMENTS.values(), ids=MOMENTS)
def test_a_run_stopped_and_resumed_is_the_uninterrupted_one(
    name, call, exception, uninterrupted, tmp_path, monkeypatch
):
    with monkeypatch.context() as patched:
        stop_at(patched, name, call, exception)
        with pytest.raises(exception):
            fit(AUGMENTED, out=tmp_path / "run", checkpoint_every=0)
    assert_same_run(fit(AUGMENTED, out=tmp_path / "run"), uninterrupted)


STARVING = TINY.replace(loss="hinge", eps=0.01, eps_train=0.01, p_ramp=(1.0, 1.0), epochs=4)


SELDOM = AUGMENTED.replace(epochs=5, history_every=2)


def test_the_history_has_a_row_every_few_epochs_and_one_of_the_last(tmp_path):
    often = fit(SELDOM.replace(history_every=1), out=tmp_path / "often")
    seldom = fit(SELDOM, out=tmp_path / "seldom", after_epoch=(rows := []).append)
    assert rows == seldom.history
    assert len((tmp_path / "seldom" / "history.jsonl").read_text().splitlines()) == 3
    assert seldom.column("epoch") == [2, 4, 5]
    for column in ("loss", "certified", "ema_certified", "starved", "lipschitz"):
        of_all = often.column(column)
        assert seldom.column(column) == [of_all[1], of_all[3], of_all[4]]
    assert seldom.results == often.results


@pytest.mark.parametrize("step", range(1, 16, 2))
def test_a_seldom_measured_run_goes_on_where_it_was_stopped(step, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        stop_at(patched, "set_p", step, MemoryError)
        with pytest.raises(MemoryError):
            fit(SELDOM, out=tmp_path / "run", checkpoint_every=0)
    assert_same_run(fit(SELDOM, out=tmp_path / "run"), fit(SELDOM, out=tmp_path / "whole"))


@pytest.mark.parametrize("step", range(7, 13))
def test_a_count_of_the_starved_goes_on_where_it_was_stopped(step, tmp_path, monkeypatch):
    uninterrupted = fit(STARVING, out=tmp_path / "uninterrupted")
    assert max(uninterrupted.column("starved")) > 0
    with monkeypatch.context() as patched:
        stop_at(patched, "set_p", step, MemoryError)
        with pytest.raises(MemoryError):
            fit(STARVING, out=tmp_path / "run", checkpoint_every=0)
    assert_same_run(fit(STARVING, out=tmp_path / "run"), uninterrupted)


def test_an_interrupt_keeps_what_was_trained_so_far(tmp_path, monkeypatch):
    steps = []
    with monkeypatch.context() as patched:
        stop_at(patched, "set_p", 6, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            fit(TINY, out=tmp_path / "run", checkpoint_every=0)
    original = objective.mixed_loss
    monkeypatch.setattr(objective, "mixed_loss", lambda *a: steps.append(1) or original(*a))
    fit(TINY, out=tmp_path / "run")
    assert len(steps) == 9 - 5


def test_a_constant_p_survives_a_stop_after_the_last_step(tmp_path, monkeypatch):
    constant = TINY.replace(p_ramp=(1.0, 1.0))
    whole = fit(constant, out=tmp_path / "whole")
    with monkeypatch.context() as patched:
        stop_at(patched, "save_model", 1, MemoryError)
        with pytest.raises(MemoryError):
            fit(constant, out=tmp_path / "run", checkpoint_every=0)
    assert_same_run(fit(constant, out=tmp_path / "run"), whole)


def test_a_run_stopped_twice_is_the_uninterrupted_one(uninterrupted, tmp_path, monkeypatch):
    for call in (3, 4):
        with monkeypatch.context() as patched:
            stop_at(patched, "set_p", call, MemoryError)
            with pytest.raises(MemoryError):
                fit(AUGMENTED, out=tmp_path / "run", checkpoint_every=0)
    assert_same_run(fit(AUGMENTED, out=tmp_path / "run"), uninterrupted)


def test_a_finished_run_is_returned_without_training(run, monkeypatch):
    no_training(monkeypatch)
    assert_same_run(fit(TINY, out=run.folder), run)


def written(folder) -> dict[str, int]:
    """When each file and folder in a folder was last written."""
    return {str(path): path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def test_a_finished_run_is_read_without_writing_anything(tmp_path):
    recipe, both = TINY.replace(epochs=1, seeds=[0, 1]), tmp_path / "both"
    first = fit(recipe), lk.fit_ensemble(recipe, out=both, progress=False)
    for lock in tmp_path.rglob(".lock"):
        lock.unlink()
    before = written(tmp_path)
    assert_same_run(fit(recipe), first[0])
    for workers in (1, 2):
        again = lk.fit_ensemble(recipe, out=both, progress=False, workers=workers)
        assert again.results == first[1].results
    assert written(tmp_path) == before


def test_an_ensemble_of_other_members_is_written_anew(tmp_path):
    recipe = TINY.replace(epochs=1, seeds=[0, 1])
    lk.fit_ensemble(recipe, out=tmp_path, progress=False)
    ensemble, other = tmp_path / "model.safetensors", recipe.replace(seeds=[0, 2])
    lk.fit_ensemble(other, out=tmp_path, progress=False)
    assert read_header(ensemble)["seeds"] == [0, 2]
    ensemble.write_bytes(b"damaged")
    lk.fit_ensemble(other, out=tmp_path, progress=False)
    assert read_header(ensemble)["seeds"] == [0, 2]


def test_a_run_that_is_begun_anew_while_it_is_read_is_waited_for(run, tmp_path, monkeypatch):
    fit(TINY, out=tmp_path / "again")
    read, others = runs.read_tensors, [tmp_path / "again" / "model.safetensors"]

    def read_too_late(path):
        while others:
            others.pop().unlink()
        return read(path)

    monkeypatch.setattr(runs, "read_tensors", read_too_late)
    assert_same_run(fit(TINY, out=tmp_path / "again"), run)


def test_a_finished_run_leaves_no_checkpoint(run):
    names = {"recipe.toml", "model.safetensors", "ema_model.safetensors"}
    names |= {"history.jsonl", ".lock"}
    assert {path.name for path in run.folder.iterdir()} == names
    assert lk.load_recipe(run.folder / "recipe.toml") == TINY
    assert len((run.folder / "history.jsonl").read_text().splitlines()) == TINY.epochs


@pytest.mark.parametrize(
    "other", [{"recipe": TINY.replace(lr=0.02)}, {"recipe": TINY, "seed": 1}], ids=["lr", "seed"]
)
def test_a_folder_with_another_run_is_refused(other, run):
    with pytest.raises(ValueError, match="holds a run of another recipe, seed or data set"):
        fit(**other, out=run.folder)


def test_a_folder_with_another_run_s_checkpoint_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        stop_at(patched, "set_p", 3, MemoryError)
        with pytest.raises(MemoryError):
            fit(TINY, out=tmp_path / "run", checkpoint_every=0)
    with pytest.raises(ValueError, match="holds a run of another recipe, seed or data set"):
        fit(TINY.replace(lr=0.02), out=tmp_path / "run")


def test_without_resume_a_folder_is_trained_anew(tmp_path):
    fit(TINY.replace(lr=0.02, epochs=1), out=tmp_path / "run")
    anew = fit(TINY, out=tmp_path / "run", resume=False)
    assert len(anew.history) == 3
    assert_same_run(anew, fit(TINY, out=tmp_path / "run"))


# --- the cache


def test_the_same_call_without_a_folder_trains_once(cache, monkeypatch):
    first = fit(TINY)
    assert first.folder.is_relative_to(cache)
    no_training(monkeypatch)
    assert_same_run(fit(TINY), first)
    assert_same_run(fit(TINY.replace(name="renamed", seeds=(0, 1))), first)


@pytest.mark.parametrize(
    "other",
    [
        {"recipe": TINY.replace(lr=0.02)},
        {"recipe": TINY, "seed": 1},
        {"recipe": TINY.replace(train_images=64)},
        {"recipe": TINY.replace(label_noise=0.5)},
    ],
    ids=["lr", "seed", "data", "labels"],
)
def test_what_decides_a_run_decides_its_place_in_the_cache(other):
    assert fit(TINY).folder != fit(**other).folder


def test_nets_trained_by_other_code_are_not_served(monkeypatch):
    first = fit(TINY)
    monkeypatch.setattr(runs, "source_hash", lambda *parts: "other code")
    assert fit(TINY).folder != first.folder


def test_a_run_is_kept_in_the_type_that_it_was_trained_in(cache, monkeypatch):
    single, before = fit(TINY), torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        double = fit(TINY)
        no_training(monkeypatch)
        assert_same_run(fit(TINY), double)
    finally:
        torch.set_default_dtype(before)
    assert single.folder != double.folder
    for run, dtype in ((single, torch.float32), (double, torch.float64)):
        loaded = lk.load_model(run.folder).state_dict()
        assert {tensor.dtype for tensor in loaded.values()} == {dtype}
        assert all(torch.equal(loaded[name], of) for name, of in states(run)["averaged"].items())


def test_fit_all_gives_one_run_for_each_pair_and_trains_none_twice(monkeypatch):
    pairs = [(TINY, 0), (TINY, 1), (TINY.replace(width=8), 0)]
    runs = lk.fit_all(pairs, device="cpu")
    assert [(run.recipe, run.seed) for run in runs] == pairs
    no_training(monkeypatch)
    for run, again in zip(runs, lk.fit_all(iter(pairs), device="cpu"), strict=True):
        assert_same_run(run, again)


def test_fit_all_counts_the_epochs_of_all_nets_in_one_bar(monkeypatch):
    bars = []

    class Bar(tqdm.auto.tqdm):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            if not self.disable:
                bars.append(self)

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    for _ in range(2):  # trained, then from the cache
        lk.fit_all([(TINY, 20), (TINY.replace(epochs=1), 20)], device="cpu")
        assert [(bar.n, bar.total) for bar in bars] == [(TINY.epochs + 1, TINY.epochs + 1)]
        bars.clear()


# --- the loop, written out by hand


def small_digits(train_images=40):
    return lk.load_dataset("digits").subset(train_images, test_images=20)


def double_net(data, seed=0):
    """A net of our own in float64, in which the order of a sum does not show."""
    torch.manual_seed(seed)
    return lk.LpDistNet(data.in_features, 8, 3, 10, mean=0.3, scale=0.4).double()


@pytest.mark.parametrize(
    ("loss", "lr_schedule"),
    [("mixed", "cosine"), ("hinge", "constant"), ("cross_entropy", "cosine")],
)
def test_fit_is_the_loop_written_out_by_hand(loss, lr_schedule):
    data, epochs, theta = small_digits(), 8, 0.6
    recipe = TINY.replace(
        train_images=None,
        test_images=None,
        batch_size=40,
        epochs=epochs,
        p_ramp=(0.25, 0.75),
        ema_decay=0.7,
        loss=loss,
        lr_schedule=lr_schedule,
    )
    run = fit(recipe, data=data, model=double_net(data))

    model, shadow = double_net(data), double_net(data)
    scale = [model.logit_scale]
    weights = [weight for weight in model.parameters() if weight is not model.logit_scale]
    optimizer = torch.optim.Adam(
        [{"params": weights}, {"params": scale}], betas=(0.9, 0.99), eps=1e-10
    )
    x, labels = data.train_x.double() / 255, data.train_y
    for epoch in range(epochs):  # of one step each
        ratio = min(max((epoch / epochs - 0.25) / 0.5, 0), 1)
        model.p = INF if ratio == 1 else 8 * 125**ratio
        lam = 0.1 * (0.0005 / 0.1) ** ratio
        factor = (1 + math.cos(math.pi * epoch / epochs)) / 2 if lr_schedule == "cosine" else 1
        optimizer.param_groups[0]["lr"] = 0.03 * factor
        optimizer.param_groups[1]["lr"] = 0.03 * factor / 5
        logits = model(x)
        value = {
            "mixed": lambda: lk.mixed_loss(logits, labels, theta, lam, model.logit_scale),  # noqa: B023
            "hinge": lambda: lk.hinge_loss(logits, labels, theta),  # noqa: B023
            "cross_entropy": lambda: F.cross_entropy(model.logit_scale * logits, labels),  # noqa: B023
        }[loss]()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        decay = min(1 - 1 / (epoch + 1), 0.7)
        with torch.no_grad():
            for average, weight in zip(shadow.parameters(), model.parameters(), strict=True):
                average.mul_(decay).add_((1 - decay) * weight)
        row = run.history[epoch]
        assert (row["p"], row["lam"]) == pytest.approx((model.p, lam))
        assert row["learning_rate"] == pytest.approx(0.03 * factor)
        assert row["loss"] == pytest.approx(value.item(), rel=1e-5)
        correct = (logits.argmax(dim=1) == labels).double().mean().item()
        assert row["accuracy"] == pytest.approx(correct)
        starved = lk.zero_hinge(logits, labels, theta).double().mean().item()
        assert row["zero_hinge"] == pytest.approx(starved)

    for (name, wanted), got in zip(model.named_parameters(), run.model.parameters(), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-7, msg=f"raw {name}")
    for (name, wanted), got in zip(
        shadow.named_parameters(), run.ema_model.parameters(), strict=True
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-7, msg=f"averaged {name}")
    for shift in (1, 3):  # running means are copied, not averaged
        wanted = model.layers[shift].running_mean
        torch.testing.assert_close(run.model.layers[shift].running_mean, wanted)
        torch.testing.assert_close(run.ema_model.layers[shift].running_mean, wanted)


def test_who_is_satisfied_at_the_p_of_training_and_not_certified_at_infinity_starves(monkeypatch):
    data, theta, eps = small_digits(), 0.04, 0.015
    recipe = STARVING.replace(
        train_images=None, test_images=None, batch_size=40, epochs=8, eps=eps, eps_train=theta / 2
    )
    model, at_each_step = double_net(data), []
    original = objective.hinge_loss

    def remember(*arguments):
        at_each_step.append(copy.deepcopy(model.state_dict()))
        return original(*arguments)

    monkeypatch.setattr(objective, "hinge_loss", remember)
    run = fit(recipe, data=data, model=model)

    net = double_net(data)  # in training mode, where a batch is centred on itself
    x, labels = data.train_x.double() / 255, data.train_y
    for weights, row in zip(at_each_step, run.history, strict=True):
        net.load_state_dict(weights)
        net.p = 8
        satisfied = 2 * lk.certified_radius(net(x), labels) >= theta
        net.p = INF
        certified = lk.certified_radius(net(x), labels) > eps
        assert row["starved"] == pytest.approx((satisfied & ~certified).double().mean().item())
    assert 0 < max(run.column("starved")) < max(run.column("zero_hinge"))


def test_counting_the_starved_leaves_the_run_alone(tmp_path, monkeypatch):
    counted = fit(STARVING, out=tmp_path / "counted")
    monkeypatch.setattr(loop, "_worst_at_infinity", lambda model, x, *_: torch.zeros(len(x), 10))
    uncounted = fit(STARVING, out=tmp_path / "uncounted")
    for row in (*counted.history, *uncounted.history):
        del row["starved"]
    assert_same_run(counted, uncounted)


@pytest.mark.parametrize("batch_size", [600, 640])
def test_of_large_batches_the_last_is_counted(batch_size, tmp_path, monkeypatch):
    seen = []
    original = loop._worst_at_infinity
    monkeypatch.setattr(
        loop,
        "_worst_at_infinity",
        lambda net, x, *rest: seen.append(len(x)) or original(net, x, *rest),
    )
    recipe = TINY.replace(train_images=1280, batch_size=batch_size, epochs=1)
    fit(recipe, out=tmp_path)
    assert seen == [1280 % batch_size or batch_size]


def test_the_average_takes_every_step_in_with_its_epoch_s_decay(tmp_path, monkeypatch):
    seen = []
    update = loop.Training._update_average

    def remember(training):
        seen.append(training.model.layers[0].weight.detach().clone())
        update(training)

    monkeypatch.setattr(loop.Training, "_update_average", remember)
    run = fit(TINY.replace(epochs=4, ema_decay=0.7), out=tmp_path)
    assert len(seen) == 4 * 3
    shadow = seen[0]
    for epoch, decay in enumerate([0, 1 / 2, 2 / 3, 0.7]):
        for weight in seen[3 * epoch : 3 * epoch + 3]:
            shadow = decay * shadow + (1 - decay) * weight
    torch.testing.assert_close(run.ema_model.layers[0].weight, shadow)
    assert torch.equal(run.model.layers[0].weight, seen[-1])


def test_in_the_first_step_weights_move_by_the_rate_and_the_logit_scale_by_a_fifth():
    data = small_digits()
    recipe = TINY.replace(epochs=1, batch_size=40, train_images=None, test_images=None)
    start = double_net(data)
    run = fit(recipe, data=data, model=double_net(data))
    moved = (run.model.layers[4].bias - start.layers[4].bias).abs().max().item()
    assert moved == pytest.approx(0.03, rel=1e-3)
    moved = (run.model.logit_scale - start.logit_scale).abs().item()
    assert moved == pytest.approx(0.03 / 5, rel=1e-3)


def test_every_image_is_seen_once_an_epoch_in_another_order_each_time(tmp_path, monkeypatch):
    labels_seen = []
    original = objective.mixed_loss

    def remember(logits, labels, *others):
        labels_seen.extend(labels.tolist())
        return original(logits, labels, *others)

    monkeypatch.setattr(objective, "mixed_loss", remember)
    fit(TINY.replace(epochs=2, train_images=90), out=tmp_path)
    wanted = lk.load_dataset("digits").train_y[:90].tolist()
    first, second = labels_seen[:90], labels_seen[90:]
    assert sorted(first) == sorted(second) == sorted(wanted)
    assert first != second != wanted != first


@pytest.mark.parametrize("augmentation", [{"crop_padding": 1}, {"flip": True}], ids=str)
def test_augmentation_changes_what_is_trained_on(augmentation, run, tmp_path):
    other = fit(TINY.replace(**augmentation), out=tmp_path)
    assert other.column("loss") != run.column("loss")


# --- what comes out


def test_history_has_one_complete_row_for_each_epoch(run):
    assert [set(row) for row in run.history] == [COLUMNS] * 3
    assert run.column("epoch") == [1, 2, 3]
    for row in run.history:
        for share in ("accuracy", "zero_hinge", "starved", "accuracy_linf", "certified"):
            assert 0 <= row[share] <= 1
        assert row["starved"] <= row["zero_hinge"]  # 96 images: all of them are counted
        assert 0 < row["lipschitz"] <= row["lipschitz_bound"] * 1.01
        assert row["certified"] <= row["accuracy_linf"]
        assert row["ema_certified"] <= row["ema_accuracy_linf"]
        assert row["seconds"] > 0


def test_a_column_that_is_not_there_is_named(run):
    with pytest.raises(ValueError, match="history has no column 'los'; it has epoch, loss"):
        run.column("los")


def test_results_are_certificates_of_all_test_images(run):
    data = lk.load_dataset("digits")
    x, labels = data.test_x[:40].float() / 255, data.test_y[:40]
    raw, averaged = lk.certify(run.model, x, labels), lk.certify(run.ema_model, x, labels)
    evaluated = [
        lk.evaluate(net, data.subset(test_images=40), 0.1, progress=False)
        for net in (run.model, run.ema_model)
    ]
    assert run.results == {
        "accuracy": raw.clean_accuracy,
        "certified": evaluated[0].certified_accuracy,
        "certified_by_margin": raw.accuracy(0.1),
        "ema_accuracy": averaged.clean_accuracy,
        "ema_certified": evaluated[1].certified_accuracy,
        "ema_certified_by_margin": averaged.accuracy(0.1),
    }
    assert run.history[-1]["certified"] == run.results["certified"]
    assert run.history[-1]["ema_certified"] == run.results["ema_certified"]


def test_nets_come_in_evaluation_mode_at_the_p_where_training_ended(run, tmp_path):
    for net in (run.model, run.ema_model):
        assert (net.p, net.training) == (INF, False)
    constant = fit(TINY.replace(p_ramp=(1.0, 1.0)), out=tmp_path)
    assert constant.column("p") == [8.0, 8.0, 8.0]
    assert constant.column("lam") == [0.1, 0.1, 0.1]
    assert constant.model.p == constant.ema_model.p == lk.load_model(tmp_path).p == 8.0


def test_what_fit_wrote_is_loaded_as_the_averaged_net(run):
    loaded = lk.load_model(run.folder)
    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded(x), run.ema_model(x))
    raw = lk.load_model(run.folder / "model.safetensors")
    assert torch.equal(raw(x), run.model(x))


def test_the_net_is_normalised_as_the_recipe_says_or_as_the_data_is(run, tmp_path):
    pixels = lk.load_dataset("digits").train_x[:96].double() / 255
    assert run.model.mean.item() == pytest.approx(pixels.mean().item(), rel=1e-5)
    assert run.model.scale.item() == pytest.approx(pixels.std(correction=0).item(), rel=1e-5)
    given = fit(TINY.replace(mean=0.25, scale=0.5, epochs=1), out=tmp_path).model
    assert (given.mean.item(), given.scale.item()) == (0.25, 0.5)


def test_learning_certifies_far_more_than_chance(tmp_path):
    recipe = TINY.replace(train_images=None, test_images=None, width=32, epochs=8, batch_size=64)
    run = fit(recipe, out=tmp_path)
    assert run.results["certified"] > 0.3
    assert run.results["ema_certified"] > 0.3
    assert run.column("loss")[-1] < run.column("loss")[0]


# --- your own data, net and recipe


class OwnNet(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.convolution = lk.LpDistConv2d(1, 4, kernel_size=3, stride=2)
        self.shift = lk.MeanShift(4)
        self.last = lk.LpDist(4 * 3 * 3, 10, bias=True)

    def forward(self, x):
        return -self.last(self.shift(self.convolution(x)).flatten(1))


def test_a_net_of_your_own_is_trained_in_place_and_kept_nowhere(cache):
    own = OwnNet()
    run = fit(TINY, model=own)
    assert run.model is own
    assert run.folder is None
    assert not torch.equal(own.convolution.weight, OwnNet().convolution.weight)
    assert not list(cache.rglob("*.safetensors"))


def test_a_run_of_a_wrapped_net_is_read_again_from_its_folder(tmp_path, monkeypatch):
    def wrapped():
        torch.manual_seed(0)
        return nn.DataParallel(lk.LpDistNet(64, 12, 3, 10))

    run = fit(TINY, model=wrapped(), out=tmp_path)
    no_training(monkeypatch)
    again = fit(TINY, model=wrapped(), out=tmp_path)
    assert again.results == run.results
    for name, of_nets in states(run).items():
        assert all(torch.equal(states(again)[name][each], of_nets[each]) for each in of_nets)
    assert isinstance(lk.load_model(tmp_path), lk.LpDistNet)


@pytest.mark.filterwarnings("ignore:cannot verify OwnNet")
def test_a_net_of_your_own_is_read_again_from_its_folder(tmp_path, monkeypatch):
    run = fit(TINY, model=OwnNet(), out=tmp_path / "run")
    x = torch.rand(5, 1, 8, 8)
    loaded = lk.load_model(tmp_path / "run", model=OwnNet())
    assert torch.equal(loaded(x), run.ema_model(x))
    no_training(monkeypatch)
    again = fit(TINY, model=OwnNet(), out=tmp_path / "run")
    assert torch.equal(again.ema_model(x), run.ema_model(x))


# --- a loss of your own


def worst_case_hinge(logits, worst, labels):
    """The hinge loss with kappa = 0, from worst logits: r_j = (worst_j + θ − 2ε) / θ, θ = 2ε."""
    return (worst / TINY.theta).scatter(1, labels[:, None], 0).amax(dim=1).mean()


def test_a_loss_of_your_own_trains_as_the_recipe_s_own_does(cache):
    own = fit(TINY, loss=worst_case_hinge)
    same = fit(TINY.replace(loss="hinge", kappa=0.0))
    assert (own.recipe.loss, own.folder) == ("own", None)
    assert own.column("loss") == pytest.approx(same.column("loss"), rel=1e-5)
    assert own.column("loss")[0] != fit(TINY).column("loss")[0]
    assert len(list(cache.rglob("model.safetensors"))) == 2  # of the two without one's own


def test_a_folder_knows_its_loss_by_name_and_source(tmp_path, monkeypatch):
    run = fit(TINY, loss=worst_case_hinge, out=tmp_path)
    no_training(monkeypatch)
    assert_same_run(fit(TINY, loss=worst_case_hinge, out=tmp_path), run)
    with pytest.raises(ValueError, match="another recipe, seed or data set"):
        fit(TINY, loss=lambda logits, worst, labels: worst.mean(), out=tmp_path)


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (5, TypeError, "^loss must be a function"),
        (lambda logits, worst, labels: 1.0, TypeError, "^loss must give .* got a float"),
        (lambda logits, worst, labels: worst, ValueError, r"^loss must give .* \(32, 10\)"),
        (lambda logits, worst, labels: worst.detach().mean(), ValueError, "without a gradient"),
    ],
    ids=["no function", "no tensor", "no scalar", "no gradient"],
)
def test_a_loss_that_is_none_is_refused(loss, error, message):
    with pytest.raises(error, match=message):
        fit(TINY, loss=loss)


def test_a_recipe_whose_loss_is_one_s_own_wants_it():
    with pytest.raises(TypeError, match=r"^loss must be a function"):
        fit(TINY.replace(loss="own"))


def test_without_cross_entropy_the_clipped_hinge_alone_is_minimised(tmp_path):
    run = fit(TINY.replace(lam_start=0, lam_end=0), out=tmp_path)
    assert set(run.column("lam")) == {0.0}
    assert max(run.column("loss")) <= 1


def test_a_net_without_distance_layers_is_refused():
    with pytest.raises(ValueError, match=r"^model must hold ℓp-distance layers"):
        fit(TINY, model=nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))


@pytest.mark.parametrize("channels", [1, 3])
def test_data_of_your_own_is_trained_on(channels, tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(256, size=(60, channels, 5, 4)), rng.integers(3, size=60)
    images = images.astype(np.uint8)
    data = lk.Dataset.from_arrays(images[:40], labels[:40], images[40:], labels[40:])
    recipe = TINY.replace(dataset="mine", train_images=None, test_images=None)
    run = fit(recipe.replace(loss="hinge", p_ramp=(1.0, 1.0)), data=data, out=tmp_path)
    assert run.model(torch.rand(2, channels, 5, 4)).shape == (2, 3)
    assert run.model.mean.tolist() == pytest.approx(data.channel_means)
    assert run.column("loss")[-1] < run.column("loss")[0]


def test_a_recipe_may_be_the_path_of_a_file(run, tmp_path, monkeypatch):
    no_training(monkeypatch)
    path = tmp_path / "tiny.toml"
    path.write_text(TINY.to_toml(), encoding="utf-8")
    for recipe in (path, str(path)):
        assert_same_run(fit(recipe, out=run.folder), run)


# --- refusals


def test_a_loss_that_is_no_longer_finite_stops_the_run(tmp_path):
    with pytest.raises(FloatingPointError, match=r"the loss is (nan|inf) .*try a lower lr"):
        fit(TINY.replace(lr=1e38), out=tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"recipe": "digit-small"}, ValueError, "did you mean 'digits-small'"),
        ({"recipe": "nowhere/a.toml"}, FileNotFoundError, "there is no file nowhere"),
        ({"recipe": TINY.replace(dataset="digit")}, ValueError, "did you mean 'digits'"),
        ({"recipe": TINY.replace(train_images=5000)}, ValueError, "^train_images must be at most"),
        ({"recipe": {"width": 5}}, TypeError, "^recipe must"),
        ({"recipe": TINY, "data": ([], [])}, TypeError, "^data must"),
        ({"recipe": TINY, "seed": -1}, ValueError, "^seed must"),
        ({"recipe": TINY, "seed": 0.5}, TypeError, "^seed must"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused_before_anything_is_trained(
    arguments, error, message, monkeypatch
):
    no_training(monkeypatch)
    with pytest.raises(error, match=message):
        fit(**arguments)


def test_in_a_notebook_a_run_leaves_a_line_with_or_without_training(tmp_path, monkeypatch, capsys):
    recipe = TINY.replace(epochs=1)
    lk.fit(recipe, out=tmp_path)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr("linfkit._util.progress.in_notebook", lambda: True)
    run = lk.fit(recipe, out=tmp_path)
    assert capsys.readouterr().out.startswith(
        f"{recipe.name} seed 0: clean {run.results['accuracy']:.1%}, "
        f"certified {run.results['certified']:.1%} at ε="
    )
    lk.fit(recipe, out=tmp_path, progress=False)
    assert capsys.readouterr().out == ""


def test_in_a_notebook_a_long_run_says_how_long_once_kernels_are_compiled(monkeypatch, capsys):
    monkeypatch.setattr("linfkit._util.progress.in_notebook", lambda: True)
    rows = []
    after_epoch = fit_module._with_estimate(rows.append, epochs=62, every=1)
    for row in (
        {"epoch": 1, "seconds": 99},
        {"epoch": 2, "seconds": 10},
        {"epoch": 3, "seconds": 10},
    ):
        after_epoch(row)
    assert capsys.readouterr().out == "about 10 min to go\n"
    after_epoch = fit_module._with_estimate(rows.append, epochs=7, every=1)
    for row in ({"epoch": 1, "seconds": 99}, {"epoch": 2, "seconds": 10}):
        after_epoch(row)
    assert capsys.readouterr().out == ""
    assert len(rows) == 5
