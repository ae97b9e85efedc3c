"""Tested: checkpoints made as the original code makes them, against its formula; refusals.
Not tested: checkpoints of linfkit (test_checkpoints.py), the nets themselves (test_nets.py)."""

import math
import pickle
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from linfkit.nn.checkpoints import load_model, save_model
from linfkit.nn.convnets import Conv, LpDistAlexNet, LpDistCNN7, LpDistLeNet, LpDistVGG
from linfkit.nn.ensembles import Ensemble, HybridEnsemble
from linfkit.nn.hybrid import HybridNet
from linfkit.nn.nets import LpDistNet
from linfkit.nn.original_checkpoints import load_original
from linfkit.nn.sortnet import SortNet

PIXELS, WIDTH, HIDDEN, CLASSES = 12, 13, 7, 4
THIN = 3  # kernels of a layer, where the nets of the papers have many


def distances(count, seed=0):
    """The state of `count` distance layers, each with its mean shift."""
    torch.manual_seed(seed)
    state = OrderedDict()
    for i in range(count):
        state[f"fc_dist.{i}.weight"] = torch.randn(WIDTH, WIDTH if i else PIXELS)
        state[f"fc_dist.{i}.mean_shift.running_mean"] = torch.randn(WIDTH)
    return state


def dist_net(depth=3, scalar=2.5):
    state = distances(depth - 1)
    state[f"fc_dist.{depth - 1}.weight"] = torch.randn(CLASSES, WIDTH)
    state[f"fc_dist.{depth - 1}.bias"] = torch.randn(CLASSES)
    if scalar is not None:
        state["scalar"] = torch.tensor([scalar])
    return state


def hybrid(depth=4):
    state = distances(depth - 2)
    state["fc_linear.0.weight"] = torch.randn(HIDDEN, WIDTH)
    state["fc_linear.0.bias"] = torch.randn(HIDDEN)
    state["fc_final.weight"] = torch.randn(CLASSES, HIDDEN)
    state["fc_final.bias"] = torch.randn(CLASSES)
    return state


def original_logits(state, x, rho=0):
    """What the original code computes of normalised rows x, before its scalar."""
    count = sum(name.startswith("fc_dist") and name.endswith("weight") for name in state)
    for i in range(count):
        sorted_ = (x[:, None] - state[f"fc_dist.{i}.weight"]).abs().topk(10, dim=-1).values
        # all but the first layer drop a share of rho; terms are cut off after ten
        weights = (rho if i else 0) ** torch.arange(10, dtype=x.dtype)
        x = sorted_ @ (weights / weights.sum())
        x = x - state.get(f"fc_dist.{i}.mean_shift.running_mean", 0)
        x = x + state.get(f"fc_dist.{i}.bias", 0)
    if "fc_final.weight" not in state:
        return -x
    x = torch.tanh(x @ state["fc_linear.0.weight"].T / WIDTH**0.5 + state["fc_linear.0.bias"])
    return x @ state["fc_final.weight"].T / HIDDEN**0.5 + state["fc_final.bias"]


def saved(tmp_path, content):
    torch.save(content, tmp_path / "model.pth")
    return tmp_path / "model.pth"


def optimizer(**options):
    """The state of one, as PyTorch writes it."""
    groups = [{"lr": 0.03, **options, "params": [0, 1]}, {"lr": 0.006, **options, "params": [2]}]
    return {"state": {0: {"step": 1, "exp_avg": torch.zeros(2)}}, "param_groups": groups}


def kernels(name, out_channels, in_channels, size, last=False):
    """A layer of the first code: a convolution, 1×1 if it is of neurons."""
    return {
        f"{name}.weight": torch.randn(out_channels, in_channels, size, size),
        f"{name}.bias" if last else f"{name}.normalize.running_mean": torch.randn(out_channels),
    }


def neurons(name, out_features, in_features, last=False):
    return kernels(name, out_features, in_features, 1, last)


def predictor(features):
    return {
        "predictor.fc1.weight": torch.randn(HIDDEN, features),
        "predictor.fc1.bias": torch.randn(HIDDEN),
        "predictor.fc2.weight": torch.randn(CLASSES, HIDDEN),
        "predictor.fc2.bias": torch.randn(CLASSES),
    }


def in_double(*parts):
    return OrderedDict((name, part[name].double()) for part in parts for name in part)


