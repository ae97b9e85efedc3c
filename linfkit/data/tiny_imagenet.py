"""TinyImageNet's folder of JPEG files: 200 classes of ImageNet, 64×64 pixels each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import torch

from linfkit._util.files import cache_folder
from linfkit.data.dataset import Dataset
from linfkit.data.formats import decoded_once

SIDE = 64


class TinyImageNet:
    """The folder `tiny-imagenet-200` as its archive unpacks; its validation images are the test.

    The labels of the test images proper were never published. Classes are numbered in the order of
    `wnids.txt`, and named by the first name that `words.txt` has for them, where there is one.

    The images are decoded once, into a file in linfkit's cache; it is mapped into memory, not read,
    and is made anew when a file's path, size or time of change, or the decoder, is another.
    """

    description = (
        "tiny-imagenet-200, as unpacked from https://cs231n.stanford.edu/tiny-imagenet-200.zip "
        "(248,100,043 bytes, MD5 90528d7ca1a48142e341f4ef8d21d0de),"
    )
    folder = "tiny-imagenet-200"

    def missing(self, folder: Path) -> list[str]:
        """The folders and lists that are not there; single images are missed when they are read."""
        needed = ("wnids.txt", "train", "val/images", "val/val_annotations.txt")
        return [
            f"{self.folder}/{one}" for one in needed if not (folder / self.folder / one).exists()
        ]

    def read(self, folder: Path) -> Dataset:
        """Read the lists, and the images, decoding them if that was not done before."""
        root = folder / self.folder
        wnids = _read_wnids(root / "wnids.txt")
        train = [
            (image, label)
            for label, wnid in enumerate(wnids)
            for image in _images_in(root / "train" / wnid / "images")
        ]
        test = _read_annotations(root / "val", wnids)
        paths, labels = zip(*train, *test, strict=True)
        kept = cache_folder() / "decoded" / f"tiny-imagenet-{_key(root, paths)}.npy"
        x = torch.from_numpy(decoded_once(paths, SIDE, kept))
        y = torch.tensor(labels)
        split = len(train)
        return Dataset(
            name="tiny-imagenet",
            train_x=x[:split],
            train_y=y[:split],
            test_x=x[split:],
            test_y=y[split:],
            classes=_read_names(root / "words.txt", wnids),
        )


def _read_wnids(path: Path) -> list[str]:
    """WordNet's number of each class."""
    wnids = path.read_text("utf-8-sig").split()
    if len(wnids) < 2 or len(set(wnids)) < len(wnids):
        raise ValueError(
            f"{path} must have at least two classes, each once; got {len(wnids)}, "
            f"{len(set(wnids))} different ones"
        )
    for wnid in wnids:
        if wnid != Path(wnid).name:
            raise ValueError(f"{path} must have names of folders; got {wnid[:80]!r}")
    return wnids


def _images_in(folder: Path) -> list[Path]:
    images = sorted(folder.glob("*.JPEG"))
    if not images:
        raise FileNotFoundError(f"{folder}: no *.JPEG in it; unpack the archive anew")
    return images


def _read_annotations(folder: Path, wnids: list[str]) -> list[tuple[Path, int]]:
    """The images that `val_annotations.txt` lists: file, class, and a box that is not used."""
    path = folder / "val_annotations.txt"
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    annotated = []
    for number, line in enumerate(path.read_text("utf-8-sig").splitlines(), start=1):
        match line.split("\t"):
            case [file, wnid, *_] if wnid in label_of and file == Path(file).name:
                annotated.append((folder / "images" / file, label_of[wnid]))
            case _:
                raise ValueError(
                    f"{path} must have a file's name, a tab and a class of wnids.txt on each line; "
                    f"got {line[:80]!r} on line {number}"
                )
    if not annotated:
        raise ValueError(f"{path} must have a line for each validation image; got none")
    return annotated


def _read_names(path: Path, wnids: list[str]) -> tuple[str, ...]:
    if not path.is_file():
        return tuple(wnids)
    lines = (line.split("\t") for line in path.read_text("utf-8-sig").splitlines())
    names = {wnid: name.split(",")[0] for wnid, name in (line[:2] for line in lines if line[1:])}
    return tuple(names.get(wnid, wnid) for wnid in wnids)


def _key(root: Path, paths: Iterable[Path]) -> str:
    """Hash of names, sizes and times of the files that the decoded images depend on."""
    import PIL

    digest = hashlib.sha256(PIL.__version__.encode())
    for path in paths:
        found = path.stat()
        relative = path.relative_to(root).as_posix()
        digest.update(f"{relative} {found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
