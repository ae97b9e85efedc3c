"""Checkpoints: tensors and a JSON header in one safetensors file; reading executes nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from linfkit._util.checks import check_model, check_tensor
from linfkit._util.files import expand_user, write_atomically
from linfkit._util.literals import as_python
from linfkit.nn.convnets import LpDistAlexNet, LpDistCNN7, LpDistLeNet, LpDistVGG
from linfkit.nn.ensembles import Ensemble, HybridEnsemble, VotingEnsemble
from linfkit.nn.hybrid import HybridNet
from linfkit.nn.known_layers import unwrapped
from linfkit.nn.layers import set_p
from linfkit.nn.nets import LpDistNet, SharedExponent, common_p
from linfkit.nn.sortnet import SortNet

#: The nets in a run's folder: with the raw weights, whose file is written last and so marks the run
#: as finished, and with their moving average.
RAW = "model.safetensors"
AVERAGED = "ema_model.safetensors"

#: Key of the JSON header in safetensors' own metadata.
HEADER = "linfkit"

#: Key of a number that JSON does not know, ∞ or NaN, in the header.
NOT_FINITE = "$float"

#: Functions by which layers create their weights, means and indices.
CREATING = {torch.arange, torch.empty, torch.randn, torch.zeros}

#: Models that a header can name.
ARCHITECTURES = {
    net.__name__: net
    for net in (
        LpDistNet,
        LpDistLeNet,
        LpDistAlexNet,
        LpDistVGG,
        LpDistCNN7,
        SortNet,
        HybridNet,
        Ensemble,
        HybridEnsemble,
        VotingEnsemble,
    )
}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and a JSON header, atomically.

    >>> import torch
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_tensors(Path(folder, "a.safetensors"), {"w": torch.ones(2)}, {"epoch": 3})
    ...     read_tensors(Path(folder, "a.safetensors"))
    ({'w': tensor([1., 1.])}, {'epoch': 3})
    """
    whole = torch.contiguous_format
    # copies, since several may share their memory, as tied weights do
    own = {
        name: tensor.detach().to("cpu", copy=True, memory_format=whole)
        for name, tensor in tensors.items()
    }
    text = json.dumps(_in_json(as_python(header)), allow_nan=False)
    write_atomically(path, safetensors.torch.save(own, metadata={HEADER: text}))


def _in_json(value: Any) -> Any:
    """Replace each number that JSON does not know by an object."""
    if isinstance(value, dict):
        return {key: _in_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_in_json(item) for item in value]
    known = not isinstance(value, float) or math.isfinite(value)
    return value if known else {NOT_FINITE: str(value)}


def _from_json(read: dict[str, Any]) -> Any:
    return float(str(read[NOT_FINITE])) if read.keys() == {NOT_FINITE} else read


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors, on the CPU, and the JSON header of a file that `write_tensors` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or not linfkit's.
    """
    return _read(path, with_tensors=True)


def read_header(path: Path) -> dict[str, Any]:
    """The JSON header of a file alone, no tensor read; errors are those of `read_tensors`."""
    return _read(path, with_tensors=False)[1]


def _read(path: Path, with_tensors: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        unfinished = path.name in (RAW, AVERAGED) and (path.parent / "recipe.toml").is_file()
        why = ": the run in its folder is not finished" if unfinished else ""
        raise FileNotFoundError(f"no checkpoint at {path}{why}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if HEADER not in metadata:
                raise ValueError(f"its header has no {HEADER!r} entry")
            header = json.loads(metadata[HEADER], object_hook=_from_json)
            names = file.keys() if with_tensors else []
            tensors = {name: file.get_tensor(name) for name in names}
    except (safetensors.SafetensorError, ValueError, OSError, RecursionError) as error:
        raise ValueError(f"{path} is no checkpoint of linfkit, or is damaged: {error}") from error
    if not isinstance(header, dict):
        raise ValueError(f"{path} cannot be loaded: its header is a {type(header).__name__}")
    return tensors, header


def save_model(path: str | Path, model: nn.Module, header: Mapping[str, Any] | None = None) -> None:
    """Write a model's parameters and buffers, with what `load_model` needs to build it again.

    Each tensor is read again in the dtype that it has. Of what ``torch.compile``,
    ``DataParallel``, ``DistributedDataParallel`` or ``AveragedModel`` made of a net, the net is
    written. A net whose layers are not those that its class makes of its arguments is one of a
    class of your own: `load_model` then wants one to load into.

    Args:
        path: the ``.safetensors`` file to write, whole or not at all.
        model: an `LpDistNet`, or any module whose distance layers share one p.
        header: what else to keep, such as recipe and history: names, and values of JSON or ∞ and
            NaN. The names "model" and "p" are the net's own.

    Raises:
        TypeError: the model is none, or the header holds something else.
        ValueError: the layers differ in p, there is none, or the header names one of the net's own.

    >>> from tempfile import TemporaryDirectory
    >>> net, x = LpDistNet(4, width=8, depth=2, classes=3).double(), torch.rand(5, 4).double()
    >>> with TemporaryDirectory() as folder:
    ...     save_model(f"{folder}/net.safetensors", net, header={"trained on": "my own images"})
    ...     again = load_model(f"{folder}/net.safetensors")
    >>> torch.equal(again(x), net.eval()(x))
    True
    """
    check_model("model", model)
    if not isinstance(header, Mapping | None):
        raise TypeError(f"header must be a mapping; got {type(header).__name__}")
    header, model = header or {}, unwrapped(model)
    if taken := sorted({"model", "p"} & header.keys()):
        raise ValueError(f"header must leave {' and '.join(taken)} to the net; got {list(header)}")
    p, unknown = common_p(model), {"class": type(model).__name__, "arguments": None}
    built_as = model.architecture if _is_as_built(model, p) else unknown
    write_tensors(expand_user(path), model.state_dict(), {**header, "model": built_as, "p": str(p)})


def _is_as_built(model: nn.Module, p: float) -> TypeGuard[SharedExponent]:
    """True if a net is one of linfkit's own, with the layers that its arguments make."""
    if not isinstance(model, SharedExponent) or type(model) not in ARCHITECTURES.values():
        return False
    try:
        with ShapesOnly():
            built = _built(model.architecture)
    except ValueError:  # a member is of another class
        return False
    set_p(built, p)
    return repr(built) == repr(model)


