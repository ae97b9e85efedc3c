"""Tested: sorted distances and their kernels, what SortNet's layers compute, draw and refuse, their
certificates and checkpoints. Not tested: the ℓp distances that training takes (test_functional.py),
training a SortNet (test_training.py), how fast the kernels are."""

import math
import types
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import linfkit as lk
from linfkit import functional, kernels
from linfkit.certification.layer_checks import layer_roundings
from linfkit.certification.rounding import Rounded, propagate
from linfkit.kernels import reference, sorting
from linfkit.nn.checkpoints import load_model, save_model
from linfkit.nn.layers import MeanShift

INF = math.inf
seeds = st.integers(0, 2**32 - 1)
rhos = st.floats(0, 0.95)
# batch, in, out: fewer inputs than terms, one, as many, a run of the kernel's and around it
SHAPES = (
    (1, 1, 1),
    (3, 1, 5),
    (5, 4, 17),
    (2, 10, 3),
    (33, 63, 2),
    (7, 64, 9),
    (4, 65, 6),
    (9, 257, 33),
)

both_kernels = pytest.mark.parametrize("kernel", [reference, sorting], ids=["reference", "cpu"])


def definition(x, w, rho, terms=10):
    """By sorting all differences, in float64."""
    sizes = (x.double()[:, None] - w.double()).abs().sort(dim=-1, descending=True).values
    terms = min(terms, sizes.shape[-1])
    weights = (1 - rho) * rho ** torch.arange(terms).double() / (1 - rho**terms)
    return (sizes[..., :terms] * weights).sum(dim=-1)


