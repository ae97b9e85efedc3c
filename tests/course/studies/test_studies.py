"""The papers' analyses on tiny nets: what their tables hold and how they average.

Not here: that the papers' claims hold; the notebooks measure and assert those.
"""

import dataclasses
import math

import pytest
import torch

import linfkit as lk
from linfkit.course.studies import blowup
from linfkit.course.studies.blowup import (
    at_exponent,
    margins_left,
    running_product,
    sweep_exponents,
)
from linfkit.course.studies.losses import by_margin, compare_losses, early_starvation

TINY = lk.load_recipe("digits-small").replace(width=8, epochs=2, train_images=200, seeds=[0, 1])


@pytest.fixture
def x(digits):
    return digits.test_x / 255


def test_a_net_moved_to_another_exponent_is_centred_there(runs, x):
    moved = at_exponent(runs[0].model, 8, x)
    first = moved.layers[:2](moved.normalise(x))
    torch.testing.assert_close(first.mean(dim=0), torch.zeros(8), atol=1e-5, rtol=0)


def test_moving_a_net_leaves_the_original_alone(runs, x):
    before = {name: value.clone() for name, value in runs[0].model.state_dict().items()}
    p = runs[0].model.p
    at_exponent(runs[0].model, 2 * p, x)
    assert runs[0].model.p == p
    assert all(
        torch.equal(value, before[name]) for name, value in runs[0].model.state_dict().items()
    )


def test_the_sweep_measures_between_one_and_its_bound(runs, x, digits):
    rows = sweep_exponents(runs[0].model, x, digits.test_y, [8, 64, math.inf], measured_images=8)
    assert [row.p for row in rows] == [8, 64, math.inf]
    assert all(row.measured.max() <= row.bound * 1.001 for row in rows)
    assert rows[0].measured.max() > 1.05
    assert rows[-1].bound == 1


def test_the_sweep_knows_each_layer_and_their_product_is_the_bound(runs, x, digits):
    for row in sweep_exponents(runs[0].model, x, digits.test_y, [8, math.inf], measured_images=2):
        assert [layer.name for layer in row.layers] == ["layer 1", "layer 2", "layer 3"]
        assert running_product(layer.bound for layer in row.layers)[-1] == pytest.approx(row.bound)
        assert all(0 < layer.measured <= layer.bound * 1.001 for layer in row.layers)


def test_the_sweep_at_infinity_sees_twice_the_certified_radius(runs, x, digits):
    net = runs[0].model
    (row,) = sweep_exponents(net, x, digits.test_y, [math.inf], measured_images=2)
    radius = lk.certify(at_exponent(net, math.inf, x), x, digits.test_y).radius
    torch.testing.assert_close(row.margins, 2 * radius)


def test_margins_left_are_sizes_at_the_last_exponent_over_those_at_the_first():
    first, last = torch.tensor([0.4, -0.8, 0.2]), torch.tensor([-0.1, 0.3, 0.05])
    rows = [
        blowup.AtExponent(p, 1.0, first, m, []) for p, m in ((8, first), (11, 9 * last), (16, last))
    ]
    assert margins_left(rows) == pytest.approx(0.25)


def test_losses_are_compared_at_every_margin_with_every_seed(digits):
    runs = compare_losses(TINY.replace(epochs=1), [1.0, 3.0], data=digits)
    asked = {(run.recipe.loss, round(run.recipe.eps_train, 6), run.seed) for run in runs}
    assert asked == {
        (loss, eps, seed) for loss in ("hinge", "mixed") for eps in (0.1, 0.3) for seed in (0, 1)
    }
    table = by_margin(runs)
    assert [row.eps_train for row in table["hinge"]] == pytest.approx([0.1, 0.3])
    assert all(len(row.certified) == 2 for rows in table.values() for row in rows)
    row = table["mixed"][0]
    assert row.mean == pytest.approx(sum(row.certified) / 2)


def test_early_starvation_is_the_mean_over_small_p_and_seeds(runs):
    def run_of(seed, starved):
        history = [
            dict(p=p, starved=s) for p, s in zip([8, 32, 33, math.inf], starved, strict=True)
        ]
        return dataclasses.replace(runs[0], seed=seed, history=history)

    recipe = runs[0].recipe
    both = [run_of(0, [0.1, 0.3, 0.9, 0.9]), run_of(1, [0.2, 0.0, 0.9, 0.9])]
    table = early_starvation(both)
    assert table == {recipe.loss: {recipe.eps_train: pytest.approx(0.15)}}
    assert early_starvation(both, up_to_p=8)[recipe.loss][recipe.eps_train] == pytest.approx(0.15)