def first_mlp(hidden=2, head=False):
    torch.manual_seed(0)
    sizes = [PIXELS, *[WIDTH] * hidden]
    last = neurons("feature.fc_last", CLASSES, sizes[-1], last=True)
    return in_double(
        *(neurons(f"feature.fc.{i}", WIDTH, sizes[i]) for i in range(hidden)),
        predictor(WIDTH) if head else last,
    )


PADDED = {"padding": 1}
POOL = "a maximum over 2×2", {"kernel_size": 2}
WIDE_POOL = "a maximum over 3×3", {"kernel_size": 3, "stride": 2}
#: Convolutions and pools of the first code's nets, and of the code made of it: name, number and
#: size of its kernels, window; then its layers of neurons. AlexNet and VGG are thin here.
STAGES = {
    "CNN7": (
        ("feature.conv.0", 2, 3, PADDED),
        ("feature.conv.1", 2, 3, PADDED),
        ("feature.conv.2", 4, 3, {"padding": 1, "stride": 2}),
        ("feature.conv.3", 4, 3, PADDED),
        ("feature.conv.4", 4, 3, PADDED),
    ),
    "LeNet": (("feature.conv1.0", 6, 5, {}), POOL, ("feature.conv2.0", 16, 5, {}), POOL),
    "AlexNet": (
        ("feature.conv1.0", THIN, 7, {"stride": 2, "padding": 2}),
        WIDE_POOL,
        ("feature.conv2.0", THIN, 5, {"padding": 2}),
        WIDE_POOL,
        ("feature.conv3.0", THIN, 3, PADDED),
        ("feature.conv4.0", THIN, 3, PADDED),
        ("feature.conv5.0", THIN, 3, PADDED),
    ),
    "VGG": (
        *((f"feature.layer1.{i}", THIN, 3, PADDED) for i in range(3)),
        POOL,
        *((f"feature.layer2.{i}", THIN, 3, PADDED) for i in range(3)),
        POOL,
        *((f"feature.layer3.{i}", THIN, 3, PADDED) for i in range(5)),
        POOL,
        *((f"feature.layer4.{i}", THIN, 3, PADDED) for i in range(5)),
        POOL,
        *((f"feature.layer5.{i}", THIN, 3, PADDED) for i in range(5)),
    ),
}
NEURONS = {
    "CNN7": (("feature.fc", WIDTH), ("feature.fc_last", CLASSES)),
    "LeNet": (("feature.fc.0", 120), ("feature.fc.1", WIDTH), ("feature.fc.2", CLASSES)),
    "AlexNet": (("feature.fc.0", 1024), ("feature.fc.1", WIDTH), ("feature.fc.2", CLASSES)),
    "VGG": (("feature.fc.0", 256), ("feature.fc.1", WIDTH), ("feature.fc.2", CLASSES)),
}


def first_conv(kind, left, channels=1, head=False):
    """The state of a convolutional net, whose stages leave `left` × `left` of each channel."""
    torch.manual_seed(0)
    layers, count = [], channels
    for name, *sizes in STAGES[kind]:
        if name.startswith("feature"):
            layers.append(kernels(name, sizes[0], count, sizes[1]))
            count = sizes[0]
    count *= left**2
    *hidden, (last, classes) = NEURONS[kind]
    for name, width in hidden:
        layers.append(neurons(name, width, count))
        count = width
    layers.append(predictor(count) if head else neurons(last, classes, count, last=True))
    return in_double(*layers)


def first_layer(state, name, x, **window):
    """NormDistConv at p=∞: distances of patches to kernels, less running means, plus biases."""
    weight, zero = state[f"{name}.weight"], torch.zeros(1)
    patches = F.unfold(x, weight.shape[-1], **window)
    y = torch.stack([(patches - w.view(-1, 1)).abs().amax(dim=1) for w in weight], dim=1)
    y = y.unflatten(2, [math.isqrt(y.shape[2])] * 2)
    shift = state.get(f"{name}.bias", zero) - state.get(f"{name}.normalize.running_mean", zero)
    return y + shift.view(-1, 1, 1)


