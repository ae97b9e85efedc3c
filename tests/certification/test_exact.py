"""The exact radius: against brute force on a grid in the plane, between certificate and attack."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import linfkit as lk
from linfkit.certification.exact import TOLERANCE, exact_radius


def plane_net(seed, width=5, depth=2, mean=0.5, scale=0.3):
    torch.manual_seed(seed)
    net = lk.LpDistNet(2, width, depth, classes=3, mean=mean, scale=scale, identity_start=False)
    for parameter in net.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter)
    for layer in net.layers:
        if isinstance(layer, lk.MeanShift):
            layer.running_mean.normal_(2.0, 0.3)
    return net.double().eval()


def grid(points=401):
    axis = torch.linspace(0, 1, points, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 1), st.sampled_from([1, 2, 3]))
def test_brute_force_on_a_grid_finds_the_same(seed, left, right, depth):
    net = plane_net(seed, depth=depth)
    x = torch.tensor([left, right], dtype=torch.float64)
    label = net(x[None]).argmax().item()
    exact = exact_radius(net, x, label)
    points = grid()
    with torch.no_grad():
        other = net(points).argmax(dim=1) != label
    distance = (points[other] - x).abs().amax(dim=1)
    nearest = distance.min().item() if len(distance) else math.inf
    assert exact.solved
    assert nearest >= exact.lower - TOLERANCE  # no point of the grid is nearer than it may be
    if math.isfinite(nearest):  # the grid can miss a thin region, but not by more than it is thin
        assert exact.upper <= nearest + TOLERANCE


@pytest.mark.parametrize("seed", range(5))
def test_the_perturbed_image_is_as_far_as_it_says_and_ties(seed):
    net = plane_net(seed, depth=3)
    x = torch.tensor([0.4, 0.6], dtype=torch.float64)
    label = net(x[None]).argmax().item()
    exact = exact_radius(net, x, label)
    if exact.point is None:
        pytest.skip("this net puts the whole square into one class")
    assert (exact.point - x).abs().max().item() == pytest.approx(exact.upper, abs=TOLERANCE)
    assert exact.point.min() >= -TOLERANCE
    assert exact.point.max() <= 1 + TOLERANCE
    assert lk.certified_radius(net(exact.point[None]), torch.tensor([label])).item() <= TOLERANCE


def test_the_certificate_is_below_and_the_attack_above():
    recipe = lk.load_recipe("digits-small").replace(width=12, depth=3, epochs=10)
    net = lk.fit(recipe, progress=False).ema_model
    digits = lk.load_dataset("digits")
    x, labels = digits.test_x[:6] / 255, digits.test_y[:6]
    radius = lk.certify(net, x, labels).radius
    for image, label, certified in zip(x, labels, radius.tolist(), strict=True):
        exact = exact_radius(net, image, label.item())
        assert exact.solved
        assert max(certified, 0) <= exact.lower + TOLERANCE
        if exact.lower > 0.01:
            below = 0.99 * exact.lower
            assert lk.survives_pgd(net, image[None], label[None], eps=below, steps=20).all()


def test_a_single_neuron_a_class_by_hand():
    # f_0 = −|x − 0.2|, f_1 = −|x − 0.8|: they tie at 0.5
    net = lk.LpDistNet(1, 1, 1, classes=2).eval()
    net.layers[0].weight.data = torch.tensor([[0.2], [0.8]])
    net.layers[0].bias.data.zero_()
    exact = exact_radius(net, torch.tensor([0.3]), 0)
    assert exact.upper == pytest.approx(0.2, abs=TOLERANCE)
    assert lk.certified_radius(net(torch.tensor([[0.3]])), torch.tensor([0])).item() == (
        pytest.approx(0.2)
    )


def test_an_image_of_another_class_has_radius_0():
    net = plane_net(0)
    x = torch.tensor([0.4, 0.6], dtype=torch.float64)
    wrong = net(x[None]).argmin().item()
    assert exact_radius(net, x, wrong).upper == 0


def test_a_net_of_one_class_everywhere_has_no_upper_bound():
    net = lk.LpDistNet(2, 1, 1, classes=2).eval()
    net.layers[0].weight.data = torch.tensor([[0.5, 0.5], [9.0, 9.0]])
    net.layers[0].bias.data.zero_()
    exact = exact_radius(net, torch.tensor([0.4, 0.6]), 0)
    assert exact.upper == exact.lower == math.inf
    assert exact.point is None
    assert exact.solved


def test_when_time_runs_out_the_bounds_hold_all_the_same():
    net = plane_net(3, width=16, depth=3)
    x = torch.tensor([0.4, 0.6], dtype=torch.float64)
    label = net(x[None]).argmax().item()
    hurried, exact = exact_radius(net, x, label, time_limit=0.01), exact_radius(net, x, label)
    assert hurried.lower <= exact.lower + TOLERANCE
    assert hurried.upper >= exact.upper - TOLERANCE


@pytest.mark.parametrize("with_presolve", [True, False])
@pytest.mark.parametrize("says", ["infeasible", "a farther one"])
def test_a_solver_that_errs_once_is_not_believed(with_presolve, says, monkeypatch):
    net = plane_net(3, width=5, depth=3)
    x = torch.tensor([0.4, 0.6], dtype=torch.float64)
    label = net(x[None]).argmax().item()
    exact = exact_radius(net, x, label)
    assert 0.01 < exact.upper < 0.4
    solve = scipy.optimize.milp

    def err(cost, *, options, **program):
        found = solve(cost, options=options, **program)
        if options["presolve"] is not with_presolve or found.x is None:
            return found
        if says == "infeasible":
            return SimpleNamespace(status=2, x=None)
        farther = found.fun + 0.1
        return SimpleNamespace(status=0, fun=farther, mip_dual_bound=farther, x=found.x)

    monkeypatch.setattr(scipy.optimize, "milp", err)
    again = exact_radius(net, x, label)
    assert (again.lower, again.upper) == pytest.approx((exact.lower, exact.upper), abs=TOLERANCE)


@pytest.mark.parametrize("place", ["layers.0.weight", "layers.1.running_mean", "layers.2.bias"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_finite_numbers_are_refused(place, value):
    net = plane_net(0).float()
    net.state_dict()[place].view(-1)[0] = value
    with pytest.raises(ValueError, match=rf"^model must have finite weights; its '{place}'"):
        exact_radius(net, torch.rand(2), 0)


@pytest.mark.parametrize(
    ("model", "x", "label", "error", "message"),
    [
        (torch.nn.Linear(2, 2), torch.rand(2), 0, TypeError, "model must be an LpDistNet"),
        (None, torch.rand(3), 0, ValueError, "x must be one image of 2 pixels"),
        (None, torch.rand(2, 2), 0, ValueError, "x must be one image of 2 pixels"),
        (None, np.zeros(3), 0, ValueError, "x must be one image of 2 pixels"),
        (None, [0.5, 0.5], 0, ValueError, "x must be one image of 2 pixels"),
        (None, torch.tensor([0.5, 1.5]), 0, ValueError, r"pixels in \[0, 1\]"),
        (None, torch.rand(2), 3, ValueError, "label must be from 0 to 2; got 3"),
        (None, torch.rand(2), True, TypeError, "label must be a whole number"),
        (None, torch.rand(2), 1.0, TypeError, "label must be a whole number"),
    ],
)
def test_what_is_wrong_is_named(model, x, label, error, message):
    with pytest.raises(error, match=message):
        exact_radius(plane_net(0).float() if model is None else model, x, label)