def draw(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def pair(batch, in_features, out_features, seed=0, dtype=torch.float32):
    x = draw(batch, in_features, seed=seed, dtype=dtype)
    return x, draw(out_features, in_features, seed=seed + 1, dtype=dtype)


def random_net(seed=0, rho=0.3, **arguments):
    """A net in float64 and in evaluation mode whose running means are those of some images."""
    torch.manual_seed(seed)
    net = lk.SortNet(12, 24, 4, 5, rho, **arguments).double().eval()
    lk.recentre(net, torch.rand(50, 12, dtype=torch.float64))
    return net


# --- the operator


@pytest.mark.parametrize("rho", [0, 0.15, 0.5, 0.9])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sorted_dist_and_its_gradients_are_those_of_the_definition(shape, rho, dtype):
    x, w = (matrix.requires_grad_() for matrix in pair(*shape, dtype=dtype))
    got, exact = lk.sorted_dist(x, w, rho), definition(x, w, rho)
    assert got.dtype == dtype
    tolerance = 1e-6 if dtype == torch.float32 else 1e-14
    torch.testing.assert_close(got.double(), exact, rtol=tolerance, atol=tolerance)
    g = draw(*got.shape, seed=2)
    wanted = torch.autograd.grad((exact * g).sum(), [x, w])
    for gradient, other in zip(torch.autograd.grad((got * g).sum(), [x, w]), wanted, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-5, atol=1e-5)


@both_kernels
@pytest.mark.parametrize("terms", [1, 3, 10, 64])
def test_a_kernel_weighs_differences_by_their_rank(kernel, terms):
    x, w = pair(9, 130, 7)
    coefficients = torch.rand(terms, generator=torch.Generator().manual_seed(0)).tolist()
    sizes = (x.double()[:, None] - w.double()).abs().sort(dim=-1, descending=True).values
    wanted = sizes[..., :terms] @ torch.tensor(coefficients, dtype=torch.float64)
    torch.testing.assert_close(kernel.sorted_dist(x, w, coefficients), wanted.float())


@both_kernels
def test_differences_of_zero_count_as_any_other(kernel):
    x, w = (matrix.mul(0.6).round() for matrix in pair(20, 70, 20))
    x[:, 12:], coefficients = 1, [0.1] * 10
    w[:, 12:] = 1
    wanted = definition(x, w, 0.999999).float()  # whose weights are nearly equal
    torch.testing.assert_close(kernel.sorted_dist(x, w, coefficients), wanted, rtol=1e-5, atol=1e-4)


@both_kernels
def test_of_equal_differences_each_counts(kernel):
    x, w, coefficients = torch.zeros(2, 100), torch.ones(1, 100), [0.5, 0.25, 0.125]
    w[:, 40:] = -3
    distance = kernel.sorted_dist(x, w, coefficients)
    torch.testing.assert_close(distance, torch.full((2, 1), 3 * 0.875))
    grads = kernel.sorted_dist_backward(torch.ones(2, 1), x, w, coefficients, True, True)
    for row in grads[0]:
        assert sorted(row[row != 0].tolist()) == [0.125, 0.25, 0.5]
        assert (row[:40] == 0).all()
    assert grads[1].sum().item() == -2 * 0.875


@both_kernels
def test_where_x_is_a_weight_row_distance_and_gradients_are_zero(kernel):
    x = draw(1, 20)
    assert kernel.sorted_dist(x, x.clone(), [0.6, 0.4]).item() == 0
    grads = kernel.sorted_dist_backward(torch.ones(1, 1), x, x.clone(), [0.6, 0.4], True, True)
    assert all((grad == 0).all() for grad in grads)


@both_kernels
def test_a_nan_makes_the_distance_nan(kernel):
    x, w = pair(2, 70, 3)
    x[1, 66] = math.nan
    out = kernel.sorted_dist(x, w, [0.6, 0.4])
    assert out.isnan().all(dim=1).tolist() == [False, True]
    assert not out[0].isnan().any()


@both_kernels
def test_a_gradient_that_is_not_needed_is_empty(kernel):
    (x, w), grad = pair(5, 30, 4), draw(5, 4, seed=2)
    both = kernel.sorted_dist_backward(grad, x, w, [0.6, 0.4], True, True)
    only_x = kernel.sorted_dist_backward(grad, x, w, [0.6, 0.4], True, False)
    only_w = kernel.sorted_dist_backward(grad, x, w, [0.6, 0.4], False, True)
    assert torch.equal(only_x[0], both[0])
    assert torch.equal(only_w[1], both[1])
    assert only_x[1].shape == only_w[0].shape == (0,)


def test_the_reference_computes_a_few_rows_at_a_time(monkeypatch):
    (x, w), grad = pair(7, 12, 4, dtype=torch.float64), draw(7, 4, dtype=torch.float64)

    def all_at_once_or_not():
        return (
            reference.sorted_dist(x, w, [0.6, 0.4]),
            *reference.sorted_dist_backward(grad, x, w, [0.6, 0.4], True, True),
        )

    whole = all_at_once_or_not()
    monkeypatch.setattr(reference, "BYTES_ON_CPU", 3 * w.numel() * 8)
    torch.testing.assert_close(all_at_once_or_not(), whole)


def test_results_do_not_depend_on_the_number_of_threads(monkeypatch):
    (x, w), grad = pair(21, 70, 19), draw(21, 19, seed=2)

    def computed():
        return (
            sorting.sorted_dist(x, w, [0.6, 0.4]),
            *sorting.sorted_dist_backward(grad, x, w, [0.6, 0.4], True, True),
        )

    alone = computed()
    monkeypatch.setattr("linfkit.kernels.threads.PAIRS_WORTH_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert all(torch.equal(a, b) for a, b in zip(computed(), alone, strict=True))


@pytest.mark.parametrize("terms", [1, 4, 10])
def test_gradcheck_accepts_sorted_dist_in_float64(terms):
    x, w = (matrix.requires_grad_() for matrix in pair(3, 12, 4, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda x, w: lk.sorted_dist(x, w, 0.4, terms), (x, w))


def test_torch_accepts_the_operators():
    x, w = (matrix.requires_grad_() for matrix in pair(3, 12, 4, dtype=torch.float64))
    torch.library.opcheck(functional._sorted_dist, (x, w, [0.6, 0.4]))
    grad = draw(3, 4, dtype=torch.float64)
    arguments = (grad, x.detach(), w.detach(), [0.6, 0.4], True, False)
    torch.library.opcheck(functional._sorted_dist_backward, arguments)


def test_at_rho_zero_it_is_the_distance_in_linf_with_its_gradient():
    def with_gradients(distance):
        x, w = (matrix.requires_grad_() for matrix in pair(17, 40, 9))
        out = distance(x, w)
        return out, *torch.autograd.grad(out.sum(), [x, w])

    sorted_, largest = (
        with_gradients(lambda x, w: lk.sorted_dist(x, w, 0)),
        with_gradients(lambda x, w: lk.lp_dist(x, w, INF)),
    )
    assert torch.equal(sorted_[0], largest[0])
    torch.testing.assert_close(sorted_, largest)


def test_it_is_the_mean_of_maxima_where_coordinates_drop_out():
    x, w = pair(2, 12, 3, dtype=torch.float64)
    kept = torch.rand(50_000, 1, 1, 12, generator=torch.Generator().manual_seed(0)) >= 0.4
    maxima = ((x[:, None] - w).abs() * kept).amax(dim=-1)
    # all may drop out, which adds 0 to a mean, while the sum over the terms is normalised
    expected = lk.sorted_dist(x, w, 0.4, terms=12) * (1 - 0.4**12)
    error = maxima.std(dim=0) / len(kept) ** 0.5
    assert ((maxima.mean(dim=0) - expected).abs() < 4 * error).all()


@settings(deadline=None, derandomize=True, max_examples=100)
@given(seed=seeds, rho=rhos, in_features=st.integers(1, 30), eps=st.floats(0, 5))
def test_sorted_dist_is_one_lipschitz_in_linf(seed, rho, in_features, eps):
    x, w = pair(4, in_features, 6, seed=seed % 2**31, dtype=torch.float64)
    nearby = x + eps * torch.sign(draw(4, in_features, seed=2, dtype=torch.float64))
    moved = (lk.sorted_dist(nearby, w, rho) - lk.sorted_dist(x, w, rho)).abs()
    assert (moved <= eps + 1e-12).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rho": 1}, ValueError, r"^rho must be a number from 0 up to but without 1; got 1$"),
        ({"rho": -0.1}, ValueError, r"^rho must be .*; got -0\.1$"),
        ({"rho": math.nan}, ValueError, r"^rho must be .*; got nan$"),
        ({"rho": "half"}, TypeError, r"^rho must be .*; got 'half'$"),
        ({"rho": True}, TypeError, r"^rho must be .*; got True$"),
        ({"terms": 0}, ValueError, r"^terms must be at least 1; got 0$"),
        ({"terms": 2.0}, TypeError, r"^terms must be a whole number; got 2\.0$"),
        ({"x": torch.zeros(2, 4)}, ValueError, r"^w must have as many columns as x, 4; .*\(2, 3\)"),
        ({"x": torch.zeros(0, 3)}, ValueError, r"^x must be a non-empty matrix"),
        ({"w": [[1.0]]}, TypeError, r"^w must be a torch\.Tensor; got list$"),
        ({"w": torch.zeros(2, 3).double()}, TypeError, r"^w must have the dtype of x"),
    ],
)
def test_sorted_dist_names_the_argument_that_is_wrong(arguments, error, message):
    with pytest.raises(error, match=message):
        lk.sorted_dist(**{"x": torch.zeros(5, 3), "w": torch.zeros(2, 3), "rho": 0.5, **arguments})


# --- the layer


def seen_by_lp_dist(layer, x, monkeypatch):
    """What a layer in training gives to `lp_dist`: x, w and p of each group of samples."""
    seen = []

    def recording(x, w, p):
        seen.append((x, w, p))
        return lk.lp_dist(x, w, p)

    monkeypatch.setattr("linfkit.nn.sortnet.lp_dist", recording)
    layer.train()(x)
    return seen


def kept_columns(columns, w):
    return [int((w == column[:, None]).all(dim=0).nonzero()) for column in columns.T]


def test_training_keeps_the_same_coordinates_of_32_samples_and_others_of_the_next(monkeypatch):
    torch.manual_seed(0)
    layer, x = lk.SortDist(40, 6, rho=0.3), torch.randn(70, 40)
    layer.p = 8
    groups = seen_by_lp_dist(layer, x, monkeypatch)
    assert [len(rows) for rows, _, _ in groups] == [32, 32, 6]
    kept = [kept_columns(w, layer.weight) for _, w, _ in groups]
    for (rows, _, p), columns, start in zip(groups, kept, [0, 32, 64], strict=True):
        assert p == 8
        assert columns == sorted(set(columns))
        assert torch.equal(rows, x[start : start + 32, columns])
    assert len({len(columns) for columns in kept}) == 1
    assert len({tuple(columns) for columns in kept}) == 3


def test_each_coordinate_is_kept_as_often_as_any_other():
    torch.manual_seed(0)
    layer = lk.SortDist(30, 2, rho=0.2)
    shares = torch.zeros(30)
    for _ in range(500):
        kept = layer._kept(4)
        shares += torch.bincount(kept.flatten(), minlength=30) / 2000
    assert shares.sum().item() == pytest.approx(0.8 * 30, abs=0.5)
    assert ((shares - 0.8).abs() < 0.06).all()


def test_at_least_one_coordinate_is_kept():
    torch.manual_seed(0)
    layer = lk.SortDist(3, 2, rho=0.999).train()
    assert all(layer._kept(5).shape == (5, 1) for _ in range(20))
    assert layer(torch.randn(40, 3)).isfinite().all()


@pytest.mark.parametrize("p", [2, 8, INF])
def test_training_without_dropping_is_the_lp_distance(p):
    layer, x = lk.SortDist(20, 6, rho=0, bias=True).train(), draw(40, 20)
    layer.p = p
    with torch.no_grad():
        layer.bias.copy_(torch.arange(6.0))
    torch.testing.assert_close(layer(x), lk.lp_dist(x, layer.weight, p) + layer.bias)


def test_training_can_be_repeated_from_a_seed_and_reaches_all_weights():
    layer, x = lk.SortDist(20, 6, rho=0.3, bias=True).train(), draw(200, 20)
    layer.p = 8

    def gradients(seed):
        torch.manual_seed(seed)
        return torch.autograd.grad(layer(x).sum(), list(layer.parameters()))

    first, again, other = gradients(3), gradients(3), gradients(4)
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])
    assert (first[0] != 0).all()
    assert first[1].tolist() == [200.0] * 6


