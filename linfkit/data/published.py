"""Files as their makers publish them, downloaded and held against the checksum they publish."""

from __future__ import annotations

import hashlib
import tarfile
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

CHUNK = 2**20  # bytes
TIMEOUT = 60  # seconds without a byte


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
                f"{self.url}: {more}{came:,} bytes came; {self.size:,} are wanted; try again"
            )
        if digest.hexdigest() != self.md5:
            raise ValueError(
                f"{self.url}: a file of MD5 {digest.hexdigest()} came; {self.md5} is wanted; "
                "it was damaged on its way, or is another than its makers published"
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
