"""Tested: that the radii of hybrids hold, are as large as the bounds allow, and count rounding.
Not tested: the bounds themselves (tests/nn/test_hybrid.py), refusals (test_layer_checks.py)."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import linfkit as lk
from linfkit.certification import hybrid as proof
from linfkit.certification.hybrid import worst_rounding
from linfkit.nn.ensembles import HybridEnsemble
from linfkit.nn.layers import set_p
from tests.helpers.hybrids import labels_of, random_images, random_net

INF = math.inf
seeds = st.integers(0, 2**32 - 1)
scales = st.floats(0.05, 5)


def radius_of(net, x, labels):
    """Radii of a copy of the net in float64, where next to nothing is subtracted for rounding."""
    return lk.certify(copy.deepcopy(net).double(), x.double(), labels).radius


@settings(deadline=None, derandomize=True, max_examples=30)
@given(seed=seeds, scale=scales)
def test_radii_are_the_last_eps_at_which_the_bounds_hold(seed, scale):
    net, x = random_net(seed, scale=scale), random_images(8, 6, seed=seed)
    labels = net(x).argmax(dim=1)
    radius = radius_of(net, x, labels)
    for eps, certified in [(radius, True), ((radius + 2e-9).clamp(max=1), False)]:
        worst = net.worst_logits(x, labels, eps).scatter(1, labels[:, None], -INF).amax(dim=1)
        assert ((worst < 0) == certified)[(radius > 0) & (radius < 0.99)].all()


@settings(deadline=None, derandomize=True, max_examples=30)
@given(seed=seeds)
def test_within_the_radius_no_perturbation_changes_the_prediction(seed):
    net, x = random_net(seed), random_images(8, 6, seed=seed)
    labels = net(x).argmax(dim=1)
    radius = radius_of(net, x, labels)[:, None]
    for other in range(20):
        step = 2 * random_images(8, 6, seed=seed + other) - 1
        for moved in (x + radius * step, x + radius * step.sign()):
            assert torch.equal(net(moved).argmax(dim=1), labels)


def test_worst_logits_that_rounding_can_have_made_prove_nothing(monkeypatch):
    net, x = random_net(), random_images(20, 6)
    labels = net(x).argmax(dim=1)
    assert (radius_of(net, x, labels) > 0).all()
    worst = net.double().worst_logits(x.double(), labels, 0.0)
    needed = -worst.scatter(1, labels[:, None], -INF).amax(dim=1)
    monkeypatch.setattr(proof, "worst_rounding", lambda mlp, u, radius: needed)
    assert (radius_of(net, x, labels) == 0).all()


def test_where_the_features_rounding_is_unknown_nothing_is_proved():
    net, x = random_net().bfloat16(), random_images(20, 6).bfloat16()
    net.layers = nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.AvgPool2d(9, stride=1, padding=4), nn.Flatten(), *net.layers
    )
    labels = net.eval()(x).argmax(dim=1)
    certificates = lk.certify(net, x, labels)
    assert certificates.correct.all()
    assert not certificates.radius.any()


def test_wrong_predictions_have_minus_the_radius_of_what_is_predicted():
    net, x = random_net(), random_images(20, 6)
    predicted = net(x).argmax(dim=1)
    right, wrong = radius_of(net, x, predicted), radius_of(net, x, (predicted + 1) % 4)
    assert (right > 0).all()
    assert torch.equal(wrong, -right)


def test_radii_make_certificates():
    net, x, labels = random_net(), random_images(40, 6), labels_of(40)
    certificates = lk.Certificates(radius_of(net, x, labels))
    shares = [certificates.accuracy(eps) for eps in (0, 0.001, 0.01, 0.1, 1)]
    assert certificates.clean_accuracy == (net(x).argmax(dim=1) == labels).double().mean()
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == 0


def test_a_net_that_never_changes_its_mind_is_certified_for_the_whole_range():
    net, x = random_net(), random_images(3, 6)
    nn.init.zeros_(net.mlp.last.weight)
    with torch.no_grad():
        net.mlp.last.bias.copy_(torch.tensor([1.0, 0, 0, 0]))
    radius = radius_of(net, x, torch.zeros(3).long())
    assert ((radius > 1 - 1e-8) & (radius <= 1)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_certifying_leaves_a_hybrid_as_it_was_and_gives_radii_of_its_type(dtype):
    net, x, labels = random_net().to(dtype), random_images(5, 6).to(dtype), labels_of(5)
    net.train().p = 2
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert lk.certify(net, x, labels).radius.dtype == dtype
    assert {tensor.dtype for tensor in net.state_dict().values()} == {dtype}
    assert (net.p, net.training, net.mlp.training) == (2.0, True, True)
    assert all(torch.equal(before[name], now) for name, now in net.state_dict().items())


@settings(deadline=None, derandomize=True, max_examples=30)
@given(seed=seeds, size=st.sampled_from([1e-3, 1.0, 1e3]))
def test_worst_logits_are_no_further_from_real_numbers_than_their_rounding(seed, size):
    mlp = random_net(seed).float().mlp
    torch.manual_seed(seed)
    u, labels, radius = size * torch.randn(8, mlp.hidden.in_features), labels_of(8), torch.rand(8)
    worst, bound = mlp.worst_logits(u, labels, radius), worst_rounding(mlp, u, radius)
    mlp.double()
    exact = mlp.worst_logits(u.double(), labels, radius.double())
    assert ((worst - exact).abs().amax(dim=1) <= bound).all()
    assert (worst_rounding(mlp, u.double(), radius.double()) < 1e-8 * bound).all()
    assert (worst_rounding(mlp, u.double(), radius.double() / 2) < bound).all()


def test_an_ensemble_is_certified_where_all_members_are():
    members = [random_net(k) for k in range(3)]
    x = random_images(40, 6)
    predicted = HybridEnsemble(members)(x).argmax(dim=1)
    each = torch.stack([radius_of(net, x, predicted) for net in members])
    together = radius_of(HybridEnsemble(members), x, predicted)
    assert (together >= each.amin(dim=0) - 1e-8).all()


@pytest.mark.parametrize("change", [lambda net: net.train(), lambda net: set_p(net, 8.0)])
@pytest.mark.parametrize("ensemble", [False, True])
def test_radii_are_those_of_evaluation_at_p_infinity_whatever_the_net_is_at(change, ensemble):
    net = HybridEnsemble([random_net(0), random_net(1)]) if ensemble else random_net()
    x, labels = random_images(5, 6), labels_of(5)
    wanted = lk.certify(net.eval(), x, labels).radius
    change(net)
    assert torch.equal(lk.certify(net, x, labels).radius, wanted)


def test_a_method_certified_radius_of_your_own_comes_before_the_proof_of_hybrids():
    class Proved(lk.HybridNet):
        def certified_radius(self, x, labels):
            return torch.full((len(x),), 0.25)

    net = Proved(lk.LpDistNet(6, 9, 2, 4), hidden=7)
    assert (lk.certify(net, torch.rand(5, 6), labels_of(5)).radius == 0.25).all()


@pytest.mark.parametrize("place", ["layers.0.weight", "mlp.last.bias"])
def test_a_hybrid_that_gives_nan_is_refused(place):
    net = random_net()
    net.get_parameter(place).data.fill_(math.nan)
    with pytest.raises(ValueError, match=r"^model must give numbers; got NaN for 5 of 5 images"):
        lk.certify(net, random_images(5, 6), labels_of(5))


def test_where_nothing_is_proved_a_wrong_prediction_is_still_below_0(monkeypatch):
    net, x = random_net(), random_images(20, 6)
    predicted = net(x).argmax(dim=1)
    monkeypatch.setattr(proof, "worst_rounding", lambda mlp, u, radius: torch.full((20,), INF))
    assert (lk.certify(net, x, predicted).radius == 0).all()
    wrong = lk.certify(net, x, (predicted + 1) % 4)
    assert (wrong.radius < 0).all()
    assert not wrong.correct.any()


@pytest.mark.parametrize(("share", "proved"), [(0.4, True), (0.75, False)])
def test_an_ensemble_needs_the_sum_of_its_members_roundings(share, proved, monkeypatch):
    ensemble, x = HybridEnsemble([random_net(0), random_net(1)]), random_images(20, 6)
    labels = ensemble(x).argmax(dim=1)
    worst = ensemble.worst_logits(x, labels, 0.0).scatter(1, labels[:, None], -INF).amax(dim=1)
    monkeypatch.setattr(proof, "worst_rounding", lambda mlp, u, radius: -share * worst.detach())
    assert ((radius_of(ensemble, x, labels) > 0) == proved).all()


def test_boxes_are_wider_by_the_largest_rounding_of_any_members_features(monkeypatch):
    members, x = [random_net(0).float(), random_net(1, scale=0.5).float()], random_images(9, 6)
    with torch.no_grad():
        members[1].layers[0].weight.add_(1000)  # far weights round more
        members[1].layers[1].running_mean.add_(1000)
    x = x.float()
    errors = [
        member.features(x).error * member.scale
        for net in members
        for member in proof.plain_members(net)
    ]
    assert (errors[1] > 10 * errors[0]).all()
    seen, original = [], proof.worst_rounding

    def spy(mlp, u, radius):
        seen.append(radius)
        return original(mlp, u, radius)

    monkeypatch.setattr(proof, "worst_rounding", spy)
    for ensemble in (HybridEnsemble(members), HybridEnsemble(members[::-1])):
        seen.clear()
        lk.certify(ensemble, x, labels_of(9))
        for radius, member in zip(seen, ensemble.members(), strict=True):
            torch.testing.assert_close(radius * member.scale.double(), 1 + errors[1])


def test_the_rounding_of_worst_logits_is_the_formula_of_its_docstring():
    mlp = random_net(in_features=6, width=5, hidden=3).mlp
    u, radius = random_images(4, 5) - 0.5, torch.tensor([0.0, 0.1, 0.5, 1.0]).double()
    weights, rows = mlp.hidden.scaled_weight.abs(), mlp.last.scaled_weight.abs()
    bound = []
    for sample, half_width in zip(u, radius, strict=True):
        arguments = weights @ sample.abs() + mlp.hidden.bias.abs() + half_width * weights.sum(dim=1)
        of_rows, of_biases = 2 * rows.sum(dim=1).max(), 2 * mlp.last.bias.abs().max()
        bound.append(2 * (5 + 3 + 24) * 2.0**-53 * (of_rows * (arguments.max() + 1) + of_biases))
    torch.testing.assert_close(worst_rounding(mlp, u, radius), torch.stack(bound))
