"""The binary format of CIFAR-10's batches: records of one label byte and 3,072 pixel bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SHAPE = (3, 32, 32)  # red, green, blue, each row by row
RECORD = 1 + 3 * 32 * 32


def read_cifar(path: Path) -> tuple[Tensor, Tensor]:
    """The images and labels of one batch.

    Returns:
        uint8 (N, 3, 32, 32) and int64 (N,), from 0 to 9.

    Raises:
        ValueError: A file that is no whole number of records, or a label above 9.
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
    size = path.stat().st_size
    if size == 0 or size % RECORD:
        raise ValueError(
            f"{path}: {size:,} bytes, no whole number of records of {RECORD:,} bytes; "
            "truncated, or no batch of CIFAR-10's binary version"
        )
    records = np.fromfile(path, dtype=np.uint8).reshape(-1, RECORD)
    labels = records[:, 0]
    if labels.max() > 9:
        record = int(labels.argmax())
        raise ValueError(
            f"{path}: label {labels[record]} in record {record:,}; labels from 0 to 9 are wanted"
        )
    images = records[:, 1:].reshape(-1, *SHAPE)
    return torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))


def write_cifar(path: Path, images: Tensor, labels: Tensor) -> None:
    """Write uint8 images (N, 3, 32, 32) and their labels (N,) as one batch."""
    pixels = images.reshape(len(images), -1).numpy()
    records = np.concatenate([labels.numpy().astype(np.uint8)[:, None], pixels], axis=1)
    records.tofile(path)
