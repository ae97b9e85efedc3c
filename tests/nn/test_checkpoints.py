"""Tested: what is written and read again, whole or not at all, and which files are refused.
Not tested: checkpoints of a training run under way (test_training.py)."""

import json
import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import linfkit as lk
from linfkit._util import files
from linfkit._util.files import write_atomically
from linfkit.nn import checkpoints
from linfkit.nn.checkpoints import read_tensors, save_model, write_tensors
from linfkit.nn.known_layers import unwrapped

INF = math.inf


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = lk.LpDistNet(12, width=9, depth=3, classes=4, mean=[0.1, 0.2, 0.3], scale=0.4)
    net(torch.rand(20, 12))
    return net.eval()


@pytest.fixture
def x():
    return torch.rand(5, 12, generator=torch.Generator().manual_seed(0))


class OwnNet(nn.Module):
    """A class that linfkit does not know."""

    def __init__(self, features=6):
        super().__init__()
        self.first = lk.LpDist(12, features)
        self.last = lk.LpDist(features, 3, bias=True)

    def forward(self, x):
        return -self.last(self.first(x))


# --- round trips


@pytest.mark.parametrize("p", [INF, 8, 7.3, 100.5])
def test_a_net_is_read_as_it_was_saved_ready_to_certify(p, net, x, tmp_path):
    net.p = p
    save_model(tmp_path / "net.safetensors", net.train(), header={})
    loaded = lk.load_model(tmp_path / "net.safetensors")
    assert (loaded.p, loaded.training) == (p, False)
    assert torch.equal(loaded(x), net.eval()(x))
    assert loaded.state_dict().keys() == net.state_dict().keys()
    labels = torch.tensor([0, 1, 2, 3, 0])
    wanted = lk.certify(net, x, labels).radius
    assert torch.equal(lk.certify(loaded, x, labels).radius, wanted)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "build",
    [
        lambda: lk.LpDistNet(12, 9, 3, 4, mean=[0.1, 0.2, 0.3], scale=0.4),
        lambda: lk.SortNet(12, 9, 3, 4, rho=0.3),
        lambda: lk.HybridNet(lk.LpDistNet(12, 9, 3, 4, mean=0.1), hidden=5),
        lambda: lk.Ensemble([lk.LpDistNet(12, 9, 2, 4) for _ in range(2)]),
        lambda: lk.VotingEnsemble([lk.LpDistNet(12, 9, 2, 4)], logit_scale=3),
    ],
    ids=["net", "SortNet", "hybrid", "ensemble", "voting"],
)
def test_a_net_is_read_in_the_type_that_it_has(build, dtype, x, tmp_path):
    net = build().to(dtype).eval()
    lk.save_model(tmp_path / "net.safetensors", net)
    loaded = lk.load_model(tmp_path / "net.safetensors")
    for name, tensor in net.state_dict().items():
        assert loaded.state_dict()[name].dtype == dtype
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert torch.equal(loaded(x.to(dtype)), net(x.to(dtype)))


def test_each_tensor_is_read_in_the_type_that_it_has(net, tmp_path):
    net.layers[0].double()
    net.layers[1].half()
    lk.save_model(tmp_path / "net.safetensors", net)
    dtypes = {name: tensor.dtype for name, tensor in net.state_dict().items()}
    loaded = lk.load_model(tmp_path / "net.safetensors")
    assert {name: tensor.dtype for name, tensor in loaded.state_dict().items()} == dtypes


def test_a_model_that_you_pass_keeps_its_type(net, x, tmp_path):
    lk.save_model(tmp_path / "net.safetensors", net.double())
    own = lk.LpDistNet(12, 9, 3, 4, mean=[0, 0, 0])
    loaded = lk.load_model(tmp_path / "net.safetensors", model=own)
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float32}
    assert torch.equal(loaded(x), net.float()(x))


def test_a_net_of_whole_numbers_is_refused(net, tmp_path):
    whole = {name: tensor.long() for name, tensor in net.state_dict().items()}
    built_by = {"class": "LpDistNet", "arguments": net.arguments}
    write_tensors(tmp_path / "a.safetensors", whole, {"model": built_by, "p": "inf"})
    with pytest.raises(ValueError, match=r"loaded: \S+ must hold floating-point numbers"):
        lk.load_model(tmp_path / "a.safetensors")


