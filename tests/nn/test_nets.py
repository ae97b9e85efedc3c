"""Tested: what nets and ensembles compute, in which units, how steep they are and what they refuse;
that every net is differentiated in both modes, exported and traced. Not tested: single layers
(test_layers.py), training (test_training.py), certificates of nets."""

import io
import json
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, vmap

import linfkit as lk
from linfkit.nn.ensembles import HybridEnsemble, VotingEnsemble
from linfkit.nn.nets import common_p

INF = math.inf
seeds = st.integers(0, 2**32 - 1)
scales = st.floats(0.01, 10)
distances = st.floats(1e-3, 1)


def random_net(seed, in_features=12, width=9, depth=3, classes=4, **arguments):
    """A net in evaluation mode, in float64, whose running means and biases are not zero."""
    torch.manual_seed(seed)
    net = lk.LpDistNet(in_features, width, depth, classes, **arguments).double()
    net(torch.rand(20, in_features, dtype=torch.float64))
    nn.init.normal_(net.layers[-1].bias)
    return net.eval()


def random_images(*shape, seed=0, dtype=torch.float64):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def steepest_quotient(function, x, y):
    change = (function(x) - function(y)).abs().amax(dim=1)
    return (change / (x - y).abs().amax(dim=1)).max().item()


def plain_distance(x, w, p):
    return torch.linalg.vector_norm(x[:, None] - w, p, dim=-1)


# --- 1-Lipschitz in pixels


@settings(deadline=None, derandomize=True, max_examples=60)
@given(seed=seeds, depth=st.integers(1, 4), scale=scales, distance=distances)
def test_logits_are_1_lipschitz_in_pixels_whatever_the_scale(seed, depth, scale, distance):
    net = random_net(seed, depth=depth, mean=[0.2, 0.5, 0.7], scale=scale)
    x = random_images(30, 12, seed=seed)
    y = x + distance * (2 * random_images(30, 12, seed=seed + 1) - 1)
    with torch.no_grad():
        assert steepest_quotient(net, x, y) <= 1 + 1e-9


@settings(deadline=None, derandomize=True, max_examples=30)
@given(seed=seeds, scale=scales, distance=distances)
def test_an_ensemble_is_1_lipschitz_in_pixels(seed, scale, distance):
    ensemble = lk.Ensemble([random_net(seed, scale=scale), random_net(seed + 1, scale=1.0)])
    x = random_images(30, 12, seed=seed)
    y = x + distance * (2 * random_images(30, 12, seed=seed + 1) - 1)
    with torch.no_grad():
        assert steepest_quotient(ensemble, x, y) <= 1 + 1e-9


def test_the_constant_1_is_reached():
    net, x = random_net(0), random_images(30, 12).requires_grad_()
    (slope,) = torch.autograd.grad(net(x)[:, 0].sum(), x)
    torch.testing.assert_close(slope.abs().sum(dim=1), torch.ones(30, dtype=torch.float64))


def test_below_p_infinity_logits_can_be_steeper():
    net = random_net(0)
    net.p = 2
    x = random_images(30, 12).requires_grad_()
    (slope,) = torch.autograd.grad(net(x)[:, 0].sum(), x)
    assert slope.abs().sum(dim=1).max() > 1


# --- values


@pytest.mark.parametrize("p", [1, 8, INF])
def test_a_net_is_the_formula_written_out_by_hand(p):
    net = random_net(0, in_features=8, depth=3, mean=[0.25, 0.5], scale=0.4)
    net.p = p
    first, second, last = net.layers[0], net.layers[2], net.layers[4]
    x = random_images(5, 2, 2, 2)
    pixels = x.flatten(1)
    mean = torch.tensor([0.25] * 4 + [0.5] * 4, dtype=torch.float64)
    hidden = plain_distance((pixels - mean) / net.scale, first.weight, p)
    hidden = plain_distance(hidden - net.layers[1].running_mean, second.weight, p)
    out = plain_distance(hidden - net.layers[3].running_mean, last.weight, p) + last.bias
    torch.testing.assert_close(net(x), -0.4 * out)