def first_logits(state, x, kind=None):
    """What the first code computes of normalised images."""
    for name, *_, window in STAGES.get(kind, ()):
        pooled = not name.startswith("feature")
        x = F.max_pool2d(x, **window) if pooled else first_layer(state, name, x, **window)
    x = x.flatten(1)[..., None, None]
    for name in [*(f"feature.fc.{i}" for i in range(11)), "feature.fc", "feature.fc_last"]:
        if f"{name}.weight" in state:
            x = first_layer(state, name, x)
    x = x.flatten(1)
    if "predictor.fc1.weight" not in state:
        return -x
    x = x @ state["predictor.fc1.weight"].T / WIDTH**0.5 + state["predictor.fc1.bias"]
    return x.tanh() @ state["predictor.fc2.weight"].T / HIDDEN**0.5 + state["predictor.fc2.bias"]


LAYOUTS = {
    "plain": lambda state: state,
    "of many GPUs": lambda state: {f"module.{name}": value for name, value in state.items()},
    "nested": lambda state: {"state_dict": state, "optimizer": optimizer(weight_decay=0)},
    "nested, of many GPUs": lambda state: {
        "state_dict": OrderedDict((f"module.{name}", value) for name, value in state.items())
    },
}


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return LAYOUTS[request.param]


# --- values


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_a_dist_net_gives_scale_times_the_originals_logits(depth, layout, tmp_path):
    state, x = dist_net(depth), torch.rand(5, PIXELS)
    if depth == 1:
        state["fc_dist.0.weight"] = torch.randn(CLASSES, PIXELS)
    net = load_original(saved(tmp_path, layout(state)), mean=0.3, scale=0.25, rho=0)
    assert isinstance(net, LpDistNet)
    torch.testing.assert_close(net(x), 0.25 * original_logits(state, (x - 0.3) / 0.25))
    assert net.arguments["depth"] == depth


@pytest.mark.parametrize("depth", [3, 4, 6])
def test_a_hybrid_gives_scale_times_the_originals_logits(depth, layout, tmp_path):
    state, x = hybrid(depth), torch.rand(5, PIXELS)
    net = load_original(saved(tmp_path, layout(state)), mean=0.3, scale=0.25, rho=0)
    assert isinstance(net, HybridNet)
    logits = original_logits(state, (x - 0.3) / 0.25)
    torch.testing.assert_close(net(x), 0.25 * logits)
    torch.testing.assert_close(net.logit_scale * net(x), logits)
    assert (net.arguments["net"]["arguments"]["depth"], net.arguments["hidden"]) == (
        depth - 1,
        HIDDEN,
    )


@pytest.mark.parametrize("state", [dist_net(), hybrid()], ids=["dist net", "hybrid"])
def test_mean_may_be_one_number_for_each_channel(state, tmp_path):
    mean, x = [0.1, 0.2, 0.3], torch.rand(5, 3, 2, 2)
    net = load_original(saved(tmp_path, state), mean, scale=0.4, rho=0)
    rows = ((x - torch.tensor(mean)[:, None, None]) / 0.4).flatten(1)
    torch.testing.assert_close(net(x), 0.4 * original_logits(state, rows))


@pytest.mark.parametrize("state", [dist_net(), hybrid()], ids=["dist net", "hybrid"])
def test_without_mean_and_scale_the_logits_are_the_originals(state, tmp_path):
    x = torch.rand(5, PIXELS)
    net = load_original(str(saved(tmp_path, state)), rho=0)
    torch.testing.assert_close(net(x), original_logits(state, x))


def test_the_scalar_is_kept_as_the_logit_scale(tmp_path):
    state, x = dist_net(scalar=2.5), torch.rand(5, PIXELS)
    net = load_original(saved(tmp_path, state), scale=0.25, rho=0)
    assert net.logit_scale.item() == 10.0
    torch.testing.assert_close(net.logit_scale * net(x), 2.5 * original_logits(state, x / 0.25))


def test_without_a_scalar_the_original_multiplies_by_one(tmp_path):
    net = load_original(saved(tmp_path, dist_net(scalar=None)), scale=0.25, rho=0)
    assert net.logit_scale == 4.0


@pytest.mark.parametrize("state", [dist_net(), hybrid()], ids=["dist net", "hybrid"])
def test_a_net_is_in_evaluation_mode_at_p_infinity_and_can_be_built_again(state, tmp_path):
    net = load_original(saved(tmp_path, state), mean=0.3, scale=0.25, rho=0)
    assert (net.p, net.training) == (math.inf, False)
    save_model(tmp_path / "again.safetensors", net, header={})
    again = load_model(tmp_path / "again.safetensors")
    x = torch.rand(2, PIXELS)
    assert torch.equal(again(x), net(x))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("state", [dist_net(), hybrid()], ids=["dist net", "hybrid"])
