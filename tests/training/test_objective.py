"""Tested: the net, the loss, the optimiser and the values of each schedule that a recipe asks for.
Not tested: the loop that uses them (test_training.py), the losses themselves (test_losses.py)."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

import linfkit as lk
from linfkit.nn.ensembles import HybridEnsemble
from linfkit.nn.hybrid import HybridNet
from linfkit.nn.layers import distance_layers
from linfkit.training.building import build_model
from linfkit.training.objective import Objective, within_reach, worst_within
from linfkit.training.optimizers import LpAdamW, Madam, apply_schedules, optimizer_of
from linfkit.training.schedules import ScheduleState

INF = math.inf
SMALL = lk.load_recipe("digits-small").replace(width=8, depth=3)
HYBRID = SMALL.replace(mlp_hidden=6, loss="cross_entropy")
SCHEDULE = ScheduleState(p=8.0, lam=0.05, eps=0.1, learning_rate=0.01)
X, LABELS = torch.rand(6, 64, generator=torch.Generator().manual_seed(0)), torch.arange(6)


def net_of(recipe, scale=0.4):
    torch.manual_seed(0)
    return build_model(recipe, (1, 8, 8), classes=10, mean=0.3, scale=scale)


def loss_of(recipe, model, schedule=SCHEDULE):
    model.p = schedule.p
    objective = Objective(model, recipe, torch.nn.Parameter(torch.tensor(2.0)))
    return objective(X, LABELS, schedule)


# --- nets


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "LpDistNet"),
        ({"model": "sortnet", "rho": 0.3}, "SortNet"),
        ({"mlp_hidden": 4}, "HybridNet"),
        ({"members": 3}, "Ensemble"),
        ({"members": 2, "mlp_hidden": 4}, "HybridEnsemble"),
        ({"model": "lenet", "depth": 0}, "LpDistLeNet"),
        ({"model": "cnn7", "depth": 0, "filters": 3}, "LpDistCNN7"),
    ],
)
def test_a_recipe_names_its_net(changes, name):
    model = build_model(SMALL.replace(**changes), (1, 28, 28), classes=10)
    assert type(model).__name__ == name
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_a_recipe_says_how_many_filters_a_cnn7_has():
    recipe = SMALL.replace(model="cnn7", depth=0, filters=3, width=5)
    net = build_model(recipe, (1, 8, 8), classes=10)
    assert [len(layer.weight) for layer in distance_layers(net)] == [3, 3, 6, 6, 6, 5, 10]


def test_members_start_apart():
    first, second = net_of(SMALL.replace(members=2)).models
    assert not torch.equal(first.layers[0].weight, second.layers[0].weight)


@pytest.mark.parametrize(("loss", "learned"), [("mixed", True), ("cross_entropy", False)])
def test_a_hybrid_learns_its_scalar_for_the_mixed_loss_alone(loss, learned):
    assert net_of(HYBRID.replace(loss=loss)).logit_scale.requires_grad == learned


# --- losses


def test_a_distance_nets_worst_logits_are_its_margins_moved_by_twice_eps():
    net = net_of(SMALL)
    logits, worst, loss = loss_of(SMALL, net)
    above = logits - logits.gather(1, LABELS[:, None]) + 0.2
    torch.testing.assert_close(worst, above.scatter(1, LABELS[:, None], 0.0))
    torch.testing.assert_close(loss, lk.mixed_loss(logits, LABELS, SMALL.theta, 0.05, 2.0))


def test_the_hinges_margin_rises_with_eps():
    recipe, net = SMALL.replace(loss="hinge"), net_of(SMALL)
    above = net(X) - net(X).gather(1, LABELS[:, None])
    for share in (0.0, 0.25, 1.0):
        eps = share * recipe.eps_train
        _, _, loss = loss_of(recipe, net, replace(SCHEDULE, p=INF, eps=eps))
        short = (above + 2 * eps).scatter(1, LABELS[:, None], 0.0).clamp(min=0) / recipe.theta
        torch.testing.assert_close(loss, 0.75 * short.amax(dim=1).mean() + 0.25 * short.mean())


def test_a_share_of_the_cross_entropy_sees_the_worst_logits():
    recipe = SMALL.replace(loss="cross_entropy", worst_share=0.25)
    logits, worst, loss = loss_of(recipe, net_of(recipe))
    wanted = 0.25 * F.cross_entropy(2 * worst, LABELS) + 0.75 * F.cross_entropy(2 * logits, LABELS)
    torch.testing.assert_close(loss, wanted)


def test_a_hybrid_brings_its_own_worst_logits():
    recipe = HYBRID.replace(worst_share=0.5)
    net = net_of(recipe).eval()
    logits, worst, loss = loss_of(recipe, net)
    torch.testing.assert_close(worst, net.worst_logits(X, LABELS, 0.1))
    wanted = (F.cross_entropy(2 * worst, LABELS) + F.cross_entropy(2 * logits, LABELS)) / 2
    torch.testing.assert_close(loss, wanted)


def test_a_hybrids_mixed_loss_asks_for_a_margin_of_one_beyond_the_worst_case():
    recipe = HYBRID.replace(loss="mixed")
    net = net_of(recipe, scale=0.5).eval()
    logits, worst, loss = loss_of(recipe, net)
    total = 0.0
    for row, of, label in zip(worst / 0.5, logits, LABELS, strict=True):
        others = torch.cat([row[:label], row[label + 1 :]])
        if of.argmax() == label:
            total += max(0.0, 1 + others.max().item())
    wanted = total / 6 + 0.05 * F.cross_entropy(2 * logits, LABELS)
    torch.testing.assert_close(loss, wanted)


def test_an_ensembles_loss_is_that_of_its_mean():
    recipe = HYBRID.replace(members=2, worst_share=1.0)
    net = net_of(recipe).eval()
    assert isinstance(net, HybridEnsemble)
    _, worst, loss = loss_of(recipe, net)
    mean = sum(member.worst_logits(X, LABELS, 0.1) for member in net.models) / 2
    torch.testing.assert_close(worst, mean)
    torch.testing.assert_close(loss, F.cross_entropy(2 * mean, LABELS))


@pytest.mark.parametrize("recipe", [SMALL, HYBRID], ids=["distances", "hybrid"])
def test_what_is_not_within_reach_is_certified(recipe):
    net = net_of(recipe).double().eval()
    x, labels = X.double(), net(X.double()).argmax(dim=1)
    radius = lk.certify(net, x, labels).radius
    eps = radius.median().item()
    assert within_reach(worst_within(net, x, labels, eps), labels).equal(radius < eps)


# --- optimisers


@pytest.mark.parametrize(
    ("name", "built"), [("adam", torch.optim.Adam), ("lp_adamw", LpAdamW), ("madam", Madam)]
)
def test_every_parameter_is_in_one_group(name, built):
    net = net_of(HYBRID.replace(loss="mixed"))
    optimizer = optimizer_of(HYBRID.replace(optimizer=name), net, net.logit_scale)
    assert type(optimizer) is built
    grouped = [id(w) for group in optimizer.param_groups for w in group["params"]]
    assert sorted(grouped) == sorted(id(w) for w in net.parameters())


def test_distances_decay_by_the_p_of_training_and_the_mlp_by_the_usual_norm():
    recipe = HYBRID.replace(optimizer="lp_adamw", weight_decay=0.1, mlp_weight_decay=0.2)
    net = net_of(recipe)
    optimizer = optimizer_of(recipe, net, net.logit_scale)
    apply_schedules(optimizer, SCHEDULE)
    distances, mlp, scalar = optimizer.param_groups
    assert (distances["p"], distances["weight_decay"]) == (8.0, 0.1)
    assert (mlp["p"], mlp["weight_decay"]) == (2.0, 0.2)
    assert (scalar["lr"], scalar["weight_decay"]) == (pytest.approx(0.002), 0.0)
    assert distances["lr"] == mlp["lr"] == 0.01


# --- all together


@pytest.mark.parametrize(
    "changes",
    [
        {"mlp_hidden": 6, "loss": "cross_entropy", "worst_share": 0.5, "eps_ramp": [0.0, 0.5]},
        {"mlp_hidden": 6, "optimizer": "lp_adamw", "weight_decay": 0.01},
        {"members": 2},
        {"optimizer": "madam", "lr": 0.01},
        {"model": "sortnet", "rho": 0.2},
    ],
    ids=["hybrid", "hybrid, mixed", "joint ensemble", "madam", "sortnet"],
)
def test_a_run_is_kept_certified_and_goes_on_bit_for_bit(changes, tmp_path):
    few = {"width": 24, "epochs": 4, "batch_size": 32, "train_images": 600, "test_images": 100}
    recipe = SMALL.replace(**(few | changes))
    run = lk.fit(recipe, out=tmp_path / "whole", progress=False)
    again = lk.load_model(tmp_path / "whole")
    data = lk.load_dataset("digits")
    x, y = data.test_x[:100] / 255, data.test_y[:100]
    assert lk.certify(again, x, y).accuracy(recipe.eps) == run.results["ema_certified_by_margin"]

    class Stopped(Exception):
        pass

    def stop(row):
        if row["epoch"] == 2:
            raise Stopped

    with pytest.raises(Stopped):
        lk.fit(recipe, out=tmp_path / "cut", progress=False, checkpoint_every=0, after_epoch=stop)
    resumed = lk.fit(recipe, out=tmp_path / "cut", progress=False)
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], tensor), name


def test_an_ensemble_of_seeds_is_kept_beside_its_members(tmp_path):
    recipe = SMALL.replace(epochs=2, train_images=400, seeds=[0, 1, 2])
    run = lk.fit_ensemble(recipe, out=tmp_path, progress=False)
    assert [member.folder.name for member in run.runs] == ["seed-0", "seed-1", "seed-2"]
    again = lk.load_model(tmp_path)
    mean = sum(member.ema_model(X) for member in run.runs) / 3
    torch.testing.assert_close(again(X), mean)
    names = {"accuracy", "certified", "certified_by_margin"}
    assert set(run.results) == names | {f"ema_{name}" for name in names}


def test_an_ensemble_of_hybrids_is_certified_by_its_members_bounds(tmp_path):
    recipe = HYBRID.replace(epochs=1, train_images=200, test_images=50, seeds=[0, 1])
    run = lk.fit_ensemble(recipe, out=tmp_path, progress=False)
    assert isinstance(run.model, HybridEnsemble)
    assert isinstance(run.runs[0].model, HybridNet)
    assert isinstance(lk.load_model(tmp_path), HybridEnsemble)


def test_an_ensemble_needs_two_seeds():
    with pytest.raises(ValueError, match=r"^recipe must have two seeds or more; digits-small has"):
        lk.fit_ensemble(SMALL.replace(seeds=[0]))
