"""Tested: bounds against computed numbers, estimates against bounds and against known constants.
Not tested: that p=∞ gives constant 1 for any input (test_layers.py and test_nets.py do that)."""

import math

import pytest
import torch
from torch import nn

import linfkit as lk
from linfkit.certification.lipschitz import neuron_bound

INF = math.inf
DOUBLE = torch.float64


def images(count=5, features=12):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, features, generator=generator, dtype=DOUBLE)


def random_net(p=INF, seed=0, **arguments):
    torch.manual_seed(seed)
    net = lk.LpDistNet(12, width=16, depth=3, classes=4, mean=0.4, scale=0.3, **arguments)
    net = net.double()
    net(images(20))
    net.p = p
    return net.eval()


@pytest.fixture(scope="module")
def trained_net(tmp_path_factory):
    recipe = lk.load_recipe("digits-small")
    recipe = recipe.replace(p_ramp=[1.0, 1.0], width=32, epochs=5, batch_size=64)
    return lk.fit(recipe, out=tmp_path_factory.mktemp("run"), progress=False).model.double()


@pytest.fixture(scope="module")
def digits():
    return lk.load_dataset("digits").test_x[:20].double() / 255


# --- bounds


@pytest.mark.parametrize(
    ("fan_in", "p", "bound"), [(256, 8, 2.0), (3072, 8, 2.7285), (5120, 8, 2.9084), (9, 1, 9.0)]
)
def test_a_neuron_s_bound_is_a_root_of_its_inputs_number(fan_in, p, bound):
    assert neuron_bound(fan_in, p) == pytest.approx(bound, rel=1e-4)
    assert neuron_bound(fan_in, INF) == 1


def test_the_paper_s_net_has_bound_568_at_p_8_and_1_at_infinity():
    with torch.device("meta"):  # 131 million weights that nobody needs
        layers = [lk.LpDist(3072, 5120), *(lk.LpDist(5120, 5120) for _ in range(4))]
        net = nn.Sequential(*layers, lk.LpDist(5120, 10, bias=True))
    assert lk.lipschitz_bound(net) == 1
    for layer in net:
        layer.p = 8
    assert round(lk.lipschitz_bound(net)) == 568


def test_the_digits_net_has_bound_13_and_a_half_at_p_8():
    net = lk.LpDistNet(64, width=256, depth=4, classes=10, scale=0.3)
    net.p = 8
    assert lk.lipschitz_bound(net) == pytest.approx(64 ** (1 / 8) * 2**3)
    assert round(lk.lipschitz_bound(net), 1) == 13.5


def test_the_bound_of_layers_that_differ_in_p_is_their_product():
    net = nn.Sequential(lk.LpDistConv2d(2, 4, kernel_size=3), nn.Flatten(), lk.LpDist(16, 3))
    net[0].p, net[2].p = 2, 4
    assert lk.lipschitz_bound(net) == pytest.approx(math.sqrt(2 * 9) * 2)


def test_the_bound_of_an_ensemble_is_the_mean_of_its_members():
    narrow, wide = lk.LpDistNet(16, 16, 2, 3), lk.LpDistNet(16, 256, 2, 3)
    ensemble = lk.Ensemble([narrow, wide])
    ensemble.p = 8
    assert lk.lipschitz_bound(ensemble) == pytest.approx((2 + math.sqrt(2) * 2) / 2)


# --- estimates below their bounds


@pytest.mark.parametrize("p", [1, 2, 8, 100.5, INF])
@pytest.mark.parametrize("identity_start", [True, False])
def test_an_estimate_stays_below_the_bound(p, identity_start):
    net = random_net(p, identity_start=identity_start)
    estimate = lk.lipschitz_estimate(net, images())
    assert estimate.shape == (5,)
    assert 0 < estimate.min() <= estimate.max() <= lk.lipschitz_bound(net) * (1 + 1e-9)


@pytest.mark.parametrize("p", [2, 8, 30, INF])
def test_an_estimate_of_a_trained_net_stays_below_the_bound(p, trained_net, digits):
    trained_net.p = p
    estimate = lk.lipschitz_estimate(trained_net, digits)
    assert estimate.max() <= lk.lipschitz_bound(trained_net) * (1 + 1e-9)


@pytest.mark.parametrize("eps", [1e-3, 1 / 255, 0.1])
def test_at_p_infinity_an_estimate_in_float64_is_one(eps, trained_net, digits):
    trained_net.p = INF
    estimate = lk.lipschitz_estimate(trained_net, digits, eps)
    assert 1 - 1e-6 <= estimate.min() <= estimate.max() <= 1 + 1e-6


