"""Tested: interval radii by hand, for nets of every kind, against margins, attacks and searches.
Not tested: what rounding takes off them (test_rounding.py)."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import linfkit as lk
from linfkit.certification import certify, intervals
from linfkit.certification.attacks import smallest_perturbation, survives_pgd
from linfkit.certification.certify import check_for_proofs
from linfkit.certification.intervals import certified_within, interval_proof, interval_radius
from linfkit.functional import linf_interval, sorted_dist, sorted_interval
from linfkit.nn.convnets import Conv, LpDistConvNet, Pool
from tests.certification.test_certify import digits, images, random_net, small_net, trained_net

__all__ = ["digits", "random_net", "small_net", "trained_net"]  # fixtures

UNITS = {"mean": 0.3, "scale": 0.4}


class SmallConvNet(LpDistConvNet):
    stages, features = (Conv(4, 3, padding=1), Pool(3, 2)), 12


def mlp(**changes):
    return lk.LpDistNet(36, **{"width": 12, "depth": 3, "classes": 4, **UNITS, **changes})


def sortnet():
    return lk.SortNet(36, width=12, depth=3, classes=4, rho=0.3, **UNITS)


def sequence():
    conv = lk.LpDistConv2d(1, 4, kernel_size=3, padding=1, groups=1, bias=True)
    pools = nn.MaxPool2d(2), nn.ReLU(), nn.AvgPool2d(2, 1), nn.Tanh(), nn.Flatten()
    return nn.Sequential(conv, lk.MeanShift(4), *pools, lk.LpDist(16, 4, bias=True))


#: Nets of every kind that has interval bounds, for images of 6 × 6.
NETS = {
    "mlp": mlp,
    "convolutional": lambda: SmallConvNet((1, 6, 6), hidden=12, classes=4, **UNITS),
    "sortnet": sortnet,
    "sequence": sequence,
    "ensemble": lambda: lk.Ensemble([mlp(), sortnet(), sequence(), mlp(width=9)]),
    "hybrid": lambda: lk.HybridNet(mlp(), hidden=8),
    "convolutional hybrid": lambda: lk.HybridNet(NETS["convolutional"](), hidden=8),
    "sortnet hybrid": lambda: lk.HybridNet(sortnet(), hidden=8),
    "hybrid ensemble": lambda: lk.HybridEnsemble([NETS["hybrid"]() for _ in range(3)]),
}


def case(kind, seed=0, count=24):
    """Net of a kind, images of which many pixels are 0 or 1, and what the net takes them for."""
    torch.manual_seed(seed)
    net = NETS[kind]().eval()
    x = (2 * torch.rand(count, 1, 6, 6) - 0.5).clamp(0, 1)
    with torch.no_grad():
        return net, x, net(x).argmax(dim=1)


# --- by hand


def test_intervals_on_the_line_reach_to_the_point_between_two_classes():
    net = lk.LpDistNet(1, width=1, depth=1, classes=2, identity_start=False)
    with torch.no_grad():
        net.layers[0].weight.copy_(torch.tensor([[0.0], [1.0]]))
    x, labels = torch.tensor([[0.25], [0.875], [0.625]]), torch.tensor([0, 1, 0])
    radius = interval_radius(net, x, labels)
    assert radius.tolist() == pytest.approx([0.25, 0.375, -0.125], abs=1e-5)
    assert (radius <= torch.tensor([0.25, 0.375, -0.125])).all(), "rounded down"


@pytest.mark.parametrize(("x", "weights"), [(0.9, [0.0, -0.5]), (0.1, [1.0, 1.5])])
def test_intervals_end_where_pixels_do(x, weights):
    net = lk.LpDistNet(1, width=1, depth=1, classes=2, identity_start=False)
    with torch.no_grad():
        net.layers[0].weight.copy_(torch.tensor(weights)[:, None])
    x, label = torch.tensor([[x]]), torch.tensor([0])
    assert lk.certify(net, x, label).radius.item() == pytest.approx(0.25, abs=1e-5)
    # at the end of its range the pixel is 1 from the label's weight, and 1.4 − ε from the other
    assert interval_radius(net, x, label).item() == pytest.approx(0.4, abs=1e-5)


def test_where_no_image_is_of_another_class_intervals_reach_across_the_whole_range():
    net = lk.LpDistNet(1, width=1, depth=1, classes=2, identity_start=False)
    with torch.no_grad():
        net.layers[0].weight.copy_(torch.tensor([[0.0], [9.0]]))
    assert interval_radius(net, torch.tensor([[0.5]]), torch.tensor([0])) == 1 - 2**-20


def test_interval_radii_are_multiples_of_2_to_the_minus_20(random_net, digits):
    x, labels = digits
    radius = interval_radius(random_net, x, labels)
    multiple = radius[radius > 0].double() * 2**20
    assert torch.equal(multiple, multiple.round())
    assert (multiple % 2 == 1).any()


@pytest.mark.parametrize("net", ["trained_net", "random_net"])
def test_an_interval_radius_is_never_below_half_the_margin(net, digits, request):
    net, (x, labels) = request.getfixturevalue(net), digits
    radius, intervals = lk.certify(net, x, labels).radius, interval_radius(net, x, labels)
    assert (intervals >= radius - 2e-5).all()
    assert torch.equal(intervals[radius < 0], radius[radius < 0])


def test_an_interval_radius_of_a_trained_net_is_above_half_the_margin_for_some(trained_net, digits):
    radius = lk.certify(trained_net, *digits).radius
    assert (interval_radius(trained_net, *digits) > radius + 1e-3).any()


def test_no_attack_and_no_random_point_beats_an_interval_radius_of_a_trained_net(
    trained_net, digits
):
    x, labels = (rows[:100] for rows in digits)
    intervals = interval_radius(trained_net, x, labels)
    assert (smallest_perturbation(trained_net, x, labels, steps=30) >= intervals - 1e-6)[
        intervals > 0
    ].all()
    generator, certified = torch.Generator().manual_seed(0), intervals > 0
    reach = intervals[certified].view(-1, 1, 1, 1)
    with torch.no_grad():
        for _ in range(30):
            corner = torch.randint(2, x[certified].shape, generator=generator) * 2 - 1
            moved = (x[certified] + reach * corner).clamp(0, 1)
            assert torch.equal(trained_net(moved).argmax(dim=1), labels[certified])


def test_an_interval_radius_leaves_the_net_as_it_was_and_does_not_depend_on_batches(small_net):
    x, labels = images(), torch.tensor([0, 1, 2, 3, 0, 1])
    small_net.p = 8
    whole = interval_radius(small_net, x, labels)
    assert (small_net.p, small_net.training) == (8.0, True)
    for rows in range(len(x)):
        alone = interval_radius(small_net, x[rows : rows + 1], labels[rows : rows + 1])
        assert alone.item() == pytest.approx(whole[rows].item(), abs=2e-5)


# --- nets of every kind


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("seed", range(3))
def test_bounds_of_any_net_are_never_below_those_of_certify(kind, seed):
    """Of distances: half the margin; of hybrids: the bounds that start at the features."""
    net, x, labels = case(kind, seed)
    radius, found = lk.certify(net, x, labels).radius, interval_radius(net, x, labels)
    assert (found >= radius - 2e-5).all()
    # pixels end at 0 and 1; some nets of random weights see one class in all images
    assert (found > radius + 1e-3).any() or radius.min() > 0.999


@pytest.mark.parametrize("kind", NETS)
def test_what_is_certified_no_attack_and_no_corner_breaks(kind):
    net, x, labels = case(kind)
    radius = interval_radius(net, x, labels)
    reach = radius.view(-1, 1, 1, 1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(200):
            corner = torch.randint(2, x.shape, generator=generator) * 2 - 1
            assert torch.equal(net((x + reach * corner).clamp(0, 1)).argmax(dim=1), labels)
    for row in range(0, len(x), 6):
        one = slice(row, row + 1)
        assert survives_pgd(net, x[one], labels[one], radius[row].item(), steps=20).all()


@pytest.mark.parametrize("kind", NETS)
def test_one_pass_at_eps_certifies_what_the_radius_does(kind):
    net, x, labels = case(kind)
    radius, certificates = interval_radius(net, x, labels), lk.certify(net, x, labels)
    checked = check_for_proofs(net)
    for eps in (0.02, 0.05, 0.1, 0.2, 0.5):
        certified = certified_within(checked, x, labels, eps, certificates)
        surely = (radius - eps).abs() > 2**-19  # of what the bisection rounds down
        assert torch.equal(certified[surely], (radius > eps)[surely])


def test_one_pass_looks_only_at_what_the_margin_leaves_open(monkeypatch):
    net, x, labels = case("mlp")
    labels[::2] = (labels[::2] + 1) % 4
    certificates, seen = lk.certify(net, x, labels), []

    def holds(images, labels, eps):
        seen.append(images)
        return torch.zeros(len(images), dtype=torch.bool)

    monkeypatch.setattr(intervals, "interval_proof", lambda checked: holds)
    eps = certificates.radius[1::2].median().item()
    certified = certified_within(check_for_proofs(net), x, labels, eps, certificates)
    assert torch.equal(certified, certificates.radius > eps)
    left = certificates.correct & ~certified
    assert torch.equal(torch.cat(seen), x[left])


def test_what_is_misclassified_keeps_its_radius():
    net, x, labels = case("hybrid")
    wrong = (labels + 1) % 4
    assert torch.equal(interval_radius(net, x, wrong), lk.certify(net, x, wrong).radius)


@pytest.mark.parametrize("kind", ["mlp", "sortnet", "hybrid"])
def test_radii_hold_in_float64_too_and_agree(kind):
    net, x, labels = case(kind)
    single = interval_radius(net, x, labels)
    double = interval_radius(net.double(), x.double(), labels)
    assert (single <= double + 1e-6).all()
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-4)


class OwnForward(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = lk.LpDist(36, 4, bias=True)

    def forward(self, x):
        return -self.layer(x.flatten(1))


class Shift(nn.Module):
    """A layer of one's own, which states its roundings and not its bounds."""

    roundings = 1

    def forward(self, x):
        return x - 0.5


