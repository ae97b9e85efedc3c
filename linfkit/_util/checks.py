"""Argument checks shared by the package.

Every message reads `NAME must be WHAT IS WANTED; got WHAT CAME`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain
from numbers import Real
from typing import Any, SupportsIndex

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from linfkit._util.text import nearest

#: The beginning of every message about an ε that is wrong.
EPS = "eps must be in pixels of [0, 1], such as 8/255"


def check_count(name: str, value: SupportsIndex, least: int = 1) -> int:
    """Python int of a whole number of any type, refused below `least`.

    >>> check_count("steps", torch.tensor([3, 4]).numpy()[0])
    3
    >>> check_count("steps", 0)
    Traceback (most recent call last):
    ValueError: steps must be at least 1; got 0
    """
    try:
        if isinstance(value, bool) or getattr(value, "dtype", None) is torch.bool:
            raise TypeError
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number; got {value!r}") from None
    if count < least:
        raise ValueError(f"{name} must be at least {least}; got {count}")
    return count


def check_counts(**counts: SupportsIndex) -> dict[str, int]:
    """Python ints of whole numbers of at least 1, by their names.

    >>> check_counts(width=np.int64(3), depth=2)
    {'width': 3, 'depth': 2}
    """
    return {name: check_count(name, value) for name, value in counts.items()}


def check_choice(name: str, value: object, known: Sequence[str]) -> None:
    """Refuse a name that is none of those known.

    >>> check_choice("name", "digit", ["digits", "mnist"])
    Traceback (most recent call last):
    ValueError: name must be one of digits, mnist; got 'digit': did you mean 'digits'?
    """
    if value not in known:
        raise ValueError(
            f"{name} must be one of {', '.join(known)}; got {value!r}: "
            f"did you mean {nearest(value, known)!r}?"
        )


def check_real(name: str, value: float, wanted: str, holds: Callable[[float], bool]) -> float:
    """Python float of a real number, refused unless `holds` of it; NaN is always refused.

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
    if not number == number or not holds(number):  # NaN; torch.compile traces no math.isnan
        raise ValueError(f"{name} must be {wanted}; got {value}")
    return number


def check_tensor(name: str, tensor: Tensor) -> None:
    """Refuse anything but a tensor of floating-point numbers.

    >>> check_tensor("x", [0.5])
    Traceback (most recent call last):
    TypeError: x must be a torch.Tensor; got list
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor; got {type(tensor).__name__}")
    if not tensor.is_floating_point():
        raise TypeError(f"{name} must hold floating-point numbers; got dtype {tensor.dtype}")


def check_model(name: str, model: nn.Module) -> None:
    """Refuse anything but a module.

    >>> check_model("model", "digits-small")
    Traceback (most recent call last):
    TypeError: model must be a torch.nn.Module; got str
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"{name} must be a torch.nn.Module; got {type(model).__name__}")


def check_finite_weights(model: nn.Module) -> None:
    """Refuse a model with a weight or mean that is NaN or infinite, and name it.

    >>> layer = nn.Linear(2, 3)
    >>> _ = nn.init.constant_(layer.weight, math.nan)
    >>> check_finite_weights(layer)
    Traceback (most recent call last):
    ValueError: model must have finite weights; its 'weight' has NaN or infinite ones
    """
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if not tensor.is_meta and not tensor.isfinite().all():
            raise ValueError(
                f"model must have finite weights; its {name!r} has NaN or infinite ones"
            )


def check_not_nan(outputs: Tensor) -> Tensor:
    """Return the outputs of a model, (B, ...), or refuse them if any is NaN.

    >>> check_not_nan(torch.tensor([[0.5, math.nan], [0.5, 0.0]]))
    Traceback (most recent call last):
    ValueError: model must give numbers; got NaN for 1 of 2 images: are its weights finite?
    """
    if unknown := int(outputs.isnan().reshape(len(outputs), -1).any(dim=1).sum()):
        raise ValueError(
            f"model must give numbers; got NaN for {unknown} of {len(outputs)} images: "
            "are its weights finite?"
        )
    return outputs


def as_tensor(value: Any) -> Any:
    """Convert a NumPy array of any byte order to a tensor; leave anything else as it is.

    >>> as_tensor(np.array([0.5, 1.0], ">f4"))
    tensor([0.5000, 1.0000])
    """
    if not isinstance(value, np.ndarray):
        return value
    return torch.from_numpy(np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("=")))


def check_images(x: Tensor | NDArray[np.floating[Any]]) -> Tensor:
    """Return a non-empty batch of finite images in [0, 1] as a tensor; refuse anything else.

    >>> check_images(np.zeros((1, 28, 28), np.uint8))
    Traceback (most recent call last):
    TypeError: x must hold floating-point pixels in [0, 1]; got dtype torch.uint8: divide by 255
    """
    x = as_tensor(x)
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a torch.Tensor of images; got {type(x).__name__}")
    if not x.is_floating_point():
        raise TypeError(
            f"x must hold floating-point pixels in [0, 1]; got dtype {x.dtype}: divide by 255"
        )
    if x.dim() < 2 or not x.numel():
        raise ValueError(f"x must be a non-empty batch of images; got shape {tuple(x.shape)}")
    low, high = x.aminmax()
    if not (torch.isfinite(low) and torch.isfinite(high)):
        raise ValueError("x must hold finite pixels; got NaN or infinite ones")
    if low < 0 or high > 1:
        likely = " (a net normalises its images itself: give it pixels)" if low < 0 else ""
        likely = " (are they in grey levels? divide by 255)" if low >= 0 and high > 2 else likely
        raise ValueError(
            f"x must hold pixels in [0, 1]; got values from {low:g} to {high:g}{likely}"
        )
    return x


