"""Tested: checkpoints made as the original code makes them, against its formula; refusals.
Not tested: checkpoints of linfkit (test_checkpoints.py), the nets themselves (test_nets.py)."""

import math
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from linfkit.nn.checkpoints import load_model, save_model
from linfkit.nn.hybrid import HybridNet
from linfkit.nn.nets import LpDistNet
from linfkit.nn.original_checkpoints import load_original
from linfkit.nn.sortnet import SortNet

PIXELS, WIDTH, HIDDEN, CLASSES = 12, 9, 7, 4


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
        sorted_ = (x[:, None] - state[f"fc_dist.{i}.weight"]).abs().topk(WIDTH, dim=-1).values
        # all but the first layer drop a share of rho; its terms are cut off after ten, here after 9
        weights = (rho if i else 0) ** torch.arange(WIDTH, dtype=x.dtype)
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
    with pytest.raises(ValueError, match=rf"^rho must be told of {path}, which may be a SortNet's"):
        load_original(path)


@pytest.mark.parametrize(("rho", "error"), [(1, ValueError), (-0.1, ValueError), ("0", TypeError)])
def test_a_rho_that_is_none_is_named(rho, error, tmp_path):
    with pytest.raises(error, match=r"^rho must be a number from 0 up to but without 1; got"):
        load_original(saved(tmp_path, dist_net()), rho=rho)


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
        ({}, r"it lacks fc_dist\.0\.bias, fc_dist\.0\.weight; it holds nothing$"),
        ({"epoch": 3}, r"it must hold names and tensors; under 'epoch' it holds a int$"),
        ({7: torch.zeros(3)}, r"it must hold names and tensors; under 7 it holds a Tensor$"),
        ({"conv.weight": torch.zeros(3)}, r"it lacks .*fc_dist\.0\.weight; it holds conv\.weight$"),
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
    refused(saved(tmp_path, state), r"it lacks fc_dist\.1\.mean_shift\.running_mean")


@pytest.mark.parametrize("state", [dist_net(), hybrid()], ids=["dist net", "hybrid"])
def test_an_unknown_tensor_is_named(state, tmp_path):
    state = {**state, "fc_dist.0.mean_shift.bias": torch.zeros(WIDTH)}
    refused(saved(tmp_path, state), r"it holds fc_dist\.0\.mean_shift\.bias, which no such net has")


@pytest.mark.parametrize(
    ("state", "name", "shape", "place"),
    [
        (dist_net(), "fc_dist.1.weight", (WIDTH + 1, WIDTH), "layers.2.weight"),
        (dist_net(), "fc_dist.1.weight", (WIDTH,), "layers.2.weight"),
        (dist_net(), "fc_dist.0.mean_shift.running_mean", (WIDTH, 1), "layers.1.running_mean"),
        (dist_net(), "scalar", (2,), "logit_scale"),
        (hybrid(), "fc_linear.0.weight", (WIDTH, HIDDEN), "mlp.hidden.weight"),
        (hybrid(), "fc_final.weight", (CLASSES, HIDDEN + 1), "mlp.last.weight"),
    ],
)
def test_a_tensor_of_the_wrong_shape_is_named(state, name, shape, place, tmp_path):
    path = saved(tmp_path, {**state, name: torch.zeros(shape)})
    refused(path, rf"size mismatch for {place}: copying a param with shape .*\[{shape[0]}\b")


@pytest.mark.parametrize("shape", [(), (WIDTH,), (WIDTH, PIXELS, 1, 1)])
def test_the_first_weight_must_be_a_matrix(shape, tmp_path):
    path = saved(tmp_path, {**dist_net(), "fc_dist.0.weight": torch.zeros(shape)})
    refused(path, r"fc_dist\.0\.weight must be a matrix; got shape \(")


def test_mean_and_scale_that_do_not_fit_are_named(tmp_path):
    path = saved(tmp_path, dist_net())
    with pytest.raises(
        ValueError, match=r"^scale must be a positive number that float32 can divide by; got 0$"
    ):
        load_original(path, scale=0)
    with pytest.raises(ValueError, match=r"^mean must be one number or one for each channel"):
        load_original(path, mean=[0.1] * 5)