def tied():
    net = lk.LpDistNet(12, 9, 4, 4)
    net.layers[4].weight = net.layers[2].weight
    return net


@pytest.mark.parametrize("shared", ["members", "weights", "views"])
def test_tensors_that_share_their_memory_are_saved(shared, x, tmp_path):
    net = tied() if shared == "weights" else lk.LpDistNet(12, 9, 3, 4)
    if shared == "views":
        both = torch.randn(18, 12)
        net.layers[0].weight.data, net.layers[2].weight.data = both[:9], both[9:, :9]
    net = lk.Ensemble([net, net]) if shared == "members" else net
    lk.save_model(tmp_path / "net.safetensors", net)
    loaded = lk.load_model(tmp_path / "net.safetensors")
    assert torch.equal(loaded(x), net.eval()(x))


WRAPPERS = {
    "compiled": lambda net: torch.compile(net, backend="eager"),
    "DataParallel": nn.DataParallel,
    "AveragedModel": AveragedModel,
    "one in another": lambda net: torch.compile(
        nn.DataParallel(AveragedModel(net)), backend="eager"
    ),
}


@pytest.mark.parametrize("wrapped", WRAPPERS.values(), ids=WRAPPERS)
def test_of_a_wrapper_the_net_is_saved(wrapped, net, x, tmp_path):
    net.p = 8
    lk.save_model(tmp_path / "net.safetensors", wrapped(net))
    loaded = lk.load_model(tmp_path / "net.safetensors")
    assert (type(loaded), loaded.p) == (lk.LpDistNet, 8)
    assert torch.equal(loaded(x), net(x))
    around = wrapped(lk.LpDistNet(12, 9, 3, 4, mean=[0, 0, 0]))
    assert lk.load_model(tmp_path / "net.safetensors", model=around) is around
    assert torch.equal(unwrapped(around)(x), net(x))


def test_a_header_may_be_left_out_and_its_numbers_of_any_type(net, tmp_path):
    lk.save_model(tmp_path / "a.safetensors", net)
    assert read_tensors(tmp_path / "a.safetensors")[1].keys() == {"model", "p"}
    found = {"share": np.float32(0.5), "counts": np.arange(2), "most": INF, "least": -np.inf}
    lk.save_model(tmp_path / "a.safetensors", net, found)
    read = read_tensors(tmp_path / "a.safetensors")[1]
    assert {name: read[name] for name in found} == {
        "share": 0.5, "counts": [0, 1], "most": INF, "least": -INF
    }  # fmt: skip


def test_headers_are_json(net, tmp_path):
    save_model(tmp_path / "a.safetensors", net, {"history": [{"p": INF, "loss": math.nan}]})
    with safetensors.safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        json.loads(file.metadata()["linfkit"], parse_constant=pytest.fail)
    (row,) = read_tensors(tmp_path / "a.safetensors")[1]["history"]
    assert row["p"] == INF
    assert math.isnan(row["loss"])


def test_a_path_may_be_a_string(net, tmp_path):
    save_model(str(tmp_path / "net.safetensors"), net, header={})
    assert lk.load_model(str(tmp_path / "net.safetensors")).arguments == net.arguments


def test_a_model_of_your_own_class_is_read_into_one_that_you_pass(tmp_path):
    own, x = OwnNet(), torch.rand(2, 12)
    own.first.p = own.last.p = 8
    save_model(tmp_path / "own.safetensors", own, header={})
    loaded = lk.load_model(tmp_path / "own.safetensors", model=OwnNet())
    assert torch.equal(loaded(x), own(x))
    assert (loaded.first.p, loaded.last.p, loaded.training) == (8.0, 8.0, False)


def test_an_ensemble_is_read_into_one_that_you_pass(net, x, tmp_path):
    save_model(tmp_path / "both.safetensors", lk.Ensemble([net, lk.LpDistNet(12, 9, 3, 4)]), {})
    members = [lk.LpDistNet(12, 9, 3, 4, mean=[0, 0, 0]), lk.LpDistNet(12, 9, 3, 4)]
    loaded = lk.load_model(tmp_path / "both.safetensors", model=lk.Ensemble(members))
    assert torch.equal(loaded.models[0](x), net(x))


