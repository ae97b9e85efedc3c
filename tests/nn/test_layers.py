"""Tested: starting weights, forward values, Lipschitz constants at p=∞, exports and refusals of the
layers. Not tested: the distance and its gradients (test_functional.py), nets (test_nets.py)."""

import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import linfkit as lk
from linfkit.nn.layers import IDENTITY_WEIGHT, distance_layers, set_p

INF = math.inf
seeds = st.integers(0, 2**32 - 1)
features = st.integers(1, 12)
distances = st.floats(1e-3, 10)


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def steepest_quotient(function, x, y):
    """The largest change of an output of any sample over the largest change of its inputs."""
    change = (function(x) - function(y)).flatten(1).abs().amax(dim=1)
    return (change / (x - y).flatten(1).abs().amax(dim=1)).max().item()


# --- 1-Lipschitz at p=∞


@settings(deadline=None, derandomize=True)
@given(seed=seeds, in_features=features, out_features=features, distance=distances)
def test_a_layer_is_1_lipschitz_at_p_infinity(seed, in_features, out_features, distance):
    torch.manual_seed(seed)
    layer = lk.LpDist(in_features, out_features, bias=True).double()
    x = torch.randn(20, in_features, dtype=torch.float64)
    y = x + distance * torch.empty_like(x).uniform_(-1, 1)
    assert steepest_quotient(layer, x, y) <= 1 + 1e-9


@settings(deadline=None, derandomize=True, max_examples=50)
@given(
    seed=seeds,
    group_channels=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    kernel_size=st.integers(1, 3),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    groups=st.integers(1, 3),
    distance=distances,
)
def test_a_convolution_is_1_lipschitz_at_p_infinity(
    seed, group_channels, kernel_size, stride, padding, dilation, groups, distance
):
    torch.manual_seed(seed)
    channels = [groups * count for count in group_channels]
    layer = lk.LpDistConv2d(
        *channels, kernel_size, stride, padding, dilation, groups, bias=True
    ).double()
    x = torch.randn(3, channels[0], 7, 6, dtype=torch.float64)
    y = x + distance * torch.empty_like(x).uniform_(-1, 1)
    assert steepest_quotient(layer, x, y) <= 1 + 1e-9


def test_below_p_infinity_a_layer_can_be_steeper():
    layer = lk.LpDist(64, 1)
    nn.init.zeros_(layer.weight)
    x = torch.ones(1, 64)
    assert steepest_quotient(layer, x, 2 * x) == 1
    layer.p = 8
    assert steepest_quotient(layer, x, 2 * x) == pytest.approx(64 ** (1 / 8))


# --- starting weights


@pytest.mark.parametrize(("in_features", "out_features"), [(3, 3), (3, 8), (1, 1)])
def test_where_no_feature_is_lost_a_layer_starts_near_a_shift_of_its_input(
    in_features, out_features
):
    torch.manual_seed(0)
    layer = lk.LpDist(in_features, out_features)
    rows, columns = (layer.weight == IDENTITY_WEIGHT).nonzero(as_tuple=True)
    assert rows.tolist() == list(range(out_features))
    assert columns.tolist() == [row % in_features for row in range(out_features)]
    x = random(4, in_features)
    shifted = x[:, columns] - IDENTITY_WEIGHT
    torch.testing.assert_close(layer(x), shifted)


@pytest.mark.parametrize(
    "layer",
    [
        lk.LpDist(4, 3),
        lk.LpDist(3, 4, identity_start=False),
        lk.LpDistConv2d(3, 2, kernel_size=3),
        lk.LpDistConv2d(2, 3, kernel_size=3, identity_start=False),
    ],
    ids=str,
)
def test_otherwise_all_weights_start_normal(layer):
    assert layer.weight.abs().max() < 6


def test_weights_start_with_mean_0_and_deviation_1():
    torch.manual_seed(0)
    weight = lk.LpDist(300, 200).weight
    assert weight.mean().item() == pytest.approx(0, abs=0.02)
    assert weight.std().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("kernel_size", "centre"), [(1, 0), (3, 1), (5, 2)])
