"""Tested: bounds of rounding against float64 and exact fractions; that no point of 100,000 at a
certified radius breaks it, and that without the correction some do.
Not tested: margins and refusals (test_certify.py), what a net may hold (test_layer_checks.py)."""

import copy
import math
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import linfkit as lk
from linfkit.certification.intervals import interval_radius
from linfkit.certification.layer_checks import layer_roundings, roundings_of
from linfkit.certification.rounding import (
    Rounded,
    normalised,
    propagate,
    rounded_down,
)
from linfkit.nn.convnets import Conv, LpDistConvNet, Pool

UNIT = 2.0**-24
INF = math.inf
seeds = st.integers(0, 2**32 - 1)


def random_net(seed=0, depth=3, size=1.0, scale=0.3, features=6, classes=4):
    """A net with means away from 0 and weights of the order of `size`."""
    torch.manual_seed(seed)
    net = lk.LpDistNet(features, 7, depth, classes, mean=0.4, scale=scale).eval()
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if name != "logit_scale":
                weight.copy_(size * (weight + torch.randn_like(weight)))
        for layer in net.layers:
            if isinstance(layer, lk.MeanShift):
                layer.running_mean.copy_(10 * size + size * torch.randn(7))
    return net


class SmallConvNet(LpDistConvNet):
    stages = (Conv(4, 3, padding=1), Pool(2, 2), Conv(5, 2))
    features = 9


def conv_net(seed=0):
    torch.manual_seed(seed)
    return SmallConvNet((1, 4, 4), hidden=7, classes=4, mean=0.4, scale=0.3).eval()


def random_images(count, *shape, seed=0):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


