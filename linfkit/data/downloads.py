"""Downloads into linfkit's cache, as the standard files, so that they are read like any others."""

from __future__ import annotations

import http.client
import sys
import tempfile
from pathlib import Path
from typing import Protocol

from linfkit.data.openml import OpenmlTable
from linfkit.data.published import PublishedArchive, PublishedFile, PublishedFiles
from linfkit.data.sizes import SIZES
from linfkit.data.standard_files import FASHION_MNIST, MNIST, STANDARD_FILES, Cifar10, Cifar100


class Source(Protocol):
    """Somewhere on the network that a data set's standard files can be had from."""

    @property
    def origin(self) -> str:
        """Name of the server, for messages."""

    def bring(self, folder: Path) -> None:
        """Write the standard files into an empty folder."""


_FASHION_MNIST_SERVER = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion"
_FASHION_MNIST_CHECKSUMS = {  # bytes and MD5
    "train-images-idx3-ubyte.gz": (26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    "train-labels-idx1-ubyte.gz": (29_515, "25c81989df183df01b3e8a0aad5dffbe"),
    "t10k-images-idx3-ubyte.gz": (4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
    "t10k-labels-idx1-ubyte.gz": (5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
}

#: The data sets that can be downloaded.
SOURCES: dict[str, Source] = {
    "mnist": OpenmlTable(
        name="mnist",
        which={"name": "mnist_784", "version": 1},
        image_shape=SIZES["mnist"].image_shape,
        train_images=SIZES["mnist"].train_images,
        images=70_000,
        files=MNIST,
    ),
    "fashion-mnist": PublishedFiles(
        origin="its makers' repository, zalandoresearch/fashion-mnist,",
        files={
            f"{FASHION_MNIST.folder}/{name}": PublishedFile(
                f"{_FASHION_MNIST_SERVER}/{name}", size, md5
            )
            for name, (size, md5) in _FASHION_MNIST_CHECKSUMS.items()
        },
    ),
    "cifar10": OpenmlTable(
        name="cifar10",
        which={"data_id": 40927},
        image_shape=SIZES["cifar10"].image_shape,
        train_images=SIZES["cifar10"].train_images,
        images=60_000,
        files=Cifar10(),
    ),
    "cifar100": PublishedArchive(
        origin="its makers' server, www.cs.toronto.edu,",
        archive=PublishedFile(
            "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            size=168_513_733,
            md5="03b5dce01913d631647c71ecec9e9cb8",
        ),
        members=(Cifar100.train_file, Cifar100.test_file, Cifar100.classes_file),
    ),
}


def download(name: str, folder: Path) -> None:
    """Download a data set, and put its standard files into `folder`.

    They are written beside, and only renamed to their names when all are complete.

    Raises:
        FileNotFoundError: The download failed, or there is none; says which files to put where.
        ValueError: What came is not the data set.
    """
    if name not in SOURCES:
        raise FileNotFoundError(f"{name}: linfkit does not download it. {_by_hand(name)}")
    source = SOURCES[name]
    folder.mkdir(parents=True, exist_ok=True)
    print(f"Downloading {name} from {source.origin} into {folder}, this once", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix=".incoming-", dir=folder) as beside:
        try:
            source.bring(Path(beside))
        except (OSError, EOFError, http.client.HTTPException) as fault:
            raise FileNotFoundError(
                f"{name}: no download from {source.origin} ({type(fault).__name__}: {fault}). "
                f"Try again when online. {_by_hand(name)}"
            ) from fault
        _rename(Path(beside), folder)


def _by_hand(name: str) -> str:
    files = STANDARD_FILES[name]
    return (
        f"Put {files.description} into a folder and name it in LINFKIT_DATA: there should then be "
        f"{', '.join(files.missing(Path('$LINFKIT_DATA')))}"
    )


def _rename(beside: Path, folder: Path) -> None:
    """Move the files in one folder to the same places in another."""
    for written in sorted(beside.rglob("*")):
        final = folder / written.relative_to(beside)
        if written.is_dir():
            final.mkdir(exist_ok=True)
        else:
            written.replace(final)
