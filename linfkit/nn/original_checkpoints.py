"""Checkpoints of the papers' own code, read into nets of linfkit."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from linfkit._util.files import expand_user
from linfkit.functional import check_rho
from linfkit.nn.checkpoints import ShapesOnly
from linfkit.nn.hybrid import HybridNet
from linfkit.nn.nets import LpDistNet
from linfkit.nn.sortnet import SortNet

#: What ``DistributedDataParallel`` puts before every name.
PARALLEL = "module."

#: Where the linear layers of the original's hybrid are in a `HybridNet`.
OF_THE_MLP = {
    "fc_linear.0.weight": "mlp.hidden.weight",
    "fc_linear.0.bias": "mlp.hidden.bias",
    "fc_final.weight": "mlp.last.weight",
    "fc_final.bias": "mlp.last.bias",
}


def load_original(
    path: str | Path,
    mean: float | Sequence[float] = 0.0,
    scale: float = 1.0,
    rho: float | None = None,
) -> LpDistNet | SortNet | HybridNet:
    """A net that the code of Zhang et al., ICLR 2022 or NeurIPS 2022 saved, ready to certify.

    That code (github.com/zbh2047/L_inf-dist-net-v2, and SortNet) normalises images outside the
    model, and gives scalar · (−u): u the distances of the last layer, `scalar` learned. Here the
    net owns mean and scale: its logits are scale · (−u), 1-Lipschitz in pixels, and its
    ``logit_scale`` is scalar / scale, so that ``logit_scale`` times the logits is what the original
    gives. A hybrid (with an MLP) has scale times the original's logits before the scalar, which it
    has in SortNet alone. Tensors keep the dtype that they have in the file.

    A SortNet's file has the same names and shapes as that of an ℓ∞-dist net, and does not hold ρ,
    on which its logits depend. So ρ must be given, except for a file with the optimizer that
    L_inf-dist-net-v2 saves beside the net: SortNet saves none.

    Args:
        path: a state dict, or a checkpoint that holds one under ``state_dict``, as ``torch.save``
            wrote it; names may begin with ``module.``. Only tensors are read, no code is run.
        mean: subtracted from the pixels in that training; one number, or one for each channel.
        scale: the number that it divided them by.
        rho: 0 for an ℓ∞-dist net; for a SortNet the fraction that it drops, 1 − `dropout` of its
            command.

    Returns:
        An `LpDistNet`, a `SortNet`, or, where the file has ``fc_linear`` and ``fc_final``, a
        `HybridNet` of one, of the depth and width that the file's tensors have, in evaluation mode
        at p=∞.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: mean, scale or rho is no number.
        ValueError: the file is damaged or no such checkpoint, and what it lacks; mean and scale do
            not fit; or rho must be given.

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
    content = _content(path)
    saved = _state(content, path)
    places = _places(saved, path)
    dtype, unit = saved["fc_dist.0.weight"].dtype, float(scale)
    with ShapesOnly():  # a file of a few bytes may have the shapes of a large net
        net = _net_of_the_size_of(saved, mean, scale, 0.0 if rho is None else check_rho(rho))
    tensors = {
        "mean": torch.as_tensor(mean, dtype=dtype).flatten().clone(),
        "scale": torch.tensor(unit, dtype=dtype),
        "logit_scale": torch.tensor(1 / unit, dtype=dtype),
    }
    for name, place in places.items():
        # the original's scalar is a vector of one
        tensor = saved[name].squeeze() / unit if name == "scalar" else saved[name]
        tensors[place] = tensor.clone(memory_format=torch.contiguous_format)
    try:
        net.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise _refusal(path, str(error)) from error
    if rho is None and not _has_optimizer_without_decay(content):
        raise ValueError(
            f"rho must be told of {path}, which may be a SortNet's: 0 for an ℓ∞-dist net, "
            "1 - dropout for a SortNet; got None"
        )
    return net.eval()


