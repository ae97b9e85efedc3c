"""Devices: where a model computes, and how tensors get there and back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from functools import wraps
from itertools import chain
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from linfkit._util.checks import as_tensor, check_not_nan

Function = TypeVar("Function", bound=Callable[..., Any])

#: Types of device that have no float64: what needs it is computed on the CPU.
WITHOUT_FLOAT64 = {"mps"}


def default_device() -> torch.device:
    """GPU where CUDA finds one, else the CPU.

    >>> default_device().type in ("cpu", "cuda")
    True
    """
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def usable_device(name: str | torch.device) -> torch.device:
    """Device of that name, if PyTorch finds it here; "auto" is `default_device`.

    Raises:
        TypeError: what came is no name.
        ValueError: PyTorch knows no such device, or there is none here.

    >>> usable_device("cpu")
    device(type='cpu')
    >>> usable_device("tpu9")
    Traceback (most recent call last):
    ValueError: device must be one that PyTorch finds here, as it does 'cpu'; got 'tpu9'
    """
    wanted = "device must be one that PyTorch finds here, as it does 'cpu'"
    if not isinstance(name, str | torch.device):
        raise TypeError(f"{wanted}; got {name!r}")
    if name == "auto":
        return default_device()
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):  # as PyTorch was built
        raise ValueError(f"{wanted}; got {str(name)!r}") from None
    return device


def device_of(model: nn.Module) -> torch.device:
    """Device of a model's weights; the CPU where it has none.

    >>> device_of(nn.Linear(2, 3))
    device(type='cpu')
    """
    first = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if first is None else first.device


def to_float64(tensor: Tensor) -> Tensor:
    """Tensor in float64, on its device; on the CPU where its device has no float64.

    >>> to_float64(torch.ones(2)).dtype
    torch.float64
    """
    return (tensor.cpu() if tensor.device.type in WITHOUT_FLOAT64 else tensor).double()


def batches_for(model: nn.Module, size: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Rows of tensors in batches of `size`, each moved to the model's device if that has its dtype.

    >>> [len(x) for x, in batches_for(nn.Linear(4, 2), 3, torch.rand(5, 4))]
    [3, 2]
    """
    where = device_of(model)
    for batch in zip(*(tensor.split(size) for tensor in tensors), strict=True):
        yield moved(batch, where)


def moved(value: Any, device: torch.device) -> Any:
    """The value, with every tensor in it on the device; float64 where the device has it.

    Tensors are looked for in tuples, lists and dataclasses.

    >>> moved((torch.ones(2), "two"), torch.device("cpu"))
    (tensor([1., 1.]), 'two')
    """
    if isinstance(value, Tensor):
        stays = value.dtype == torch.float64 and device.type in WITHOUT_FLOAT64
        return value if stays else value.to(device)
    if isinstance(value, tuple | list):
        return type(value)(moved(item, device) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        own = {field.name: moved(getattr(value, field.name), device) for field in fields(value)}
        return replace(value, **own)
    return value


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on the device, without waiting for what a GPU computes.

    >>> sent(torch.ones(2), torch.device("cpu"))
    tensor([1., 1.])
    """
    if device.type == "cuda" and not tensor.is_cuda:
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def on_device_of_model(function: Function) -> Function:
    """Compute a function of (model, x, ...) on the model's device, and answer on that of x.

    Every tensor among the arguments is moved, and in what is returned every tensor is moved back:
    in tuples, lists and dataclasses too. An x in a NumPy array counts as a tensor on the CPU.

    >>> @on_device_of_model
    ... def logits(model, x):
    ...     return model(x)
    >>> logits(nn.Linear(4, 2), torch.rand(5, 4)).device
    device(type='cpu')
    """

    @wraps(function)
    def computed_there(model: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        x = as_tensor(x)
        if not (isinstance(model, nn.Module) and isinstance(x, Tensor)):
            return function(model, x, *args, **kwargs)
        there = device_of(model)
        on_it = {name: moved(kwargs[name], there) for name in kwargs}
        return moved(function(model, *moved((x, *args), there), **on_it), x.device)

    return cast(Function, computed_there)


@on_device_of_model
def logits_of(model: nn.Module, x: Tensor) -> Tensor:
    """Logits of images, (B, ...) to (B, classes), on the device of x; NaN is refused.

    >>> logits_of(nn.Linear(4, 2), torch.rand(5, 4)).shape
    torch.Size([5, 2])
    """
    return check_not_nan(model(x))


def with_gradients(function: Function) -> Function:
    """Let a function take gradients, within no_grad and inference_mode too.

    Tensors among its arguments may ask for gradients, or be made in inference mode, as a model may:
    the function sees tensors that do not, and copies that are not.

    >>> @with_gradients
    ... def slope(model, x):
    ...     x.requires_grad_(True)
    ...     return torch.autograd.grad(model(x).sum(), x)[0]
    >>> with torch.inference_mode():
    ...     slope(nn.Linear(4, 2), torch.rand(5, 4)).shape
    torch.Size([5, 4])
    """

    @wraps(function)
    def recording(*args: Any, **kwargs: Any) -> Any:
        with torch.inference_mode(False), torch.enable_grad():
            named = {name: _recordable(value) for name, value in kwargs.items()}
            return function(*map(_recordable, args), **named)

    return cast(Function, recording)


def _recordable(value: Any) -> Any:
    """The value, or what autograd can record in its place."""
    if isinstance(value, Tensor):
        return value.clone() if value.is_inference() else value.detach()
    if isinstance(value, nn.Module) and any(map(torch.is_inference, value.parameters())):
        return copy.deepcopy(value)
    return value
