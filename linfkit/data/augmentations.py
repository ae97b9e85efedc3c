"""Random crops and flips of a whole batch at once, on the device that it is on."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from linfkit._util.devices import sent


def random_crop(
    images: Tensor,
    padding: int,
    generator: torch.Generator,
    padding_mode: Literal["replicate", "zeros"] = "replicate",
) -> Tensor:
    """Shift each image by up to `padding` pixels each way, and fill the gap.

    That is a random crop, of the images' own size, from the padded images: padded by their edges
    in Zhang et al., ICLR 2022 (1 pixel on MNIST, 3 on CIFAR-10), by zeros, which are black, in
    Li et al., 2021 (1 on MNIST, 4 on CIFAR-10).

    Args:
        images: (B, C, H, W), of any dtype.
        padding: The largest shift, in pixels; 0 returns the images and draws nothing.
        generator: Where the shifts are drawn, on any device: one on the CPU gives the same
            shifts whatever device the images are on.
        padding_mode: What the gap is filled with, named as in ``torch.nn.Conv2d``: "replicate",
            the image's edge, or "zeros".

    Returns:
        (B, C, H, W), dtype and device as came.

    Example:
        >>> images = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> shifted = random_crop(images, 1, torch.Generator().manual_seed(0))
        >>> assert shifted.shape == images.shape and not shifted.equal(images)
    """
    if padding == 0:
        return images
    batch, channels, height, width = images.shape
    size = 2, batch, 1
    drawn = torch.randint(-padding, padding + 1, size, generator=generator, device=generator.device)
    shift = sent(drawn, images.device)
    row = torch.arange(height, device=images.device) + shift[0]
    column = torch.arange(width, device=images.device) + shift[1]
    # A pixel beyond the edge is the edge's: the index is held within the image.
    held_row, held_column = row.clamp(0, height - 1), column.clamp(0, width - 1)
    place = (held_row[:, :, None] * width + held_column[:, None, :]).reshape(batch, 1, -1)
    pixels = images.reshape(batch, channels, -1)
    cropped = pixels.gather(2, place.expand_as(pixels)).reshape(images.shape)
    if padding_mode == "replicate":
        return cropped
    beyond = (row != held_row)[:, :, None] | (column != held_column)[:, None, :]
    return cropped.masked_fill(beyond[:, None], 0)


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right, or leave it, with equal chances.

    Args:
        images: (B, C, H, W), of any dtype.
        generator: Where the choice is drawn, on any device, as in `random_crop`.

    Returns:
        (B, C, H, W), dtype and device as came.

    Example:
        >>> images = torch.rand(8, 3, 4, 4)
        >>> flipped = random_flip(images, torch.Generator().manual_seed(0))
        >>> assert flipped.sort(dim=-1).values.equal(images.sort(dim=-1).values)
    """
    mirrored = torch.rand(len(images), generator=generator, device=generator.device) < 0.5
    return torch.where(sent(mirrored, images.device)[:, None, None, None], images.flip(-1), images)