@pytest.mark.parametrize("p", [8, INF])
def test_evaluation_is_the_sorted_distance_whatever_p_is(p):
    layer, x = lk.SortDist(20, 6, rho=0.3, bias=True).eval(), draw(40, 20)
    layer.p = p
    with torch.no_grad():
        layer.bias.copy_(torch.arange(6.0))
    torch.testing.assert_close(layer(x), lk.sorted_dist(x, layer.weight, 0.3) + layer.bias)
    state = torch.get_rng_state()
    assert torch.equal(layer(x), layer(x))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("identity_start", [True, False])
def test_weights_start_as_those_of_a_layer_of_lp_distances(identity_start):
    torch.manual_seed(0)
    layer = lk.SortDist(4, 6, rho=0.3, bias=True, identity_start=identity_start)
    torch.manual_seed(0)
    other = lk.LpDist(4, 6, bias=True, identity_start=identity_start)
    assert torch.equal(layer.weight, other.weight)
    assert torch.equal(layer.bias, other.bias)
    assert layer.fan_in == 4


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(5, 4), (3,), (5, 3, 1)])
def test_a_layer_refuses_inputs_of_another_shape(training, shape):
    with pytest.raises(ValueError, match=r"^x must have 3 features, \(B, 3\); got shape"):
        lk.SortDist(3, 2, rho=0.3).train(training)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0, 2, 0.3), ValueError, r"^in_features must be at least 1; got 0$"),
        ((3, 2.0, 0.3), TypeError, r"^out_features must be a whole number; got 2\.0$"),
        ((3, 2, 1.0), ValueError, r"^rho must be .*; got 1\.0$"),
    ],
)
def test_a_layer_names_the_argument_that_is_wrong(arguments, error, message):
    with pytest.raises(error, match=message):
        lk.SortDist(*arguments)


