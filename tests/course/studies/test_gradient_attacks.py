"""FGSM and PGD against nets whose best perturbation is known, and inside their box."""

import pytest
import torch
from torch import nn

import linfkit as lk
from linfkit.course.studies.gradient_attacks import accuracy_within, fgsm, pgd


@pytest.fixture
def linear():
    """Two classes and two pixels; the first class is that of the brighter first pixel."""
    net = nn.Linear(2, 2, bias=False)
    net.weight.data = torch.tensor([[1.0, -2.0], [0.0, 0.0]])
    return net


X = torch.tensor([[0.5, 0.1]])
FIRST = torch.tensor([0])


@pytest.mark.parametrize("attack", [fgsm, pgd])
def test_of_a_linear_net_they_find_the_worst_corner_of_the_box(linear, attack):
    assert torch.allclose(attack(linear, X, FIRST, 0.05), torch.tensor([[0.45, 0.15]]))


@pytest.mark.parametrize("attack", [fgsm, pgd])
def test_they_stay_in_the_range_of_a_pixel(linear, attack):
    moved = attack(linear, X, FIRST, 0.7)
    assert torch.allclose(moved, torch.tensor([[0.0, 0.8]]))


def test_of_a_bent_net_pgd_finds_what_one_step_jumps_over():
    class Valley(nn.Module):
        def forward(self, x):
            inside = 0.1 - (x[:, :1] - 0.55).abs()  # another class, near 0.55 alone
            return torch.cat([torch.zeros_like(inside), inside], dim=1)

    x = torch.tensor([[0.2]])
    assert accuracy_within(fgsm, Valley(), x, FIRST, [0.6]) == [1.0]
    assert accuracy_within(pgd, Valley(), x, FIRST, [0.6]) == [0.0]


def test_neither_breaks_a_certificate():
    net = lk.load_pretrained("digits-small")
    digits = lk.load_dataset("digits")
    x, labels = digits.test_x[:50] / 255, digits.test_y[:50]
    certified = lk.certify(net, x, labels).accuracy(0.1)
    for attack in (fgsm, pgd):
        clean, attacked = accuracy_within(attack, net, x, labels, [0.0, 0.1])
        assert certified <= attacked <= clean


def test_the_nets_weights_get_no_gradient(linear):
    pgd(linear, X, FIRST, 0.1)
    assert linear.weight.grad is None
