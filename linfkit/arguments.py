"""What arguments must be: checks that name the argument, what came and what is wanted."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real

import torch
from torch import Tensor, nn

__all__ = ["check_count", "check_model", "check_real", "check_tensor", "usable_device"]


def check_count(name: str, value: int, least: int = 1) -> None:
    """Refuse anything but a whole number from `least` up.

    >>> check_count("steps", 0)
    Traceback (most recent call last):
    ValueError: steps must be at least 1; got 0
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number; got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}; got {value}")


def check_real(name: str, value: float, wanted: str, holds: Callable[[float], bool]) -> None:
    """Refuse anything but a real number of which `holds` is true; NaN is never wanted.

    >>> check_real("kappa", 2, "a number from 0 to 1", lambda kappa: 0 <= kappa <= 1)
    Traceback (most recent call last):
    ValueError: kappa must be a number from 0 to 1; got 2
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be {wanted}; got {value!r}")
    try:
        number = float(value)
    except OverflowError:  # an integer beyond all floating-point numbers
        number = math.nan
    if math.isnan(number) or not holds(number):
        raise ValueError(f"{name} must be {wanted}; got {value}")


def check_tensor(name: str, tensor: Tensor) -> None:
    """Refuse anything but a tensor of floating-point numbers.

    >>> check_tensor("x", [0.5])
    Traceback (most recent call last):
    TypeError: x must be a torch.Tensor; got list
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor; got {type(tensor).__name__}")
    if not tensor.is_floating_point():
        raise TypeError(f"{name} must hold floating-point numbers; its dtype is {tensor.dtype}")


def check_model(name: str, model: nn.Module) -> None:
    """Refuse anything but a module.

    >>> check_model("model", "digits-small")
    Traceback (most recent call last):
    TypeError: model must be a torch.nn.Module; got str
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"{name} must be a torch.nn.Module; got {type(model).__name__}")


def usable_device(name: str | torch.device) -> torch.device:
    """The device of that name.

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
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):  # as PyTorch was built
        raise ValueError(f"{wanted}; got {str(name)!r}") from None
    return device