def test_a_convolution_starts_near_a_shift_of_its_centre_tap(kernel_size, centre):
    torch.manual_seed(0)
    layer = lk.LpDistConv2d(2, 5, kernel_size)
    far = (layer.weight == IDENTITY_WEIGHT).nonzero().tolist()
    assert far == [[kernel, kernel % 2, centre, centre] for kernel in range(5)]


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "groups"), [(4, 4, 2), (4, 6, 2), (3, 9, 3)]
)
def test_each_group_starts_near_a_shift_of_all_its_channels(in_channels, out_channels, groups):
    torch.manual_seed(0)
    layer = lk.LpDistConv2d(in_channels, out_channels, 3, padding=1, groups=groups)
    far = (layer.weight == IDENTITY_WEIGHT).nonzero()
    assert far[:, [0, 2, 3]].tolist() == [[kernel, 1, 1] for kernel in range(out_channels)]
    in_each, out_of_each = in_channels // groups, out_channels // groups
    seen = far[:, 1] + in_each * (far[:, 0] // out_of_each)
    assert set(seen.tolist()) == set(range(in_channels))
    x = random(2, in_channels, 5, 5)
    torch.testing.assert_close(layer(x), x[:, seen] - IDENTITY_WEIGHT)


def test_groups_that_would_lose_channels_start_normal():
    assert lk.LpDistConv2d(4, 2, 3, groups=2).weight.abs().max() < 6


# --- forward


def test_a_layer_adds_its_bias_to_the_distances():
    layer = lk.LpDist(2, 2, bias=True, identity_start=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 5.0]]))
        layer.bias.copy_(torch.tensor([10.0, 20.0]))
    x = torch.tensor([[3.0, 4.0]])
    assert layer(x).tolist() == [[14.0, 22.0]]
    layer.p = 2
    torch.testing.assert_close(layer(x), torch.tensor([[15.0, 20 + math.sqrt(5)]]))
    layer.p = 1
    torch.testing.assert_close(layer(x), torch.tensor([[17.0, 23.0]]))


@pytest.mark.parametrize("p", [1, 8, INF])
@pytest.mark.parametrize(
    ("kernel_size", "stride", "padding"), [(1, 1, 0), (3, 1, 1), (2, 2, 0), (3, 2, 2), (5, 1, 0)]
)
def test_a_convolution_is_a_layer_over_patches(kernel_size, stride, padding, p):
    torch.manual_seed(0)
    layer = lk.LpDistConv2d(2, 3, kernel_size, stride, padding, bias=True)
    layer.p = p
    nn.init.normal_(layer.bias)
    x = random(4, 2, 6, 5)
    out = layer(x)
    padded = F.pad(x, [padding] * 4)
    rows, columns = out.shape[2:]
    assert (rows, columns) == tuple(
        (side + 2 * padding - kernel_size) // stride + 1 for side in (6, 5)
    )
    for row in range(rows):
        for column in range(columns):
            patch = padded[
                :,
                :,
                row * stride : row * stride + kernel_size,
                column * stride : column * stride + kernel_size,
            ]
            wanted = lk.lp_dist(patch.flatten(1), layer.weight.flatten(1), p) + layer.bias
            torch.testing.assert_close(out[:, :, row, column], wanted)


