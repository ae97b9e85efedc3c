"""Checkpoints of the papers' own code, read into nets of linfkit."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from linfkit._util.files import expand_user
from linfkit.functional import check_rho
from linfkit.nn.checkpoints import ShapesOnly
from linfkit.nn.convnets import LpDistAlexNet, LpDistCNN7, LpDistLeNet, LpDistVGG
from linfkit.nn.ensembles import Ensemble, HybridEnsemble, ensemble_of
from linfkit.nn.hybrid import HybridNet
from linfkit.nn.layers import DistanceLayer, LpDist, MeanShift
from linfkit.nn.nets import DistanceNet, LpDistNet
from linfkit.nn.sortnet import SortNet

State = Mapping[str, Tensor]
Units = tuple[float | Sequence[float], float]  # mean and scale

#: What ``DistributedDataParallel`` puts before every name.
PARALLEL = "module."

#: Name of a tensor of a fusion: its member's number, and its name there.
OF_A_MEMBER = re.compile(r"model_list\.(0|[1-9]\d{0,3})\.(.+)")

#: Sides of the images that the codes read: MNIST's, CIFAR's, and TinyImageNet's, cropped or whole.
SIDES = (28, 32, 56, 64)


@dataclass(frozen=True)
class Naming:
    """Names that one code gives to a layer's tensors and to the layers of a hybrid's MLP.

    Attributes:
        shift: the running mean behind a layer of distances.
        hidden: the MLP's first layer.
        last: its second.
        dimensions: of a layer's weights: 2, or 4 where every layer is a convolution, 1×1 if it is
            of neurons.
    """

    shift: str
    hidden: str
    last: str
    dimensions: int


#: The code of ICML 2021, and what was made of it.
FIRST = Naming("normalize.running_mean", "predictor.fc1", "predictor.fc2", dimensions=4)

#: The code of ICLR 2022, and SortNet's.
SECOND = Naming("mean_shift.running_mean", "fc_linear.0", "fc_final", dimensions=2)


@dataclass(frozen=True)
class Kind:
    """A kind of net in those codes: where it has its layers of distances.

    Attributes:
        net: its class here; of SortNets, that of ρ = 0.
        naming: of its code.
        layers: their names, in order; one that ends in a dot stands for those that are numbered
            from 0 on, as many as there are.
        last: name of the last layer, in whose place a hybrid has its MLP; "": the last of `layers`,
            which an MLP follows.
    """

    net: Callable[..., DistanceNet]
    naming: Naming
    layers: tuple[str, ...]
    last: str = ""

    def names(self, saved: State) -> list[str]:
        """Names of the layers of distances of a net that is as deep as a file's."""
        names = []
        for layer in self.layers:
            numbered = re.compile(re.escape(layer) + r"\d+\.weight")
            count = sum(numbered.fullmatch(name) is not None for name in saved)
            names += [f"{layer}{i}" for i in range(count)] if layer.endswith(".") else [layer]
        return [*names, self.last] if self.last and not self.is_hybrid(saved) else names

    def is_hybrid(self, saved: State) -> bool:
        """True if a file has linear layers beside those of distances."""
        linear = self.naming.hidden + ".", self.naming.last + "."
        return any(name.startswith(linear) for name in saved)

    def known(self, saved: State) -> int:
        """Number of those layers that a file holds."""
        return sum(f"{name}.weight" in saved for name in self.names(saved))


#: The convolutions of a VGG, in five runs.
VGG = tuple(
    f"feature.layer{run}.{i}" for run, count in enumerate((3, 3, 5, 5, 5), 1) for i in range(count)
)

#: The layers of neurons of LeNet, AlexNet and VGG.
NEURONS = "feature.fc.0", "feature.fc.1"

#: All kinds. A file is of the first of those of which it holds the most layers.
KINDS = (
    Kind(LpDistNet, SECOND, ("fc_dist.",)),
    Kind(LpDistNet, FIRST, ("feature.fc.",), last="feature.fc_last"),
    Kind(LpDistLeNet, FIRST, ("feature.conv1.0", "feature.conv2.0", *NEURONS), last="feature.fc.2"),
    Kind(
        LpDistAlexNet,
        FIRST,
        (*(f"feature.conv{i}.0" for i in range(1, 6)), *NEURONS),
        last="feature.fc.2",
    ),
    Kind(LpDistVGG, FIRST, (*VGG, *NEURONS), last="feature.fc.2"),
    Kind(
        LpDistCNN7,
        FIRST,
        (*(f"feature.conv.{i}" for i in range(5)), "feature.fc"),
        last="feature.fc_last",
    ),
)