def test_in_training_hidden_layers_have_mean_zero_over_the_batch():
    net, hidden = random_net(0).train(), []
    for shift in net.layers[1::2]:
        shift.register_forward_hook(lambda module, arguments, out: hidden.append(out.mean(dim=0)))
    net(random_images(20, 12))
    assert len(hidden) == 2
    torch.testing.assert_close(torch.cat(hidden), torch.zeros(18, dtype=torch.float64))


def test_depth_counts_all_layers_and_only_the_last_has_a_bias():
    net = lk.LpDistNet(12, width=9, depth=4, classes=5)
    layers = [layer for layer in net.layers if isinstance(layer, lk.LpDist)]
    sizes = [(layer.in_features, layer.out_features) for layer in layers]
    assert sizes == [(12, 9), (9, 9), (9, 9), (9, 5)]
    assert [layer.bias is not None for layer in layers] == [False, False, False, True]
    assert [type(layer).__name__ for layer in net.layers[1::2]] == ["MeanShift"] * 3


def test_a_net_of_one_layer_has_neither_width_nor_mean_shift():
    net = lk.LpDistNet(12, width=9, depth=1, classes=5)
    assert [type(layer).__name__ for layer in net.layers] == ["LpDist"]
    assert net(torch.rand(3, 12)).shape == (3, 5)


@pytest.mark.parametrize("shape", [(5, 12), (5, 3, 2, 2), (5, 3, 4)])
def test_images_and_rows_of_pixels_give_the_same_logits(shape):
    net, x = random_net(0, mean=[0.1, 0.2, 0.3]), random_images(5, 12)
    assert torch.equal(net(x.view(shape)), net(x))


def test_identity_start_can_be_turned_off():
    assert lk.LpDistNet(4, 8, 2, 3, identity_start=False).layers[0].weight.abs().max() < 6
    assert (lk.LpDistNet(4, 8, 2, 3).layers[0].weight == -10).sum() == 8


def test_the_logit_scale_starts_as_one_in_normalised_units():
    assert lk.LpDistNet(4, 8, 2, 3, scale=0.25).logit_scale.item() == 4.0


def test_a_net_is_built_again_from_its_arguments():
    net = lk.LpDistNet(12, 9, 3, 5, mean=[0.1, 0.2, 0.3], scale=0.4)
    again = lk.LpDistNet(**net.arguments)
    again.load_state_dict(net.state_dict())
    x = torch.rand(2, 12)
    assert torch.equal(net.eval()(x), again.eval()(x))


WHOLE = ["int64", "uint8", "array", "tensor"]


@pytest.mark.parametrize("whole", [np.int64, np.uint8, np.array, torch.tensor], ids=WHOLE)
@pytest.mark.parametrize(
    ("build", "counts"),
    [
        (lk.LpDistNet, (48, 8, 3, 4)),
        (lambda *counts: lk.SortNet(*counts, rho=0.3), (48, 8, 3, 4)),
        (lambda *image: lk.LpDistLeNet(image, image[1], image[2]), (1, 28, 28)),
        (lambda hidden: lk.HybridNet(lk.LpDistNet(12, 8, 2, 3), hidden), (6,)),
        (lk.LpDist, (12, 3)),
        (lambda *counts: lk.SortDist(*counts, rho=0.3), (12, 3)),
        (lk.LpDistConv2d, (4, 8, 3, 2, 1, 1, 2)),
        (lk.MeanShift, (12,)),
    ],
    ids=["net", "SortNet", "LeNet", "hybrid", "layer", "SortDist", "convolution", "shift"],
)
def test_counts_are_whole_numbers_of_any_type(build, counts, whole):
    net, wanted = build(*map(whole, counts)), build(*counts)
    assert repr(net) == repr(wanted)
    arguments = getattr(wanted, "arguments", None)
    assert json.loads(json.dumps(getattr(net, "arguments", None))) == arguments