def test_a_net_trained_at_p_8_is_steeper_there_than_at_infinity(trained_net, digits):
    trained_net.p = 8
    assert lk.lipschitz_estimate(trained_net, digits).max() > 1.2


def test_an_ensemble_is_no_steeper_than_its_members_on_average():
    members = [random_net(8, seed) for seed in range(3)]
    alone = torch.stack([lk.lipschitz_estimate(net, images(), 1e-6, steps=8) for net in members])
    together = lk.lipschitz_estimate(lk.Ensemble(members).eval(), images(), 1e-6, steps=8)
    assert (together <= alone.mean(dim=0) + 1e-6).all()


# --- estimates of what is known


def test_the_estimate_of_a_linear_map_is_its_largest_row_sum():
    matrix = torch.tensor([[1.0, -2.0, 3.0], [0.5, 0.0, -7.0]], dtype=DOUBLE)
    estimate = lk.lipschitz_estimate(lambda x: x @ matrix.T, images(4, 3))
    torch.testing.assert_close(estimate, torch.full((4,), 7.5, dtype=DOUBLE))


@pytest.mark.parametrize("p", [1, 1.5, 2, 8, 100.5, INF])
def test_the_estimate_of_one_neuron_is_the_sum_of_its_slopes(p):
    torch.manual_seed(0)
    neuron = lk.LpDist(6, 1, identity_start=False).double().eval()
    neuron.p = p
    x = images(4, 6).requires_grad_()
    (slopes,) = torch.autograd.grad(neuron(x).sum(), x)
    estimate = lk.lipschitz_estimate(neuron, x.detach(), eps=1e-6)
    torch.testing.assert_close(estimate, slopes.abs().sum(dim=1), rtol=1e-3, atol=0)


def test_a_neuron_whose_inputs_all_differ_alike_reaches_its_bound():
    neuron = lk.LpDist(256, 1, identity_start=False).double().eval()
    nn.init.zeros_(neuron.weight)
    neuron.p = 8
    x = torch.full((1, 256), 0.5, dtype=DOUBLE)
    assert lk.lipschitz_estimate(neuron, x).item() == pytest.approx(2)


def test_an_estimate_leaves_a_kink_behind():
    neuron = lk.LpDist(4, 1, identity_start=False).double().eval()
    x = torch.full((1, 4), 0.5, dtype=DOUBLE)
    with torch.no_grad():
        neuron.weight.copy_(x)  # at distance 0 the gradient is 0
    assert lk.lipschitz_estimate(neuron, x).item() == pytest.approx(1)


def test_images_do_not_influence_each_other():
    net, x = random_net(8), images()
    alone = torch.cat([lk.lipschitz_estimate(net, row[None]) for row in x])
    torch.testing.assert_close(alone, lk.lipschitz_estimate(net, x))


def test_an_estimate_leaves_the_model_as_it_was():
    net = random_net(8)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    lk.lipschitz_estimate(net, images())
    assert all(torch.equal(before[name], now) for name, now in net.state_dict().items())
    assert all(weight.grad is None for weight in net.parameters())
    assert (net.p, net.training) == (8.0, False)


def test_an_estimate_needs_no_gradients_switched_on():
    net = random_net(8)
    wanted = lk.lipschitz_estimate(net, images())
    with torch.no_grad():
        assert torch.equal(lk.lipschitz_estimate(net, images()), wanted)


# --- by layer


@pytest.mark.parametrize("p", [2, 8, INF])
def test_each_layer_is_measured_below_its_own_bound(p):
    net = random_net(p)
    rows = lk.lipschitz_by_layer(net, images())
    assert [row.name for row in rows] == ["layer 1", "layer 2", "layer 3"]
    assert [row.bound for row in rows] == [neuron_bound(size, p) for size in (12, 16, 16)]
    assert all(0.1 < row.measured <= row.bound * (1 + 1e-6) for row in rows)
    assert math.prod(row.bound for row in rows) == pytest.approx(lk.lipschitz_bound(net))


def test_layers_are_measured_at_the_inputs_that_the_images_bring_them():
    net, x = random_net(8), images()
    normalised = net.normalise(x)
    first = lk.lipschitz_by_layer(net, x, eps=1e-6)[0].measured
    normalised.requires_grad_()
    slopes = [
        torch.autograd.grad(out.sum(), normalised, retain_graph=True)[0].abs().sum(dim=1).max()
        for out in net.layers[0](normalised).unbind(dim=1)
    ]
    assert first == pytest.approx(max(slopes).item(), rel=1e-3)