def corners(x, radius, seed=0):
    """Points at the radius, in float64, as ± for each pixel falls."""
    signs = torch.randint(2, x.shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return x.double() + radius.double().view(-1, *[1] * (x.dim() - 1)) * signs


@torch.no_grad()
def misclassified(net, x, labels, radius, tries):
    """How many points within the radius change the prediction, of the net or of the real one."""
    exact, found = copy_in_float64(net), 0
    reach = radius.double().view(-1, *[1] * (x.dim() - 1))
    for number in range(tries):
        at = corners(x, radius, seed=number)
        found += (exact(at).argmax(dim=1) != labels).sum().item()
        # of float32, only what is truly within the radius
        rounded = at.float()
        beyond = (rounded.double() - x.double()).abs() > reach
        inward = rounded.nextafter(x)
        executed = net(inward.where(beyond, rounded))
        found += (executed.argmax(dim=1) != labels).sum().item()
    return found


def copy_in_float64(net):
    return copy.deepcopy(net).double()


def logits_of(net, x):
    with torch.no_grad():
        return propagate(net, Rounded.of(x), layer_roundings(net))


# --- the bound


def test_one_rounding_of_a_unit_in_the_last_place():
    at = Rounded.of(torch.ones(1, 2)).after(torch.tensor([[-3.0, 2.0]]), roundings=1)
    assert at.error.item() == pytest.approx(UNIT * (3 + 1), rel=1e-6)
    assert at.after(at.value, roundings=0).error == at.error
    assert at.times(0.5).error == at.error / 2
    assert at.times(0.5).reach == 0.5


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_the_bound_is_the_formula_of_the_module_s_docstring(dtype):
    before, reach, largest, c = 0.5, 2.0, 3.0, 3
    at = Rounded(torch.zeros(1, 2, dtype=dtype), torch.tensor([before]).double(), reach)
    u, tiny = Fraction(torch.finfo(dtype).eps) / 2, Fraction(torch.finfo(dtype).tiny)
    g = c * u / (1 - 2 * c * u)
    error = (Fraction(before) + g * Fraction(largest + reach) + 4 * c * tiny) / (1 - 2 * g)
    value = torch.tensor([[-largest, 2.0]], dtype=dtype)
    assert at.after(value, c).error.item() == pytest.approx(float(error), rel=1e-12)
    nothing = replace(Rounded.of(torch.zeros(1, 2, dtype=dtype)), reach=0.0).after(0 * value, c)
    assert nothing.error.item() == pytest.approx(float(4 * c * tiny / (1 - 2 * g)), rel=1e-12)


def test_from_a_quarter_on_roundings_are_too_many():
    at = Rounded.of(torch.ones(1, 2, dtype=torch.bfloat16))
    bounded = at.after(at.value, roundings=63)  # of 2⁻⁸ each
    assert bounded.error.item() == pytest.approx(2 * (63 / 130) / (4 / 130), rel=1e-3)
    assert at.after(at.value, roundings=64).error.item() == INF
    assert bounded.after(bounded.value, roundings=65).error.item() == INF


@pytest.mark.parametrize(("factor", "fits"), [(1 - 1e-6, True), (1 + 1e-6, False)])
def test_the_largest_number_is_reached_by_no_image_within_reach(factor, fits):
    before, reach, c, most = 500.0, 3000.0, 3, torch.finfo(torch.float16).max
    g = c * 2.0**-11 / (1 - 2 * c * 2.0**-11)
    # c(size + R + 2Δ) = most, solved for the size
    size = most / c * (1 - 2 * g) - 2 * before - reach
    at = Rounded(torch.zeros(1, 2).half(), torch.tensor([before]).double(), reach)
    after = at.after(at.value, c, size=torch.tensor([factor * size]).double())
    assert after.error.isfinite().item() is fits


def test_of_several_types_the_worst_unit_and_the_worst_range_count():
    at, value = Rounded.of(torch.rand(1, 2)), torch.tensor([[-3.0, 2.0]])
    for dtype in (torch.float16, torch.bfloat16):
        alone = at.after(value.to(dtype), roundings=3)
        assert torch.equal(at.after(value, roundings=3, dtypes=[dtype]).error, alone.error)
    assert at.after(1e5 * value, roundings=3).error.isfinite()
    assert at.after(1e5 * value, roundings=3, dtypes=[torch.float16]).error.item() == INF


@pytest.mark.parametrize(
    ("layer", "dtype"),
    [(lk.MeanShift(2).half(), torch.float32), (lk.MeanShift(2), torch.float16)],
    ids=["a buffer's", "the input's"],
)
def test_a_layer_s_types_are_those_of_its_input_and_of_what_it_holds(layer, dtype):
    at = replace(Rounded.of(torch.rand(1, 2).to(dtype)), reach=0.5)
    value = torch.tensor([[-3.0, 2.0]])
    after = propagate(layer, at, {layer: layer.roundings}, apply=lambda *_: value)
    assert torch.equal(after.error, at.after(value.half(), 1).error)


def test_a_parameter_s_type_counts_too():
    layer = lk.LpDist(2, 2, bias=True)
    layer.bias = nn.Parameter(layer.bias.half())
    at = Rounded.of(torch.rand(1, 2))
    value = layer(at.value).detach()
    size = value.abs().amax(dim=1).double()
    expected = at.after(value, 2, size=size, dtypes=[torch.float16])
    assert torch.equal(propagate(layer, at, {layer: layer.roundings}).error, expected.error)


def test_images_are_without_error_where_they_are():
    at = Rounded.of(torch.empty(5, 3, device="meta"))
    assert (at.error.dtype, at.error.device.type, at.reach) == (torch.float64, "meta", 1.0)
    assert not Rounded.of(torch.rand(5, 3)).error.any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_rounded_down_is_below_and_no_further_than_it_has_to_be(dtype):
    value = torch.cat([random_images(500, 1).double().flatten() - 0.5, torch.zeros(1).double()])
    down = rounded_down(value, dtype)
    assert down.dtype == dtype
    assert (down.double() < value).all()
    upwards = torch.tensor(math.inf, dtype=dtype)
    assert (down.nextafter(upwards).nextafter(upwards).double() >= value).all()


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    seed=seeds,
    depth=st.integers(1, 5),
    size=st.sampled_from([1e-3, 1.0, 4096.0]),
    scale=st.floats(0.01, 100),
)
def test_no_logit_is_further_from_the_real_net_s_than_the_bound(seed, depth, size, scale):
    net, x = random_net(seed, depth, size, scale), random_images(50, 6, seed=seed)
    logits, exact = logits_of(net, x), copy_in_float64(net)
    with torch.no_grad():
        assert torch.equal(logits.value, net(x))
        assert ((logits.value - exact(x.double())).abs().amax(dim=1) <= logits.error).all()
        elsewhere = x + 2 * random_images(50, 6, seed=seed + 1) - 1  # within reach
        difference = net(elsewhere) - exact(elsewhere.double())
        assert (difference.abs().amax(dim=1) <= logits.error).all()


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (conv_net(), (1, 4, 4)),
        (lk.Ensemble([random_net(0), random_net(1, size=50.0), random_net(2)]).eval(), (6,)),
        (lk.Ensemble([conv_net(0), lk.Ensemble([conv_net(1), conv_net(2)])]).eval(), (1, 4, 4)),
        (
            nn.Sequential(
                nn.AvgPool2d(2, stride=1),
                lk.LpDistConv2d(1, 3, 2, bias=True),
                nn.Tanh(),
                nn.MaxPool2d(2, 1),
                nn.Flatten(),
                lk.LpDist(3, 4, bias=True),
                nn.ReLU(),
                nn.Dropout(0.5),
            ).eval(),
            (1, 4, 4),
        ),
    ],
    ids=["convolutions", "an ensemble", "an ensemble of ensembles", "a sequence of layers"],
)
def test_the_bound_holds_for_whatever_is_made_of_known_layers(net, shape):
    x = random_images(500, *shape)
    logits, exact = logits_of(net, x), copy_in_float64(net)
    with torch.no_grad():
        assert torch.equal(logits.value, net(x))
        difference = (logits.value - exact(x.double())).abs().amax(dim=1)
    assert difference.max() > 0
    assert (difference <= logits.error).all()
    assert logits.error.max() < 1e-4


