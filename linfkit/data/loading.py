"""Data sets by name: embedded, from the standard files in a folder, or downloaded once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from linfkit._util.checks import check_choice
from linfkit._util.files import cache_folder, data_folder, expand_user
from linfkit.data.dataset import Dataset
from linfkit.data.downloads import SOURCES, download
from linfkit.data.standard_files import STANDARD_FILES, found_instead


def dataset_names() -> tuple[str, ...]:
    """The names that `load_dataset` knows.

    Example:
        >>> assert "digits" in dataset_names()
    """
    return ("digits", *STANDARD_FILES)


def load_dataset(name: str, root: str | Path | None = None) -> Dataset:
    """The data set of that name.

    "digits" comes with scikit-learn: 1,797 real 8×8 digits, in an order shuffled once and for
    all, of which the first 1,437 train. The others are read from their standard files in the folder
    `root`; else in `$LINFKIT_DATA`; where neither is given in linfkit's cache, into which they are
    first downloaded if need be, and held against their makers' checksums.

    ================ ===================================================== =====================
    "mnist"          `MNIST/raw/*-ubyte`, or `*-ubyte.gz`                  from PyTorch's mirror
    "fashion-mnist"  `FashionMNIST/raw/*-ubyte`, or `*-ubyte.gz`           from its makers
    "cifar10"        `cifar-10-batches-bin/*.bin`                          from its makers
    "cifar100"       `cifar-100-binary/{train,test}.bin`; 100 fine labels  from its makers
    "tiny-imagenet"  `tiny-imagenet-200/`; its validation images test      by hand; needs Pillow
    ================ ===================================================== =====================

    Args:
        name: One of `dataset_names()`.
        root: The folder that the standard files' own folder is in; "digits" has no files.

    Raises:
        TypeError: A name that is no string, or a root that is no path.
        ValueError: A name that is not known, or a file that is not what it should be.
        FileNotFoundError: Files that are not there, and cannot be downloaded.

    Example:
        >>> digits = load_dataset("digits")
        >>> assert digits.train_x.shape == (1437, 1, 8, 8) and digits.test_y.shape == (360,)
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a string; got {name!r}")
    if not isinstance(root, str | Path | None):
        raise TypeError(f"root must be the path of a folder; got {root!r}")
    if name == "digits":
        return _embedded_digits()
    check_choice("name", name, dataset_names())
    files = STANDARD_FILES[name]
    folder = expand_user(root) if root is not None else data_folder()
    if folder is None:
        folder = cache_folder() / "data"
        if files.missing(folder):
            download(name, folder)
    elif missing := files.missing(folder):
        named = "LINFKIT_DATA" if root is None else "root"
        or_not = ", or give neither root nor LINFKIT_DATA, to download them into linfkit's cache"
        found = "".join(f"\nThere is {found}" for found in found_instead(name, folder))
        raise FileNotFoundError(
            f"{name}: {named} is {folder}, but there is no {', no '.join(missing)} in it. "
            f"Put {files.description} there{or_not if name in SOURCES else ''}.{found}"
        )
    return files.read(folder)


def is_at_hand(name: str) -> bool:
    """True if the data set of that name is on this machine, without a download.

    Example:
        >>> is_at_hand("digits"), is_at_hand("none-of-ours")
        (True, False)
    """
    if name not in STANDARD_FILES:
        return name == "digits"
    return not STANDARD_FILES[name].missing(data_folder() or cache_folder() / "data")


def _embedded_digits() -> Dataset:
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    # Their pixels are counts from 0 to 16.
    images = np.round(digits.images[order, None] * 255 / 16).astype(np.uint8)
    x, y = torch.from_numpy(images), torch.from_numpy(digits.target[order]).long()
    classes = tuple(str(digit) for digit in digits.target_names)
    return Dataset("digits", x[:1437], y[:1437], x[1437:], y[1437:], classes)