@pytest.mark.parametrize("p", [1, 8, INF])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    [(1, 0, 1, 2), (1, 0, 2, 1), (2, 1, 2, 2), (1, 2, 3, 4), (3, 1, 1, 4)],
)
def test_each_group_is_a_layer_over_the_unfolded_patches_of_its_channels(
    stride, padding, dilation, groups, p
):
    torch.manual_seed(0)
    layer = lk.LpDistConv2d(4, 8, 3, stride, padding, dilation, groups, bias=True)
    layer.p = p
    nn.init.normal_(layer.bias)
    x = random(2, 4, 9, 8)
    out = layer(x)
    for group, (channels, kernels) in enumerate(
        zip(x.chunk(groups, dim=1), layer.weight.chunk(groups), strict=True)
    ):
        patches = F.unfold(channels, 3, dilation, padding, stride)  # (B, fan_in, positions)
        for position, patch in enumerate(patches.unbind(dim=2)):
            wanted = lk.lp_dist(patch, kernels.flatten(1), p) + layer.bias.chunk(groups)[group]
            found = out.flatten(2)[:, :, position].chunk(groups, dim=1)[group]
            torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_groups_see_only_the_inputs_of_their_own(groups):
    layer = lk.LpDistConv2d(4, 4, kernel_size=3, groups=groups)
    assert layer.fan_in == layer.weight[0].numel() == 9 * 4 // groups
    x, other = random(1, 4, 3, 3), random(1, 4, 3, 3, seed=1)
    other[:, : 4 // groups] = x[:, : 4 // groups]
    unmoved = (layer(x) == layer(other)).flatten().tolist()
    assert unmoved[: 4 // groups] == [True] * (4 // groups)
    if groups > 1:
        assert not all(unmoved)


def test_the_gradient_of_a_convolution_is_that_of_the_formula():
    torch.manual_seed(0)
    layer = lk.LpDistConv2d(2, 4, 3, stride=2, padding=1, dilation=2, groups=2).double()
    layer.p = 3
    x = random(2, 2, 6, 5).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, weight: layer(x), (x, layer.weight))


@pytest.mark.parametrize(
    "rearranged",
    [
        lambda x: x.to(memory_format=torch.channels_last),
        lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
        lambda x: x.repeat_interleave(2, dim=0)[::2],
        lambda x: x[:1].expand(3, -1, -1, -1),
    ],
    ids=["channels last", "columns first", "every other", "expand_user"],
)
def test_how_images_lie_in_memory_does_not_matter(rearranged):
    torch.manual_seed(0)
    layer = lk.LpDistConv2d(4, 4, 3, padding=1, groups=2)
    x = rearranged(random(3, 4, 6, 5))
    assert x.is_contiguous() is False
    torch.testing.assert_close(layer(x), layer(x.contiguous()), rtol=0, atol=0)
    # and so its own output can be the input of the next
    torch.testing.assert_close(layer(layer(x)), layer(layer(x).contiguous()), rtol=0, atol=0)


def test_a_convolution_learns():
    layer = lk.LpDistConv2d(1, 2, 3, bias=True)
    layer.p = 8
    x = random(2, 1, 5, 5).requires_grad_()
    layer(x).square().sum().backward()
    assert all(tensor.grad.abs().sum() > 0 for tensor in (x, layer.weight, layer.bias))


# --- exports and traces


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lk.LpDist(4, 3, bias=True), (4,)),
        (lk.SortDist(4, 3, rho=0.3, bias=True).eval(), (4,)),
        (lk.LpDistConv2d(4, 6, 3, 2, padding=1, dilation=2, groups=2, bias=True), (4, 9, 8)),
        (lk.MeanShift(4), (4,)),
        (lk.MeanShift(4).eval(), (4, 5, 6)),
    ],
    ids=str,
)
def test_an_exported_or_traced_layer_takes_any_batch_size(layer, shape):
    x = random(5, *shape)
    batch = ({0: torch.export.Dim("batch")},)
    exported = torch.export.export(layer, (x,), dynamic_shapes=batch).module()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing, that checks of arguments are left out
        traced = torch.jit.trace(layer, (x,))
    for count in (5, 3, 1):
        other = random(count, *shape, seed=1)
        torch.testing.assert_close(exported(other), layer(other))
        torch.testing.assert_close(traced(other), layer(other))


