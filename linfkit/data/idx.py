"""The IDX format of MNIST's files: a short header, then the bytes, often gzipped.

The header is two zero bytes, the type (8: unsigned bytes, the only one MNIST has), the number of
dimensions, and each dimension as a big-endian 32-bit integer.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

LARGEST = 2**30  # bytes that are read at most; MNIST's largest file holds 47 million
#: Bytes that any gzipped file may hold, however small it is, and bytes for each of its own beyond
#: that: MNIST's images pack five into one, and deflate would pack a thousand.
FREE, DENSEST = 2**24, 100
PIECE = 2**16  # bytes that are read at once


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
        ...     write_idx(path, torch.tensor([5, 0, 4], dtype=torch.uint8))
        ...     assert read_idx(path, dimensions=1).tolist() == [5, 0, 4]
    """
    on_disk = path.stat().st_size
    packed = path.suffix == ".gz"
    try:
        with gzip.open(path) if packed else path.open("rb") as stream:
            shape = _read_header(path, stream, dimensions)
            size = math.prod(shape)
            room = max(FREE, DENSEST * on_disk) if packed else on_disk
            if size > min(room, LARGEST):
                raise ValueError(
                    f"{path}: its header declares {size:,} bytes of shape {shape}, more than "
                    + (
                        "are ever read"
                        if size > LARGEST
                        else f"a file of {on_disk:,} bytes can hold; it is truncated, or no IDX"
                    )
                )
            content = _read_up_to(stream, size)
            behind = stream.read(1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as fault:
        raise ValueError(f"{path}: no sound gzip file ({fault}); fetch it anew") from fault
    if len(content) < size:
        raise ValueError(
            f"{path}: truncated; its header declares {size:,} bytes of shape {shape}, "
            f"but {len(content):,} follow"
        )
    if behind:
        raise ValueError(
            f"{path}: more bytes follow than the {size:,} of shape {shape} that its header declares"
        )
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8).reshape(shape))


def write_idx(path: Path, array: Tensor) -> None:
    """Write a uint8 array as an IDX file, gzipped if its name ends in `.gz`.

    The same array makes the same bytes.
    """
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    content = header + array.contiguous().numpy().tobytes()
    if path.suffix == ".gz":
        content = gzip.compress(content, compresslevel=6, mtime=0)
    path.write_bytes(content)


def _read_up_to(stream: io.BufferedIOBase, size: int) -> bytearray:
    """Read so many bytes, or fewer at the end; memory is taken as they come."""
    content = bytearray()
    while piece := stream.read(min(PIECE, size - len(content))):
        content += piece
    return content


def _read_header(path: Path, stream: io.BufferedIOBase, dimensions: int) -> tuple[int, ...]:
    wanted = bytes([0, 0, 8, dimensions])
    magic = stream.read(4)
    if magic != wanted:
        raise ValueError(
            f"{path}: it starts with {magic.hex(' ') or 'nothing'}; {wanted.hex(' ')} is wanted, "
            f"which is IDX, unsigned bytes, {dimensions} dimension{'s' * (dimensions > 1)}"
        )
    lengths = stream.read(4 * dimensions)
    if len(lengths) < 4 * dimensions:
        raise ValueError(f"{path}: truncated within its header")
    return tuple(int(length) for length in np.frombuffer(lengths, dtype=">u4"))