def as_whole_numbers(name: str, values: Any) -> Tensor:
    """Return whole numbers of any type, in an array, a tensor or a list, as an int64 tensor.

    >>> as_whole_numbers("labels", np.array([3, 1], np.uint8)), as_whole_numbers("labels", [3, 1])
    (tensor([3, 1]), tensor([3, 1]))
    """
    if not isinstance(values, Tensor):
        try:
            array = np.asarray(values)
        except ValueError:  # a list of lists of different lengths
            array = np.array(None)
        if array.dtype.kind not in "iu":
            got = f"{type(values).__name__} of {array.dtype}"
            raise TypeError(f"{name} must hold whole numbers; got {got}")
        values = torch.from_numpy(array.astype(np.int64))
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise TypeError(f"{name} must hold whole numbers; got dtype {values.dtype}")
    return values.long()


def as_labels(labels: int | Tensor | NDArray[np.integer[Any]] | Sequence[int], x: Tensor) -> Tensor:
    """Return labels of the samples x as int64 on their device, (B,), of any type of whole number.

    Raises:
        TypeError: they are not whole numbers.
        ValueError: there is not one for each sample.

    >>> as_labels([3, 1], torch.rand(2, 4))
    tensor([3, 1])
    """
    labels = as_whole_numbers("labels", labels)
    if labels.shape != x.shape[:1]:
        one = ": is it one image? give x[None] and labels[None]" if not labels.dim() else ""
        raise ValueError(
            f"labels must be one for each of the {len(x)} samples; "
            f"got shape {tuple(labels.shape)}{one}"
        )
    return labels.to(x.device)


def check_samples(
    x: Tensor | NDArray[np.floating[Any]],
    labels: int | Tensor | NDArray[np.integer[Any]] | Sequence[int],
) -> tuple[Tensor, Tensor]:
    """Return images, as `check_images` wants them, and their labels, by `as_labels`.

    >>> check_samples(np.array([[0.5, 1.0]]), [3])
    (tensor([[0.5000, 1.0000]], dtype=torch.float64), tensor([3]))
    """
    x = check_images(x)
    return x, as_labels(labels, x)


def check_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """Return labels of logits as int64, (B,), or refuse them if they do not belong together.

    >>> check_logits(torch.zeros(2, 3), torch.tensor([2, 0], dtype=torch.uint8))
    tensor([2, 0])
    """
    check_tensor("logits", logits)
    if logits.dim() != 2 or 0 in logits.shape:
        raise ValueError(f"logits must be a non-empty (B, C); got shape {tuple(logits.shape)}")
    labels = as_labels(labels, logits)
    if torch._C._are_functorch_transforms_active() or _labels_known.get():
        return labels  # within vmap, values cannot be seen
    low, high = labels.aminmax()
    if low < 0 or high >= logits.shape[1]:
        raise ValueError(
            f"labels must be from 0 to {logits.shape[1] - 1}; got values from {low} to {high}"
        )
    return labels


_labels_known = ContextVar("labels_known", default=False)


@contextmanager
def labels_known(known: bool = True) -> Iterator[None]:
    """Within the block, values of labels are not looked at: to see them is to wait for the GPU.

    >>> with labels_known():
    ...     check_logits(torch.zeros(1, 3), torch.tensor([9]))
    tensor([9])
    """
    token = _labels_known.set(known)
    try:
        yield
    finally:
        _labels_known.reset(token)


def check_eps(eps: float, positive: bool = False) -> float:
    """Return ε as a float, or refuse it if it is no size of a perturbation of pixels in [0, 1].

    >>> from fractions import Fraction
    >>> check_eps(Fraction(1, 4))
    0.25
    """
    if isinstance(eps, bool) or not isinstance(eps, Real):
        raise TypeError(f"{EPS}; got {eps!r}")
    if not 0 <= eps <= 1 or (positive and not eps):
        likely = f" (did you mean {eps:g}/255?)" if 1 < eps <= 255 else ""
        raise ValueError(f"{EPS}{', and above 0' if positive else ''}; got {eps}{likely}")
    return float(eps)


def check_eps_of_each(eps: float | Tensor, x: Tensor) -> Tensor:
    """Return ε of the samples x in their dtype: one number for all, (), or one for each, (B,).

    >>> check_eps_of_each(0.5, torch.rand(2, 4)), check_eps_of_each(torch.ones(2), torch.rand(2, 4))
    (tensor(0.5000), tensor([1., 1.]))
    """
    if not isinstance(eps, Tensor):
        return torch.as_tensor(check_eps(eps), dtype=x.dtype, device=x.device)
    if eps.shape not in ((), (len(x),)):
        raise ValueError(
            f"eps must be one number, or one for each of the {len(x)} samples; "
            f"got shape {tuple(eps.shape)}"
        )
    if not (torch._C._are_functorch_transforms_active() or ((eps >= 0) & (eps <= 1)).all()):
        raise ValueError(f"{EPS}; got values from {eps.min():g} to {eps.max():g}")
    return eps.to(x)
