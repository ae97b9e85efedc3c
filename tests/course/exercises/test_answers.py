"""Tested: right answers are right, and wrong ones get the hint that fits, not the answer.
Not tested: that the notebooks ask (test_notebooks)."""

import math

import pytest
import torch

from linfkit.course.exercises import all_exercises
from tests.course.exercises.answers import (
    ablations,
    blowup,
    certificates,
    ema,
    ensembles,
    losses,
    neurons,
    start_here,
    tables,
    theory,
)

ANSWERS = (
    start_here,
    neurons,
    certificates,
    blowup,
    losses,
    ema,
    ensembles,
    tables,
    theory,
    ablations,
)
RIGHT = [row for notebook in ANSWERS for row in notebook.RIGHT]
WRONG = [row for notebook in ANSWERS for row in notebook.WRONG]
EXERCISES = all_exercises()

#: The right number, as no hint may show it.
GIVEN_AWAY = {
    "00-radius": "0.11",
    "00-certified-accuracy": "0.4",
    "00-grey-steps": "1.6",
    "01-neuron": "0.6",
    "01-nearest": "0.12",
    "01-uneven": "0.2",
    "02-l2": "0.12",
    "03-bound": "23.",
    "03-wider": "1.3",
    "04-hinge": "0.41",
    "03-below-two": "32",
    "04-observatory": "18",
    "05-lag": "99 ",
    "05-noise": "0.07",
    "06-voting": "4",
    "06-cost": "1.9",
    "07-gain": "0.11",
    "07-weights": "82",
    "07-noise": "0.49",
    "08-radius": "0.15",
    "08-nearest": "0.43",
    "08-box": "4",
    "08-carry": "0.78",
    "09-gap": "6.6",
}


@pytest.mark.parametrize(("name", "answer"), RIGHT)
def test_a_right_answer_is_right(name, answer):
    assert EXERCISES[name].verdict(answer) == "right"


@pytest.mark.parametrize(("name", "answer", "hint"), WRONG)
def test_a_wrong_answer_gets_the_hint_that_fits_and_not_the_right_one(name, answer, hint):
    verdict = EXERCISES[name].verdict(answer)
    assert verdict.startswith("not yet: ")
    assert any(part in verdict for part in hint.split("|"))
    assert GIVEN_AWAY.get(name, verdict + "…") not in f"{verdict} "
    if name == "04-pull":  # names all three, or none
        assert ("hinge" in verdict) == ("clipped hinge" in verdict) or "a set" in verdict


@pytest.mark.parametrize("name", GIVEN_AWAY)
@pytest.mark.parametrize("number", [-5, 0, 0.01, 0.3, 0.525, 1, 2, 3, 7.62, 8, 14.1, 69, 100, 500])
def test_no_hint_to_a_number_gives_the_right_one_away(name, number):
    verdict = EXERCISES[name].verdict(number)
    assert verdict == "right" or GIVEN_AWAY[name] not in f"{verdict} "


@pytest.mark.parametrize("name", EXERCISES)
def test_no_answer_and_nonsense(name):
    assert EXERCISES[name].verdict(...) == "no answer yet"
    assert EXERCISES[name].verdict("soon").startswith("not yet: ")


def test_every_exercise_is_tried():
    assert {name for name, *_ in RIGHT} == {name for name, *_ in WRONG} == set(EXERCISES)


def test_each_notebook_has_a_few_exercises_of_its_number():
    numbers = []
    for notebook in ANSWERS:
        names = {name for name, *_ in notebook.RIGHT}
        (number,) = {name.split("-")[0] for name in names}
        numbers.append(number)
        assert 3 <= len(names) <= 5
    assert numbers == sorted(set(numbers))


def test_the_l2_answer_is_the_shortest_change_that_leaves_the_box():
    one_pixel = torch.zeros(64).index_fill(0, torch.tensor([0]), 0.12 + 1e-6)
    assert one_pixel.abs().max() > 0.12
    assert math.isclose(one_pixel.norm().item(), 0.12, rel_tol=1e-3)