def test_a_net_is_of_the_type_that_it_was_saved_in(state, dtype, tmp_path):
    state = {name: tensor.to(dtype) for name, tensor in state.items()}
    net = load_original(saved(tmp_path, state), mean=0.3, scale=0.25, rho=0)
    assert {tensor.dtype for tensor in net.state_dict().values()} == {dtype}
    x = torch.rand(5, PIXELS, dtype=dtype)
    if dtype == torch.float64:
        torch.testing.assert_close(net(x), 0.25 * original_logits(state, (x - 0.3) / 0.25))


@pytest.mark.parametrize("rho", [0.25, 0.6])
@pytest.mark.parametrize("scalar", [None, 2.5])
@pytest.mark.parametrize("state", [dist_net, hybrid])
def test_a_sortnet_is_read_where_rho_is_told(state, scalar, rho, tmp_path):
    state = state() | ({} if scalar is None else {"scalar": torch.tensor([scalar])})
    net = load_original(saved(tmp_path, {"state_dict": state}), mean=0.3, scale=0.25, rho=rho)
    assert isinstance(net, SortNet | HybridNet)
    x = torch.rand(50, PIXELS)
    logits = original_logits(state, (x - 0.3) / 0.25, rho)
    torch.testing.assert_close(net(x), 0.25 * logits)
    torch.testing.assert_close(net.logit_scale * net(x), state.get("scalar", 1) * logits)
    assert (net(x) - 0.25 * original_logits(state, (x - 0.3) / 0.25)).abs().max() > 1e-3
    save_model(tmp_path / "again.safetensors", net)
    assert torch.equal(load_model(tmp_path / "again.safetensors")(x), net(x))


@pytest.mark.parametrize("state", [dist_net(), hybrid()], ids=["dist net", "hybrid"])
def test_a_file_with_the_optimizer_of_dist_nets_is_one_of_them(state, tmp_path):
    content = {"state_dict": state, "optimizer": optimizer(weight_decay=0)}
    net, x = load_original(saved(tmp_path, content)), torch.rand(5, PIXELS)
    torch.testing.assert_close(net(x), original_logits(state, x))


@pytest.mark.parametrize(
    "content",
    [
        dist_net(),
        hybrid(),
        {"state_dict": dist_net()},
        {"state_dict": hybrid() | {"scalar": torch.ones(1)}},
        {"state_dict": dist_net(), "optimizer": optimizer(weight_decay=0.02)},
        {"state_dict": dist_net(), "optimizer": optimizer(weight_decay=torch.zeros(2))},
        {"state_dict": dist_net(), "optimizer": optimizer()},
        {"state_dict": dist_net(), "optimizer": {"param_groups": []}},
        {"state_dict": dist_net(), "optimizer": None},
    ],
)
def test_a_file_that_may_be_a_sortnet_s_is_read_as_no_other_net(content, tmp_path):
    path = saved(tmp_path, content)
    with pytest.raises(ValueError, match=r"^rho must be 0 for .*, 1 - dropout for .*; got None$"):
        load_original(path)


@pytest.mark.parametrize(("rho", "error"), [(1, ValueError), (-0.1, ValueError), ("0", TypeError)])
def test_a_rho_that_is_none_is_named(rho, error, tmp_path):
    with pytest.raises(error, match=r"^rho must be a number from 0 up to but without 1; got"):
        load_original(saved(tmp_path, dist_net()), rho=rho)


# --- the first code


heads = pytest.mark.parametrize("head", [False, True], ids=["distances", "hybrid"])


@heads
def test_a_net_of_the_first_code_gives_scale_times_its_logits(head, layout, tmp_path):
    state, x = first_mlp(head=head), torch.rand(5, PIXELS).double()
    net = load_original(saved(tmp_path, layout(state)), mean=0.3, scale=0.25)
    assert type(net) is (HybridNet if head else LpDistNet)
    logits = first_logits(state, (x - 0.3) / 0.25)
    torch.testing.assert_close(net(x), 0.25 * logits)
    torch.testing.assert_close(net.logit_scale * net(x), logits)


@pytest.mark.parametrize(("hidden", "head"), [(0, False), (1, True), (11, False), (11, True)])
def test_a_net_of_the_first_code_may_have_any_depth(hidden, head, tmp_path):
    state, x = first_mlp(hidden, head), torch.rand(5, PIXELS).double()
    torch.testing.assert_close(load_original(saved(tmp_path, state))(x), first_logits(state, x))


