"""Folders of images, a folder for each class, decoded by Pillow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linfkit._util.checks import check_count, check_real
from linfkit._util.files import expand_user
from linfkit._util.progress import progress_bar

if TYPE_CHECKING:
    from PIL import Image

#: Formats that are read, and the endings of their files' names.
FORMATS = {
    "BMP": (".bmp",),
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "PPM": (".ppm", ".pgm", ".pbm"),
    "WEBP": (".webp",),
}
ENDINGS = tuple(ending for endings in FORMATS.values() for ending in endings)
LARGEST = 2**26  # pixels of a file that is decoded at most, since a small file can declare many

#: Labelled files: the paths of each class, by its name.
Listing = Mapping[str, Sequence[Path]]


def read_image_folder(
    root: str | Path,
    size: tuple[int, int] | None = None,
    test_share: float = 0.2,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor, tuple[str, ...]]:
    """Read the images of a folder, as `Dataset.from_folder` describes it.

    Returns:
        Training images, their labels, test images, their labels, and the names of the classes.
    """
    if not isinstance(root, str | Path):
        raise TypeError(f"root must be the path of a folder; got {root!r}")
    share = check_real(
        "test_share", test_share, "a number above 0 and below 1", lambda share: 0 < share < 1
    )
    rng = np.random.default_rng(check_count("seed", seed, least=0))
    size = None if size is None else _check_size(size)
    train, test = _list_parts(expand_user(root), share, rng)
    paths, labels = zip(*_shuffled(train, rng), *_shuffled(test, rng), strict=True)
    x, y = torch.from_numpy(_read_images(paths, size)), torch.tensor(labels)
    split = sum(map(len, train.values()))
    return x[:split], y[:split], x[split:], y[split:], tuple(train)


def read_image(
    path: Path,
    size: tuple[int, int] | None = None,
    resize: bool = False,
    formats: Iterable[str] = FORMATS,
    hint: str = "",
) -> NDArray[np.uint8]:
    """Read the pixels of an image file, uint8 (C, H, W): C is 1 if it is grey, otherwise 3.

    What its header declares is checked before anything is decoded.

    Args:
        path: The file.
        size: (H, W) that is wanted; None for any.
        resize: Resize an image of another size, instead of refusing it.
        formats: Those that are read, by Pillow's names.
        hint: End of the message that refuses another size.

    Raises:
        ValueError: A file that is no sound image, has other than 8 bits a channel, is of another
            size, or has more than 2²⁶ pixels.
        FileNotFoundError: No such file.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from PIL import Image
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "red.png")
        ...     Image.new("RGB", (4, 3), (255, 0, 0)).save(path)
        ...     pixels = read_image(path)
        >>> assert pixels.shape == (3, 3, 4) and pixels[0].min() == 255
    """
    from PIL import Image

    with _decoding(path, formats):
        opened = Image.open(path, formats=tuple(formats))
    with opened as image:
        height, width = size or (image.height, image.width)
        if (image.height, image.width) != (height, width) and not resize:
            raise ValueError(
                f"{path} must be an image of {height} × {width} pixels; got "
                f"{image.height} × {image.width}{hint}"
            )
        if image.height * image.width > LARGEST:
            got = f"{image.height:,} × {image.width:,}"
            raise ValueError(f"{path} must have at most {LARGEST:,} pixels; got {got}")
        with _decoding(path, formats):
            image.load()
        return to_pixels(str(path), image, (height, width))


def to_pixels(
    name: str, image: Image.Image, size: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """Convert one of Pillow's images to uint8 (C, H, W): C is 1 if it is grey, otherwise 3.

    Args:
        name: Its name in messages.
        image: The image; transparency is ignored.
        size: (H, W) to resize it to.

    Raises:
        ValueError: Other than 8 bits a channel.

    >>> from PIL import Image
    >>> to_pixels("image", Image.new("L", (4, 3), 7)).shape
    (1, 3, 4)
    """
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        raise ValueError(f"{name} must have 8 bits a channel; got Pillow's mode {image.mode}")
    image = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
    if size and (image.height, image.width) != size:
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    pixels = np.array(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _check_size(size: tuple[int, int]) -> tuple[int, int]:
    if not (isinstance(size, tuple | list) and len(size) == 2):
        raise TypeError(f"size must be two whole numbers, (H, W); got {size!r}")
    height, width = (check_count("size", side) for side in size)
    return height, width


def _list_parts(root: Path, share: float, rng: np.random.Generator) -> tuple[Listing, Listing]:
    """Training and test files of each class."""
    if not root.is_dir():
        raise FileNotFoundError(f"root must be a folder that exists; there is no {root}")
    if all((root / part).is_dir() for part in ("train", "test")):
        train, test = _list_classes(root / "train"), _list_classes(root / "test")
        if list(train) != list(test):
            raise ValueError(
                f"{root / 'test'} must hold the classes that train holds, {', '.join(train)}; "
                f"got {', '.join(test)}"
            )
        return train, test
    train, test = {}, {}
    for name, paths in _list_classes(root).items():
        if len(paths) < 2:
            raise ValueError(
                f"{root / name} must hold two images or more, one to train and one to test; "
                f"got {len(paths)}"
            )
        held_out = min(max(round(share * len(paths)), 1), len(paths) - 1)
        order = [paths[place] for place in rng.permutation(len(paths))]
        test[name], train[name] = order[:held_out], order[held_out:]
    return train, test


def _list_classes(root: Path) -> Listing:
    folders = sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
    if len(folders) < 2:
        raise ValueError(
            f"{root} must hold a folder of images for each of two classes or more; "
            f"got {', '.join(path.name for path in folders) or 'none'}"
        )
    classes = {
        folder.name: sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in ENDINGS and path.name[0] != "." and path.is_file()
        )
        for folder in folders
    }
    for name, paths in classes.items():
        if not paths:
            raise ValueError(
                f"{root / name} must hold images, {', '.join(ENDINGS)}; got no file of these"
            )
    return classes


def _shuffled(listing: Listing, rng: np.random.Generator) -> list[tuple[Path, int]]:
    """Files and labels in an order in which the first few are of all classes."""
    labelled = [(path, label) for label, paths in enumerate(listing.values()) for path in paths]
    return [labelled[place] for place in rng.permutation(len(labelled))]


def _read_images(paths: Sequence[Path], size: tuple[int, int] | None) -> NDArray[np.uint8]:
    resize = size is not None
    _, height, width = read_image(paths[0], size, resize).shape
    bar = progress_bar(paths, "Decoding", unit="image", leave=False)
    hint = f": give size=({height}, {width}) to resize all"
    images = [read_image(path, (height, width), resize, hint=hint) for path in bar]
    channels = max(map(len, images))
    return np.stack([np.broadcast_to(image, (channels, height, width)) for image in images])


@contextmanager
def _decoding(path: Path, formats: Iterable[str]) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as fault:  # a damaged file can make the decoder fail in any way
        known = ", ".join(formats)
        raise ValueError(f"{path}: no sound image file of {known} ({fault})") from fault
