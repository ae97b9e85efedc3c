"""Checkers of notebook 00's exercises: right answers pass, wrong ones get a hint, no more."""

import pytest
import torch

import linfkit as lk
from linfkit.course.exercises import all_exercises

BY_NAME = {name: one for name, one in all_exercises().items() if name.startswith("00-")}


def radius(logits, label):
    others = torch.cat([logits[:label], logits[label + 1 :]])
    return (logits[label] - others.max()) / 2


RIGHT = {
    "00-radius": [0.11, (-1.4 + 1.62) / 2, torch.tensor(0.11)],
    "00-certified-accuracy": [0.4, 2 / 5],
    "00-grey-steps": [1.6],
    "00-function": [
        radius,
        lambda logits, label: lk.certified_radius(logits[None], torch.tensor([label])).item(),
    ],
}
WRONG = {
    "00-radius": {
        0.22: "that is the margin",
        -0.11: "its radius is positive",
        0.45: "comes nearest",
        7.0: "find the label's logit",
    },
    "00-certified-accuracy": {
        0.6: "exactly ε",
        0.8: "clean accuracy",
        2: "a share is wanted",
        0.5: "count the radii",
    },
    "00-grey-steps": {25.5: "256 levels", 0.1: "grey steps fit", 17: "the same share"},
    "00-function": {
        lambda logits, label: 2 * radius(logits, label): "it gives the margin",
        lambda logits, label: abs(radius(logits, label)): "negative",
        lambda logits, label: logits[label] - logits.max(): "among the others|it is off",
        lambda logits, label: logits.max(): "it is off",
        0.11: "a function",
    },
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
    assert any(part in verdict for part in hint.split("|"))
    numbers = [f"{right:g}" for right in RIGHT[name] if isinstance(right, float)]
    assert not any(number in verdict for number in numbers)


@pytest.mark.parametrize("name", BY_NAME)
def test_no_answer_and_nonsense(name):
    assert BY_NAME[name].verdict(...) == "no answer yet"
    assert BY_NAME[name].verdict("soon").startswith("not yet")


def test_every_exercise_is_answered_here():
    assert set(RIGHT) == set(WRONG) == set(BY_NAME)
