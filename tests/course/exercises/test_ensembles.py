"""Exercises of notebook 05: right answers pass, wrong ones are told apart, hints give nothing away.

Not here: that the notebook asks them.
"""

import pytest
import torch

import linfkit as lk
from linfkit.course.exercises import all_exercises

BY_NAME = {name: one for name, one in all_exercises().items() if name.startswith("05-")}


def radii(logits, labels):
    return torch.stack([lk.certified_radius(each, labels) for each in logits])


RIGHT = {
    "05-radius": [lambda logits, labels: lk.certified_radius(logits.mean(dim=0), labels)],
    "05-together": [[[1.0, 0.9, 0.0], [1.0, 0.0, 0.9]]],
    "05-voting": [4, 4.0],
    "05-cost": [25_856 / 13_568, 1.906],
}
WRONG = {
    "05-radius": [
        (lambda logits, labels: radii(logits, labels).mean(dim=0), "mean of the members' radii"),
        (lambda logits, labels: radii(logits, labels).amin(dim=0), "one member alone"),
        (lambda logits, labels: 2 * lk.certified_radius(logits.mean(0), labels), "margin"),
        (lambda logits, labels: torch.zeros(len(labels)), "mean over K"),
        (lambda logits, labels: 0.1, "one radius for each image"),
        (0.1, "a function"),
    ],
    "05-together": [
        ([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]], "a member alone"),
        ([[1.0, 0.9, 0.0], [1.0, 0.9, 0.0]], "the mean does not"),
        ([[1.0, 0.9], [1.0, 0.9]], "two rows of three"),
        ("no", "numbers are wanted"),
    ],
    "05-voting": [(8, "not the smallest"), (2, "all logits may"), (1, "derivative")],
    "05-cost": [
        (13_568 / 25_856, "upside down"),
        (25_856 / 3392, "there are four"),
        (4, "hidden layer alone"),
        (1, "but the hidden one"),
        (3, "count"),
    ],
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


@pytest.mark.parametrize(("name", "given_away"), [("05-voting", "4"), ("05-cost", "1.9")])
def test_no_hint_gives_the_number_away(name, given_away):
    hints = [BY_NAME[name].verdict(answer) for answer in (0, 1, 2, 8, 3, 0.525, 7.62)]
    assert not any(given_away in hint for hint in hints)


def test_every_exercise_is_tried_and_named_after_its_notebook():
    assert set(BY_NAME) == set(RIGHT) == set(WRONG)
    assert all(name.startswith("05-") for name in BY_NAME)
    assert all(exercise.verdict(...) == "no answer yet" for exercise in BY_NAME.values())