def test_the_warning_about_an_unknown_forward_names_the_caller_s_line():
    net, x, labels = OwnForward().eval(), torch.rand(2, 1, 6, 6), torch.tensor([0, 1])
    with (
        pytest.warns(UserWarning, match="cannot verify OwnForward") as warned,
        pytest.raises(ValueError, match="interval bounds"),
    ):
        lk.interval_radius(net, x, labels)
    assert warned[0].filename == __file__


@pytest.mark.filterwarnings("ignore:cannot verify OwnForward")
@pytest.mark.parametrize(
    "net", [OwnForward(), nn.Sequential(nn.Flatten(), Shift(), lk.LpDist(36, 4))], ids=repr
)
def test_a_net_without_known_bounds_is_refused(net):
    x, labels = torch.rand(2, 1, 6, 6), torch.tensor([0, 1])
    certificates = lk.certify(net.eval(), x, labels)
    found = certified_within(check_for_proofs(net), x, labels, 0.01, certificates)
    assert torch.equal(found, certificates.radius > 0.01)
    assert interval_proof(check_for_proofs(net)) is None
    with pytest.raises(ValueError, match=r"^model must be made of linfkit's layers, .*; got "):
        interval_radius(net, x, labels)


# --- layers


@settings(deadline=None, derandomize=True, max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), rho=st.sampled_from([0.0, 0.3, 0.9]))
def test_the_range_of_sorted_distances_is_exact_for_one_neuron(seed, rho):
    generator = torch.Generator().manual_seed(seed)
    lower = torch.randn(20, 7, generator=generator, dtype=torch.float64)
    upper = lower + torch.rand(20, 7, generator=generator, dtype=torch.float64)
    w = torch.randn(3, 7, generator=generator, dtype=torch.float64)
    low, high = sorted_interval(lower, upper, w, rho, terms=4)
    for neuron in range(3):
        of_it = w[neuron : neuron + 1]
        nearest = of_it.clamp(lower, upper)
        furthest = torch.where((lower - of_it).abs() > (upper - of_it).abs(), lower, upper)
        for bound, x in [(low, nearest), (high, furthest)]:
            torch.testing.assert_close(bound[:, neuron], sorted_dist(x, of_it, rho, 4)[:, 0])


