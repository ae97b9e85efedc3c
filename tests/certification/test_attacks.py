"""Tested: what attacks report and how strong they are, the points they try, seeds, what they leave
as it was, refusals. Not tested: certificates against them (test_certify.py)."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import linfkit as lk
from linfkit.certification.attacks import nearest_misclassified, smallest_perturbation
from linfkit.course.studies.attacks import predictions

INF = math.inf


@pytest.fixture
def line():
    """Class 0 is left of the middle, class 1 right of it, with certificates that are exact."""
    net = lk.LpDistNet(1, width=1, depth=1, classes=2, identity_start=False)
    with torch.no_grad():
        net.layers[0].weight.copy_(torch.tensor([[0.0], [1.0]]))
    return net


@pytest.fixture
def net():
    torch.manual_seed(0)
    return lk.LpDistNet(12, width=16, depth=3, classes=4).eval()


@pytest.fixture
def x():
    return torch.rand(8, 12, generator=torch.Generator().manual_seed(0))


def test_steps_and_seed_may_be_whole_numbers_of_any_type(net, x):
    labels, numbers = net(x).argmax(dim=1), {"steps": np.int64(5), "seed": np.uint8(3)}
    plain = {name: int(number) for name, number in numbers.items()}
    for attack in (
        smallest_perturbation,
        lambda *given, **more: lk.survives_pgd(*given, 0.2, **more),
    ):
        assert torch.equal(attack(net, x, labels, **numbers), attack(net, x, labels, **plain))


def test_a_point_survives_up_to_its_distance_from_the_boundary(line):
    x, labels = torch.tensor([[0.25], [0.25], [0.875], [0.875]]), torch.tensor([0, 0, 1, 1])
    eps = torch.tensor([0.24, 0.26, 0.37, 0.38])
    assert lk.survives_pgd(line, x, labels, eps, steps=100).tolist() == [True, False, True, False]


@pytest.mark.parametrize("steps", [5, 20, 50])
def test_however_few_the_steps_they_cross_the_whole_ball(steps, line):
    x, labels = torch.full((200, 1), 0.25), torch.zeros(200).long()
    assert not lk.survives_pgd(line, x, labels, 0.26, steps).any()


def test_one_eps_is_for_all(line):
    x, labels = torch.tensor([[0.25], [0.875], [0.4375]]), torch.tensor([0, 1, 0])
    assert lk.survives_pgd(line, x, labels, 0.3, steps=100).tolist() == [False, True, False]


def test_what_is_misclassified_does_not_survive_even_no_attack(line):
    x, labels = torch.tensor([[0.25], [0.25]]), torch.tensor([0, 1])
    assert lk.survives_pgd(line, x, labels, 0.0).tolist() == [True, False]
    assert lk.survives_pgd(line, x, labels, 0.1).tolist() == [True, False]


def test_the_model_is_attacked_at_p_infinity_and_put_back(net, x):
    labels = net(x).argmax(dim=1)
    net.p = 8
    net.train()
    seen = []
    handle = net.register_forward_pre_hook(lambda net, _: seen.append((net.p, net.training)))
    lk.survives_pgd(net, x, labels, 0.05, steps=3)
    handle.remove()
    assert set(seen) == {(INF, False)}
    assert (net.p, net.training) == (8.0, True)


def test_every_point_tried_is_an_image_within_eps(net, x):
    tried = []
    labels = net(x).argmax(dim=1)
    net.register_forward_pre_hook(lambda net, arguments: tried.append(arguments[0].detach()))
    lk.survives_pgd(net, x, labels, 0.2, steps=5)
    assert len(tried) > 5
    for points in tried:
        assert 0 <= points.min() <= points.max() <= 1
        if len(points) == len(x):
            assert (points - x).abs().max() <= 0.2 + 1e-6


def test_weights_get_no_gradients_from_an_attack(net, x):
    lk.survives_pgd(net, x, net(x).argmax(dim=1), 0.05, steps=3)
    assert all(weight.grad is None for weight in net.parameters())


@pytest.mark.parametrize(
    ("eps", "error", "message"),
    [
        (-0.1, ValueError, "^eps must be in pixels"),
        (math.nan, ValueError, "^eps must be in pixels"),
        (INF, ValueError, "^eps must be in pixels"),
        (torch.tensor([0.1, 0.1]), ValueError, "^eps must be one number, or one for each of the 8"),
        (torch.full((8,), -0.1), ValueError, "^eps must be in pixels .* from -0.1 to -0.1$"),
        (8, ValueError, r"^eps must be in pixels of .*; got 8 \(did you mean 8/255\?\)$"),
        ("8/255", TypeError, "^eps must be in pixels"),
    ],
)
def test_an_eps_that_is_no_size_of_a_perturbation_is_refused(eps, error, message, net, x):
    with pytest.raises(error, match=message):
        lk.survives_pgd(net, x, torch.zeros(8).long(), eps)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (torch.full((8,), 4), ValueError, "^labels must be from 0 to 3"),
        (torch.zeros(7).long(), ValueError, "^labels must be one for each"),
        (torch.zeros(8), TypeError, "^labels must hold whole numbers"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, error, message, net, x):
    with pytest.raises(error, match=message):
        lk.survives_pgd(net, x, labels, 0.1)


def test_pixels_outside_the_unit_range_are_refused(net, x):
    with pytest.raises(ValueError, match=r"^x must hold pixels in \[0, 1\]"):
        lk.survives_pgd(net, x + 1, torch.zeros(8).long(), 0.1)


# --- seeds


def test_an_attack_leaves_torchs_generator_as_it_was(net, x):
    labels = net(x).argmax(dim=1)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    lk.survives_pgd(net, x, labels, 0.1, steps=3)
    smallest_perturbation(net, x, labels, steps=3)
    assert torch.equal(torch.rand(3), expected)


def test_the_seed_alone_decides_where_an_attack_starts(net, x):
    starts = []
    net.register_forward_pre_hook(lambda net, arguments: starts.append(arguments[0].detach()))
    labels = net(x).argmax(dim=1)

    def tried(seed):
        starts.clear()
        torch.rand(1)  # what was drawn before does not matter
        lk.survives_pgd(net, x, labels, 0.2, steps=1, seed=seed)
        return [points.clone() for points in starts if len(points) == len(x)][1]

    assert torch.equal(tried(0), tried(0))
    assert not torch.equal(tried(0), tried(1))


# --- the smallest perturbation


def test_on_the_line_it_is_the_distance_to_the_middle(line):
    x, labels = torch.tensor([[0.25], [0.875], [0.4375]]), torch.tensor([0, 1, 0])
    found = smallest_perturbation(line, x, labels, steps=100)
    assert found.tolist() == pytest.approx([0.25, 0.375, 0.0625], abs=2e-3)
    assert (found >= torch.tensor([0.25, 0.375, 0.0625]) - 1e-6).all()


def test_what_is_misclassified_needs_none(line):
    x, labels = torch.tensor([[0.25], [0.25]]), torch.tensor([1, 0])
    found = smallest_perturbation(line, x, labels)
    assert found[0] == 0
    assert found[1] > 0
    assert torch.equal(nearest_misclassified(line, x, labels)[0][0], x[0])


def test_where_nothing_is_found_it_is_infinite_and_the_point_is_the_image_itself(line):
    with torch.no_grad():
        line.layers[0].bias.copy_(torch.tensor([0.0, 5.0]))  # no image is of class 1
    x, labels = torch.tensor([[0.25]]), torch.tensor([0])
    assert smallest_perturbation(line, x, labels, steps=5).tolist() == [INF]
    assert torch.equal(nearest_misclassified(line, x, labels, steps=5)[0], x)


def test_it_is_the_size_of_a_perturbation_that_works_and_never_below_the_certificate(net, x):
    net.p = 8  # the attack is at p=∞ all the same
    labels = predictions(net, x)
    radius = lk.certify(net, x, labels).radius
    points, _ = nearest_misclassified(net, x, labels)
    found = smallest_perturbation(net, x, labels)
    assert found.isfinite().any()
    assert 0 <= points.min() <= points.max() <= 1
    assert (lk.certify(net, points, labels).radius <= 0)[found.isfinite()].all()
    assert torch.equal((points - x).abs().amax(dim=1)[found.isfinite()], found[found.isfinite()])
    assert (found >= radius - 1e-5).all()
    assert net.p == 8


def test_the_same_seed_finds_the_same(net, x):
    labels = net(x).argmax(dim=1)
    once, again = (smallest_perturbation(net, x, labels, steps=10, seed=3) for _ in range(2))
    assert torch.equal(once, again)


def test_a_smallest_perturbation_of_labels_that_do_not_fit_is_refused(net, x):
    with pytest.raises(ValueError, match=r"^labels must be from 0 to 3"):
        smallest_perturbation(net, x, torch.full((8,), 4))
    with pytest.raises(ValueError, match=r"^x must hold pixels in \[0, 1\]"):
        smallest_perturbation(net, x + 1, torch.zeros(8).long())


# --- strength, against the exact radii of tiny nets


def tiny_net(seed, depth):
    """A net whose weights are among the images, so that its classes meet between them."""
    torch.manual_seed(seed)
    net = lk.LpDistNet(4, 8, depth, 3, identity_start=False)
    nn.init.uniform_(net.layers[0].weight)
    if depth > 1:
        nn.init.uniform_(net.layers[2].weight, -0.5, 0.5)
        lk.recentre(net, torch.rand(200, 4))
    return net.eval()


@pytest.fixture(scope="module")
def exact():
    """Tiny nets, images, the classes that they give them, and the smallest perturbations."""
    cases = []
    for seed in range(6):
        net, images = tiny_net(seed, depth=1 + seed % 2), torch.rand(5, 4)
        labels = predictions(net, images)
        pairs = zip(images, labels.tolist(), strict=True)
        radii = torch.tensor([lk.exact_radius(net, image, label).upper for image, label in pairs])
        cases.append((net, images, labels, radii))
    return cases


def test_no_perturbation_found_is_below_the_exact_radius_and_most_are_close_to_it(exact):
    close = []
    for net, images, labels, radii in exact:
        found = smallest_perturbation(net, images, labels)
        assert (found >= radii - 1e-5).all()
        close += (found <= 1.02 * radii + 1e-3).tolist()
    assert sum(close) > len(close) / 2


def test_descent_breaks_no_image_below_its_exact_radius_and_most_not_far_above_it(exact):
    broken = []
    for net, images, labels, radii in exact:
        assert lk.survives_pgd(net, images, labels, 0.999 * radii).all()
        broken += (~lk.survives_pgd(net, images, labels, (1.2 * radii).clamp(max=1))).tolist()
    assert sum(broken) > len(broken) / 2