@pytest.mark.parametrize("count", [True, np.True_, torch.tensor(True), 8.0, np.float64(8), "8"])
def test_what_is_no_whole_number_is_no_count(count):
    with pytest.raises(TypeError, match=r"^width must be a whole number; got"):
        lk.LpDistNet(12, count, 2, 3)


@pytest.mark.parametrize("real", [np.float64, np.float32, int])
def test_units_may_be_real_numbers_of_any_type(real):
    net = lk.LpDistNet(12, 8, 2, 3, mean=real(0), scale=real(2), identity_start=np.True_)
    assert json.dumps(net.arguments) == json.dumps(
        lk.LpDistNet(12, 8, 2, 3, mean=0.0, scale=2.0).arguments
    )
    assert {tensor.dtype for tensor in net.state_dict().values()} == {torch.float32}
    assert lk.VotingEnsemble([net], real(2)).arguments["logit_scale"] == 2.0


def test_a_net_compiles_into_one_graph_and_follows_a_changed_p():
    net = lk.LpDistNet(12, 9, 3, 5, scale=0.5).eval()
    compiled, x = torch.compile(net, fullgraph=True, backend="aot_eager"), torch.rand(2, 12)
    for p in (8, 9.5, 100.0, INF):
        net.p = p
        torch.testing.assert_close(compiled(x), net(x))


# --- every net: derivatives, exports and traces

NETS = {  # and the shape of an image
    "LpDistNet": (lambda: lk.LpDistNet(16, 8, 3, 3, mean=0.4, scale=0.5), (1, 4, 4)),
    "SortNet": (lambda: lk.SortNet(16, 12, 3, 3, rho=0.3), (16,)),
    "LeNet": (lambda: lk.LpDistLeNet((2, 16, 16), 6, 3, mean=[0.4, 0.5]), (2, 16, 16)),
    "AlexNet": (lambda: lk.LpDistAlexNet((1, 32, 32), 6, 3), (1, 32, 32)),
    "VGG": (lambda: lk.LpDistVGG((1, 16, 16), 6, 3), (1, 16, 16)),
    "CNN7": (lambda: lk.LpDistCNN7((2, 4, 4), 6, 3, filters=3), (2, 4, 4)),
    "HybridNet": (lambda: lk.HybridNet(lk.LpDistNet(16, 8, 3, 3), 5), (16,)),
    "hybrid LeNet": (lambda: lk.HybridNet(lk.LpDistLeNet((1, 16, 16), 6, 3), 5), (1, 16, 16)),
    "hybrid SortNet": (lambda: lk.HybridNet(lk.SortNet(16, 8, 3, 3, rho=0.3), 5), (16,)),
    "Ensemble": (lambda: lk.Ensemble([lk.LpDistNet(16, 8, 3, 3) for _ in range(2)]), (16,)),
    "VotingEnsemble": (
        lambda: VotingEnsemble([lk.LpDistNet(16, 8, 3, 3) for _ in range(2)], 3.0),
        (16,),
    ),
    "HybridEnsemble": (
        lambda: HybridEnsemble([lk.HybridNet(lk.LpDistNet(16, 8, 3, 3), 5) for _ in range(2)]),
        (16,),
    ),
}
each_net = pytest.mark.parametrize("name", NETS)
small_nets = pytest.mark.parametrize(
    "name", [name for name in NETS if name not in ("AlexNet", "VGG")]
)


def net_and_images(name, *batches, dtype=torch.float32, p=8):
    torch.manual_seed(0)
    make, shape = NETS[name]
    net = make().to(dtype).eval()
    lk.recentre(net, random_images(20, *shape, seed=1, dtype=dtype))
    net.p = p
    return net, *(random_images(count, *shape, dtype=dtype) for count in batches)


