"""Tested: every schedule against hand-computed values, at its ends and beyond them.
Not tested: that a training run follows them (test_training.py)."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import linfkit as lk
from linfkit.training.schedules import (
    cosine_rate,
    geometric,
    p_at,
    ramp,
    schedule_at,
    smooth_start,
    step_rate,
)

INF = math.inf
RECIPE = lk.load_recipe("digits-small")


@pytest.mark.parametrize(
    ("progress", "start", "end", "ratio"),
    [
        (0.0, 0.25, 0.75, 0.0),
        (0.25, 0.25, 0.75, 0.0),
        (0.375, 0.25, 0.75, 0.25),
        (0.5, 0.25, 0.75, 0.5),
        (0.75, 0.25, 0.75, 1.0),
        (0.9, 0.25, 0.75, 1.0),
        (0.0, 0.0, 1.0, 0.0),
        (0.3, 0.0, 1.0, 0.3),
        (1.0, 0.0, 1.0, 1.0),
        (0.49, 0.5, 0.5, 0.0),  # a ramp of no length is a step
        (0.5, 0.5, 0.5, 1.0),
        (0.0, 0.0, 0.0, 1.0),
    ],
)
def test_a_ramp_rises_from_0_to_1_between_its_ends(progress, start, end, ratio):
    assert ramp(progress, start, end) == pytest.approx(ratio)


@pytest.mark.parametrize("progress", [0.0, 0.5, 0.999])
def test_a_ramp_from_1_to_1_never_begins_within_a_run(progress):
    assert ramp(progress, 1, 1) == 0


@pytest.mark.parametrize(
    ("ratio", "start", "end", "value"),
    [
        (0.0, 8, 1000, 8),
        (0.5, 8, 1000, math.sqrt(8000)),
        (1 / 3, 8, 1000, 40),
        (1.0, 8, 1000, 1000),
        (0.0, 0.1, 0.0005, 0.1),
        (0.5, 0.1, 0.0005, math.sqrt(0.00005)),
        (1.0, 0.1, 0.0005, 0.0005),
        (0.7, 3, 3, 3),
    ],
)
def test_a_geometric_ramp_multiplies_by_equal_factors(ratio, start, end, value):
    assert geometric(ratio, start, end) == pytest.approx(value)


def test_equal_steps_of_the_ratio_are_equal_factors():
    lams = [geometric(step / 10, 0.1, 0.0005) for step in range(11)]
    factors = [later / earlier for earlier, later in pairwise(lams)]
    assert factors == pytest.approx([(0.0005 / 0.1) ** 0.1] * 10)


@pytest.mark.parametrize(
    ("ratio", "p"), [(0.0, 8), (1 / 3, 40), (2 / 3, 200), (0.999, 995.2), (1.0, INF)]
)
def test_p_rises_geometrically_and_is_infinite_once_its_ramp_is_over(ratio, p):
    assert p_at(ratio, 8, 1000) == pytest.approx(p, rel=1e-4)


def test_p_never_falls_along_the_paper_s_run():
    exponents = [
        p_at(ramp(epoch / 1300, 100 / 1300, 1250 / 1300), 8, 1000) for epoch in range(1300)
    ]
    assert exponents == sorted(exponents)
    assert exponents[100] == 8 < exponents[101]
    assert exponents[1249] < 1000 < exponents[1250] == INF


def test_a_p_that_starts_infinite_and_has_no_ramp_stays_so():
    assert p_at(ramp(0.5, 1, 1), INF, 1000) == INF


@pytest.mark.parametrize(
    ("progress", "rate"),
    [(0, 1), (1 / 3, 0.75), (0.5, 0.5), (2 / 3, 0.25), (1, 0), (0.25, (2 + math.sqrt(2)) / 4)],
)
def test_the_cosine_rate_falls_from_1_to_0(progress, rate):
    assert cosine_rate(progress) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("progress", "rate"), [(0, 1), (0.25, 1), (0.5, 0.75), (0.625, 0.5), (0.75, 0.25), (1, 0)]
)
def test_a_cosine_that_is_held_falls_over_the_rest(progress, rate):
    assert cosine_rate(progress, hold=0.25) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("progress", "rate"), [(0, 1), (0.49, 1), (0.5, 0.2), (0.74, 0.2), (0.75, 0.04), (1, 0.04)]
)
def test_a_rate_falls_at_each_step(progress, rate):
    assert step_rate(progress, (0.5, 0.75), 0.2) == pytest.approx(rate)


def test_no_steps_leave_the_rate_as_it_is():
    assert step_rate(0.9, (), 0.2) == 1


@given(share=st.floats(0.05, 0.95))
def test_a_smooth_start_is_a_quartic_that_a_line_goes_on_from(share):
    def slope(ratio):
        return (smooth_start(ratio + 1e-6, share) - smooth_start(ratio - 1e-6, share)) / 2e-6

    assert smooth_start(0.0, share) == 0
    assert smooth_start(1.0, share) == pytest.approx(1)
    half, whole = smooth_start(share / 2, share), smooth_start(share, share)
    assert whole == pytest.approx(16 * half)
    assert slope(share + 2e-6) == pytest.approx(slope(share - 2e-6), rel=1e-3)


@given(ratio=st.floats(0, 1))
def test_a_start_that_is_not_smooth_is_a_line(ratio):
    assert smooth_start(ratio, 0.0) == pytest.approx(ratio)


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
def test_a_start_that_is_smooth_throughout_is_a_quartic(ratio):
    assert smooth_start(ratio, 1.0) == ratio**4


@given(ratio=st.floats(0, 1), share=st.floats(0, 1))
def test_a_smooth_start_stays_within_its_ramp(ratio, share):
    assert -1e-9 <= smooth_start(ratio, share) <= 1 + 1e-9


# --- all of a recipe


def test_eps_rises_along_its_ramp_and_p_along_its_own():
    recipe = RECIPE.replace(
        mlp_hidden=4,
        loss="cross_entropy",
        worst_share=0.5,
        eps_ramp=[0.0, 0.5],
        eps_train=0.2,
        p_ramp=[0.5, 0.75],
        lr_hold=0.5,
        lr=1.0,
    )
    moments = [schedule_at(recipe, progress) for progress in (0.0, 0.25, 0.5, 0.625, 0.75)]
    assert [schedule.eps for schedule in moments] == pytest.approx([0, 0.1, 0.2, 0.2, 0.2])
    assert [schedule.p for schedule in moments] == pytest.approx([8, 8, 8, math.sqrt(8000), INF])
    ends = recipe.lam_start, recipe.lam_end
    lams = [ends[0], ends[0], ends[0], math.sqrt(ends[0] * ends[1]), ends[1]]
    assert [schedule.lam for schedule in moments] == pytest.approx(lams)
    rates = [1, 1, 1, (1 + math.cos(math.pi / 4)) / 2, 0.5]
    assert [schedule.learning_rate for schedule in moments] == pytest.approx(rates)


def test_without_a_ramp_eps_is_that_of_training_throughout():
    assert schedule_at(RECIPE, 0.0).eps == RECIPE.eps_train


def test_a_learning_rate_takes_its_steps():
    recipe = RECIPE.replace(lr_schedule="steps", lr_steps=[0.5, 0.75], lr_factor=0.1, lr=1.0)
    rates = [schedule_at(recipe, progress).learning_rate for progress in (0.4, 0.5, 0.8)]
    assert rates == pytest.approx([1, 0.1, 0.01])


def test_a_constant_learning_rate_stays():
    recipe = RECIPE.replace(lr_schedule="constant", lr=0.25)
    assert {schedule_at(recipe, progress).learning_rate for progress in (0.0, 0.5, 1.0)} == {0.25}


def test_a_smooth_start_of_eps_is_that_of_the_recipe():
    recipe = RECIPE.replace(
        mlp_hidden=4, loss="cross_entropy", worst_share=0.5, eps_ramp=[0.25, 0.75], eps_train=0.2,
        eps_smooth_start=0.5,
    )  # fmt: skip
    found = [schedule_at(recipe, progress).eps for progress in (0.25, 0.375, 0.5, 0.75)]
    assert found == pytest.approx([0.2 * smooth_start(ratio, 0.5) for ratio in (0, 0.25, 0.5, 1)])