class _NoCheckpoint(Exception):
    """Says what is wrong with a file."""


def load_original(
    path: str | Path,
    mean: float | Sequence[float] = 0.0,
    scale: float = 1.0,
    rho: float | None = None,
) -> DistanceNet | HybridNet | Ensemble | HybridEnsemble:
    """A net that the papers' own code saved, ready to certify.

    | code | nets, each with or without an MLP |
    | --- | --- |
    | zbh2047/L_inf-dist-net (ICML 2021) | ℓ∞-dist net, CNN7 (its Conv) |
    | Theia-4869/EMA-and-Ensemble-Lip-Networks (2021) | the same, LeNet, AlexNet, VGG; fusions |
    | zbh2047/L_inf-dist-net-v2 (ICLR 2022) | ℓ∞-dist net |
    | zbh2047/SortNet (NeurIPS 2022) | SortNet (but none of its hybrids that see crops) |

    Those codes normalise images outside the model. They give −u, the last layer's distances, or
    the MLP's output, times a `scalar` that some nets learn. Here the net owns mean and scale. Its
    logits are `scale` times the same without the scalar, so that −scale · u is 1-Lipschitz in
    pixels; its ``logit_scale`` is scalar / scale, so that ``logit_scale`` times the logits is what
    the original gives. Tensors keep the dtype that they have in the file.

    A SortNet's file has the same names and shapes as one of ICLR 2022, and does not hold ρ, on
    which its logits depend. So ρ must be given, except for a file with the optimizer that
    L_inf-dist-net-v2 saves beside the net: SortNet saves none.

    The code of Li et al., 2021, saves raw weights, not their moving average. Its ensembles are
    fusions, means of logits; the mean of softmaxes that it defines and never uses looks alike.

    Args:
        path: a state dict, or a checkpoint that holds one under ``state_dict``, as ``torch.save``
            wrote it; names may begin with ``module.``. Only tensors are read, no code is run.
        mean: subtracted from the pixels in that training; one number, or one for each channel.
        scale: the number that it divided them by.
        rho: 0 for an ℓ∞-dist net; for a SortNet the fraction that it drops, 1 − `dropout` of its
            command.

    Returns:
        A net of the depth and width that the file's tensors have, in evaluation mode at p=∞: with
        an MLP a `HybridNet`, of a fusion an `Ensemble` or `HybridEnsemble`. A convolutional net is
        for square images of 28, 32, 56 or 64 pixels a side, as fits its layers.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: mean, scale or rho is no number.
        ValueError: the file is damaged or no such checkpoint, and what it lacks; mean and scale do
            not fit; or rho must be given, or left out.

    >>> from tempfile import TemporaryDirectory
    >>> saved = {
    ...     "fc_dist.0.weight": torch.randn(8, 4),
    ...     "fc_dist.0.mean_shift.running_mean": torch.zeros(8),
    ...     "fc_dist.1.weight": torch.randn(3, 8),
    ...     "fc_dist.1.bias": torch.zeros(3),
    ...     "scalar": torch.tensor([2.0]),
    ... }
    >>> with TemporaryDirectory() as folder:
    ...     torch.save({"state_dict": saved}, f"{folder}/model.pth")
    ...     net = load_original(f"{folder}/model.pth", mean=0.5, scale=0.25, rho=0)
    >>> (net(torch.rand(5, 1, 2, 2)).shape, net.logit_scale.item())
    (torch.Size([5, 3]), 8.0)
    """
    path = expand_user(path)
    if rho is not None:
        rho = check_rho(rho)
    try:
        content = _content(path)
        if rho is None and _has_optimizer_without_decay(content):
            rho = 0.0
        saved = _state(content, path.stat().st_size)
        members = _members(saved)
        nets = [_net(each, (mean, scale), rho) for each in members or [saved]]
    except _NoCheckpoint as fault:
        raise ValueError(f"{path} is no checkpoint of the original code: {fault}") from fault
    return (ensemble_of(nets) if members else nets[0]).eval()


