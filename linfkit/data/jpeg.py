"""Many small JPEG files as one array: decoded once, kept in a file, mapped into memory."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm


def read_jpeg(path: Path, side: int) -> NDArray[np.uint8]:
    """The pixels of a square JPEG file, (3, side, side): red, green, blue; grey ones three times.

    The size that its header declares is checked before anything is decoded.

    Raises:
        ValueError: A file that is no JPEG, is damaged, or is not of that size.
        FileNotFoundError: No such file.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from PIL import Image
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "grey.JPEG")
        ...     Image.new("L", (8, 8), 128).save(path)
        ...     assert (read_jpeg(path, side=8) == 128).all()
    """
    from PIL import Image

    try:
        with Image.open(path, formats=["JPEG"]) as image:
            if image.size != (side, side):
                raise ValueError(
                    f"{path}: an image of {image.width} × {image.height} pixels; "
                    f"{side} × {side} are wanted"
                )
            return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    except FileNotFoundError:
        raise
    except (OSError, Image.DecompressionBombError) as fault:
        raise ValueError(f"{path}: no sound JPEG file ({fault}); fetch it anew") from fault


def decoded_once(paths: Sequence[Path], side: int, kept: Path) -> NDArray[np.uint8]:
    """The pixels of many JPEG files, (N, 3, side, side), from the file they are kept in.

    Where that file is not there, or is of another size, they are decoded into it first: written
    beside and renamed, so that it is whole or not there. Either way it is mapped, not read: pages
    come into memory as they are used, and what is changed in them stays in memory.

    Args:
        paths: The JPEG files; another list of files needs another `kept`.
        side: Height and width of every image.
        kept: A ``.npy`` file.

    Raises:
        ValueError: As `read_jpeg`, of the first file that is not sound; nothing is kept.
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
    images = _mapped(kept, shape)
    if images is None:
        _decode(paths, shape, kept)
        images = np.load(kept, mmap_mode="c")
    return images


def _mapped(kept: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    try:
        # A mapped file holds no pickle, and must be as long as its header says.
        images = np.load(kept, mmap_mode="c")
    except (FileNotFoundError, ValueError, EOFError):
        return None
    return images if images.shape == shape and images.dtype == np.uint8 else None


def _decode(paths: Sequence[Path], shape: tuple[int, ...], kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    beside = kept.with_name(f".{kept.name}.{secrets.token_hex(4)}")
    try:
        images = np.lib.format.open_memmap(beside, mode="w+", dtype=np.uint8, shape=shape)
        for image, path in zip(
            images, tqdm(paths, "Decoding, this once", unit="image"), strict=True
        ):
            image[:] = read_jpeg(path, side=shape[-1])
        images.flush()
        del images, image  # some systems rename no file that is mapped
        beside.replace(kept)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
