"""Tested: what hybrid nets compute, that their bounds and radii hold, what they refuse.
Not tested: their distance layers (test_layers.py), training them (test_training.py)."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import linfkit as lk
from linfkit.nn.ensembles import HybridEnsemble
from linfkit.nn.hybrid import HybridNet, IntervalMLP, ScaledLinear
from tests.helpers.hybrids import hybrid, labels_of, random_images, random_net

INF = math.inf
seeds = st.integers(0, 2**32 - 1)
scales = st.floats(0.05, 5)
distances = st.floats(0, 0.5)


def above_label(logits, labels):
    return logits - logits.gather(1, labels[:, None])


# --- values


@pytest.mark.parametrize("p", [2, 8, INF])
def test_a_hybrid_is_the_formula_written_out_by_hand(p):
    net = random_net(in_features=8, depth=3, mean=[0.25, 0.5], scale=0.4)
    net.p = p
    x = random_images(5, 2, 2, 2)
    mean = torch.tensor([0.25] * 4 + [0.5] * 4, dtype=torch.float64)
    u = (x.flatten(1) - mean) / net.scale
    for layer, shift in zip(net.layers[::2], net.layers[1::2], strict=True):
        u = torch.linalg.vector_norm(u[:, None] - layer.weight, p, dim=-1) - shift.running_mean
    hidden, last = net.mlp.hidden, net.mlp.last
    tanh = torch.tanh(u @ hidden.weight.T / math.sqrt(9) + hidden.bias)
    logits = tanh @ last.weight.T / math.sqrt(7) + last.bias
    torch.testing.assert_close(net(x), net.scale * logits)
    torch.testing.assert_close(net.logit_scale * net(x), logits)


def test_linear_weights_start_as_standard_normals_and_are_scaled_when_used():
    torch.manual_seed(0)
    layer = ScaledLinear(400, 100)
    assert layer.weight.std().item() == pytest.approx(1, abs=0.02)
    assert (layer.bias == 0).all()
    torch.testing.assert_close(layer(torch.eye(400)), layer.weight.T / 20)


def test_the_last_layer_gives_way_to_the_mlp():
    net = hybrid(12, width=9, depth=4, hidden=7, classes=4)
    sizes = [(layer.in_features, layer.out_features) for layer in net.layers[::2]]
    assert sizes == [(12, 9), (9, 9), (9, 9)]
    assert [type(layer).__name__ for layer in net.layers[1::2]] == ["MeanShift"] * 3
    assert (net.mlp.hidden.in_features, net.mlp.last.in_features) == (9, 7)


def test_a_net_is_built_again_from_its_arguments():
    distances = lk.LpDistNet(12, 9, 3, 5, mean=[0.1, 0.2, 0.3], scale=0.4, identity_start=False)
    architecture = distances.architecture
    net = HybridNet(distances, hidden=7)
    assert net.arguments == {"net": architecture, "hidden": 7}
    again = HybridNet(lk.LpDistNet(**architecture["arguments"]), hidden=7)
    again.load_state_dict(net.state_dict())
    x = torch.rand(2, 12)
    assert torch.equal(net.eval()(x), again.eval()(x))


def test_p_is_shared_by_the_distance_layers():
    net = random_net()
    net.p = 8
    assert [layer.p for layer in net.layers[::2]] == [8.0, 8.0]


def test_the_logit_scale_is_fixed():
    net = hybrid(4, 8, 2, 6, 3, scale=0.25)
    assert net.logit_scale.item() == 4.0
    assert not net.logit_scale.requires_grad


# --- bounds


@settings(deadline=None, derandomize=True, max_examples=60)
@given(seed=seeds, scale=scales, eps=distances)
def test_no_perturbation_goes_beyond_the_worst_logits(seed, scale, eps):
    net, x, labels = random_net(seed, scale=scale), random_images(8, 6, seed=seed), labels_of(8)
    with torch.no_grad():
        worst = net.worst_logits(x, labels, eps)
        for other in range(10):
            inside = eps * (2 * random_images(8, 6, seed=seed + other) - 1)
            for step in (inside, eps * inside.sign()):
                assert (above_label(net(x + step), labels) <= worst + 1e-9).all()


def test_no_corner_of_the_box_goes_beyond_the_worst_logits():
    net, x, labels = random_net(scale=0.3), random_images(4, 6), labels_of(4)
    corners = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=6)), dtype=torch.float64)
    with torch.no_grad():
        for eps in (0.01, 0.1, 0.5):
            worst = net.worst_logits(x, labels, eps)
            for corner in eps * corners:
                assert (above_label(net(x + corner), labels) <= worst + 1e-9).all()


@settings(deadline=None, derandomize=True, max_examples=60)
@given(seed=seeds, radius=distances)
def test_no_feature_in_the_box_goes_beyond_the_bounds_of_the_mlp(seed, radius):
    torch.manual_seed(seed)
    mlp, u, labels = IntervalMLP(5, 7, 4).double(), random_images(8, 5, seed=seed), labels_of(8)
    nn.init.normal_(mlp.last.bias)
    with torch.no_grad():
        worst = mlp.worst_logits(u, labels, torch.tensor(radius, dtype=torch.float64))
        for step in radius * (2 * random_images(20, 8, 5, seed=seed) - 1):
            for moved in (u + step, u + radius * step.sign()):
                assert (above_label(mlp(moved), labels) <= worst + 1e-9).all()


@settings(deadline=None, derandomize=True, max_examples=30)
@given(seed=seeds, scale=scales)
def test_at_eps_zero_the_worst_logits_are_the_logits_less_the_labels(seed, scale):
    net, x, labels = random_net(seed, scale=scale), random_images(8, 6, seed=seed), labels_of(8)
    torch.testing.assert_close(net.worst_logits(x, labels, 0), above_label(net(x), labels))


@settings(deadline=None, derandomize=True, max_examples=30)
@given(seed=seeds, eps=distances, more=distances)
def test_the_worst_logits_grow_with_eps(seed, eps, more):
    net, x, labels = random_net(seed), random_images(8, 6, seed=seed), labels_of(8)
    less, greater = net.worst_logits(x, labels, eps), net.worst_logits(x, labels, eps + more)
    assert (greater >= less - 1e-12).all()


def test_the_bound_is_reached_with_one_feature_and_one_unit():
    mlp = IntervalMLP(1, 1, 2).double()
    u, labels, radius = torch.tensor([[0.3]]).double(), torch.tensor([0]), torch.tensor([0.2])
    ends = above_label(mlp(torch.tensor([[0.1], [0.5]]).double()), torch.tensor([0, 0]))
    torch.testing.assert_close(mlp.worst_logits(u, labels, radius.double())[0], ends.amax(dim=0))


def test_the_label_itself_is_at_zero():
    net, labels = random_net(), labels_of(5)
    worst = net.worst_logits(random_images(5, 6), labels, 0.1)
    assert (worst.gather(1, labels[:, None]) == 0).all()


def test_differences_are_bounded_together_not_logit_by_logit():
    net, x, labels = random_net(), random_images(1, 6), torch.tensor([0])
    nn.init.ones_(net.mlp.last.weight)  # all logits move together, and none can overtake
    torch.testing.assert_close(net.worst_logits(x, labels, 0.3), above_label(net(x), labels))


def test_each_sample_may_have_its_own_eps():
    net, x, labels = random_net(), random_images(3, 6), labels_of(3)
    together = net.worst_logits(x, labels, torch.tensor([0.0, 0.1, 0.3]))
    for i, eps in enumerate([0.0, 0.1, 0.3]):
        torch.testing.assert_close(
            together[i : i + 1], net.worst_logits(x[i : i + 1], labels[i : i + 1], eps)
        )


def test_worst_logits_of_each_sample_by_vmap_are_those_of_the_batch():
    net, x, labels = random_net(), random_images(5, 6), torch.arange(5) % 4
    for eps in (0.1, torch.linspace(0, 0.2, 5, dtype=x.dtype)):
        each = torch.func.vmap(
            lambda x, label, eps: net.worst_logits(x[None], label[None], eps)[0],
            (0, 0, None if isinstance(eps, float) else 0),
        )
        torch.testing.assert_close(each(x, labels, eps), net.worst_logits(x, labels, eps))


def test_one_pass_of_the_features_gives_logits_and_worst_logits():
    net, x, labels = random_net().train(), random_images(5, 6), labels_of(5)
    logits, worst = net.logits_and_worst(x, labels, 0.1)
    torch.testing.assert_close(logits, net(x))
    torch.testing.assert_close(worst, net.worst_logits(x, labels, 0.1))


@pytest.mark.parametrize("p", [8, INF])
def test_the_worst_logits_have_the_gradient_of_finite_differences(p):
    net, labels = random_net(hidden=3, width=4), labels_of(2)
    net.p = p
    x = random_images(2, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: net.worst_logits(x, labels, 0.05), x)


def test_training_on_the_worst_logits_reaches_every_weight():
    net, x, labels = random_net().train(), random_images(8, 6), labels_of(8)
    nn.functional.cross_entropy(net.worst_logits(x, labels, 0.05), labels).backward()
    trained = {name for name, weight in net.named_parameters() if weight.grad is not None}
    assert trained == {name for name, _ in net.named_parameters()} - {"logit_scale"}


# --- refusals


def test_a_net_must_be_of_distances_with_a_last_layer_to_give_way():
    with pytest.raises(TypeError, match=r"^net must be a net of distances; got Linear$"):
        HybridNet(nn.Linear(4, 3), hidden=7)
    with pytest.raises(ValueError, match=r"^net must have a depth of at least 2"):
        hybrid(6, 9, 1, 7, 4)
    with pytest.raises(ValueError, match=r"^hidden must be at least 1; got 0$"):
        hybrid(6, 9, 3, 0, 4)


@pytest.mark.parametrize(
    ("eps", "error", "message"),
    [
        (-0.1, ValueError, r"^eps must be in pixels of \[0, 1\], such as 8/255; got -0\.1$"),
        (INF, ValueError, r"^eps must be in pixels of \[0, 1\], such as 8/255; got inf$"),
        (math.nan, ValueError, r"^eps must be in pixels of \[0, 1\], such as 8/255; got nan$"),
        (torch.full((3,), -0.1), ValueError, r"^eps must be in pixels of .* from -0\.1 to -0\.1$"),
        (torch.zeros(4), ValueError, r"^eps must be .* the 3 samples; got shape \(4,\)$"),
        ("8/255", TypeError, r"^eps must be in pixels of \[0, 1\], such as 8/255; got '8/255'$"),
    ],
)
def test_an_eps_that_is_wrong_is_named(eps, error, message):
    with pytest.raises(error, match=message):
        random_net().worst_logits(random_images(3, 6), labels_of(3), eps)


def test_labels_and_images_that_are_wrong_are_named():
    net, x = random_net(), random_images(3, 6)
    with pytest.raises(ValueError, match=r"^labels must be from 0 to 3; got values from 0 to 4$"):
        net.worst_logits(x, torch.tensor([0, 1, 4]), 0.1)
    with pytest.raises(ValueError, match=r"^labels must be one for each of the 3 samples"):
        lk.certify(net, x, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"^x must be a batch of images with 6 pixels each"):
        net(random_images(3, 5))
    with pytest.raises(TypeError, match=r"^x must hold floating-point .*got dtype torch\.complex"):
        net(x.to(torch.complex128))
    with pytest.raises(ValueError, match=r"^x must hold pixels in \[0, 1\]"):
        lk.certify(net, 2 * x, labels_of(3))


# --- other feature maps, and ensembles


def test_a_convolutional_net_is_a_feature_map_too():
    net = HybridNet(lk.LpDistLeNet((1, 28, 28), hidden=16), hidden=6).double().eval()
    x, labels = random_images(3, 1, 28, 28), labels_of(3)
    radius = lk.certify(net, x, net(x).argmax(dim=1)).radius
    assert net(x).shape == (3, 10)
    assert (radius >= 0).all()
    assert net.worst_logits(x, labels, 0.0).argmax(dim=1).equal(net(x).argmax(dim=1))


@settings(deadline=None, max_examples=30)
@given(seed=seeds, eps=st.floats(0, 0.3))
def test_an_ensembles_bound_holds_within_the_ball(seed, eps):
    ensemble = HybridEnsemble([random_net(seed % 1000 + k) for k in range(3)])
    x, labels = random_images(4, 6, seed=seed), labels_of(4)
    worst = ensemble.worst_logits(x, labels, eps)
    for push in random_images(20, 4, 6, seed=seed + 1) * 2 - 1:
        assert (above_label(ensemble(x + eps * push), labels) <= worst + 1e-9).all()


def test_an_ensemble_takes_hybrids_alone():
    with pytest.raises(TypeError, match=r"^models must be hybrid nets; got a LpDistNet$"):
        HybridEnsemble([lk.LpDistNet(4, 8, 2, 3)])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_hybrid_is_of_its_net_s_type(dtype):
    net = HybridNet(lk.LpDistNet(6, 9, 2, 4, mean=0.3).to(dtype), hidden=7)
    assert {tensor.dtype for tensor in net.state_dict().values()} == {dtype}
    assert net(random_images(5, 6).to(dtype)).dtype == dtype