def _content(path: Path) -> Any:
    """Content of a file, on the CPU."""
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    if _is_compressed(path):
        raise _NoCheckpoint("it is compressed, as torch.save does not write it")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can make the reader fail in any way
        raise _NoCheckpoint(
            "it is damaged, or holds more than tensors, which is not read: it could run code"
        ) from error


def _is_compressed(path: Path) -> bool:
    """True if the file is an archive that would be larger when it is read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return False  # it is none, or torch.load will say that it is damaged


def _has_optimizer_without_decay(content: Any) -> bool:
    """True if a checkpoint holds an optimizer, and one without weight decay: SortNet's has some."""
    try:
        decays = [group["weight_decay"] for group in content["optimizer"]["param_groups"]]
    except (TypeError, LookupError):
        return False
    return bool(decays) and all(isinstance(each, int | float) and each == 0 for each in decays)


def _state(content: Any, size: int) -> dict[str, Tensor]:
    """The state dict in a file of that size, names without the prefix of parallel training."""
    nested = isinstance(content, Mapping) and "state_dict" in content
    saved = content["state_dict"] if nested else content
    if not isinstance(saved, Mapping):
        raise _NoCheckpoint(f"it must hold a state dict; it holds a {type(saved).__name__}")
    for name, value in saved.items():
        if not (isinstance(name, str) and isinstance(value, Tensor)):
            kind = type(value).__name__
            raise _NoCheckpoint(f"it must hold names and tensors; under {name!r} it holds a {kind}")
        dense = value.layout == torch.strided and 0 < value.numel() <= size
        if not dense or not value.is_floating_point():
            raise _NoCheckpoint(
                f"{name} must be a dense tensor of floating-point numbers, held in full; "
                f"it is a {value.dtype} of shape {tuple(value.shape)}",
            )
    return {name.removeprefix(PARALLEL): tensor for name, tensor in saved.items()}


def _members(saved: State) -> list[State]:
    """State dicts of a fusion's members; none of a single net.

    All are nets of one kind and size, since one command makes them.
    """
    members: dict[int, dict[str, Tensor]] = {}
    for name, tensor in saved.items():
        if found := OF_A_MEMBER.fullmatch(name):
            members.setdefault(int(found[1]), {})[found[2]] = tensor
    if not members:
        return []
    if beside := [name for name in saved if not OF_A_MEMBER.fullmatch(name)]:
        raise _NoCheckpoint(f"it holds {_listed(beside)} beside its members, model_list…")
    if missing := set(range(len(members))) - members.keys():
        raise _NoCheckpoint(f"it lacks model_list.{min(missing)}")
    sizes = [{name: (x.shape, x.dtype) for name, x in each.items()} for each in members.values()]
    if any(each != sizes[0] for each in sizes):
        raise _NoCheckpoint("its members must have tensors of the same names, shapes and types")
    return [members[i] for i in range(len(members))]


def _net(saved: State, units: Units, rho: float | None) -> DistanceNet | HybridNet:
    """Build the net of which these are the tensors."""
    kind = max(KINDS, key=lambda kind: kind.known(saved))
    if not kind.known(saved):
        raise _NoCheckpoint(
            "it must hold layers such as fc_dist.0.weight or feature.fc.0.weight; "
            f"it holds {_listed(saved)}"
        )
    if kind.naming is FIRST and rho:
        raise ValueError(
            f"rho must be left out where a layer is called feature…, as in no SortNet; got {rho}"
        )
    try:
        with ShapesOnly():  # a file of a few bytes may have the shapes of a large net
            net = _of_the_size_of(saved, kind, units, rho or 0.0)
        net.load_state_dict(_tensors(saved, kind, net, units), assign=True)
    except RuntimeError as error:
        raise _NoCheckpoint(str(error)) from error
    if kind.naming is SECOND and rho is None:
        raise ValueError(
            "rho must be 0 for an ℓ∞-dist net, 1 - dropout for a SortNet, whose files look alike; "
            "got None"
        )
    return net