def load_model(path: str | Path, model: nn.Module | None = None) -> nn.Module:
    """Load a trained model, in evaluation mode at the p it was saved with, ready to certify.

    A net that is built from the file has the file's dtypes; a model of your own keeps its own. What
    the header says of the model takes no memory: it is held against the tensors first.

    Args:
        path: a ``.safetensors`` file, or the folder that `fit` or ``linfkit train`` wrote; of a
            folder, the averaged weights (``ema_model.safetensors``) are taken.
        model: a model of your own class to load into; linfkit's own are built from the file.

    Raises:
        TypeError: the model is none.
        FileNotFoundError: there is no such file.
        ValueError: the file is no checkpoint of linfkit, or does not fit the model.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     save_model(f"{folder}/net.safetensors", LpDistNet(4, 8, 2, 3), header={})
    ...     load_model(f"{folder}/net.safetensors").p
    inf
    """
    if model is not None:
        check_model("model", model)
    path = file_of(path)
    tensors, header = read_tensors(path)
    try:
        if model is None:
            model = _built_of(header["model"], tensors)
        else:
            unwrapped(model).load_state_dict(tensors)
        set_p(model, float(header["p"]))
    except Exception as error:  # a header that nobody wrote can fail in any way
        raise ValueError(f"{path} cannot be loaded: {error}") from error
    return model.eval()


def file_of(path: str | Path) -> Path:
    """The file of a net: the path itself, or in a run's folder that of the averaged weights.

    >>> file_of("net.safetensors").name
    'net.safetensors'
    """
    path = expand_user(path)
    return path / AVERAGED if path.is_dir() else path


class ShapesOnly(TorchFunctionMode):
    """Create tensors with a shape but no values within the block, so that any net is built at once.

    Args:
        at_most: number of tensors that may be created; beyond, a ValueError is raised.

    >>> with ShapesOnly():
    ...     weight = torch.randn(10**9, 10**6)
    >>> weight.shape, weight.device
    (torch.Size([1000000000, 1000000]), device(type='meta'))
    """

    def __init__(self, at_most: float = math.inf) -> None:
        super().__init__()
        self.left = at_most

    def __torch_function__(
        self,
        function: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if function not in CREATING:
            return function(*args, **(kwargs or {}))
        self.left -= function is not torch.arange  # which makes indices, not weights
        if self.left < 0:
            raise ValueError("it has more layers than there are tensors for them")
        return function(*args, **{**(kwargs or {}), "device": "meta"})


def _built_of(architecture: Any, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Build the net that a header describes, with these tensors for its weights.

    A header can state any size, so the net is built of shapes alone, of no more tensors than the
    file may need, and takes over those of the file if they fit.
    """
    # where a hybrid takes the place of a net's last layer, that is built too
    with ShapesOnly(at_most=2 * len(tensors)):
        model: nn.Module = _built(architecture)
    for name, tensor in tensors.items():
        check_tensor(name, tensor)
    # copied: what was read is the file itself, mapped into memory, which may yet change
    own = {name: tensor.clone() for name, tensor in tensors.items()}
    model.load_state_dict(own, assign=True)
    return model


def _built(described: Any) -> Any:
    """Build the net, or nets, that a header's value describes; any other value stays as it is."""
    if isinstance(described, list):
        return [_built(item) for item in described]
    if not isinstance(described, dict):
        return described
    name, arguments = described["class"], described["arguments"]
    if name not in ARCHITECTURES or arguments is None:
        raise ValueError(f"it holds a {name}, which linfkit cannot build: pass one as `model`")
    return ARCHITECTURES[name](**{key: _built(value) for key, value in arguments.items()})
