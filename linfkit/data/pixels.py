"""Pixels of arrays and tensors: whichever way they are given, as uint8 (N, C, H, W)."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linfkit._util.checks import as_tensor

Array = Tensor | NDArray[np.generic]


def as_images(argument: str, images: Array) -> Tensor:
    """Copy images into a uint8 tensor (N, C, H, W), where that is plainly what they are.

    Args:
        argument: Their name in messages.
        images: As `Dataset.from_arrays` takes them.

    Raises:
        TypeError: No array, or pixels that are other integers.
        ValueError: Pixels that are no levels of 0 to 255, or rows of them that make no square.

    >>> as_images("train_x", np.full((2, 9), 0.2)).shape
    torch.Size([2, 1, 3, 3])
    """
    array = isinstance(images, np.ndarray) and images.dtype.kind in "biuf"
    if not (array or isinstance(images, Tensor)):
        got = getattr(images, "dtype", type(images).__name__)
        raise TypeError(f"{argument} must be numbers, in a numpy array or torch tensor; got {got}")
    tensor = as_tensor(images).detach().to("cpu", copy=True).contiguous()
    if tensor.is_floating_point() and tensor.numel():
        tensor = _as_levels(argument, tensor)
    elif tensor.dtype != torch.uint8:
        raise TypeError(
            f"{argument} must be uint8 pixels, or floating-point ones in [0, 1]; got {tensor.dtype}"
            ": write images.astype('uint8') where they are from 0 to 255"
        )
    if tensor.ndim == 2:
        side = math.isqrt(tensor.shape[1])
        if side**2 != tensor.shape[1]:
            raise ValueError(
                f"{argument} must be images, (N, C, H, W); got rows of pixels, "
                f"{tuple(tensor.shape)}: write images.reshape(-1, C, H, W), or where the channels "
                "of each pixel are together images.reshape(-1, H, W, C).transpose(0, 3, 1, 2)"
            )
        tensor = tensor.reshape(-1, side, side)
    return tensor.unsqueeze(1) if tensor.ndim == 3 else tensor


def _as_levels(argument: str, pixels: Tensor) -> Tensor:
    """The levels, uint8, of pixels in [0, 1] that are so many 255ths, to rounding."""
    low, high = pixels.aminmax()
    if not (low >= 0 and high <= 1):
        likely = (
            "a net normalises its images itself: give it pixels"
            if low < 0
            else "write images.astype('uint8') where they are levels from 0 to 255"
        )
        raise ValueError(
            f"{argument} must be uint8 pixels, or floating-point ones in [0, 1]; "
            f"got values from {low:g} to {high:g}: {likely}"
        )
    levels = pixels * 255
    off = (levels - levels.round()).abs().max()
    rounding = 2 * 255 * torch.finfo(pixels.dtype).eps  # of k / 255, and of that times 255
    if off > rounding or rounding >= 0.5:
        raise ValueError(
            f"{argument} must be levels from 0 to 255, divided by 255 if at all; got {pixels.dtype}"
            f" up to {off:.2g} levels away from one: write (images * 255).round().astype('uint8') "
            "to take the nearest"
        )
    return levels.round().byte()
