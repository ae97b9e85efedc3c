"""Random crops and flips of a whole batch at once, on the device that it is on."""

from __future__ import annotations

import torch
from torch import Tensor


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Shift each image by up to `padding` pixels each way; its edge is repeated into the gap.

    That is a random crop, of the images' own size, from the images padded by their edges.

    Args:
        images: (B, C, H, W), of any dtype.
        padding: The largest shift, in pixels; 0 returns the images and draws nothing.
        generator: Where the shifts are drawn, on any device: one on the CPU gives the same
            shifts whatever device the images are on.

    Returns:
        (B, C, H, W), dtype and device as came.

    Raises:
        TypeError: Images that are no tensor, or a padding that is not an integer.
        ValueError: Images of another shape, or a negative padding.

    Example:
        >>> images = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> shifted = random_crop(images, 1, torch.Generator().manual_seed(0))
        >>> assert shifted.shape == images.shape and not shifted.equal(images)
    """
    _check_batch(images)
    if isinstance(padding, bool) or not isinstance(padding, int):
        raise TypeError(f"padding: {padding!r} came; an integer of at least 0 is wanted")
    if padding < 0:
        raise ValueError(f"padding: {padding} came; an integer of at least 0 is wanted")
    if padding == 0:
        return images
    batch, channels, height, width = images.shape
    shift = torch.randint(
        -padding, padding + 1, (2, batch, 1), generator=generator, device=generator.device
    ).to(images.device)
    # A pixel beyond the edge is the edge's: the index is held within the image.
    row = (torch.arange(height, device=images.device) + shift[0]).clamp(0, height - 1)
    column = (torch.arange(width, device=images.device) + shift[1]).clamp(0, width - 1)
    place = (row[:, :, None] * width + column[:, None, :]).reshape(batch, 1, height * width)
    pixels = images.reshape(batch, channels, height * width)
    return pixels.gather(2, place.expand_as(pixels)).reshape(images.shape)


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right, or leave it, with equal chances.

    Args:
        images: (B, C, H, W), of any dtype.
        generator: Where the choice is drawn, on any device, as in `random_crop`.

    Returns:
        (B, C, H, W), dtype and device as came.

    Raises:
        TypeError: Images that are no tensor.
        ValueError: Images of another shape.

    Example:
        >>> images = torch.rand(8, 3, 4, 4)
        >>> flipped = random_flip(images, torch.Generator().manual_seed(0))
        >>> assert flipped.sort(dim=-1).values.equal(images.sort(dim=-1).values)
    """
    _check_batch(images)
    mirrored = torch.rand(len(images), generator=generator, device=generator.device) < 0.5
    return torch.where(mirrored.to(images.device)[:, None, None, None], images.flip(-1), images)


def _check_batch(images: Tensor) -> None:
    if not isinstance(images, Tensor):
        raise TypeError(f"images: {type(images).__name__} came; a torch tensor is wanted")
    if images.ndim != 4:
        raise ValueError(f"images: shape {tuple(images.shape)} came; (B, C, H, W) is wanted")
