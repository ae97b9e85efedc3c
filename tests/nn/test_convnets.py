"""Tested: shapes, units, Lipschitz constants, gradients and refusals of the convolutional nets.
Not tested: single layers (test_layers.py), how well they train."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import linfkit as lk
from linfkit.certification.lipschitz import neuron_bound
from linfkit.nn.convnets import (
    Conv,
    LpDistAlexNet,
    LpDistCNN7,
    LpDistConvNet,
    LpDistLeNet,
    LpDistVGG,
    Pool,
)
from linfkit.nn.layers import distance_layers

INF = math.inf
seeds = st.integers(0, 2**32 - 1)
scales = st.floats(0.01, 10)
distances = st.floats(1e-3, 1)

MNIST_SHAPE, CIFAR_SHAPE = (1, 28, 28), (3, 32, 32)


class SmallNet(LpDistConvNet):
    stages = (Conv(4, 3, padding=1), Pool(2, 2), Conv(5, 2, stride=2), Pool(2, 1))
    features = 9


def random_images(*shape, seed=0, dtype=torch.float64):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def random_net(make, seed, image_shape, **arguments):
    """A net in evaluation mode, in float64, whose running means and biases are not zero."""
    torch.manual_seed(seed)
    net = make(image_shape, **arguments).double()
    net(random_images(6, *image_shape, seed=seed))
    nn.init.normal_(net.layers[-1].bias)
    return net.eval()


def small_net(seed=0, **arguments):
    return random_net(SmallNet, seed, (3, 9, 8), hidden=7, classes=4, **arguments)


def steepest_quotient(function, x, y):
    change = (function(x) - function(y)).flatten(1).abs().amax(dim=1)
    return (change / (x - y).flatten(1).abs().amax(dim=1)).max().item()


# --- 1-Lipschitz in pixels


@settings(deadline=None, derandomize=True, max_examples=40)
@given(seed=seeds, scale=scales, distance=distances)
def test_logits_are_1_lipschitz_in_pixels_whatever_the_scale(seed, scale, distance):
    net = small_net(seed, mean=[0.2, 0.5, 0.7], scale=scale)
    x = random_images(20, 3, 9, 8, seed=seed)
    y = x + distance * (2 * random_images(20, 3, 9, 8, seed=seed + 1) - 1)
    with torch.no_grad():
        assert steepest_quotient(net, x, y) <= 1 + 1e-9


@settings(deadline=None, derandomize=True, max_examples=5)
@given(seed=seeds, distance=distances)
@pytest.mark.parametrize("image_shape", [MNIST_SHAPE, CIFAR_SHAPE], ids=["mnist", "cifar"])
def test_lenet_is_1_lipschitz_in_pixels(image_shape, seed, distance):
    net = random_net(LpDistLeNet, seed, image_shape, hidden=30, scale=0.3)
    x = random_images(6, *image_shape, seed=seed)
    y = x + distance * (2 * random_images(6, *image_shape, seed=seed + 1) - 1)
    with torch.no_grad():
        assert steepest_quotient(net, x, y) <= 1 + 1e-9


def test_the_constant_1_is_reached():
    net, x = small_net(), random_images(20, 3, 9, 8).requires_grad_()
    (slope,) = torch.autograd.grad(net(x)[:, 0].sum(), x)
    torch.testing.assert_close(slope.flatten(1).abs().sum(dim=1), torch.ones(20).double())


def test_all_but_the_last_layer_is_a_feature_map_of_constant_1():
    net = small_net(scale=0.3)
    x = random_images(20, 3, 9, 8).flatten(1)
    y = x + 0.1 * random_images(20, 216, seed=1)
    features = net.layers[:-1]
    assert features(x).shape == (20, 7)
    with torch.no_grad():
        assert steepest_quotient(features, x, y) <= 1 + 1e-9


def test_its_bound_is_the_product_over_all_distance_layers():
    net = LpDistLeNet(CIFAR_SHAPE)
    assert lk.lipschitz_bound(net) == 1
    net.p = 8
    fan_ins = [3 * 25, 6 * 25, 16 * 25, 120, 512]
    wanted = math.prod(neuron_bound(fan_in, 8) for fan_in in fan_ins)
    assert lk.lipschitz_bound(net) == pytest.approx(wanted)


def test_what_is_measured_stays_below_the_bound():
    net = small_net()
    x = random_images(3, 3, 9, 8)
    for p in (4, 50, INF):
        net.p = p
        assert lk.lipschitz_estimate(net, x).max() <= lk.lipschitz_bound(net) * (1 + 1e-6)


def test_it_certifies_and_no_small_perturbation_changes_what_is_certified():
    net = small_net()
    x = random_images(30, 3, 9, 8)
    labels = net(x).argmax(dim=1)
    certificates = lk.certify(net, x, labels)
    radius = certificates.radius.view(-1, 1, 1, 1)
    moved = x + 0.999 * radius * (2 * random_images(30, 3, 9, 8, seed=1) - 1).sign()
    assert net(moved).argmax(dim=1).equal(labels)


# --- values


@pytest.mark.parametrize("p", [8, INF])
def test_a_net_is_the_formula_written_out_by_hand(p):
    net = small_net(mean=[0.1, 0.2, 0.3], scale=0.4)
    net.p = p
    first, second, *rows = distance_layers(net)
    shifts = [layer.running_mean for layer in net.layers if isinstance(layer, lk.MeanShift)]
    assert [len(mean) for mean in shifts] == [4, 5, 9, 7]
    x = random_images(3, 3, 9, 8)

    def convolved(images, layer, size, **window):
        patches = F.unfold(images, layer.kernel_size, **window).transpose(1, 2)
        weight = layer.weight.flatten(1)
        distance = torch.linalg.vector_norm(patches[:, :, None] - weight, p, dim=-1)
        return distance.transpose(1, 2).unflatten(2, size)

    hidden = (x - torch.tensor([0.1, 0.2, 0.3]).double().view(3, 1, 1)) / net.scale
    hidden = convolved(hidden, first, (9, 8), padding=1) - shifts[0].view(4, 1, 1)
    hidden = F.max_pool2d(hidden, 2)
    hidden = convolved(hidden, second, (2, 2), stride=2) - shifts[1].view(5, 1, 1)
    hidden = F.max_pool2d(hidden, 2, stride=1).flatten(1)
    for layer, mean in zip(rows, [*shifts[2:], -net.layers[-1].bias], strict=True):
        distance = torch.linalg.vector_norm(hidden[:, None] - layer.weight, p, dim=-1)
        hidden = distance - mean
    torch.testing.assert_close(net(x), -net.scale * hidden)


@pytest.mark.parametrize(
    ("make", "image_shape", "flat", "features"),
    [
        (LpDistLeNet, MNIST_SHAPE, 16 * 4 * 4, 120),
        (LpDistLeNet, CIFAR_SHAPE, 16 * 5 * 5, 120),
        (LpDistAlexNet, MNIST_SHAPE, 256 * 2 * 2, 1024),
        (LpDistAlexNet, CIFAR_SHAPE, 256 * 3 * 3, 1024),
        (LpDistVGG, MNIST_SHAPE, 512, 256),
        (LpDistVGG, CIFAR_SHAPE, 512 * 2 * 2, 256),
    ],
)
def test_shapes_are_those_of_the_paper(make, image_shape, flat, features):
    net = make(image_shape, classes=7)
    sizes = [(x.in_features, x.out_features) for x in net.layers if isinstance(x, lk.LpDist)]
    assert sizes == [(flat, features), (features, 512), (512, 7)]
    with torch.no_grad():
        assert net.eval()(torch.rand(2, *image_shape)).shape == (2, 7)


@pytest.mark.parametrize(("filters", "side", "left"), [(96, 32, 16), (2, 28, 14), (2, 7, 4)])
def test_a_cnn7_has_the_shapes_of_the_paper(filters, side, left):
    net = LpDistCNN7((3, side, side), hidden=11, classes=7, filters=filters)
    convs = [
        (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding)
        for layer in net.layers
        if isinstance(layer, lk.LpDistConv2d)
    ]
    assert convs == [
        (3, filters, 3, 1, 1),
        (filters, filters, 3, 1, 1),
        (filters, 2 * filters, 3, 2, 1),
        (2 * filters, 2 * filters, 3, 1, 1),
        (2 * filters, 2 * filters, 3, 1, 1),
    ]
    sizes = [(x.in_features, x.out_features) for x in net.layers if isinstance(x, lk.LpDist)]
    assert sizes == [(2 * filters * left**2, 11), (11, 7)]
    kinds = [type(layer).__name__ for layer in net.layers]
    assert kinds == [
        "Unflatten",
        *["LpDistConv2d", "MeanShift"] * 5,
        "Flatten",
        *["LpDist", "MeanShift"],
        "LpDist",
    ]


@settings(deadline=None, derandomize=True, max_examples=5)
@given(seed=seeds, distance=distances)
def test_a_cnn7_is_1_lipschitz_in_pixels(seed, distance):
    net = random_net(LpDistCNN7, seed, (3, 6, 6), hidden=9, scale=0.3, filters=3)
    x = random_images(6, 3, 6, 6, seed=seed)
    y = x + distance * (2 * random_images(6, 3, 6, 6, seed=seed + 1) - 1)
    with torch.no_grad():
        assert steepest_quotient(net, x, y) <= 1 + 1e-9


def test_two_cnn7_differ_in_their_filters_alone():
    narrow, wide = (LpDistCNN7((1, 8, 8), hidden=5, filters=count) for count in (2, 3))
    assert narrow.stages != wide.stages
    assert (narrow.arguments["filters"], wide.arguments["filters"]) == (2, 3)


def test_a_mean_shift_follows_every_layer_of_distances_but_the_last():
    net = LpDistLeNet(CIFAR_SHAPE)
    assert [type(layer).__name__ for layer in net.layers] == [
        "Unflatten",
        *["LpDistConv2d", "MeanShift", "MaxPool2d"] * 2,
        "Flatten",
        *["LpDist", "MeanShift"] * 2,
        "LpDist",
    ]
    assert [layer.bias is not None for layer in distance_layers(net)] == [False] * 4 + [True]


def test_images_and_rows_of_pixels_give_the_same_logits():
    net, x = small_net(mean=[0.1, 0.2, 0.3]), random_images(5, 3, 9, 8)
    assert torch.equal(net(x), net(x.flatten(1)))
    assert torch.equal(net(x), net(x.to(memory_format=torch.channels_last)))


def test_identity_start_can_be_turned_off():
    plain = SmallNet((3, 9, 8), identity_start=False)
    assert max(layer.weight.abs().max() for layer in distance_layers(plain)) < 7


def test_a_net_is_built_again_from_its_arguments():
    net = small_net(mean=[0.1, 0.2, 0.3], scale=0.4)
    again = SmallNet(**net.arguments).double().eval()
    again.load_state_dict(net.state_dict())
    x = random_images(2, 3, 9, 8)
    assert torch.equal(net(x), again(x))


def test_the_logit_scale_starts_as_one_in_normalised_units():
    assert SmallNet((3, 9, 8), scale=0.25).logit_scale.item() == 4.0


# --- training


@pytest.mark.parametrize("image_shape", [MNIST_SHAPE, CIFAR_SHAPE], ids=["mnist", "cifar"])
def test_gradients_reach_every_weight(image_shape):
    torch.manual_seed(0)
    net, x = LpDistLeNet(image_shape, hidden=20), torch.rand(8, *image_shape)
    net.p = 8
    logits = net(x)
    F.cross_entropy(net.logit_scale * logits, torch.arange(8)).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_a_step_of_training_lowers_the_loss():
    torch.manual_seed(0)
    net, x = SmallNet((3, 9, 8), hidden=16, classes=4), torch.rand(32, 3, 9, 8)
    net.p = 8
    labels = torch.arange(32) % 4
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    losses = []
    for _ in range(15):
        loss = lk.hinge_loss(net(x), labels, theta=0.5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_setting_p_of_a_net_sets_all_its_layers():
    net = LpDistLeNet(MNIST_SHAPE)
    net.p = 8
    assert {layer.p for layer in distance_layers(net)} == {8.0}
    assert net.p == 8


# --- refusals


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"image_shape": (1, 28)}, ValueError, r"^image_shape must be \(channels, .*\(1, 28\)"),
        ({"image_shape": 784}, TypeError, r"^image_shape must be .*784"),
        ({"image_shape": "mnist"}, TypeError, r"^image_shape must be .*'mnist'"),
        ({"image_shape": (0, 28, 28)}, ValueError, "^image_shape: channels must be at least 1"),
        ({"image_shape": (1, 28.0, 28)}, TypeError, "^image_shape: height must be a whole"),
        (
            {"image_shape": (1, 8, 8)},
            ValueError,
            r"^image_shape must be large enough for LpDistLeNet, whose Conv\(out_channels=16, "
            r"kernel_size=5.*\(1, 8, 8\)",
        ),
        ({"hidden": 0}, ValueError, "^hidden must be at least 1"),
        ({"classes": 2.5}, TypeError, "^classes must be a whole number"),
        (
            {"mean": [0.1, 0.2]},
            ValueError,
            "^mean must be one number or one for each channel of the .*; got \\[0.1",
        ),
        ({"mean": []}, ValueError, "^mean must"),
        ({"mean": math.nan}, ValueError, "^mean must"),
        ({"mean": "grey"}, TypeError, "^mean must"),
        (
            {"scale": 0.0},
            ValueError,
            "^scale must be a positive number that float32 can divide by; got 0.0",
        ),
        (
            {"scale": INF},
            ValueError,
            "^scale must be a positive number that float32 can divide by; got inf",
        ),
        ({"scale": "0.5"}, TypeError, "^scale must"),
    ],
    ids=str,
)
def test_a_net_of_wrong_arguments_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        LpDistLeNet(**({"image_shape": (3, 32, 32)} | arguments))


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.zeros(2, 3, 9, 9), ValueError, r"^x must be .* 216 pixels each; .*\(2, 3, 9, 9\)"),
        (torch.zeros(0, 3, 9, 8), ValueError, "^x must be"),
        (torch.zeros(216), ValueError, "^x must be"),
        (torch.zeros(2, 3, 9, 8).double(), TypeError, "^x must be torch.float32.*float64"),
    ],
    ids=str,
)
def test_a_net_refuses_images_that_do_not_fit(x, error, message):
    with pytest.raises(error, match=message):
        SmallNet((3, 9, 8))(x)
