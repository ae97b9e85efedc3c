"""Downloads into linfkit's cache, as the standard files, so that they are read like any others."""

from __future__ import annotations

import hashlib
import http.client
import tarfile
import tempfile
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from linfkit._util.files import write_atomically
from linfkit._util.progress import note, progress_bar
from linfkit.data.standard_files import (
    CIFAR10,
    CIFAR100,
    FASHION_MNIST,
    MNIST,
    STANDARD_FILES,
    Cifar,
    Mnist,
)

CHUNK = 2**20  # bytes
TIMEOUT = 60  # seconds without a byte


def download(name: str, folder: Path) -> None:
    """Download a data set, and put its standard files into `folder`.

    They are written beside, and only renamed to their names when all are complete.

    Raises:
        FileNotFoundError: The download failed, or there is none; says which files to put where.
        ValueError: What came is not the data set.
    """
    files = STANDARD_FILES[name]
    by_hand = (
        f"Put {files.description} into a folder and name it in LINFKIT_DATA: there should then be "
        f"{', '.join(files.missing(Path('$LINFKIT_DATA')))}"
    )
    if name not in SOURCES:
        raise FileNotFoundError(f"{name}: linfkit does not download it. {by_hand}")
    source = SOURCES[name]
    folder.mkdir(parents=True, exist_ok=True)
    note(f"Downloading {name} from {source.origin} into {folder}, this once")
    with tempfile.TemporaryDirectory(prefix=".incoming-", dir=folder) as beside:
        try:
            source.bring(Path(beside))
        except (OSError, EOFError, http.client.HTTPException) as fault:
            raise FileNotFoundError(
                f"{name}: no download from {source.origin} ({type(fault).__name__}: {fault}). "
                f"Try again when online. {by_hand}"
            ) from fault
        for written in [path for path in Path(beside).rglob("*") if path.is_file()]:
            final = folder / written.relative_to(beside)
            final.parent.mkdir(parents=True, exist_ok=True)
            written.replace(final)


@dataclass(frozen=True)
class PublishedFile:
    """A file on a server.

    Attributes:
        url: Where it is.
        size: Its bytes; not one more is read.
        md5: The checksum that its makers publish, for MNIST torchvision. It tells a damaged or
            another file, which is what it is for; not one that they themselves had forged.
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
            progress_bar(
                desc=path.name, total=self.size, unit="B", unit_scale=True, leave=False
            ) as bar,
        ):
            # One byte beyond the size is asked for, to see that none is there.
            while chunk := answer.read(min(CHUNK, self.size + 1 - came)):
                digest.update(chunk)
                came += file.write(chunk)
                bar.update(len(chunk))
        if came != self.size:
            got = f"at least {came:,}" if came > self.size else f"{came:,}"
            raise ValueError(f"{self.url} must have {self.size:,} bytes; got {got}: try again")
        if digest.hexdigest() != self.md5:
            raise ValueError(
                f"{self.url} must have MD5 {self.md5}; got {digest.hexdigest()}: it was damaged on "
                "its way, or is another than its makers published"
            )


@dataclass(frozen=True)
class Source:
    """Somewhere on the network that a data set's standard files can be had from.

    Attributes:
        origin: Whose server it is, for messages.
        files: What is to be downloaded, by its path below the folder of data.
        members: Where that is a tar archive, which of its files are taken; their paths become those
            below the folder of data.
    """

    origin: str
    files: Mapping[str, PublishedFile]
    members: tuple[str, ...] = ()

    def bring(self, folder: Path) -> None:
        """Write the standard files into an empty folder, and nothing else that is in an archive.

        Raises:
            ValueError: What came is not what its makers published, is no archive or lacks a member.
        """
        for path, file in self.files.items():
            packed = folder / path
            file.download(packed)
            if not self.members:
                continue
            try:
                with tarfile.open(packed) as archive:
                    for member in self.members:
                        content = archive.extractfile(member)
                        if content is None:
                            raise ValueError(f"{file.url}: {member} in it is no file")
                        write_atomically(packed.parent / member, content.read())
            except (tarfile.TarError, KeyError) as fault:
                raise ValueError(f"{file.url}: no archive of what it should be: {fault}") from None
            packed.unlink()


def _idx_files(standard: Mnist, server: str, *sums: tuple[int, str]) -> dict[str, PublishedFile]:
    """The gzipped files of a server, in order, of which the sizes and MD5 are these."""
    return {
        f"{standard.folder}/{file}.gz": PublishedFile(f"{server}/{file}.gz", size, md5)
        for file, (size, md5) in zip(standard.files, sums, strict=True)
    }


def _cifar(standard: Cifar, archive: str, size: int, md5: str) -> Source:
    """The archive with the binary version on the server of CIFAR's makers."""
    return Source(
        origin="its makers' server, www.cs.toronto.edu,",
        files={archive: PublishedFile(f"https://www.cs.toronto.edu/~kriz/{archive}", size, md5)},
        members=tuple(f"{standard.folder}/{file}" for file in standard.files),
    )


#: The data sets that can be downloaded.
SOURCES = {
    "mnist": Source(
        origin="PyTorch's mirror, ossci-datasets.s3.amazonaws.com,",
        files=_idx_files(
            MNIST,
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            (9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            (28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
            (1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
            (4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
        ),
    ),
    "fashion-mnist": Source(
        origin="its makers' repository, zalandoresearch/fashion-mnist,",
        files=_idx_files(
            FASHION_MNIST,
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
            (26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            (29_515, "25c81989df183df01b3e8a0aad5dffbe"),
            (4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
            (5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
        ),
    ),
    "cifar10": _cifar(
        CIFAR10, "cifar-10-binary.tar.gz", 170_052_171, "c32a1d4ab5d03f1284b67883e8d87530"
    ),
    "cifar100": _cifar(
        CIFAR100, "cifar-100-binary.tar.gz", 168_513_733, "03b5dce01913d631647c71ecec9e9cb8"
    ),
}