def _content(path: Path) -> Any:
    """Content of a file, on the CPU."""
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    if _is_compressed(path):
        raise _refusal(path, "it is compressed, as torch.save does not write it")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can make the reader fail in any way
        raise _refusal(
            path, "it is damaged, or holds more than tensors, which is not read: it could run code"
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


def _state(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict in a file, under names without the prefix of parallel training."""
    nested = isinstance(content, Mapping) and "state_dict" in content
    saved = content["state_dict"] if nested else content
    if not isinstance(saved, Mapping):
        raise _refusal(path, f"it must hold a state dict; it holds a {type(saved).__name__}")
    for name, value in saved.items():
        if not (isinstance(name, str) and isinstance(value, Tensor)):
            kind = type(value).__name__
            raise _refusal(
                path, f"it must hold names and tensors; under {name!r} it holds a {kind}"
            )
        dense = value.layout == torch.strided and value.numel() <= path.stat().st_size
        if not dense or not value.is_floating_point():
            raise _refusal(
                path,
                f"{name} must be a dense tensor of floating-point numbers, held in full; "
                f"it is a {value.dtype} of shape {tuple(value.shape)}",
            )
    return {name.removeprefix(PARALLEL): tensor for name, tensor in saved.items()}


def _places(saved: Mapping[str, Tensor], path: Path) -> dict[str, str]:
    """Name in a net of linfkit for each name in the file: a layer and its shift are two there."""
    distances = max(_distances(saved), 1)  # where there is none, one is missing
    shifted = distances if _is_hybrid(saved) else distances - 1
    places = {f"fc_dist.{i}.weight": f"layers.{2 * i}.weight" for i in range(distances)}
    for i in range(shifted):
        places[f"fc_dist.{i}.mean_shift.running_mean"] = f"layers.{2 * i + 1}.running_mean"
    if _is_hybrid(saved):
        places |= OF_THE_MLP
    else:
        places[f"fc_dist.{shifted}.bias"] = f"layers.{2 * shifted}.bias"
    if "scalar" in saved:
        places["scalar"] = "logit_scale"
    if missing := places.keys() - saved.keys():
        raise _refusal(path, f"it lacks {_listed(missing)}; it holds {_listed(saved)}")
    if unknown := saved.keys() - places.keys():
        raise _refusal(path, f"it holds {_listed(unknown)}, which no such net has")
    shape = saved["fc_dist.0.weight"].shape
    if len(shape) != 2:
        raise _refusal(path, f"fc_dist.0.weight must be a matrix; got shape {tuple(shape)}")
    return places


def _net_of_the_size_of(
    saved: Mapping[str, Tensor], mean: float | Sequence[float], scale: float, rho: float
) -> LpDistNet | SortNet | HybridNet:
    distances, (width, in_features) = _distances(saved), saved["fc_dist.0.weight"].shape
    hybrid = _is_hybrid(saved)
    last = "fc_final.bias" if hybrid else f"fc_dist.{distances - 1}.bias"
    size = in_features, width, distances + hybrid, saved[last].numel()
    net = SortNet(*size, rho, mean, scale) if rho else LpDistNet(*size, mean, scale)
    return HybridNet(net, saved["fc_linear.0.bias"].numel()) if hybrid else net


def _distances(saved: Mapping[str, Tensor]) -> int:
    """Number of distance layers in a state dict."""
    return sum(re.fullmatch(r"fc_dist\.\d+\.weight", name) is not None for name in saved)


def _is_hybrid(saved: Mapping[str, Tensor]) -> bool:
    return any(name.startswith(("fc_linear.", "fc_final.")) for name in saved)


def _refusal(path: Path, why: str) -> ValueError:
    return ValueError(f"{path} is no checkpoint of the original code: {why}")


def _listed(names: Collection[str]) -> str:
    """The first few names, for a message.

    >>> _listed({"a", "c", "b", "d"})
    'a, b, c and 1 more'
    """
    shown, more = sorted(names)[:3], len(names) - 3
    return (", ".join(shown) or "nothing") + (f" and {more} more" if more > 0 else "")