def test_without_dropping_sorted_intervals_are_those_of_the_distance():
    lower, w = torch.rand(5, 7), torch.randn(3, 7)
    for ours, theirs in zip(
        sorted_interval(lower, lower + 0.1, w, rho=0.0),
        linf_interval(lower, lower + 0.1, w),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_s_bounds_are_those_of_its_patches(groups):
    torch.manual_seed(0)
    window = {"kernel_size": 3, "stride": 2, "padding": 1, "groups": groups, "bias": True}
    layer = lk.LpDistConv2d(2, 4, **window)
    torch.nn.init.normal_(layer.bias)
    lower = torch.rand(3, 2, 7, 7)
    upper = lower + 0.2 * torch.rand(3, 2, 7, 7)
    low, high = layer.interval(lower, upper)
    assert low.shape == high.shape == layer(lower).shape
    for share in torch.rand(50, 3, 2, 7, 7).round():
        out = layer(lower.lerp(upper, share))
        assert ((low <= out + 1e-5) & (out <= high + 1e-5)).all()
    for same in layer.interval(lower, lower):
        torch.testing.assert_close(same, layer(lower))


def test_the_layers_of_a_net_are_checked_once(monkeypatch):
    net, x, labels = case("mlp")
    asked, layer_roundings = [], certify.layer_roundings
    monkeypatch.setattr(
        certify, "layer_roundings", lambda model: asked.append(model) or layer_roundings(model)
    )
    interval_radius(net, x, labels)
    assert asked == [net]