# --- the net


def test_a_net_is_the_formula_written_out_by_hand():
    net = random_net(mean=[0.1, 0.2, 0.3], scale=0.4)
    x = torch.rand(5, 3, 2, 2, dtype=torch.float64)
    u = (x - torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)[:, None, None]).flatten(1)
    first, shift, *others = net.layers
    u = lk.lp_dist(u / net.scale, first.weight, INF) - shift.running_mean
    for layer in others:
        moved = isinstance(layer, MeanShift)
        u = u - layer.running_mean if moved else definition(u, layer.weight, 0.3)
    torch.testing.assert_close(net(x), -net.scale * (u + net.layers[-1].bias))


def test_the_first_layer_drops_nothing_and_the_last_has_a_bias():
    net = lk.SortNet(12, 9, 4, 5, rho=0.2)
    assert [type(layer).__name__ for layer in net.layers] == [
        *("LpDist", "MeanShift", "SortDist", "MeanShift", "SortDist", "MeanShift", "SortDist")
    ]
    sizes = [(layer.in_features, layer.out_features) for layer in net.layers[::2]]
    assert sizes == [(12, 9), (9, 9), (9, 9), (9, 5)]
    assert [layer.bias is not None for layer in net.layers[::2]] == [False, False, False, True]
    assert {layer.rho for layer in net.layers[2::2]} == {0.2}
    net.p = 8
    assert [layer.p for layer in net.layers[::2]] == [8.0] * 4