def test_of_a_folder_the_averaged_weights_are_taken(net, x, tmp_path):
    averaged = lk.LpDistNet(12, 9, 3, 4).eval()
    save_model(tmp_path / "model.safetensors", net, header={})
    save_model(tmp_path / "ema_model.safetensors", averaged, header={})
    assert torch.equal(lk.load_model(tmp_path)(x), averaged(x))


def test_tensors_and_header_are_read_as_they_were_written(tmp_path):
    tensors = {
        "weights": torch.randn(3, 4),
        "double": torch.randn(2, dtype=torch.float64),
        "step": torch.tensor(7),
        "none": torch.zeros(0),
        "columns": torch.arange(6.0).view(2, 3).T,
    }
    header = {"name": "ε", "history": [{"p": INF, "loss": 0.1}], "nested": {"a": [1, None]}}
    write_tensors(tmp_path / "a.safetensors", tensors, header)
    read, read_header = read_tensors(tmp_path / "a.safetensors")
    assert read_header == header
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


def test_missing_folders_are_made(tmp_path):
    write_tensors(tmp_path / "new" / "deep" / "a.safetensors", {"w": torch.ones(1)}, {})
    assert read_tensors(tmp_path / "new" / "deep" / "a.safetensors")[1] == {}


def test_a_model_whose_layers_differ_in_p_is_not_saved(net, tmp_path):
    net.layers[0].p = 8
    with pytest.raises(ValueError, match="must share one p"):
        save_model(tmp_path / "net.safetensors", net, header={})
    assert list(tmp_path.iterdir()) == []


# --- whole or not at all


class DiskIsFull(OSError):
    pass