def _of_the_size_of(saved: State, kind: Kind, units: Units, rho: float) -> DistanceNet | HybridNet:
    """Build a net as deep and wide as these tensors."""
    naming, names, hybrid = kind.naming, kind.names(saved), kind.is_hybrid(saved)
    shapes = {name: _shape(saved, f"{name}.weight", naming.dimensions) for name in names}
    (classes,) = _shape(saved, f"{naming.last if hybrid else names[-1]}.bias", 1)
    if kind.net is LpDistNet:
        width, in_features, *_ = shapes[names[0]]
        size = in_features, width, len(names) + hybrid, classes
        net: DistanceNet = SortNet(*size, rho, *units) if rho else LpDistNet(*size, *units)
    else:
        hidden = shapes[names[-1 if hybrid else -2]][0]
        filters, channels, *_ = shapes[names[0]]
        name, taken = next((name, shape[1]) for name, shape in shapes.items() if ".fc" in name)
        options = {"filters": filters} if kind.net is LpDistCNN7 else {}
        for side in SIDES:  # of the images of which the stages leave what the next layer takes
            net = kind.net((channels, side, side), hidden, classes, *units, **options)
            if taken == next(each.in_features for each in net.layers if isinstance(each, LpDist)):
                break
        else:
            raise _NoCheckpoint(
                f"{name} must take what is left of images of {', '.join(map(str, SIDES))} pixels a "
                f"side; it takes {taken} features"
            )
    if not hybrid:
        return net
    hidden, taken = _shape(saved, f"{naming.hidden}.weight", 2)
    if naming is SECOND and taken == 4 * shapes[names[-1]][0]:
        raise _NoCheckpoint("its MLP sees four crops of an image: linfkit has no SortHybridModel2")
    return HybridNet(net, hidden)


def _shape(saved: State, name: str, dimensions: int) -> torch.Size:
    """Shape of a tensor that must be there, of so many dimensions."""
    if name not in saved:
        raise _NoCheckpoint(f"it lacks {name}; it holds {_listed(saved)}")
    shape = saved[name].shape
    if len(shape) != dimensions:
        raise _NoCheckpoint(f"{name} must have {dimensions} dimensions; got shape {tuple(shape)}")
    return shape


def _tensors(
    saved: State, kind: Kind, net: DistanceNet | HybridNet, units: Units
) -> dict[str, Tensor]:
    """The tensors of a file in the shapes that a net has, under its names."""
    places, wanted = _places(saved, kind, net), net.state_dict()
    if missing := places.keys() - saved.keys():
        raise _NoCheckpoint(f"it lacks {_listed(missing)}; it holds {_listed(saved)}")
    if unknown := saved.keys() - places.keys():
        raise _NoCheckpoint(f"it holds {_listed(unknown)}, which no such net has")
    unit, dtype = float(units[1]), saved[next(iter(places))].dtype
    tensors = {
        "mean": torch.as_tensor(units[0], dtype=dtype).flatten().clone(),
        "scale": torch.tensor(unit, dtype=dtype),
        "logit_scale": torch.tensor(1 / unit, dtype=dtype),
    }
    for name, place in places.items():
        tensor = saved[name]
        if name == "scalar":  # a vector of one
            tensor = tensor.squeeze() / unit
        elif tensor.shape == (*wanted[place].shape, 1, 1):  # neurons, as 1×1 convolutions
            tensor = tensor[..., 0, 0]
        tensors[place] = tensor.clone(memory_format=torch.contiguous_format)
    return tensors


def _places(saved: State, kind: Kind, net: DistanceNet | HybridNet) -> dict[str, str]:
    """Name in a net of linfkit for each name in a file."""
    places, naming, names = {}, kind.naming, iter(kind.names(saved))
    for i, layer in enumerate(net.layers):
        if isinstance(layer, DistanceLayer):
            name = next(names)
            for part, _ in layer.named_parameters():
                places[f"{name}.{part}"] = f"layers.{i}.{part}"
        elif isinstance(layer, MeanShift):
            places[f"{name}.{naming.shift}"] = f"layers.{i}.running_mean"
    if kind.is_hybrid(saved):
        for theirs, ours in ((naming.hidden, "mlp.hidden"), (naming.last, "mlp.last")):
            places |= {f"{theirs}.{part}": f"{ours}.{part}" for part in ("weight", "bias")}
    if naming is SECOND and "scalar" in saved:
        places["scalar"] = "logit_scale"
    return places


def _listed(names: Collection[str]) -> str:
    """The first few names, for a message.

    >>> _listed({"a", "c", "b", "d"})
    'a, b, c and 1 more'
    """
    shown, more = sorted(names)[:3], len(names) - 3
    return (", ".join(shown) or "nothing") + (f" and {more} more" if more > 0 else "")