def test_without_dropping_a_net_is_one_of_linf_distances():
    torch.manual_seed(0)
    net = lk.SortNet(12, 9, 3, 5, rho=0, scale=0.4).eval()
    other = lk.LpDistNet(12, 9, 3, 5, scale=0.4).eval()
    other.load_state_dict(net.state_dict())
    x = torch.rand(6, 12)
    assert torch.equal(net(x), other(x))


@settings(deadline=None, derandomize=True, max_examples=25)
@given(seed=seeds, rho=rhos, scale=st.floats(0.05, 5), eps=st.floats(0, 0.5))
def test_a_net_is_one_lipschitz_in_linf_of_the_pixels(seed, rho, scale, eps):
    net = random_net(seed, rho, scale=scale)
    x = torch.rand(6, 12, dtype=torch.float64)
    nearby = x + eps * torch.randn(6, 12, dtype=torch.float64).sign()
    assert ((net(nearby) - net(x)).abs() <= eps + 1e-10).all()
    assert (lk.lipschitz_estimate(net, x) <= 1 + 1e-9).all()


def test_no_attack_succeeds_within_the_certified_radius():
    net = random_net(scale=0.3).float()
    torch.manual_seed(0)
    x = torch.rand(40, 1, 3, 4)
    labels = net(x).argmax(dim=1)
    net.train().p = 8
    certificates = lk.certify(net, x, labels)
    assert (net.training, net.p) == (True, 8)  # put back
    net.eval().p = INF
    logits = net(x)
    margins = logits.topk(2).values.diff(dim=1).neg().squeeze(1)
    torch.testing.assert_close(certificates.radius, margins / 2, rtol=0, atol=1e-4)
    assert (certificates.radius <= margins / 2).all()
    for row in range(0, 40, 8):
        eps = certificates.radius[row].item()
        attacked = x[row : row + 1].clone().requires_grad_()
        for _ in range(10):
            wrong = net(attacked).scatter(1, labels[row : row + 1, None], -INF).amax()
            (slope,) = torch.autograd.grad(wrong - net(attacked)[0, labels[row]], attacked)
            step = attacked + eps / 4 * slope.sign()
            attacked = (x[row] + (step - x[row]).clamp(-eps, eps)).detach().requires_grad_()
        assert net(attacked).argmax(dim=1) == labels[row]