def test_an_exported_convolution_takes_images_of_any_size():
    layer = lk.LpDistConv2d(2, 4, 3, stride=2, padding=1, groups=2)
    sides = {at: torch.export.Dim(name, min=4) for at, name in [(2, "height"), (3, "width")]}
    exported = torch.export.export(layer, (random(2, 2, 9, 8),), dynamic_shapes=(sides,)).module()
    for height, width in [(9, 8), (7, 12)]:
        other = random(2, 2, height, width)
        torch.testing.assert_close(exported(other), layer(other))


# --- the exponent


@pytest.mark.parametrize("layer", [lk.LpDist(2, 3), lk.LpDistConv2d(1, 2, 3)], ids=str)
def test_the_exponent_of_a_layer_is_infinity_until_it_is_set(layer):
    assert layer.p == INF
    layer.p = 8
    assert layer.p == 8.0
    for wrong, error in [(0.9, ValueError), (math.nan, ValueError), ("8", TypeError)]:
        with pytest.raises(error, match=r"^p must be a number from 1 up"):
            layer.p = wrong
    assert layer.p == 8.0


def test_set_p_reaches_every_layer_however_deep():
    net = nn.Sequential(lk.LpDist(2, 3), nn.Sequential(nn.ReLU(), lk.LpDistConv2d(1, 2, 3)))
    set_p(net, 7.5)
    assert [layer.p for layer in distance_layers(net)] == [7.5, 7.5]


@pytest.mark.parametrize(
    ("layer", "shown"),
    [
        (lk.LpDist(2, 3), "LpDist(2, 3, p=inf, bias=False)"),
        (
            lk.LpDistConv2d(1, 2, 3, padding=1),
            "LpDistConv2d(1, 2, kernel_size=3, stride=1, padding=1, p=inf)",
        ),
        (
            lk.LpDistConv2d(2, 4, 3, dilation=2, groups=2),
            "LpDistConv2d(2, 4, kernel_size=3, stride=1, padding=0, dilation=2, groups=2, p=inf)",
        ),
        (lk.MeanShift(4), "MeanShift(4, momentum=0.1)"),
    ],
)
def test_a_layer_shows_what_it_is(layer, shown):
    assert repr(layer) == shown


# --- the mean shift


def test_in_training_the_batch_mean_is_taken_off():
    shift = lk.MeanShift(3)
    x = random(5, 3)
    torch.testing.assert_close(shift(x), x - x.mean(dim=0))


def test_in_evaluation_the_running_mean_is_taken_off():
    shift = lk.MeanShift(3)
    shift.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    x = random(5, 3)
    shift.eval()
    torch.testing.assert_close(shift(x), x - torch.tensor([1.0, 2.0, 3.0]))
    assert shift.running_mean.tolist() == [1.0, 2.0, 3.0]


def test_the_running_mean_takes_a_tenth_of_each_new_batch():
    shift = lk.MeanShift(1)
    for value, running in [(10.0, 1.0), (10.0, 1.9), (0.0, 1.71)]:
        shift(torch.full((4, 1), value))
        assert shift.running_mean.item() == pytest.approx(running)
    slow = lk.MeanShift(1, momentum=0.01)
    slow(torch.full((4, 1), 10.0))
    assert slow.running_mean.item() == pytest.approx(0.1)


def test_of_images_each_channel_has_one_mean():
    shift, x = lk.MeanShift(2), random(3, 2, 4, 5)
    torch.testing.assert_close(shift(x), x - x.mean(dim=(0, 2, 3), keepdim=True))
    torch.testing.assert_close(shift.running_mean, 0.1 * x.mean(dim=(0, 2, 3)))


def test_the_gradient_flows_through_the_batch_mean():
    x = random(4, 2).requires_grad_()
    lk.MeanShift(2)(x)[0].sum().backward()
    of_each_row = torch.tensor([0.75, -0.25, -0.25, -0.25])
    torch.testing.assert_close(x.grad, of_each_row[:, None].expand(4, 2))