CONVOLUTIONAL = [  # kind, class, side and channels of an image, what the stages leave of the side
    ("CNN7", LpDistCNN7, 28, 1, 14),
    ("CNN7", LpDistCNN7, 32, 3, 16),
    ("CNN7", LpDistCNN7, 56, 1, 28),
    ("CNN7", LpDistCNN7, 64, 1, 32),
    ("LeNet", LpDistLeNet, 28, 1, 4),
    ("LeNet", LpDistLeNet, 32, 3, 5),
    ("AlexNet", LpDistAlexNet, 32, 3, 3),
    ("VGG", LpDistVGG, 32, 3, 2),
]


@pytest.fixture
def thin(monkeypatch):
    """AlexNet and VGG of few kernels."""
    for net in (LpDistAlexNet, LpDistVGG):
        stages = (
            replace(stage, out_channels=THIN) if isinstance(stage, Conv) else stage
            for stage in net.stages
        )
        monkeypatch.setattr(net, "stages", tuple(stages))


@heads
@pytest.mark.parametrize(("kind", "built", "side", "channels", "left"), CONVOLUTIONAL)
def test_a_convolutional_net_gives_scale_times_its_logits(
    kind, built, side, channels, left, head, thin, tmp_path
):
    state, mean = first_conv(kind, left, channels, head), [0.1, 0.2, 0.3][:channels]
    x = torch.rand(2, channels, side, side).double()
    net = load_original(saved(tmp_path, {"state_dict": state}), mean, scale=0.25)
    assert type(net) is (HybridNet if head else built)
    logits = first_logits(state, (x - net.mean.view(-1, 1, 1)) / 0.25, kind)
    torch.testing.assert_close(net(x), 0.25 * logits)
    assert net.mean.tolist() == mean
    save_model(tmp_path / "again.safetensors", net)
    assert torch.equal(load_model(tmp_path / "again.safetensors")(x), net(x))


LEFT = {"CNN7": 14, "LeNet": 4, "AlexNet": 2}  # of MNIST's images
FIRST = {
    "MLP": first_mlp(),
    "MLP + MLP": first_mlp(head=True),
    **{kind: first_conv(kind, left) for kind, left in LEFT.items()},
    **{f"{kind} + MLP": first_conv(kind, left, head=True) for kind, left in LEFT.items()},
}
each_first = pytest.mark.parametrize("state", FIRST.values(), ids=FIRST)


@each_first
def test_every_missing_tensor_of_the_first_code_is_named(state, thin, tmp_path):
    for name in state:
        rest = {other: tensor for other, tensor in state.items() if other != name}
        refused(saved(tmp_path, rest), r"it (lacks|holds) .*(feature|predictor)\.")


@each_first
def test_no_tensor_of_the_first_code_may_have_another_shape(state, thin, tmp_path):
    for name, tensor in state.items():
        for other in (tensor[None], torch.cat([tensor, tensor]), torch.stack([tensor] * 2, dim=-1)):
            path = saved(tmp_path, state | {name: other})
            refused(path, "size mismatch for|must have . dimensions|must take what is left")


@each_first
def test_rho_is_refused_where_no_sortnet_can_be(state, thin, tmp_path):
    path = saved(tmp_path, state)
    assert load_original(path, rho=0).p == math.inf
    with pytest.raises(ValueError, match=r"^rho must be left out where .* feature.*; got 0\.3$"):
        load_original(path, rho=0.3)


@each_first
def test_what_the_first_code_does_not_have_is_named(state, thin, tmp_path):
    for name in ("scalar", "fc_dist.0.bias", "fc_linear.0.weight", "feature.fc.3.bias"):
        path = saved(tmp_path, state | {name: torch.ones(1)})
        refused(path, f"it holds {name}, which no such net has")


def test_a_layer_that_takes_what_no_image_leaves_is_named(tmp_path):
    refused(
        saved(tmp_path, first_conv("CNN7", left=15)),
        r"feature\.fc must take .* images of 28, 32, 56, 64 pixels a side; it takes 900 features$",
    )


# --- fusions


def fusion(states):
    """The state of an ensemble, whose members the code keeps in a list."""
    return OrderedDict(
        (f"model_list.{i}.{name}", tensor)
        for i, state in enumerate(states)
        for name, tensor in state.items()
    )