@settings(deadline=None, derandomize=True, max_examples=25)
@given(seed=seeds, rho=rhos)
def test_a_layer_rounds_no_more_than_it_states(seed, rho):
    torch.manual_seed(seed)
    layer, x = lk.SortDist(24, 9, rho, bias=True).eval(), torch.randn(20, 24)
    out = propagate(layer, replace(Rounded.of(x), reach=0.0), {layer: layer.roundings})
    error = (out.value - layer.double()(x.double())).abs().amax(dim=1)
    assert (error <= out.error).all()


@settings(deadline=None, derandomize=True, max_examples=25)
@given(seed=seeds, rho=rhos)
def test_rounding_is_no_more_than_a_certificate_takes_off(seed, rho):
    net = random_net(seed, rho, scale=0.3).float()
    x = torch.rand(20, 12)
    logits = propagate(net, Rounded.of(x), layer_roundings(net))
    error = (logits.value - net.double()(x.double())).abs().amax(dim=1)
    assert (error <= logits.error).all()


def test_a_net_without_training_has_bound_one_at_p_infinity():
    assert lk.lipschitz_bound(random_net()) == 1


def test_a_net_is_built_again_from_its_checkpoint(tmp_path):
    net = random_net(mean=[0.1, 0.2, 0.3], scale=0.4, identity_start=False).float()
    net.p = 8
    save_model(tmp_path / "net.safetensors", net, header={})
    again = load_model(tmp_path / "net.safetensors")
    assert isinstance(again, lk.SortNet)
    assert (again.p, again.arguments) == (8, net.arguments)
    x = torch.rand(6, 12)
    assert torch.equal(again(x), net(x))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"in_features": 0}, ValueError, r"^in_features must be at least 1; got 0$"),
        ({"width": 2.5}, TypeError, r"^width must be a whole number; got 2\.5$"),
        ({"depth": 1}, ValueError, r"^depth must be at least 2; got 1$"),
        ({"classes": 0}, ValueError, r"^classes must be at least 1; got 0$"),
        ({"rho": 1.2}, ValueError, r"^rho must be .*; got 1\.2$"),
        (
            {"scale": 0},
            ValueError,
            r"^scale must be a positive number that float32 can divide by; got 0$",
        ),
    ],
)
def test_a_net_names_the_argument_that_is_wrong(arguments, error, message):
    sizes = {"in_features": 12, "width": 9, "depth": 3, "classes": 5, "rho": 0.3}
    with pytest.raises(error, match=message):
        lk.SortNet(**{**sizes, **arguments})


# --- what computes


def test_float32_on_the_cpu_has_a_kernel_and_all_else_the_reference(monkeypatch):
    monkeypatch.delenv("LINFKIT_KERNELS", raising=False)
    single, double = torch.zeros(1), torch.zeros(1, dtype=torch.float64)
    assert kernels.kernel_for(single).sorted_dist is sorting.sorted_dist
    assert kernels.kernel_for(single).sorted_dist_backward is sorting.sorted_dist_backward
    assert kernels.kernel_for(double) is reference
    monkeypatch.setattr(functional, "kernel_for", lambda tensor: types.ModuleType("cuda"))
    x, w = torch.randn(3, 9), torch.randn(2, 9)
    wanted = reference.sorted_dist(x, w, [0.6, 0.4])
    assert functional._sorted_dist(x, w, [0.6, 0.4]).equal(wanted)