@pytest.mark.parametrize("p", [8, INF])
@small_nets
def test_jacobians_of_a_net_by_torch_func_are_those_of_autograd(name, p):
    net, (image,) = net_and_images(name, 1, dtype=torch.float64, p=p)

    def logits(image):
        return net(image[None])[0]

    wanted = torch.autograd.functional.jacobian(logits, image)
    assert wanted.abs().max() > 0.01
    torch.testing.assert_close(jacfwd(logits)(image), wanted)
    torch.testing.assert_close(jacrev(logits)(image), wanted)


@pytest.mark.parametrize("p", [8, INF])
@small_nets
def test_the_hessian_of_a_net_is_the_slope_of_its_gradient(name, p):
    net, (image,) = net_and_images(name, 1, dtype=torch.float64, p=p)

    def loss(image):
        return net(image[None]).square().sum()

    along = torch.randn(image.shape, generator=torch.Generator().manual_seed(0)).double()
    beyond, before = (grad(loss)(image + step * along) for step in (1e-6, -1e-6))
    curvature = (hessian(loss)(image) * along).sum(dim=list(range(image.dim(), 2 * image.dim())))
    torch.testing.assert_close(curvature, (beyond - before) / 2e-6, rtol=1e-5, atol=1e-4)


@small_nets
def test_gradients_of_each_sample_are_those_of_a_loop(name):
    net, images = net_and_images(name, 4, dtype=torch.float64)
    weights = {name: weight for name, weight in net.named_parameters() if weight.requires_grad}

    def loss(weights, image, label):
        return lk.hinge_loss(functional_call(net, weights, (image[None],)), label[None], theta=0.5)

    labels = torch.tensor([0, 1, 2, 0])
    got = vmap(grad(loss), (None, 0, 0))(weights, images, labels)
    each = [grad(loss)(weights, *sample) for sample in zip(images, labels, strict=True)]
    torch.testing.assert_close(got, {name: torch.stack([g[name] for g in each]) for name in got})
    assert any(gradient.count_nonzero() for gradient in got.values())


@each_net
def test_a_net_exports_with_any_batch_size(name):
    net, images, others, one = net_and_images(name, 5, 3, 1)
    shapes = ({0: torch.export.Dim("batch")},)
    exported = torch.export.export(net, (images,), dynamic_shapes=shapes)
    for batch in (images, others, one):
        torch.testing.assert_close(exported.module()(batch), net(batch))