def members(state, count):
    """Nets of one size, of different weights."""
    return [
        OrderedDict((name, tensor.roll(i, 0) + i / 8) for name, tensor in state.items())
        for i in range(count)
    ]


@pytest.mark.parametrize("count", [1, 11])
@pytest.mark.parametrize(
    ("state", "built"),
    [(first_mlp(), Ensemble), (first_mlp(head=True), HybridEnsemble)],
    ids=["distances", "hybrid"],
)
def test_a_fusion_gives_scale_times_the_mean_of_its_members_logits(
    state, built, count, layout, tmp_path
):
    states, x = members(state, count), torch.rand(5, PIXELS).double()
    net = load_original(saved(tmp_path, layout(fusion(states))), mean=0.3, scale=0.25)
    assert type(net) is built
    logits = [first_logits(each, (x - 0.3) / 0.25) for each in states]
    torch.testing.assert_close(net(x), 0.25 * torch.stack(logits).mean(dim=0))
    for model, wanted in zip(net.models, logits, strict=True):
        torch.testing.assert_close(model(x), 0.25 * wanted)


def test_a_fusion_of_lenets_with_mlps_is_read_and_kept(tmp_path):
    states = members(first_conv("LeNet", left=4, head=True), 2)
    net, x = load_original(saved(tmp_path, fusion(states))), torch.rand(3, 1, 28, 28).double()
    wanted = sum(first_logits(each, x, "LeNet") for each in states) / 2
    torch.testing.assert_close(net(x), wanted)
    save_model(tmp_path / "again.safetensors", net)
    assert torch.equal(load_model(tmp_path / "again.safetensors")(x), net(x))


def test_members_that_no_command_makes_are_refused(tmp_path):
    first, second = members(first_mlp(), 2)
    for other in (first_mlp(hidden=3), first_mlp(head=True), {**second, "scalar": torch.ones(1)}):
        refused(saved(tmp_path, fusion([first, other])), r"its members must have .* same names")
    halves = {name: tensor.half() for name, tensor in second.items()}
    refused(saved(tmp_path, fusion([first, halves])), r"its members must have .* and types$")


def test_a_member_that_is_missing_is_named(tmp_path):
    state = fusion(members(first_mlp(), 3))
    for i in (0, 1):
        rest = {name: x for name, x in state.items() if not name.startswith(f"model_list.{i}.")}
        refused(saved(tmp_path, rest), rf"it lacks model_list\.{i}$")


@pytest.mark.parametrize(
    "name", ["feature.fc.0.weight", "model_list.weight", "model_list.00.scalar"]
)
def test_what_is_beside_the_members_of_a_fusion_is_named(name, tmp_path):
    state = {**fusion(members(first_mlp(), 2)), name: torch.ones(1)}
    refused(saved(tmp_path, state), rf"it holds {name} beside its members")


# --- refusals


def refused(path, message):
    with pytest.raises(ValueError, match=message) as refusal:
        load_original(path)
    assert str(refusal.value).startswith(f"{path} is no checkpoint of the original code: ")


