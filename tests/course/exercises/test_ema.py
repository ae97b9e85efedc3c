"""Exercises of notebook 04: right answers pass, wrong ones are told apart, hints give nothing away.

Not here: that the notebook asks them.
"""

import math

import pytest

from linfkit.course.exercises import all_exercises

BY_NAME = {name: one for name, one in all_exercises().items() if name.startswith("04-")}

RIGHT = {
    "04-lag": [99, 99.0],
    "04-noise": [math.sqrt(0.01 / 1.99), 0.0709],
    "04-warm-up": [lambda epoch, largest: min(epoch / (epoch + 1), largest)],
    "04-lipschitz": [1, 1.0],
}
WRONG = {
    "04-lag": [(100, "their age is 0"), (69, "median"), (0.01, "in steps"), (500, "share")],
    "04-noise": [
        (0.005025, "variance"),
        (14.1, "upside down"),
        (0.01, "newest step alone"),
        (0.1, "squares of their shares"),
        (0.5, "squares"),
    ],
    "04-warm-up": [
        (lambda epoch, largest: 1 - 1 / epoch, "counted from 0"),
        (lambda epoch, largest: 1 - 1 / (epoch + 1), "above `largest`"),
        (lambda epoch, largest: largest, "epoch 0"),
        (lambda epoch, largest: 0.0, "epochs 1 and 2"),
        (0.5, "a function"),
    ],
    "04-lipschitz": [(0.5, "averaging weights"), (13.5, "p=∞"), (True, "one number")],
}


@pytest.mark.parametrize(("name", "answer"), [(n, a) for n, given in RIGHT.items() for a in given])
def test_right_answers_are_right(name, answer):
    assert BY_NAME[name].verdict(answer) == "right"


@pytest.mark.parametrize(
    ("name", "answer", "hint"), [(n, a, h) for n, given in WRONG.items() for a, h in given]
)
def test_wrong_answers_are_told_what_to_look_at(name, answer, hint):
    verdict = BY_NAME[name].verdict(answer)
    assert verdict.startswith("not yet: ")
    assert hint in verdict


@pytest.mark.parametrize(("name", "given_away"), [("04-lag", "99 "), ("04-noise", "0.07")])
def test_no_hint_gives_the_number_away(name, given_away):
    hints = [BY_NAME[name].verdict(answer) for answer in (-5, 0.3, 100, 69, 0.01, 0.1, 14.1, 500)]
    assert not any(given_away in f"{hint} " for hint in hints)


def test_every_exercise_is_tried_and_named_after_its_notebook():
    assert set(BY_NAME) == set(RIGHT) == set(WRONG)
    assert all(name.startswith("04-") for name in BY_NAME)
    assert all(exercise.verdict(...) == "no answer yet" for exercise in BY_NAME.values())