# --- refusals


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: lk.LpDist(0, 2), ValueError, "^in_features must be at least 1; got 0"),
        (lambda: lk.LpDist(2, -1), ValueError, "^out_features must be at least 1; got -1"),
        (lambda: lk.LpDist(2.0, 3), TypeError, "^in_features must be a whole number; got 2.0"),
        (lambda: lk.LpDist(2, True), TypeError, "^out_features must be a whole number; got True"),
        (lambda: lk.LpDistConv2d(0, 1, 3), ValueError, "^in_channels must be at least 1"),
        (lambda: lk.LpDistConv2d(1, "2", 3), TypeError, "^out_channels must be a whole number"),
        (lambda: lk.LpDistConv2d(1, 1, 0), ValueError, "^kernel_size must be at least 1"),
        (lambda: lk.LpDistConv2d(1, 1, (3, 3)), TypeError, "^kernel_size must be a whole number"),
        (lambda: lk.LpDistConv2d(1, 1, 3, stride=0), ValueError, "^stride must be at least 1"),
        (lambda: lk.LpDistConv2d(1, 1, 3, padding=-1), ValueError, "^padding must be"),
        (lambda: lk.LpDistConv2d(1, 1, 3, padding="same"), TypeError, "^padding must be"),
        (lambda: lk.LpDistConv2d(1, 1, 3, dilation=0), ValueError, "^dilation must be at least 1"),
        (lambda: lk.LpDistConv2d(1, 1, 3, groups=0), ValueError, "^groups must be at least 1"),
        (lambda: lk.LpDistConv2d(3, 4, 3, groups=2), ValueError, "^groups must divide.*=3 .*got 2"),
        (lambda: lk.LpDistConv2d(4, 3, 3, groups=2), ValueError, "^groups must divide.*=3; got 2"),
        (lambda: lk.MeanShift(0), ValueError, "^features must be at least 1"),
    ],
)
def test_a_layer_of_no_possible_size_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "x", "error", "message"),
    [
        (lk.LpDist(4, 2), torch.zeros(3, 5), ValueError, r"as many columns as x, 5.*\(2, 4\)"),
        (lk.LpDist(4, 2), torch.zeros(0, 4), ValueError, "^x must be a non-empty matrix"),
        (lk.LpDist(4, 2), torch.zeros(3, 4).long(), TypeError, "^x must hold floating-point"),
        (lk.LpDist(4, 2), torch.zeros(3, 4).double(), TypeError, "dtype of x, torch.float64"),
        (lk.LpDistConv2d(2, 3, 3), torch.zeros(2, 8, 8), ValueError, r"^x must be .*\(2, 8, 8\)"),
        (lk.LpDistConv2d(2, 3, 3), torch.zeros(1, 3, 8, 8), ValueError, r"^x must be .*2, H, W"),
        (lk.LpDistConv2d(2, 3, 3), torch.zeros(1, 2, 2, 8), ValueError, "^x must be at least"),
        (lk.LpDistConv2d(2, 3, 3), torch.zeros(0, 2, 8, 8), ValueError, "^x must be"),
        (lk.LpDistConv2d(2, 3, 3).double(), torch.zeros(1, 2, 8, 8), TypeError, "dtype of x"),
        (lk.LpDistConv2d(2, 3, 3), torch.zeros(1, 2, 8, 8).byte(), TypeError, "^x must hold float"),
        (lk.LpDistConv2d(1, 1, 3, dilation=3), torch.zeros(1, 1, 6, 7), ValueError, "dilation=3"),
        (lk.MeanShift(2), torch.zeros(3, 5), ValueError, "^x must have 2 features"),
        (lk.MeanShift(1).eval(), torch.zeros(3, 5), ValueError, "^x must have 1 feature"),
    ],
    ids=str,
)
def test_a_layer_refuses_input_that_does_not_fit(layer, x, error, message):
    with pytest.raises(error, match=message):
        layer(x)


def test_a_refused_batch_leaves_the_running_mean_alone():
    shift = lk.MeanShift(2)
    with pytest.raises(ValueError, match=r"^x must"):
        shift(torch.zeros(0, 2))
    assert shift.running_mean.tolist() == [0.0, 0.0]