class CreatesAFile:
    """A pickle that would create a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("written_by", ["torch", "pickle"])
def test_nothing_in_a_file_is_executed(written_by, tmp_path):
    trap, path = tmp_path / "executed", tmp_path / "model.pth"
    content = {**dist_net(), "extra": CreatesAFile(trap)}
    if written_by == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    refused(path, "damaged, or holds more than tensors")
    assert not trap.exists()
    with path.open("rb") as file:  # the trap does work
        torch.load(path, weights_only=False) if written_by == "torch" else pickle.load(file)
    assert trap.exists()


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.95])
def test_a_truncated_file_is_refused(share, tmp_path):
    path = saved(tmp_path, dist_net())
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(path, "it is damaged")


@pytest.mark.parametrize(
    "content", [b"not a checkpoint", b"\x80\x02.", b"\x00" * 100, b"PK\x03\x04"]
)
def test_a_file_of_something_else_is_refused(content, tmp_path):
    (tmp_path / "model.pth").write_bytes(content)
    refused(tmp_path / "model.pth", "it is damaged")


def test_a_missing_file_is_not_found(tmp_path):
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"^no checkpoint at {path}$"):
            load_original(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(3), r"it must hold a state dict; it holds a Tensor$"),
        ([1, 2], r"it must hold a state dict; it holds a list$"),
        ({"state_dict": 3}, r"it must hold a state dict; it holds a int$"),
        ({}, r"it must hold layers such as fc_dist\.0\.weight or feature\.fc.*; it holds nothing$"),
        ({"epoch": 3}, r"it must hold names and tensors; under 'epoch' it holds a int$"),
        ({7: torch.zeros(3)}, r"it must hold names and tensors; under 7 it holds a Tensor$"),
        ({"conv.weight": torch.zeros(3)}, r"it must hold layers .*; it holds conv\.weight$"),
        (
            {"feature.conv1.bias": torch.zeros(3)},
            r"it must hold layers .*; it holds feature\.conv1",
        ),
    ],
)
def test_a_file_without_a_state_dict_of_such_a_net_is_refused(content, message, tmp_path):
    refused(saved(tmp_path, content), message)


@pytest.mark.parametrize(
    ("state", "name"),
    [(state, name) for state in (dist_net(), hybrid()) for name in state if name != "scalar"],
)
def test_a_missing_tensor_is_named(state, name, tmp_path):
    rest = {other: tensor for other, tensor in state.items() if other != name}
    refused(saved(tmp_path, rest), r"it (lacks|holds) .*(fc_dist|fc_linear|fc_final)\.")


def test_a_gap_between_layers_is_named(tmp_path):
    state = dist_net(depth=4)
    del state["fc_dist.1.weight"], state["fc_dist.1.mean_shift.running_mean"]
    refused(saved(tmp_path, state), r"it lacks fc_dist\.1\.weight; it holds fc_dist\.0\.mean_shift")


@pytest.mark.parametrize("state", [dist_net(), hybrid()], ids=["dist net", "hybrid"])
def test_an_unknown_tensor_is_named(state, tmp_path):
    state = {**state, "fc_dist.0.mean_shift.bias": torch.zeros(WIDTH)}
    refused(saved(tmp_path, state), r"it holds fc_dist\.0\.mean_shift\.bias, which no such net has")


@pytest.mark.parametrize(
    ("state", "name", "shape", "place"),
    [
        (dist_net(), "fc_dist.1.weight", (WIDTH + 1, WIDTH), "layers.2.weight"),
        (dist_net(), "fc_dist.0.mean_shift.running_mean", (WIDTH, 1), "layers.1.running_mean"),
        (dist_net(), "scalar", (2,), "logit_scale"),
        (hybrid(), "fc_linear.0.weight", (WIDTH, HIDDEN), "mlp.hidden.weight"),
        (hybrid(), "fc_final.weight", (CLASSES, HIDDEN + 1), "mlp.last.weight"),
    ],
)
def test_a_tensor_of_the_wrong_shape_is_named(state, name, shape, place, tmp_path):
    path = saved(tmp_path, {**state, name: torch.zeros(shape)})
    refused(path, rf"size mismatch for {place}: copying a param with shape .*\[{shape[0]}\b")


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("shape", [(), (WIDTH,), (WIDTH, PIXELS, 1, 1)])
def test_weights_must_be_matrices(layer, shape, tmp_path):
    path = saved(tmp_path, {**dist_net(), f"fc_dist.{layer}.weight": torch.zeros(shape)})
    refused(path, rf"fc_dist\.{layer}\.weight must have 2 dimensions; got shape \(")


@pytest.mark.parametrize("shape", [(0,), (WIDTH, 0)])
def test_an_empty_tensor_is_refused(shape, tmp_path):
    path = saved(tmp_path, {**dist_net(), "fc_dist.0.weight": torch.zeros(shape)})
    refused(path, r"fc_dist\.0\.weight must be a dense tensor .* held in full; it is .* \(")


def test_the_hybrid_of_four_crops_is_refused(tmp_path):
    state = hybrid() | {"fc_linear.0.weight": torch.randn(HIDDEN, 4 * WIDTH)}
    refused(saved(tmp_path, state), r"its MLP sees four crops .* no SortHybridModel2$")


def test_mean_and_scale_that_do_not_fit_are_named(tmp_path):
    path = saved(tmp_path, dist_net())
    with pytest.raises(
        ValueError, match=r"^scale must be a positive number that float32 can divide by; got 0$"
    ):
        load_original(path, scale=0)
    with pytest.raises(ValueError, match=r"^mean must be one number or one for each channel"):
        load_original(path, mean=[0.1] * 5)
