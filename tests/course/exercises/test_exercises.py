"""Tested: what `check` prints of an answer, that it knows its exercises' names, and that the right
numbers are those that linfkit computes. Each exercise's answers and hints are tested beside."""

import math
from collections import Counter
from itertools import pairwise

import pytest
import torch

import linfkit as lk
from linfkit.certification.lipschitz import neuron_bound
from linfkit.course import exercises, published
from linfkit.course.measured.observatory import observations
from linfkit.course.studies.blowup import EXPONENTS
from linfkit.course.studies.theory import box_after, measure_separation, separating_net


def test_an_exercise_is_checked_by_its_name(capsys):
    exercises.check("00-grey-steps", 1.6)
    exercises.check("00-grey-steps", ...)
    right, none_yet = capsys.readouterr().out.splitlines()
    verdict = exercises.all_exercises()["00-grey-steps"].verdict
    assert right == f"00-grey-steps: {verdict(1.6)}"
    assert none_yet == f"00-grey-steps: {verdict(...)}"
    assert right != none_yet


def test_a_right_answer_is_used_and_any_other_stood_in_for(capsys):
    assert exercises.yours("00-grey-steps", 1.6, otherwise=0) == 1.6
    assert exercises.yours("00-grey-steps", ..., otherwise=0) == 0
    assert exercises.yours("00-grey-steps", 25.5, otherwise=0) == 0
    right, none_yet, wrong = capsys.readouterr().out.splitlines()
    assert right == "00-grey-steps: right; yours is used"
    assert none_yet == "00-grey-steps: no answer yet; linfkit's own stands in"
    assert wrong.startswith("00-grey-steps: not yet: ")


def test_the_second_wrong_answer_gets_a_stronger_hint(capsys, monkeypatch):
    monkeypatch.setattr(exercises, "_WRONG", Counter())
    for answer in (25.5, ..., 25.5, 1.6):
        exercises.check("00-grey-steps", answer)
    first, none_yet, second, right = capsys.readouterr().out.splitlines()
    assert second == f"{first}. Second hint: {exercises.second_hints()['00-grey-steps']}"
    assert none_yet.endswith("no answer yet")
    assert right.endswith("right")


def test_every_exercise_has_a_second_hint_of_its_own():
    hints = exercises.second_hints()
    assert hints.keys() == exercises.all_exercises().keys()
    assert len(set(hints.values())) == len(hints)


def test_progress_counts_right_answers_once(capsys, monkeypatch):
    monkeypatch.setattr(exercises, "_ANSWERED", set())
    exercises.check("00-grey-steps", 25.5)
    for _ in range(2):
        exercises.check("00-grey-steps", 1.6)
    exercises.yours("00-radius", 0.11, otherwise=0)
    capsys.readouterr()
    exercises.progress()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "00: 2 of 5"
    assert [line[:2] for line in lines] == [f"{n:02}" for n in range(10)]
    assert all(": 0 of " in line for line in lines[1:])


def test_an_error_in_a_students_function_is_their_line_and_its_message(capsys):
    def answer(logits, label):
        return logits[label] + torch.zeros(3)[7]

    exercises.check("00-function", answer)
    said = capsys.readouterr().out
    assert said.startswith(
        "00-function: not yet: your line `return logits[label] + torch.zeros(3)[7]`"
    )
    assert "raised IndexError: index 7 is out of bounds" in said
    assert said.count("\n") == 1


def test_a_name_that_is_nearly_right_is_guessed():
    with pytest.raises(ValueError, match=r"got '00-gray-steps': did you mean '00-grey-steps'\?$"):
        exercises.check("00-gray-steps", 1.6)


def test_of_another_name_all_are_told():
    with pytest.raises(ValueError, match=r"got '\?'; there are .*00-grey-steps, ") as told:
        exercises.check("?", 1.6)
    assert all(name in str(told.value) for name in exercises.all_exercises())


def weights(width):
    net = lk.LpDistNet(64, width=width, depth=3, classes=10)
    return sum(layer.weight.numel() for layer in net.layers[::2])


def certified(method, dataset, eps):
    (row,) = (
        row
        for row in published.results()
        if (row.method, row.dataset, row.eps) == (method, dataset, eps)
    )
    return 100 * row.certified


def iclr2022(dataset, eps):
    return certified("Linf-dist net boosted (ICLR 2022)", dataset, eps)


def samples_that_the_clipped_hinge_pulls_at():
    margins = torch.tensor([-0.3, 0.1, 0.5, 0.9], requires_grad=True)
    logits = torch.stack([margins, torch.zeros(4)], dim=1)
    loss = lk.mixed_loss(logits, torch.zeros(4).long(), theta=0.6, lam=0.0, logit_scale=1.0)
    (pull,) = torch.autograd.grad(loss, margins)
    return int((pull != 0).sum())


