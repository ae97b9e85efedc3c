"""Checkers of notebook 01's exercises: right answers pass, wrong ones get a hint, no more."""

import math

import pytest
import torch

from linfkit.course.exercises import all_exercises

BY_NAME = {name: one for name, one in all_exercises().items() if name.startswith("01-")}


def gradient(x, w):
    slope = torch.zeros_like(x)
    furthest = (x - w).abs().argmax()
    slope[furthest] = (x - w)[furthest].sign()
    return slope


RIGHT = {
    "01-neuron": [0.6, torch.tensor([0.6])],
    "01-gradient": [gradient, lambda x, w: gradient(x, w).tolist()],
    "01-constant": [0.15, 81 ** (1 / 4) * 0.05],
    "01-nearest": [0.12],
    "01-uneven": [0.2, 0.6 / 3],
}
WRONG = {
    "01-neuron": {
        0.5: "adds something",
        1.05: "another p",
        math.sqrt(0.4**2 + 0.5**2 + 0.05**2) + 0.1: "another p",
        0.3: "write down",
    },
    "01-gradient": {
        lambda x, w: -gradient(x, w): "gradient in w",
        lambda x, w: gradient(x, w).abs(): "lies below",
        lambda x, w: (x - w).sign(): "one coordinate alone",
        lambda x, w: gradient(x, w) * (x - w): "slope",
        lambda x, w: gradient(x, w)[:1]: "as many numbers",
        1.0: "a function",
    },
    "01-constant": {
        3: "constant",
        0.05: "at p=∞",
        81 * 0.05: "at p=1",
        9 * 0.05: "at p=2",
        1.7: "away from the weight",
    },
    "01-nearest": {0.24: "a margin", 0.06: "larger one", 0.3: "one class only"},
    "01-uneven": {0.3: "steeper", 0.15: "too careful", 0.6: "cone"},
}


@pytest.mark.parametrize(("name", "answer"), [(n, a) for n, each in RIGHT.items() for a in each])
def test_a_right_answer_is_right(name, answer):
    assert BY_NAME[name].verdict(answer) == "right"


@pytest.mark.parametrize(
    ("name", "answer", "hint"),
    [(n, a, hint) for n, each in WRONG.items() for a, hint in each.items()],
)
def test_a_wrong_answer_gets_its_hint(name, answer, hint):
    verdict = BY_NAME[name].verdict(answer)
    assert verdict.startswith("not yet")
    assert hint in verdict
    numbers = [f"{right:g}" for right in RIGHT[name] if isinstance(right, float)]
    assert not any(number in verdict for number in numbers)


@pytest.mark.parametrize("name", BY_NAME)
def test_no_answer_and_nonsense(name):
    assert BY_NAME[name].verdict(...) == "no answer yet"
    assert BY_NAME[name].verdict("soon").startswith("not yet")


def test_every_exercise_is_answered_here():
    assert set(RIGHT) == set(WRONG) == set(BY_NAME)