# --- refusals


@pytest.mark.parametrize("measure", [lk.lipschitz_estimate, lk.lipschitz_by_layer])
def test_a_model_in_training_mode_is_not_measured(measure):
    net = random_net().train()
    means = net.layers[1].running_mean.clone()
    with pytest.raises(ValueError, match=r"^model must be in evaluation mode"):
        measure(net, images())
    assert torch.equal(net.layers[1].running_mean, means)


@pytest.mark.parametrize("eps", [0, -0.1, math.nan, INF])
def test_a_ball_of_no_size_is_refused(eps):
    with pytest.raises(ValueError, match=rf"^eps must be in pixels of .*, and above 0; got {eps}$"):
        lk.lipschitz_estimate(random_net(), images(), eps)


@pytest.mark.parametrize("measure", [lk.lipschitz_estimate, lk.lipschitz_by_layer])
def test_a_ball_in_grey_levels_is_refused(measure):
    with pytest.raises(ValueError, match=r"^eps must be in pixels .*did you mean 8/255\?"):
        measure(random_net(), images(), eps=8)


@pytest.mark.parametrize(("steps", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError)])
def test_a_number_of_steps_that_is_none_is_named(steps, error):
    with pytest.raises(error, match=r"^steps must be"):
        lk.lipschitz_estimate(random_net(), images(), steps=steps)


@pytest.mark.parametrize("measure", [lk.lipschitz_estimate, lk.lipschitz_by_layer])
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (images() + 1, ValueError, r"^x must hold pixels in \[0, 1\]"),
        (images() * math.nan, ValueError, "^x must hold finite pixels"),
        (images()[:0], ValueError, "^x must be a non-empty batch"),
        (images().long(), TypeError, "^x must hold floating-point pixels"),
    ],
)
def test_images_that_do_not_fit_are_refused(measure, x, error, message):
    with pytest.raises(error, match=message):
        measure(random_net(), x)


@pytest.mark.parametrize(
    ("layer", "factor"),
    [
        (nn.Linear(3, 2), 30),
        (nn.ReLU(), 1),
        (nn.Softplus(), INF),
        (nn.Sequential(nn.Unflatten(1, (1, 1, 3)), nn.AvgPool2d((1, 3), divisor_override=1)), 3),
    ],
)
def test_what_is_no_distance_counts_as_it_is_known_to(layer, factor):
    if isinstance(layer, nn.Linear):
        nn.init.constant_(layer.weight, -10.0)
    net = nn.Sequential(lk.LpDist(256, 3), layer)
    net[0].p = 8
    assert lk.lipschitz_bound(net) == pytest.approx(2 * factor)


def test_the_bound_of_what_is_nested_and_of_what_comes_twice():
    net, steep = lk.LpDistNet(4, 8, 2, 3), nn.Linear(3, 3)
    nn.init.constant_(steep.weight, 2.0)
    assert lk.lipschitz_bound(nn.Sequential(net, steep, steep)) == pytest.approx(6 * 6)
    assert lk.lipschitz_bound(nn.Sequential(lk.VotingEnsemble([net], logit_scale=100))) == 50
    unknown = nn.Sequential(net, nn.Softplus(), nn.Linear(3, 3))
    nn.init.zeros_(unknown[2].weight)
    assert lk.lipschitz_bound(unknown) == INF


def test_nothing_is_known_of_what_a_hook_makes_of_a_net():
    net = lk.LpDistNet(4, 8, 2, 3)
    hook = net.register_forward_hook(lambda net, inputs, output: 10 * output)
    assert lk.lipschitz_bound(net) == INF
    hook.remove()
    assert lk.lipschitz_bound(net) == 1


def test_a_layer_of_which_nothing_is_known_is_not_hidden_by_an_empty_place_in_it():
    unknown = nn.Softplus()
    unknown.register_module("down", None)
    assert lk.lipschitz_bound(nn.Sequential(lk.LpDistNet(4, 8, 2, 3), unknown)) == INF


def test_a_model_without_distance_layers_has_no_bound():
    with pytest.raises(ValueError, match=r"^model must hold ℓp-distance layers"):
        lk.lipschitz_bound(nn.Linear(2, 2))