@each_net
def test_a_traced_net_takes_other_batch_sizes_also_from_a_file(name):
    net, images, others, one = net_and_images(name, 5, 3, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing, that checks of arguments are left out
        traced = torch.jit.trace(net, (images,))
        torch.jit.save(traced, file := io.BytesIO())
        loaded = torch.jit.load(io.BytesIO(file.getvalue()))
    for batch in (images, others, one):
        torch.testing.assert_close(traced(batch), net(batch))
        torch.testing.assert_close(loaded(batch), net(batch))


@small_nets
def test_one_compiled_graph_serves_all_batch_sizes(name):
    net, *batches = net_and_images(name, 5, 3, 7)
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    compiled = torch.compile(net, dynamic=True, fullgraph=True, backend=backend)
    for batch in batches:
        torch.testing.assert_close(compiled(batch), net(batch))
    assert len(graphs) == 1


# --- ensembles


def test_an_ensemble_is_the_mean_of_its_members_logits():
    members, x = [random_net(seed) for seed in range(3)], random_images(5, 12)
    wanted = (members[0](x) + members[1](x) + members[2](x)) / 3
    torch.testing.assert_close(lk.Ensemble(members)(x), wanted)


def test_the_order_of_members_does_not_matter():
    members, x = [random_net(seed) for seed in range(3)], random_images(5, 12)
    torch.testing.assert_close(lk.Ensemble(members)(x), lk.Ensemble(members[::-1])(x))


def test_an_ensemble_of_one_is_its_member():
    net, x = random_net(0), random_images(5, 12)
    assert torch.equal(lk.Ensemble([net])(x), net(x))


def test_an_ensemble_takes_any_iterable_of_models():
    assert len(lk.Ensemble(random_net(seed) for seed in range(4)).models) == 4


def test_members_that_differ_in_classes_are_refused_by_name():
    members = [random_net(0), random_net(1, classes=7)]
    with pytest.raises(ValueError, match=r"^models must all give the same number.*got 4, 7$"):
        lk.Ensemble(members)(random_images(5, 12))


# --- voting


def test_voting_is_the_mean_of_its_members_softmaxes():
    members, x = [random_net(seed) for seed in range(3)], random_images(5, 12)
    wanted = sum((2.5 * net(x)).softmax(dim=1) for net in members) / 3
    torch.testing.assert_close(lk.VotingEnsemble(members, 2.5)(x), wanted)


def test_a_large_scale_gives_each_member_one_vote():
    members, x = [random_net(seed) for seed in range(3)], random_images(40, 12)
    votes = sum(nn.functional.one_hot(net(x).argmax(dim=1), 4) for net in members) / 3
    torch.testing.assert_close(lk.VotingEnsemble(members, 1e6)(x), votes.double())


@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_voting_changes_no_faster_than_half_its_scale(scale):
    voting = lk.VotingEnsemble([random_net(0), random_net(1)], scale)
    assert lk.lipschitz_bound(voting) == scale / 2
    x = random_images(30, 12)
    y = x + 1e-3 * (2 * random_images(30, 12, seed=1) - 1)
    with torch.no_grad():
        assert steepest_quotient(voting, x, y) <= scale / 2


def test_voting_can_change_faster_than_the_pixels():
    voting = lk.VotingEnsemble([random_net(0)], 40.0).eval()
    assert lk.lipschitz_estimate(voting, random_images(30, 12)).max() > 2


def test_voting_is_not_certified_even_inside_another_module():
    voting, x = lk.VotingEnsemble([lk.LpDistNet(12, 9, 3, 5)], 4.0), torch.rand(2, 12)
    for model in (voting, nn.Sequential(voting)):
        with pytest.raises(ValueError, match=r"^model must give logits .* half their difference"):
            lk.certify(model, x, torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("scale", "error"), [(0.0, ValueError), (INF, ValueError), ("4", TypeError), (True, TypeError)]
)
def test_voting_with_no_sound_scale_is_refused(scale, error):
    with pytest.raises(error, match=r"^logit_scale must be a positive number; got"):
        lk.VotingEnsemble([random_net(0)], scale)


# --- the exponent


@pytest.mark.parametrize(
    "model", [random_net(0), lk.Ensemble([random_net(0), random_net(1)])], ids=["net", "ensemble"]
)
def test_setting_p_of_a_model_sets_all_its_layers(model):
    assert model.p == INF
    model.p = 8
    assert model.p == 8.0
    exponents = [layer.p for layer in model.modules() if isinstance(layer, lk.LpDist)]
    assert set(exponents) == {8.0}
    with pytest.raises(ValueError, match=r"^p must be .*; got 0\.5$"):
        model.p = 0.5
    model.p = INF


def test_layers_that_differ_in_p_have_no_common_one():
    net = lk.LpDistNet(12, 9, 3, 5)
    net.layers[0].p = 8
    with pytest.raises(ValueError, match=r"must share one p; found 8, inf$"):
        _ = net.p
    with pytest.raises(ValueError, match="must share one p; found no distance layer"):
        common_p(nn.Linear(2, 2))


def test_p_is_no_part_of_the_state():
    net = lk.LpDistNet(12, 9, 3, 5)
    before = net.state_dict()
    net.p = 8
    assert net.state_dict().keys() == before.keys()


# --- refusals


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"in_features": 0}, ValueError, "^in_features must be at least 1; got 0"),
        ({"width": 2.5}, TypeError, "^width must be a whole number; got 2.5"),
        ({"depth": 0}, ValueError, "^depth must be at least 1; got 0"),
        ({"classes": True}, TypeError, "^classes must be a whole number; got True"),
        ({"mean": [0.1] * 5}, ValueError, r"^mean must be one number or one for each.*got \[0\.1,"),
        ({"mean": []}, ValueError, "^mean must"),
        ({"mean": math.nan}, ValueError, "^mean must"),
        ({"mean": "grey"}, TypeError, "^mean must"),
        (
            {"scale": 0.0},
            ValueError,
            "^scale must be a positive number that float32 can divide by; got 0.0",
        ),
        (
            {"scale": -1.0},
            ValueError,
            "^scale must be a positive number that float32 can divide by; got -1.0",
        ),
        (
            {"scale": INF},
            ValueError,
            "^scale must be a positive number that float32 can divide by; got inf",
        ),
        (
            {"scale": math.nan},
            ValueError,
            "^scale must be a positive number that float32 can divide by; got nan",
        ),
        ({"scale": "0.5"}, TypeError, "^scale must"),
    ],
    ids=str,
)
def test_a_net_of_wrong_arguments_is_refused(arguments, error, message):
    sound = {"in_features": 12, "width": 9, "depth": 3, "classes": 5}
    with pytest.raises(error, match=message):
        lk.LpDistNet(**(sound | arguments))


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.zeros(3, 11), ValueError, r"^x must be .* 12 pixels each; got shape \(3, 11\)"),
        (torch.zeros(12), ValueError, r"^x must be .* 12 pixels each; got shape \(12,\)"),
        (torch.zeros(2, 3, 2, 3), ValueError, "^x must be .* 12 pixels each"),
        (torch.zeros(0, 12), ValueError, r"^x must be .*\(0, 12\)"),
        (torch.zeros(0, 3, 2, 2), ValueError, r"^x must be .*\(0, 3, 2, 2\)"),
        (torch.zeros(3, 12).double(), TypeError, "float64"),
    ],
    ids=str,
)
def test_a_net_refuses_images_that_do_not_fit(x, error, message):
    with pytest.raises(error, match=message):
        lk.LpDistNet(12, 9, 3, 5)(x)


