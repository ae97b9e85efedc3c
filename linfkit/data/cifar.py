"""The binary format of CIFAR's batches: records of one or two label bytes and 3,072 pixel bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SHAPE = (3, 32, 32)  # red, green, blue, each row by row
PIXELS = 3 * 32 * 32


def read_cifar(path: Path, classes: int = 10, label_bytes: int = 1) -> tuple[Tensor, Tensor]:
    """The images and labels of one batch.

    Args:
        path: The file.
        classes: Labels are below this.
        label_bytes: How many bytes of labels a record starts with; the last of them is taken. One
            for CIFAR-10; two for CIFAR-100, where a coarse label stands before the fine one.

    Returns:
        uint8 (N, 3, 32, 32) and int64 (N,), from 0 to `classes - 1`.

    Raises:
        ValueError: A file that is no whole number of records, or a label too large.
        FileNotFoundError: No such file.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> images = torch.full((2, 3, 32, 32), 7, dtype=torch.uint8)
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "test_batch.bin")
        ...     write_cifar(path, images, torch.tensor([3, 9]))
        ...     read_images, read_labels = read_cifar(path)
        >>> assert read_images.equal(images) and read_labels.tolist() == [3, 9]
    """
    record = label_bytes + PIXELS
    size = path.stat().st_size
    if size == 0 or size % record:
        raise ValueError(
            f"{path}: {size:,} bytes, no whole number of records of {record:,} bytes; truncated, "
            f"or no batch of CIFAR-{classes}'s binary version"
        )
    records = np.fromfile(path, dtype=np.uint8).reshape(-1, record)
    labels = records[:, label_bytes - 1]
    if labels.max() >= classes:
        first = int((labels >= classes).argmax())
        raise ValueError(
            f"{path}: label {labels[first]} in record {first:,}; "
            f"labels from 0 to {classes - 1} are wanted"
        )
    images = records[:, label_bytes:].reshape(-1, *SHAPE)
    return torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))


def write_cifar(path: Path, images: Tensor, labels: Tensor) -> None:
    """Write uint8 images (N, 3, 32, 32) and their labels (N,) as one batch of CIFAR-10."""
    pixels = images.reshape(len(images), -1).numpy()
    records = np.concatenate([labels.numpy().astype(np.uint8)[:, None], pixels], axis=1)
    records.tofile(path)
