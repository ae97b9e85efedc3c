"""Downloads into linfkit's cache, as the standard files, so that they are read like any others."""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import math
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm.auto import tqdm

from linfkit.data.dataset import Dataset
from linfkit.data.standard_files import CIFAR10, CIFAR100, FASHION_MNIST, MNIST, STANDARD_FILES

CHUNK = 2**20  # bytes
TIMEOUT = 60  # seconds without a byte


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


class Source(Protocol):
    """Somewhere on the network that a data set's standard files can be had from."""

    @property
    def origin(self) -> str:
        """Name of the server, for messages."""

    def bring(self, folder: Path) -> None:
        """Write the standard files into an empty folder."""


class WritableFiles(Protocol):
    """Standard files that a data set can be written in."""

    @property
    def classes(self) -> tuple[str, ...]:
        """One name a label."""

    def write(self, dataset: Dataset, folder: Path) -> None:
        """Write a data set in these files, making the folders it takes."""


@dataclass(frozen=True)
class OpenmlTable:
    """Table of OpenML, and the way its rows become images.

    Attributes:
        name: The data set's, for messages.
        which: Arguments of ``sklearn.datasets.fetch_openml``.
        image_shape: (C, H, W).
        train_images: The first so many rows train.
        images: Rows in all.
        files: What it is kept in.
    """

    name: str
    which: Mapping[str, Any]
    image_shape: tuple[int, int, int]
    train_images: int
    images: int
    files: WritableFiles
    origin: str = "OpenML"

    def bring(self, folder: Path) -> None:
        """Write the standard files into an empty folder."""
        # Without a folder, scikit-learn would download everything twice: for its checksum, and to
        # read it. It is on the disk that has to have room for data in any case.
        with tempfile.TemporaryDirectory(prefix=".openml-", dir=folder) as downloads:
            dataset = self._fetch(downloads)
        self.files.write(dataset, folder)

    def _fetch(self, downloads: str) -> Dataset:
        """The data set, by way of files in a folder that is empty, and not needed after."""
        from sklearn.datasets import fetch_openml

        # The pandas parser is the faster, but pandas is no requirement of ours.
        parser = "pandas" if importlib.util.find_spec("pandas") else "liac-arff"
        table = fetch_openml(**self.which, as_frame=False, parser=parser, data_home=downloads)
        wanted = (self.images, math.prod(self.image_shape))
        if table.data.shape != wanted:
            raise ValueError(
                f"{self.name} must be a table of {wanted} at OpenML; got {table.data.shape}"
            )
        with np.errstate(invalid="ignore"):  # what does not fit shows as a difference
            pixels = table.data.astype(np.uint8)
        if not np.array_equal(pixels, table.data):
            raise ValueError(
                f"{self.name} must have pixels of whole numbers from 0 to 255 at OpenML; got others"
            )
        x = pixels.reshape(-1, *self.image_shape)
        y = np.asarray(table.target).astype(np.int64)
        split = self.train_images
        return Dataset.from_arrays(
            x[:split], y[:split], x[split:], y[split:], classes=self.files.classes, name=self.name
        )


@dataclass(frozen=True)
class PublishedFile:
    """A file on its makers' server.

    Attributes:
        url: Where it is.
        size: Its bytes; not one more is read.
        md5: The checksum that its makers publish. It tells a damaged or another file, which is what
            it is for; it would not tell one that its makers themselves had forged.
    """

    url: str
    size: int
    md5: str

    def download(self, path: Path) -> None:
        """Write the file to `path`, making the folders it takes.

        Raises:
            OSError, http.client.HTTPException: It could not be had.
            ValueError: What came is longer, shorter, or another file.

        Example:
            >>> from tempfile import TemporaryDirectory
            >>> md5 = "900150983cd24fb0d6963f7d28e17f72"
            >>> with TemporaryDirectory() as folder:
            ...     (Path(folder) / "theirs").write_text("abc")
            ...     file = PublishedFile((Path(folder) / "theirs").as_uri(), size=3, md5=md5)
            ...     file.download(Path(folder) / "ours")
            ...     (Path(folder) / "ours").read_text()
            3
            'abc'
        """
        digest, came = hashlib.md5(usedforsecurity=False), 0
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            urllib.request.urlopen(self.url, timeout=TIMEOUT) as answer,
            path.open("xb") as file,
            tqdm(desc=path.name, total=self.size, unit="B", unit_scale=True, leave=False) as bar,
        ):
            # One byte beyond the size is asked for, to see that none is there.
            while chunk := answer.read(min(CHUNK, self.size + 1 - came)):
                digest.update(chunk)
                file.write(chunk)
                came += len(chunk)
                bar.update(len(chunk))
        if came != self.size:
            more = "at least " if came > self.size else ""
            raise ValueError(
                f"{self.url} must have {self.size:,} bytes; got {more}{came:,}: try again"
            )
        if digest.hexdigest() != self.md5:
            raise ValueError(
                f"{self.url} must have MD5 {self.md5}; got {digest.hexdigest()}: it was damaged on "
                "its way, or is another than its makers published"
            )


@dataclass(frozen=True)
class PublishedFiles:
    """Standard files that are published one by one.

    Attributes:
        origin: Whose server it is, for messages.
        files: What is to be downloaded, by its path below the folder of data.
    """

    origin: str
    files: Mapping[str, PublishedFile]

    def bring(self, folder: Path) -> None:
        """Write the standard files into an empty folder."""
        for path, file in self.files.items():
            file.download(folder / path)


@dataclass(frozen=True)
class PublishedArchive:
    """Standard files that are published as one tar archive.

    Attributes:
        origin: Whose server it is, for messages.
        archive: What is to be downloaded.
        members: Which of its files are taken; their paths become those below the folder of data.
    """

    origin: str
    archive: PublishedFile
    members: tuple[str, ...]

    def bring(self, folder: Path) -> None:
        """Write the standard files into an empty folder, and nothing else that is in the archive.

        Raises:
            ValueError: It is no archive, or lacks a member.
        """
        packed = folder / "archive"
        self.archive.download(packed)
        try:
            with tarfile.open(packed) as archive:
                for member in self.members:
                    self._take(member, archive, folder / member)
        except (tarfile.TarError, KeyError) as fault:
            raise ValueError(
                f"{self.archive.url}: no archive of what it should be: {fault}"
            ) from None
        packed.unlink()

    def _take(self, member: str, archive: tarfile.TarFile, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = archive.extractfile(member)
        if content is None:
            raise ValueError(f"{self.archive.url}: {member} in it is no file")
        with content, path.open("xb") as file:
            while chunk := content.read(CHUNK):
                file.write(chunk)


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
        image_shape=(1, 28, 28),
        train_images=60_000,
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
        image_shape=(3, 32, 32),
        train_images=50_000,
        images=60_000,
        files=CIFAR10,
    ),
    "cifar100": PublishedArchive(
        origin="its makers' server, www.cs.toronto.edu,",
        archive=PublishedFile(
            "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            size=168_513_733,
            md5="03b5dce01913d631647c71ecec9e9cb8",
        ),
        members=tuple(
            f"{CIFAR100.folder}/{file}" for file in (*CIFAR100.files, CIFAR100.names_file)
        ),
    ),
}