@pytest.mark.parametrize(
    "net",
    [
        lk.LpDistNet(3 * 28 * 28, 9, 3, 5, mean=[0.1, 0.2, 0.3]),
        lk.LpDistLeNet((3, 28, 28), hidden=16),
        lk.HybridNet(lk.LpDistLeNet((3, 28, 28), hidden=16), hidden=6),
    ],
    ids=["means", "LeNet", "hybrid"],
)
def test_a_net_that_knows_its_channels_refuses_them_last(net):
    images = torch.rand(2, 3, 28, 28)
    assert net(images).shape == net(images.flatten(1)).shape
    with pytest.raises(
        ValueError, match=r"\(2, 28, 28, 3\), .* last: write x\.permute\(0, 3, 1, 2\)"
    ):
        net(images.permute(0, 2, 3, 1))
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\); got shape \(2, 1, 28, 84\)$"):
        net(images.reshape(2, 1, 28, 84))


def test_the_one_channel_of_grey_images_may_stand_anywhere():
    net, images = lk.LpDistLeNet((1, 28, 28), hidden=16).eval(), torch.rand(2, 1, 28, 28)
    for shape in ((2, 28, 28), (2, 28, 28, 1), (2, 784)):
        assert torch.equal(net(images.view(shape)), net(images))


@pytest.mark.parametrize(
    ("models", "error", "message"),
    [
        ([], ValueError, "^models must hold at least one model; got none"),
        ([1, 2], TypeError, "^each of the models must be a torch.nn.Module; got int"),
    ],
)
def test_an_ensemble_of_no_models_is_refused(models, error, message):
    with pytest.raises(error, match=message):
        lk.Ensemble(models)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_a_net_is_of_the_default_type(dtype):
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        net = lk.LpDistNet(4, 8, 2, 3, mean=0.3, scale=0.4)
        assert {tensor.dtype for tensor in net.state_dict().values()} == {dtype}
        assert net(torch.rand(5, 4)).dtype == dtype
    finally:
        torch.set_default_dtype(default)
