"""Ablations on small nets: what is trained, with which seeds, certified on which images.

Not here: what the ablations find; the notebook measures and asserts that."""

import pytest

import linfkit as lk
from linfkit.course import figures, published
from linfkit.course.studies import ablations
from linfkit.course.studies.ablations import Ablation
from linfkit.training.fit import apply_recipe

TINY = lk.load_recipe("digits-noisy").replace(
    width=8, depth=2, epochs=2, train_images=200, test_images=60, seeds=[0, 1]
)
FOUND = {
    "hinge": Ablation(clean=[0.8, 0.8], certified=[0.5, 0.6], certified_train=[0.7, 0.8]),
    "mixed, λ decaying": Ablation([0.9, 0.9], [0.6, 0.7], [0.7, 0.8]),
}

#: Each public figure of ablations, by the name it gives itself.
FIGURES = {
    "losses-compared": lambda: figures.losses_compared(
        FOUND, ablations.published_losses(), "digits", eps=0.1
    ),
    "train-and-test": lambda: figures.train_and_test(
        {("hinge", 3.0): FOUND["hinge"], ("hinge", 6.0): FOUND["mixed, λ decaying"]}, eps=0.1
    ),
    "train-and-test-published": lambda: figures.train_and_test_published(published.margins()),
    "variants-compared": lambda: figures.variants_compared(FOUND, eps=0.1),
    "weights-compared": lambda: figures.weights_compared(published.weights(), "published"),
}


def test_each_variant_is_certified_seed_by_seed_where_labels_are_right():
    digits = lk.load_dataset("digits")
    found = ablations.ablate(TINY, {"mixed": {}, "hinge": {"loss": "hinge"}}, digits)["hinge"]
    data = apply_recipe(digits, TINY)
    right = data.train_y == digits.train_y[:200]
    assert 0 < right.sum() < 200
    for place, seed in enumerate(TINY.seeds):
        net = lk.fit(TINY.replace(loss="hinge"), data=digits, seed=seed).model
        test = lk.certify(net, data.test_x / 255, data.test_y)
        train = lk.certify(net, data.train_x[right] / 255, data.train_y[right])
        assert found.clean[place] == test.clean_accuracy
        assert found.certified[place] == test.accuracy(TINY.eps)
        assert found.certified_train[place] == train.accuracy(TINY.eps)


def test_the_gap_is_training_less_test():
    assert FOUND["hinge"].gap == pytest.approx(0.2)


def test_the_losses_are_five_ways_to_minimise():
    recipes = {name: TINY.replace(**keys) for name, keys in ablations.LOSSES.items()}
    assert len({recipe.fingerprint for recipe in recipes.values()}) == 5
    assert recipes["clipped hinge"].lam_start == recipes["clipped hinge"].lam_end == 0
    assert recipes["mixed, λ decaying"] == TINY
    assert ablations.published_losses().keys() == recipes.keys()


def test_bars_are_means_and_points_the_seeds():
    clean, of_clean, certified, of_certified = FIGURES["variants-compared"]().data
    assert clean.y == pytest.approx((0.8, 0.9))
    assert certified.y == pytest.approx((0.55, 0.65))
    assert of_certified.y == (0.5, 0.6, 0.6, 0.7)
    assert of_clean.x == of_certified.x == ("hinge",) * 2 + ("mixed, λ decaying",) * 2


def test_optimizers_and_a_sortnet_are_variants_of_the_recipe():
    variants = [*ablations.OPTIMIZERS.values(), ablations.SORTNET]
    assert len({TINY.replace(**keys).fingerprint for keys in variants}) == 4


def test_margins_are_multiples_of_eps():
    variants = ablations.margins_of(TINY, [3.0, 8.0])
    thetas = [TINY.replace(**keys).theta / TINY.eps for keys in variants.values()]
    assert thetas == pytest.approx([3.0, 8.0] * 2)
    assert list(variants) == [(loss, theta) for loss in ("hinge", "mixed") for theta in (3.0, 8.0)]


def test_training_images_are_dashed_and_test_images_solid():
    dashes = {line.name: line.line.dash for line in FIGURES["train-and-test-published"]().data}
    assert dashes["mixed, training images"] == "dash"
    assert dashes["mixed, test images"] is None


def test_what_was_not_published_of_training_images_is_left_out():
    line = next(
        line for line in FIGURES["train-and-test-published"]().data if line.name.startswith("mixed")
    )
    assert line.x[:2] == (3.0, 4.0)
    assert line.y[:2] == (None, None)