def fail(*arguments, **keywords):
    raise DiskIsFull


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(moment, tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    write_atomically(path, b"old")
    monkeypatch.setattr(files.os, moment, fail)
    with pytest.raises(DiskIsFull):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_is_interrupted_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a.bin", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_file_written_replaces_the_old_one(tmp_path):
    for content in (b"first", b"second, and longer", b"3"):
        write_atomically(tmp_path / "a.bin", content)
        assert (tmp_path / "a.bin").read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_file_written_is_as_readable_as_any_other(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").stat().st_mode == (tmp_path / "plain").stat().st_mode


# --- files that are refused


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*nowhere\.safetensors"):
        lk.load_model("nowhere.safetensors")


def test_a_folder_without_a_run_names_the_file_that_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*ema_model\.safetensors"):
        lk.load_model(tmp_path)


def test_a_run_that_is_not_finished_is_called_so(tmp_path):
    (tmp_path / "recipe.toml").touch()
    with pytest.raises(FileNotFoundError, match=r"ema_.*: the run in its folder is not finished$"):
        lk.load_model(tmp_path)


class Bomb:
    """What runs when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("was-executed",)


def truncated(path: Path, net: nn.Module) -> None:
    save_model(path, net, header={})
    path.write_bytes(path.read_bytes()[:-10])


def with_a_broken_length(path: Path, net: nn.Module) -> None:
    save_model(path, net, header={})
    path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:])


DAMAGED = {
    "empty": lambda path, net: path.write_bytes(b""),
    "text": lambda path, net: path.write_text("no tensors here"),
    "truncated": truncated,
    "broken length": with_a_broken_length,
    "torch.save": lambda path, net: torch.save(net.state_dict(), path),
    "pickle": lambda path, net: path.write_bytes(pickle.dumps(Bomb())),
    "foreign safetensors": lambda path, net: path.write_bytes(
        safetensors.torch.save(net.state_dict())
    ),
    "header is no JSON": lambda path, net: path.write_bytes(
        safetensors.torch.save(net.state_dict(), metadata={"linfkit": "{"})
    ),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_file_that_is_damaged_or_foreign_is_refused(damage, net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net.safetensors"
    damage(path, net)
    with pytest.raises(ValueError, match=r"net\.safetensors is no checkpoint of linfkit, or is"):
        lk.load_model(path)
    assert list(tmp_path.iterdir()) == [path]  # nothing was executed


def test_a_class_that_linfkit_cannot_build_is_named(tmp_path):
    save_model(tmp_path / "own.safetensors", OwnNet(), header={})
    with pytest.raises(ValueError, match=r"it holds a OwnNet.*pass one as `model`"):
        lk.load_model(tmp_path / "own.safetensors")


def test_weights_that_do_not_fit_the_model_are_refused(tmp_path):
    save_model(tmp_path / "own.safetensors", OwnNet(features=6), header={})
    with pytest.raises(ValueError, match=r"own\.safetensors cannot be loaded: .*OwnNet"):
        lk.load_model(tmp_path / "own.safetensors", model=OwnNet(features=7))


HEADERS = [
    {},
    {"p": "inf"},
    {"model": {"class": "LpDistNet"}, "p": "inf"},
    {"model": {"class": "LpDistNet", "arguments": None}, "p": "inf"},
    {"model": {"class": "LpDistNet", "arguments": {"in_features": -1}}, "p": "inf"},
    [],
]


@pytest.mark.parametrize("header", HEADERS, ids=json.dumps)
def test_a_header_without_what_builds_the_model_is_refused(header, net, tmp_path):
    write_tensors(tmp_path / "net.safetensors", net.state_dict(), header)
    with pytest.raises(ValueError, match=r"net\.safetensors cannot be loaded"):
        lk.load_model(tmp_path / "net.safetensors")


def test_an_exponent_that_is_none_is_refused(net, tmp_path):
    built_by = {"class": "LpDistNet", "arguments": net.arguments}
    for p in ("0.5", "nan", "many"):
        write_tensors(tmp_path / "a.safetensors", net.state_dict(), {"model": built_by, "p": p})
        with pytest.raises(ValueError, match=r"a\.safetensors cannot be loaded"):
            lk.load_model(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "net",
    [
        lk.HybridNet(lk.LpDistNet(4, width=8, depth=3, classes=3, mean=0.2, scale=0.5), hidden=6),
        lk.LpDistLeNet((1, 28, 28), classes=3, hidden=16),
        lk.HybridNet(lk.LpDistLeNet((1, 28, 28), classes=3, hidden=16), hidden=6),
        lk.LpDistCNN7((1, 8, 8), classes=3, hidden=16, filters=4),
        lk.Ensemble(lk.LpDistNet(4, width=8, depth=2, classes=3) for _ in range(2)),
    ],
    ids=["hybrid", "LeNet", "LeNet + MLP", "CNN7", "ensemble"],
)
def test_every_kind_of_net_is_built_again(net, tmp_path):
    checkpoints.save_model(tmp_path / "net.safetensors", net, header={})
    again = lk.load_model(tmp_path / "net.safetensors")
    x = torch.rand(2, getattr(net, "in_features", 4))
    assert type(again) is type(net)
    assert torch.equal(again(x), net.eval()(x))


def another_pool(net):
    place = next(i for i, layer in enumerate(net.layers) if isinstance(layer, nn.MaxPool2d))
    net.layers[place] = nn.AvgPool2d(2)
    return net


def another_rho(net):
    net.layers[-1].rho = 0.8
    return net


Namesake = type("LpDistNet", (lk.LpDistNet,), {"forward": lambda self, x: 2 * x})


@pytest.mark.parametrize(
    "net",
    [
        another_pool(lk.LpDistLeNet((1, 28, 28), classes=3, hidden=16)),
        another_rho(lk.SortNet(4, width=8, depth=2, classes=3, rho=0.3)),
        Namesake(4, width=8, depth=2, classes=3),
        lk.Ensemble([another_rho(lk.SortNet(4, width=8, depth=2, classes=3, rho=0.3))]),
        lk.Ensemble([OwnNet()]),
    ],
    ids=["another layer", "another rho", "a namesake", "a changed member", "a member of one's own"],
)
def test_a_net_is_not_read_as_another(net, tmp_path):
    save_model(tmp_path / "net.safetensors", net, header={})
    with pytest.raises(ValueError, match=r"pass one as `model`"):
        lk.load_model(tmp_path / "net.safetensors")
    lk.load_model(tmp_path / "net.safetensors", model=net)