def shift():
    layer = lk.MeanShift(6).eval()
    layer.running_mean.copy_(torch.linspace(-9, 9, 6))
    return layer


@pytest.mark.parametrize(
    "layer",
    [
        shift(),
        lk.LpDist(6, 50),
        lk.LpDist(6, 50, bias=True),
        lk.SortDist(6, 50, rho=0.3).eval(),
        lk.Ensemble([nn.Flatten() for _ in range(3)]).eval(),
        nn.Sequential(nn.Unflatten(1, (1, 2, 3)), nn.AvgPool2d((2, 3)), nn.Flatten()),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_each_layer_is_bounded_by_itself_and_not_by_far_too_much(layer):
    x = 2000 * random_images(500, 6) - 1000
    at, exact = logits_of(layer, x), copy_in_float64(layer)
    with torch.no_grad():
        difference = (at.value - exact(x.double())).abs().amax(dim=1)
    assert (difference <= at.error).all()
    assert at.error.max() < 50 * difference.max()


@pytest.mark.parametrize(("mean", "scale"), [(0.1, 0.01), (0.4, 0.3), ([0.3, 0.7], 7.0)])
def test_the_normalisation_is_bounded_by_itself_and_not_by_far_too_much(mean, scale):
    net = lk.LpDistNet(6, width=5, depth=2, classes=3, mean=mean, scale=scale)
    x, exact = random_images(500, 6), copy_in_float64(net)
    at = normalised(net, Rounded.of(x))
    difference = (at.value - exact.normalise(x.double())).abs().amax(dim=1)
    assert torch.equal(at.value, net.normalise(x))
    assert (difference <= at.error).all()
    assert at.error.max() < 20 * difference.max()
    assert at.reach == pytest.approx(1 / scale)


def test_a_bias_that_cancels_the_distance_is_counted_with_what_it_cancels():
    layer = lk.LpDist(1, 1, bias=True)
    with torch.no_grad():
        layer.weight.fill_(-4096.0)
        layer.bias.fill_(-4096.0)
    x = random_images(500, 1)
    at = logits_of(layer, x)
    error = (at.value - copy_in_float64(layer)(x.double())).abs().squeeze(1)
    assert error.max() > 100 * UNIT * at.value.abs().max()
    assert (error <= at.error).all()


def far_shift(mean):
    layer = lk.MeanShift(1).eval()
    layer.running_mean.fill_(mean)
    return layer


def test_members_that_cancel_in_a_mean_are_counted_with_what_they_cancel():
    ensemble = lk.Ensemble([far_shift(mean) for mean in [-4096.0] * 64 + [4096.0] * 64]).eval()
    x = random_images(500, 1)
    at = logits_of(ensemble, x)
    error = (at.value - copy_in_float64(ensemble)(x.double())).abs().squeeze(1)
    assert error.max() > 100 * UNIT * at.value.abs().max()
    assert (error <= at.error).all()


@pytest.mark.parametrize("order", [1, -1])
def test_a_mean_is_as_far_off_as_its_worst_member(order):
    exact, far = nn.Flatten(), nn.Sequential(far_shift(4096.0), far_shift(-4096.0))
    ensemble, x = lk.Ensemble([exact, far][::order]).eval(), random_images(500, 1)
    at = logits_of(ensemble, x)
    error = (at.value - copy_in_float64(ensemble)(x.double())).abs().squeeze(1)
    assert error.max() > 100 * UNIT
    assert (error <= at.error).all()


@pytest.mark.parametrize(
    ("layer", "count"),
    [
        (nn.Flatten(), 0),
        (nn.MaxPool2d(2), 0),
        (nn.Tanh(), 8),
        (nn.AvgPool2d(2), 4 + 2),
        (nn.AvgPool2d((1, 2)), 2 + 2),
        (nn.AvgPool2d((2,)), 4 + 2),
        (lk.MeanShift(1).eval(), 1),
        (lk.LpDistConv2d(1, 3, 2), 1),
        (lk.Ensemble([nn.Flatten()]), 1 + 1),
        (lk.Ensemble([nn.Flatten(), nn.Flatten(), nn.Flatten()]), 3 + 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_roundings_are_counted_as_the_module_s_docstring_counts_them(layer, count):
    x = torch.ones(5, 1, 4, 4)
    at = logits_of(layer, x)
    within_reach = at.value.abs().max().item() + 1
    assert at.error.tolist() == pytest.approx([count * UNIT * within_reach] * 5, rel=1e-5)


def test_numbers_that_a_processor_puts_to_0_are_counted():
    layer, x = lk.LpDist(3, 2).eval(), 1e-39 * random_images(20, 3)
    with torch.no_grad():
        layer.weight.mul_(1e-39)
    exact = copy_in_float64(layer)(x.double())
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor keeps what is smaller than normal numbers")
    try:
        at = propagate(layer, replace(Rounded.of(x), reach=0.0), {layer: 1})
    finally:
        torch.set_flush_denormal(False)
    error = (at.value.double() - exact).abs().amax(dim=1)
    assert error.max() > 0
    assert (error <= at.error).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_every_type_has_its_own_unit(dtype):
    net, x = random_net().to(dtype), random_images(50, 6).to(dtype)
    logits, exact = logits_of(net, x), copy_in_float64(net)
    with torch.no_grad():
        difference = (logits.value.double() - exact(x.double())).abs().amax(dim=1)
    assert (difference <= logits.error).all()
    unit = torch.finfo(dtype).eps / 2
    assert unit < logits.error.max() < 200 * unit


def pooled(dtype, side):
    """Two classes, the mean of an image and 1 less it, that change places at 0.5."""
    net = nn.Sequential(nn.AvgPool2d(side), nn.Flatten(), lk.LpDist(1, 2)).eval()
    with torch.no_grad():
        net[2].weight.copy_(torch.tensor([[0.0], [1.0]]))
    return net.to(dtype)


@pytest.mark.parametrize(("dtype", "side"), [(torch.bfloat16, 8), (torch.float16, 32)])
def test_where_roundings_are_too_many_for_the_type_nothing_is_proved(dtype, side):
    x = torch.full((1, 1, side, side), 0.25, dtype=dtype)
    certificates = lk.certify(pooled(dtype, side), x, torch.tensor([1]))
    assert certificates.correct.item()
    assert (certificates.radius.item(), certificates.rounding.item()) == (0, INF)
    assert lk.certify(pooled(dtype, 2), x[..., :2, :2], torch.tensor([1])).radius.item() > 0.1


def near_overflow(dtype, scale, weights, bias):
    net = lk.LpDistNet(1, 1, 1, 2, scale=scale, identity_start=False).to(dtype).eval()
    with torch.no_grad():
        net.layers[0].weight.copy_(torch.tensor(weights)[:, None])
        net.layers[0].bias.copy_(torch.tensor(bias))
    return net


@pytest.mark.parametrize(
    "net",
    [
        near_overflow(torch.float16, 1e-4, [-60000.0, -56000.0], [-40000.0, 0.0]),
        near_overflow(torch.float32, 1e-37, [-3.35e38, -3.0e38], [-3e38, 0.0]),
    ],
    ids=["float16", "float32"],
)
def test_where_an_image_within_reach_may_overflow_nothing_is_proved(net):
    x = torch.tensor([[0.4]]).to(net.mean.dtype)
    with torch.no_grad():
        assert net(x).isfinite().all()
        assert not net(x + 0.3).isfinite().all()
    assert lk.certify(net, x, torch.tensor([0])).radius.item() == 0


def test_types_that_are_mixed_round_as_the_coarsest():
    net = lk.LpDistNet(1, 1, 1, 2, identity_start=False).half().eval()
    with torch.no_grad():
        net.layers[0].weight.copy_(torch.tensor([[-300.0], [1.0]]))
    net.layers[0].bias = nn.Parameter(torch.tensor([0.0, 300.0]))  # in float32, as many keep it
    x = torch.linspace(0, 1, 99)[:, None].half()
    logits, exact = logits_of(net, x), copy_in_float64(net)
    with torch.no_grad():
        difference = (logits.value.double() - exact(x.double())).abs().amax(dim=1)
    assert difference.max() > 1000 * UNIT
    assert (difference <= logits.error).all()


def test_a_net_is_certified_in_its_own_arithmetic_whatever_autocast_would_do():
    net, x = random_net().bfloat16(), random_images(50, 6).bfloat16()
    labels = torch.zeros(50).long()
    alone = lk.certify(net, x, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = lk.certify(net, x, labels)
        intervals = interval_radius(net, x, labels)
    assert torch.equal(cast.radius, alone.radius)
    assert torch.equal(cast.rounding, alone.rounding)
    assert (alone.rounding > 1e-3).all()
    assert torch.equal(intervals, interval_radius(net, x, labels))
    with torch.no_grad():
        half_margin = lk.certified_radius(net(x).double(), labels).float()
    assert (half_margin < 0).any()
    assert torch.equal(alone.radius[half_margin < 0], half_margin[half_margin < 0])


@pytest.mark.parametrize("net", [conv_net(), lk.Ensemble([conv_net(1), conv_net(2)]).eval()])
def test_the_bound_does_not_depend_on_the_batch(net):
    x = random_images(5, 1, 4, 4)
    together = logits_of(net, x).error
    assert torch.equal(torch.cat([logits_of(net, row[None]).error for row in x]), together)


# --- what is stated


class Halved(lk.LpDist):
    def forward(self, x):
        return super().forward(x) / 2


class HalvedAndSaysSo(Halved):
    roundings = 2


def test_a_layer_with_a_forward_of_its_own_has_to_state_its_roundings_anew():
    assert roundings_of(lk.LpDist(2, 3)) == 1
    assert roundings_of(Halved(2, 3)) is None
    assert roundings_of(HalvedAndSaysSo(2, 3)) == 2
    patched = lk.LpDist(2, 3)
    patched.forward = lambda x: 2 * x
    assert roundings_of(patched) is None


def test_a_layer_that_states_nothing_is_refused():
    with pytest.raises(
        ValueError, match=r"^model must give .* its layer '1', a Linear, multiplies"
    ):
        layer_roundings(nn.Sequential(lk.LpDist(2, 3), nn.Linear(3, 2)))


# --- certificates


@pytest.mark.parametrize("seed", range(25))
def test_no_point_of_2000_at_the_radius_changes_a_prediction(seed):
    size, features = [1.0, 64.0, 4096.0][seed % 3], 1 + seed % 4
    net = random_net(seed, depth=1 + seed % 3, size=size, features=features, classes=3)
    x = random_images(100, features, seed=seed)
    labels = net(x).argmax(dim=1)
    certificates = lk.certify(net, x, labels)
    # each try is two points, one of real numbers and one of float32
    assert misclassified(net, x, labels, certificates.radius, tries=20) == 0


def steep_net():
    """Two classes on the line that meet near 1/2, by far weights: much of the margin is rounded."""
    net = lk.LpDistNet(1, width=1, depth=1, classes=2, identity_start=False).eval()
    with torch.no_grad():
        net.layers[0].weight.copy_(torch.tensor([[-3000.0], [5000.0]]))
        net.layers[0].bias.copy_(torch.tensor([0.0, -1999.0003]))
    return net


def test_without_the_correction_the_search_finds_points_that_break_half_the_margin():
    net, x = steep_net(), 0.5 + 0.01 * random_images(1000, 1)
    labels = torch.ones(1000).long()
    certificates = lk.certify(net, x, labels)
    half_margin = lk.certified_radius(net(x), labels)
    assert misclassified(net, x, labels, half_margin, tries=2) > 100
    right = certificates.correct
    assert misclassified(net, x[right], labels[right], certificates.radius[right], tries=2) == 0
    assert (certificates.radius > 0).float().mean() > 0.5


def test_intervals_hold_as_well_where_all_the_margin_is_rounded():
    net, x = steep_net(), 0.5 + 0.01 * random_images(1000, 1)
    labels = torch.ones(1000).long()
    radius = interval_radius(net, x, labels)
    right = radius > 0
    assert right.float().mean() > 0.5
    assert misclassified(net, x[right], labels[right], radius[right], tries=2) == 0


def far_net(mean, weights, bias, scale=1.0):
    """Two classes on the line that meet at 1/2, by means or weights in thousands."""
    net = lk.LpDistNet(1, 1, 1, 2, mean=mean, scale=scale, identity_start=False).eval()
    with torch.no_grad():
        net.layers[0].weight.copy_(torch.tensor(weights)[:, None] / scale)
        net.layers[0].bias.copy_(torch.tensor([0.0, bias]) / scale)
    return net


FAR_WEIGHTS = {"mean": 0.0, "weights": [-3000.0, 5000.0], "bias": -1999.0}
FAR_MEAN = {"mean": 4000.0, "weights": [-4000.0, -3999.0], "bias": 0.0}


@pytest.mark.parametrize(
    ("far", "inside", "distance"), [(FAR_WEIGHTS, 0.75, 3000.75), (FAR_MEAN, 3999.25, 0.75)]
)
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_what_is_taken_off_can_be_counted_by_hand(far, inside, distance, scale):
    net = far_net(**far, scale=scale)
    rounding = lk.certify(net, torch.tensor([[0.75]]), torch.tensor([1])).rounding
    # the normalisation, the distance and its bias, the scale and the margin; each within reach
    roundings = 3 * (inside + 1) + 2 * (distance - far["bias"] + 1) + 2 * (distance + 1)
    assert rounding.item() == pytest.approx(2 * UNIT * roundings, rel=1e-5)
    assert rounding.dtype == torch.float32


@pytest.mark.parametrize(
    ("far", "inside", "distance"), [(FAR_WEIGHTS, 0.5, 3000.5), (FAR_MEAN, 3999.5, 0.5)]
)
@pytest.mark.parametrize(("label", "side"), [(1, 1), (0, -1)])
def test_what_intervals_take_off_can_be_counted_by_hand(far, inside, distance, label, side):
    from_the_middle = 0.01 + 0.1 * random_images(4000, 1)
    x, labels = 0.5 + side * from_the_middle, torch.full((4000,), label)
    radius = interval_radius(far_net(**far), x, labels)
    taken_off = (from_the_middle.squeeze(1) - radius).mean().item()
    roundings = 3 * inside + 2 * (distance - far["bias"]) + 2 * distance
    # the bounds that are compared are themselves in steps of a tenth of this
    assert taken_off == pytest.approx(2 * UNIT * roundings, rel=0.1)


def test_what_is_taken_off_is_what_certificates_say():
    net, x = random_net(), random_images(50, 6)
    labels = net(x).argmax(dim=1)
    certificates = lk.certify(net, x, labels)
    half_margin = lk.certified_radius(net(x).double(), labels)
    assert (certificates.radius < half_margin).all()
    taken_off = half_margin - certificates.radius.double()
    torch.testing.assert_close(taken_off, certificates.rounding.double(), rtol=0.1, atol=1e-7)
    assert 1e-7 < certificates.rounding.min() <= certificates.rounding.max() < 1e-4


# --- exact fractions


def exact_logits(net, x):
    """The real net's logits at one image of fractions."""
    scale = Fraction(net.scale.item())
    values = [(pixel - Fraction(net.mean.item())) / scale for pixel in x]
    for layer in net.layers:
        if isinstance(layer, lk.LpDist):
            rows = [[Fraction(weight) for weight in row] for row in layer.weight.tolist()]
            values = [max(abs(v - w) for v, w in zip(values, row, strict=True)) for row in rows]
            bias = [0.0] * len(rows) if layer.bias is None else layer.bias.tolist()
            values = [v + Fraction(b) for v, b in zip(values, bias, strict=True)]
        else:
            means = layer.running_mean.tolist()
            values = [v - Fraction(mean) for v, mean in zip(values, means, strict=True)]
    return [-scale * value for value in values]


def fractions_of(image):
    return [Fraction(pixel) for pixel in image.tolist()]


@pytest.mark.parametrize("size", [1.0, 4096.0])
def test_in_exact_fractions_the_bound_and_the_radius_hold(size):
    net, x = random_net(size=size, features=3), random_images(100, 3)
    labels = net(x).argmax(dim=1)
    logits, radius = logits_of(net, x), lk.certify(net, x, labels).radius
    signs = torch.randint(2, x.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for row, label in enumerate(labels.tolist()):
        image = fractions_of(x[row])
        differences = [
            abs(Fraction(executed) - exact)
            for executed, exact in zip(
                logits.value[row].tolist(), exact_logits(net, image), strict=True
            )
        ]
        assert max(differences) <= Fraction(logits.error[row].item())
        reach = Fraction(radius[row].item())
        moved = [
            pixel + sign * reach for pixel, sign in zip(image, signs[row].tolist(), strict=True)
        ]
        exact = exact_logits(net, moved)
        assert exact[label] > max(exact[:label] + exact[label + 1 :])


def test_in_exact_fractions_half_the_margin_alone_does_not_hold():
    net, x = steep_net(), 0.5 + 0.01 * random_images(200, 1)
    half_margin = lk.certified_radius(net(x), torch.ones(200).long())
    broken = 0
    for row in range(len(x)):
        reach = Fraction(max(half_margin[row].item(), 0.0)) * Fraction(999, 1000)
        other, own = exact_logits(net, [Fraction(x[row].item()) - reach])
        broken += own <= other
    assert broken > 20
