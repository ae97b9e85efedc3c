"""Tested: that the published files are read as they stand, ship with linfkit, and agree.
Not tested: that they are what their sources say."""

import dataclasses
from importlib import resources

import pytest

from linfkit import load_recipe, recipe_names
from linfkit.course import published
from linfkit.course.studies import scale

ICLR = "Linf-dist net boosted (ICLR 2022)"
NAMES = {"mnist": "MNIST", "cifar10": "CIFAR-10", "tiny-imagenet": "TinyImageNet"}


def test_every_result_is_a_share_with_a_source():
    rows = published.results()
    assert len(rows) == 20
    for row in rows:
        assert row.source
        assert row.method
        assert 0 < row.eps_pixels < 1
        given = [share for share in (row.certified, row.attacked, row.clean) if share is not None]
        assert given == sorted(given), "certified ≤ attacked ≤ clean"
        assert 0 < given[0] <= given[-1] < 1


def test_what_was_not_published_is_none_and_not_zero():
    icml = published.results()[0]
    assert (icml.clean, icml.attacked, icml.certified) == (None, None, 0.977)


def test_percentages_become_shares():
    (row,) = (
        row
        for row in published.results()
        if (row.method, row.dataset, row.eps) == (ICLR, "CIFAR-10", "8/255")
    )
    assert (row.clean, row.attacked, row.certified) == (0.543, 0.4184, 0.4006)
    assert row.eps_pixels == 8 / 255


@pytest.mark.parametrize("name", published.training_curves())
def test_every_curve_ends_near_its_row_of_the_table(name):
    curve = published.training_curve(name)
    (row,) = (
        row
        for row in published.results()
        if (row.method, row.dataset, row.eps) == (ICLR, curve.dataset, curve.eps)
    )
    assert curve.last_certified == pytest.approx(row.certified, abs=0.003)


@pytest.mark.parametrize("name", published.training_curves())
def test_every_curve_has_an_exponent_for_each_epoch_and_counts_epochs_done(name):
    curve = published.training_curve(name)
    assert len(curve.p) == curve.epochs
    assert (curve.p[0], curve.p[-1]) == (8.0, float("inf"))
    assert list(curve.p) == sorted(curve.p)
    assert max(curve.certified) == curve.epochs
    assert curve.certified.keys() == curve.accuracy.keys()
    assert all(curve.certified[done] <= curve.accuracy[done] for done in curve.certified)
    assert list(curve.loss) == list(curve.accuracy_train) == list(range(1, curve.epochs + 1))
    assert curve.certified_train.keys() <= curve.accuracy_train.keys()
    assert curve.certified_train[curve.epochs] > curve.certified[curve.epochs]


def test_the_recipes_say_the_same_as_the_table():
    certified = {
        (row.dataset, round(row.eps_pixels, 4)): 100 * row.certified
        for row in published.results()
        if row.method == ICLR
    }
    recipes = [load_recipe(name) for name in recipe_names() if name.startswith("iclr2022")]
    assert len(recipes) == len(certified) == 6
    for recipe in recipes:
        dataset = NAMES[recipe.dataset]
        assert recipe.published == pytest.approx(certified[dataset, round(recipe.eps, 4)])


def test_the_best_of_the_seeds_is_the_row_of_the_table():
    best = max(one.certified for one in published.sortnet_seeds("cifar8_255"))
    (row,) = (row for row in published.results() if row.method.startswith("SortNet"))
    assert best == row.certified


@pytest.mark.parametrize("name", ["cifar10_eps9of255", "mnist"])
def test_a_run_that_is_not_there_is_refused_and_the_nearest_named(name):
    with pytest.raises(ValueError, match=f"^name must be one of .*; got '{name}': did you mean"):
        published.training_curve(name)


def test_a_setting_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"^setting must be one of .*; got 'cifar9'"):
        published.sortnet_seeds("cifar9")


def test_records_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        published.results()[0].certified = 1.0


def test_the_files_lie_inside_the_package_with_their_sources_and_are_small():
    folder = resources.files("linfkit.course.published")
    readme = (folder / "README.md").read_text("utf-8")
    files = [path for path in folder.iterdir() if path.name.endswith(".csv")]
    curves = list((folder / "training_curves").iterdir())
    assert {path.name.removesuffix(".csv") for path in curves} == set(published.training_curves())
    assert all(path.name in readme for path in files)
    assert sum(len(path.read_bytes()) for path in [*files, *curves]) < 500_000


# --- scale


def rows(*certified):
    return [scale.AtScale(8, 1, 10.0**place, share) for place, share in enumerate(certified)]


def test_weights_are_counted_layer_by_layer():
    assert scale.weight_count(4, width=8, depth=3, classes=2) == 4 * 8 + 8 * 8 + 8 * 2
    assert scale.weight_count(4, width=8, depth=1, classes=2) == 8


def test_scattered_points_widen_the_interval():
    smooth = scale.extrapolate(rows(0.2, 0.3, 0.4, 0.5), 1e4)
    rough = scale.extrapolate(rows(0.25, 0.25, 0.45, 0.45), 1e4)
    assert smooth.high - smooth.low < 1e-6
    assert rough.high - rough.low > 0.1
    assert rough.slope_error > smooth.slope_error


def test_a_line_is_refused_far_beyond_the_runs_or_outside_zero_to_one():
    near = rows(0.2, 0.3, 0.4, 0.5)
    assert scale.extrapolate(near, 1e4).refusal is None
    assert "decades" in scale.extrapolate(near, 1e6).refusal
    assert "leaves [0, 1]" in scale.extrapolate(rows(0.4, 0.6, 0.8, 0.95), 1e4).refusal


def test_two_runs_are_no_line():
    with pytest.raises(ValueError, match=r"^rows must be three runs"):
        scale.extrapolate(rows(0.2, 0.3), 1e4)


def test_only_the_same_data_and_eps_are_comparable():
    cifar = scale.comparable(published.results(), load_recipe("cifar10-small"))
    assert {(row.dataset, row.eps) for row in cifar} == {("CIFAR-10", "8/255")}
    assert len(cifar) == 8