def published_gap_in_points():
    (row,) = (row for row in published.margins() if (row.loss, row.theta) == ("mixed", 6.0))
    return 100 * (row.certified_train - row.certified)


def standard_error_in_points():
    share = iclr2022("CIFAR-10", "8/255") / 100
    return 100 * math.sqrt(share * (1 - share) / 10_000)


def radius(*logits, label):
    return lk.certified_radius(torch.tensor([logits]), torch.tensor([label])).item()


def weights_of_the_papers_net():
    recipe = lk.load_recipe("iclr2022-mnist-0.3")
    sizes = [784, *[recipe.width] * (recipe.depth - 1), 10]
    return sum(inputs * outputs for inputs, outputs in pairwise(sizes))


def half_of_a_box(*weights):
    neuron = torch.nn.Linear(len(weights), 1)
    neuron.weight.data = torch.tensor([weights])
    lower, upper = box_after(neuron, -torch.ones(1, len(weights)), torch.ones(1, len(weights)))
    return (upper - lower).item() / 2


def radius_of_the_net_that_is_built(nearest, other):
    images = torch.tensor([0.0, nearest + other])
    net = separating_net(images.view(2, 1, 1, 1), torch.tensor([0, 1]), classes=2)
    return lk.certify(net, torch.tensor([[[[nearest]]]]), torch.tensor([0])).radius.item()


def difference_that_carries(share, p):
    """By bisection, the difference beside a largest one of 1 whose derivative is that share."""
    w, low, high = torch.zeros(1, 2, dtype=torch.float64), 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        x = torch.tensor([[1.0, middle]], dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(lk.lp_dist(x, w, p).sum(), x)
        low, high = (middle, high) if slope[0, 1] < share * slope[0, 0] else (low, middle)
    return low


def fooled_of_the_samples():
    images, labels = lk.load_samples("mnist")
    ordinary = lk.load_pretrained("mnist-tiny-ordinary")
    return int((~lk.survives_pgd(ordinary, images, labels, eps=0.05)).sum())


def smallest_distance_between_classes():
    digits = lk.load_dataset("digits")
    return measure_separation(digits.train_x / 255, digits.train_y).r


COMPUTED = {
    "00-radius": lambda: radius(-1.9, -1.4, -1.62, -2.3, label=1),
    "00-certified-accuracy": lambda: lk.Certificates(
        torch.tensor([0.14, 0.1, 0.09, -0.02, 0.31], dtype=torch.float64)
    ).accuracy(0.1),
    "00-fooled": fooled_of_the_samples,
    "01-neuron": lambda: (
        lk.lp_dist(torch.tensor([[0.2, 0.9, 0.5]]), torch.tensor([[0.6, 0.4, 0.45]]), math.inf)
        + 0.1
    ).item(),
    "03-bound": lambda: neuron_bound(3072, 16) * neuron_bound(5120, 16) ** 5,
    "03-below-two": lambda: next(
        p for p in EXPONENTS if neuron_bound(64, p) * neuron_bound(256, p) ** 3 < 2
    ),
    "03-wider": lambda: (neuron_bound(512, 8) / neuron_bound(256, 8)) ** 3,
    "04-hinge": lambda: lk.hinge_loss(
        torch.tensor([[0.5, 0.4, -0.1]]), torch.tensor([0]), theta=0.2
    ).item(),
    "04-observatory": lambda: (
        100
        * (observations()["mixed", 0.2][-1].certified - observations()["hinge", 0.2][-1].certified)
    ),
    "05-lipschitz": lambda: lk.lipschitz_bound(lk.LpDistNet(64, width=32, depth=3, classes=10)),
    "06-voting": lambda: lk.lipschitz_bound(
        lk.VotingEnsemble([lk.LpDistNet(4, 8, 2, 3) for _ in range(2)], logit_scale=8.0)
    ),
    "06-cost": lambda: weights(128) / (4 * weights(32)),
    "07-gain": lambda: (
        iclr2022("MNIST", "0.3") - certified("Linf-dist net (ICML 2021)", "MNIST", "0.3")
    ),
    "07-noise": standard_error_in_points,
    "07-weights": weights_of_the_papers_net,
    "08-radius": lambda: radius_of_the_net_that_is_built(0.2, 0.5),
    "08-nearest": smallest_distance_between_classes,
    "08-box": lambda: half_of_a_box(0.5, -1.5, 2.0),
    "08-carry": lambda: difference_that_carries(0.01, p=20),
    "09-clipped": samples_that_the_clipped_hinge_pulls_at,
    "09-gap": published_gap_in_points,
    "09-weights": lambda: max(published.weights().items(), key=lambda cell: cell[1])[0][0],
    "09-margin": lambda: lk.load_recipe("laptop-cifar10-8-255").theta / 2 / (8 / 255),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_a_right_number_is_what_linfkit_computes(name):
    assert exercises.all_exercises()[name].verdict(COMPUTED[name]()) == "right"
