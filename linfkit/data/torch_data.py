"""PyTorch data sets and loaders, read into memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils import data as torch_data

from linfkit._util.checks import as_whole_numbers
from linfkit.data.image_folders import to_pixels
from linfkit.data.pixels import as_images

TorchData = torch_data.Dataset[Any] | torch_data.DataLoader[Any]


def collect(argument: str, source: TorchData) -> tuple[Tensor, Tensor]:
    """Read images, uint8 (N, C, H, W), and labels, int64 (N,), in one pass.

    Args:
        argument: Name of the source in messages.
        source: As `Dataset.from_torch` takes it.

    Raises:
        TypeError: As `Dataset.from_torch`.
        ValueError: As `Dataset.from_torch`.

    >>> images, labels = torch.zeros(6, 1, 5, 5), torch.arange(6)
    >>> read, _ = collect("train", torch_data.TensorDataset(images, labels))
    >>> read.shape, read.dtype
    (torch.Size([6, 1, 5, 5]), torch.uint8)
    """
    images: list[Tensor] = []
    labels: list[Tensor] = []
    for some_images, some_labels in _batches(argument, source):
        batch = as_images(f"images of {argument}", some_images)
        if images and batch.shape[1:] != images[0].shape[1:]:
            shapes = f"{tuple(images[0].shape[1:])} and {tuple(batch.shape[1:])}"
            raise ValueError(f"images of {argument} must be of one shape; got {shapes}")
        images.append(batch)
        labels.append(as_whole_numbers(f"labels of {argument}", some_labels).cpu())
    if not images:
        raise ValueError(f"{argument} must hold images; got none")
    return torch.cat(images), torch.cat(labels)


def class_names(source: TorchData) -> tuple[str, ...] | None:
    """Names in the data set's attribute `classes`, or None if it has none.

    >>> class_names(torch_data.TensorDataset(torch.zeros(2)))
    """
    if isinstance(source, torch_data.DataLoader):
        source = source.dataset
    names = getattr(source, "classes", None)
    if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
        return tuple(names)
    return None


def _batches(argument: str, source: TorchData) -> Iterator[tuple[Any, Any]]:
    """Pairs of images and labels; a sample makes a batch of one."""
    if not isinstance(source, torch_data.Dataset | torch_data.DataLoader):
        got = type(source).__name__
        raise TypeError(f"{argument} must be a torch Dataset or DataLoader; got {got}")
    samples: Any = source
    if not isinstance(source, torch_data.IterableDataset | torch_data.DataLoader):
        samples = map(samples.__getitem__, range(len(samples)))
    for sample in samples:
        if not (isinstance(sample, list | tuple) and len(sample) == 2):
            got = type(sample).__name__
            raise TypeError(f"{argument} must give pairs of image and label; got {got}")
        images, labels = sample
        if getattr(source, "batch_sampler", None) is None:
            images, labels = _one(argument, images), [labels]
        yield images, labels


def _one(argument: str, image: Any) -> Any:
    """A batch of one image."""
    from PIL import Image

    if isinstance(image, Image.Image):
        image = to_pixels(f"images of {argument}", image)
    return image[None] if hasattr(image, "dtype") else image
