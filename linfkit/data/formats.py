"""Formats of image files: IDX as MNIST has it, CIFAR's records, and JPEGs that are decoded once.

IDX: two zero bytes, the type (8: unsigned bytes, the only one MNIST has), the number of dimensions,
each dimension as a big-endian 32-bit integer, then the bytes; often gzipped. CIFAR: records of one
or two label bytes and 3,072 pixel bytes.
"""

from __future__ import annotations

import gzip
import io
import math
import secrets
import warnings
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linfkit._util.progress import progress_bar
from linfkit.data.image_folders import read_image

LARGEST = 2**30  # bytes that are read at most; MNIST's largest file holds 47 million
#: Bytes that any gzipped file may hold, however small it is, and bytes for each of its own beyond
#: that: MNIST's images pack five into one, and deflate would pack a thousand.
FREE, DENSEST = 2**24, 100
PIECE = 2**16  # bytes that are read at once
CIFAR_SHAPE = (3, 32, 32)  # red, green, blue, each row by row
CIFAR_PIXELS = math.prod(CIFAR_SHAPE)


def read_idx(path: Path, dimensions: int) -> Tensor:
    """The array in an IDX file of unsigned bytes, gzipped if its name ends in `.gz`.

    Nothing is allocated on the header's word alone: it must agree with the size of the file, and
    no more is unpacked than it declares.

    Args:
        path: The file.
        dimensions: How many dimensions are wanted: 3 for images, 1 for labels.

    Returns:
        uint8, with the shape that the header states.

    Raises:
        ValueError: A file that is not of this format, or longer or shorter than its header says.
        FileNotFoundError: No such file.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "labels-idx1-ubyte.gz")
        ...     _ = path.write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 4])))
        ...     assert read_idx(path, dimensions=1).tolist() == [5, 0, 4]
    """
    on_disk = path.stat().st_size
    packed, wanted = path.suffix == ".gz", bytes([0, 0, 8, dimensions])
    try:
        with gzip.open(path) if packed else path.open("rb") as stream:
            magic, lengths = stream.read(4), stream.read(4 * dimensions)
            if magic != wanted:
                raise ValueError(
                    f"{path} must start with {wanted.hex(' ')}: IDX, unsigned bytes, {dimensions} "
                    f"dimension{'s' * (dimensions > 1)}; got {magic.hex(' ') or 'nothing'}"
                )
            if len(lengths) < 4 * dimensions:
                raise ValueError(f"{path}: truncated within its header")
            shape = tuple(np.frombuffer(lengths, dtype=">u4").tolist())
            size = math.prod(shape)
            declared = f"{size:,} bytes of shape {shape}"
            if size > LARGEST:
                raise ValueError(f"{path}: its header declares {declared}, more than are ever read")
            if size > (max(FREE, DENSEST * on_disk) if packed else on_disk):
                raise ValueError(
                    f"{path}: its header declares {declared}, more than a file of {on_disk:,} "
                    "bytes can hold; it is truncated, or no IDX"
                )
            content = _read_up_to(stream, size)
            behind = stream.read(1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as fault:
        raise ValueError(f"{path}: no sound gzip file ({fault}); fetch it anew") from fault
    if len(content) < size:
        raise ValueError(
            f"{path}: truncated; its header declares {declared}, but {len(content):,} follow"
        )
    if behind:
        raise ValueError(f"{path}: more bytes follow than the {declared} that its header declares")
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8).reshape(shape))


def _read_up_to(stream: io.BufferedIOBase, size: int) -> bytearray:
    """Read so many bytes, or fewer at the end; memory is taken as they come."""
    content = bytearray()
    while piece := stream.read(min(PIECE, size - len(content))):
        content += piece
    return content


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
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "test_batch.bin")
        ...     _ = path.write_bytes(bytes([3]) + bytes(3072) + bytes([9]) + bytes(3072))
        ...     images, labels = read_cifar(path)
        >>> assert images.shape == (2, 3, 32, 32) and labels.tolist() == [3, 9]
    """
    record = label_bytes + CIFAR_PIXELS
    size = path.stat().st_size
    if size == 0 or size % record:
        raise ValueError(
            f"{path}: {size:,} bytes, no whole number of records of {record:,} bytes; truncated, "
            f"or no batch of CIFAR-{classes}'s binary version"
        )
    records = np.fromfile(path, dtype=np.uint8).reshape(-1, record)
    labels = torch.from_numpy(records[:, label_bytes - 1])
    check_labels(path, labels, classes)
    images = records[:, label_bytes:].reshape(-1, *CIFAR_SHAPE)
    return torch.from_numpy(images), labels.long()


def check_labels(path: Path, labels: Tensor, classes: int) -> None:
    """Refuse the labels in a file if one of them is of no class."""
    if labels.max() >= classes:
        first = int((labels >= classes).int().argmax())
        raise ValueError(
            f"{path} must have labels from 0 to {classes - 1}; got {labels[first]} in record "
            f"{first:,}"
        )


def decoded_once(paths: Sequence[Path], side: int, kept: Path) -> NDArray[np.uint8]:
    """The pixels of many JPEG files, (N, 3, side, side), from the file they are kept in.

    Where that file is not there, or is of another size, they are decoded into it first: written
    beside and renamed, so that it is whole or not there. Where none can be written, they are
    decoded into memory, with a warning. Otherwise the file is mapped, not read: pages come into
    memory as they are used, and what is changed in them stays in memory.

    Args:
        paths: The JPEG files; another list of files needs another `kept`.
        side: Height and width of every image.
        kept: A ``.npy`` file.

    Raises:
        ValueError: As `read_image`, of the first file that is not sound; nothing is kept.
        FileNotFoundError: One of the files is not there.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from PIL import Image
        >>> with TemporaryDirectory() as folder:
        ...     path, kept = Path(folder, "grey.JPEG"), Path(folder, "kept.npy")
        ...     Image.new("L", (8, 8), 128).save(path)
        ...     shape = decoded_once([path] * 5, side=8, kept=kept).shape
        ...     assert shape == (5, 3, 8, 8) and kept.is_file()
    """
    shape = (len(paths), 3, side, side)
    # A mapped file holds no pickle, and must be as long as its header says.
    with suppress(OSError, ValueError, EOFError):
        images = np.load(kept, mmap_mode="c")
        if images.shape == shape and images.dtype == np.uint8:
            return images
    beside = kept.with_name(f".{kept.name}.{secrets.token_hex(4)}")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        images = np.lib.format.open_memmap(beside, mode="w+", dtype=np.uint8, shape=shape)
    except OSError as error:
        warnings.warn(f"decoded images stay in memory: {error}", RuntimeWarning, stacklevel=2)
        return _fill(np.empty(shape, np.uint8), paths)
    try:
        _fill(images, paths).flush()
        del images  # some systems rename no file that is mapped
        beside.replace(kept)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return np.load(kept, mmap_mode="c")


def _fill(images: Any, paths: Sequence[Path]) -> Any:
    for place, path in enumerate(progress_bar(paths, "Decoding, this once", unit="image")):
        images[place] = read_image(path, images.shape[2:], formats=("JPEG",))
    return images
