"""Standard files of each data set: finding and reading them."""

from __future__ import annotations

import hashlib
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from linfkit._util.files import cache_folder
from linfkit.data.dataset import Dataset
from linfkit.data.formats import check_labels, decoded_once, read_cifar, read_idx


@dataclass(frozen=True)
class StandardFiles(ABC):
    """A data set in the files that its makers publish it in, below some folder.

    Attributes:
        name: The data set's.
        description: Name of these files, as the object of "put … there".
        folder: The folder that they are in.
        files: Those in it that must be there.
    """

    name: str
    description: str
    folder: str
    files: tuple[str, ...]

    def missing(self, folder: Path) -> list[str]:
        """The files that are not there, as paths below `folder`."""
        paths = (f"{self.folder}/{file}" for file in self.files)
        return [path for path in paths if not (folder / path).exists()]

    @abstractmethod
    def read(self, folder: Path) -> Dataset:
        """The data set in these files; ValueError names the one that is not what it should be."""


@dataclass(frozen=True)
class Mnist(StandardFiles):
    """Four IDX files, each gzipped or not: MNIST, and its like.

    Attributes:
        classes: One name a label.
    """

    classes: tuple[str, ...]

    def missing(self, folder: Path) -> list[str]:
        """The files that are there neither plain nor gzipped."""
        paths = (f"{self.folder}/{file}" for file in self.files)
        return [f"{path}(.gz)" for path in paths if not _plain_or_packed(folder / path)]

    def read(self, folder: Path) -> Dataset:
        """Read the four files, and see that they fit together."""
        paths = [_plain_or_packed(folder / self.folder / file)[0] for file in self.files]
        train, test = self._read_part(*paths[:2]), self._read_part(*paths[2:])
        return Dataset(self.name, *train, *test, self.classes)

    def _read_part(self, images_path: Path, labels_path: Path) -> tuple[Tensor, Tensor]:
        images, labels = read_idx(images_path, dimensions=3), read_idx(labels_path, dimensions=1)
        if images.numel() == 0:
            raise ValueError(f"{images_path}: no pixels in shape {tuple(images.shape)}")
        if len(images) != len(labels):
            raise ValueError(
                f"{labels_path}: {len(labels):,} labels for the {len(images):,} images "
                f"of {images_path.name}"
            )
        check_labels(labels_path, labels, len(self.classes))
        return images.unsqueeze(1), labels.long()


@dataclass(frozen=True)
class Cifar(StandardFiles):
    """Batches of records, the last of which are for testing.

    Attributes:
        classes: One name a label.
        label_bytes: As in `read_cifar`.
    """

    classes: tuple[str, ...]
    label_bytes: int = 1

    def read(self, folder: Path) -> Dataset:
        """Read the batches."""
        paths = [folder / self.folder / file for file in self.files]
        *train, test = (read_cifar(path, len(self.classes), self.label_bytes) for path in paths)
        train_x, train_y = map(torch.cat, zip(*train, strict=True))
        return Dataset(self.name, train_x, train_y, *test, self.classes)


class TinyImageNet(StandardFiles):
    """The folder `tiny-imagenet-200` as its archive unpacks; its validation images are the test.

    The labels of the test images proper were never published. Classes are numbered in the order of
    `wnids.txt`, and named by the first name that `words.txt` has for them, where there is one.

    The images, 64×64 pixels each, are decoded once, into a file in linfkit's cache; it is mapped
    into memory, not read, and is made anew when a file's path, size or time of change, or the
    decoder, is another.
    """

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
        x, y = torch.from_numpy(decoded_once(paths, 64, kept)), torch.tensor(labels)
        split = len(train)
        classes = _read_first_names(root / "words.txt", wnids)
        return Dataset(self.name, x[:split], y[:split], x[split:], y[split:], classes)


_IDX_FILES = tuple(
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)

MNIST = Mnist(
    name="mnist",
    description="MNIST's four files, gzipped or not,",
    folder="MNIST/raw",
    files=_IDX_FILES,
    classes=tuple("0123456789"),
)
FASHION_MNIST = Mnist(
    name="fashion-mnist",
    description="Fashion-MNIST's four files, gzipped or not,",
    folder="FashionMNIST/raw",
    files=_IDX_FILES,
    classes=(
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
        "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
)  # fmt: skip
CIFAR10 = Cifar(
    name="cifar10",
    description="the six .bin files of CIFAR-10's binary version",
    folder="cifar-10-batches-bin",
    files=(*(f"data_batch_{batch}.bin" for batch in range(1, 6)), "test_batch.bin"),
    classes=(
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    ),
)  # fmt: skip
CIFAR100 = Cifar(
    name="cifar100",
    description="the two .bin files of CIFAR-100's binary version",
    folder="cifar-100-binary",
    files=("train.bin", "test.bin"),
    classes=(
        "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle",
        "bottle", "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle",
        "caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch",
        "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox",
        "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
        "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom",
        "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
        "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road",
        "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake",
        "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
        "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle",
        "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
    ),
    label_bytes=2,
)  # fmt: skip
TINY_IMAGENET = TinyImageNet(
    name="tiny-imagenet",
    description=(
        "tiny-imagenet-200, as unpacked from https://cs231n.stanford.edu/tiny-imagenet-200.zip "
        "(248,100,043 bytes, MD5 90528d7ca1a48142e341f4ef8d21d0de),"
    ),
    folder="tiny-imagenet-200",
    # Single images are missed when they are read.
    files=("wnids.txt", "train", "val/images", "val/val_annotations.txt"),
)

STANDARD_FILES: dict[str, StandardFiles] = {
    files.name: files for files in (MNIST, FASHION_MNIST, CIFAR10, CIFAR100, TINY_IMAGENET)
}

_UNTAR = "unpack it: tar -xf {path} -C {folder}"
_UNZIP = "unpack it: unzip {path} -d {folder}"
_INSIDE = "the folder that is named must hold a folder {} with it and the others"
_CIFAR = (
    "a version that is not read, since what is pickled could run code; the binary one is wanted, "
    "{}-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html"
)
_HYPHEN = "its name, and the others', must have a hyphen in place of the dot"
_IDX = "a format that is not read; its makers' four files are wanted"

#: What people have in place of a data set's standard files, and what to do with it.
_IN_THEIR_PLACE = {
    "mnist": {
        "train-images?idx3-ubyte*": _INSIDE.format("MNIST/raw"),
        "MNIST/raw/train-images.idx3-ubyte*": _HYPHEN,
        "MNIST.zip": _UNZIP,
        "mnist.npz": _IDX,
        "mnist.pkl.gz": _IDX,
        "mnist_train.csv": _IDX,
    },
    "fashion-mnist": {
        "train-images?idx3-ubyte*": _INSIDE.format("FashionMNIST/raw"),
        "FashionMNIST/raw/train-images.idx3-ubyte*": _HYPHEN,
        "FashionMNIST.zip": _UNZIP,
        "fashion-mnist_train.csv": _IDX,
    },
    "cifar10": {
        "data_batch_1.bin": _INSIDE.format("cifar-10-batches-bin"),
        "cifar-10-binary.tar*": _UNTAR,
        "cifar-10-batches-[pm]*": _CIFAR.format("cifar-10"),  # Python's or Matlab's
        "cifar-10-[pm]*.tar*": _CIFAR.format("cifar-10"),
    },
    "cifar100": {
        "train.bin": _INSIDE.format("cifar-100-binary"),
        "cifar-100-binary.tar*": _UNTAR,
        "cifar-100-[pm]*": _CIFAR.format("cifar-100"),
    },
    "tiny-imagenet": {
        "wnids.txt": _INSIDE.format("tiny-imagenet-200"),
        "tiny-imagenet-200.zip": _UNZIP,
    },
}


def found_instead(name: str, folder: Path) -> list[str]:
    """Files that a folder holds in place of the standard ones, each with a remedy.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Path(folder, "cifar-10-binary.tar.gz").touch()
    ...     found_instead("cifar10", Path(folder))[0].replace(folder, "FOLDER")
    'FOLDER/cifar-10-binary.tar.gz: unpack it: tar -xf FOLDER/cifar-10-binary.tar.gz -C FOLDER'
    """
    places = {(folder / file).parent for file in STANDARD_FILES[name].missing(folder)}
    return [
        f"{path}: {what.format(path=shlex.quote(str(path)), folder=shlex.quote(str(folder)))}"
        for pattern, what in _IN_THEIR_PLACE[name].items()
        for path in sorted([*folder.glob(pattern), *folder.glob(f"*/{pattern}")])
        if "/" in pattern or path.parent not in places
    ]


def _plain_or_packed(path: Path) -> list[Path]:
    packed = path.with_name(f"{path.name}.gz")
    return [candidate for candidate in (path, packed) if candidate.is_file()]


def _read_wnids(path: Path) -> list[str]:
    """WordNet's number of each class."""
    wnids = path.read_text("utf-8-sig").split()
    different = len(set(wnids))
    if len(wnids) < 2 or different < len(wnids):
        raise ValueError(
            f"{path} must have at least two classes, each once; got {len(wnids)}, "
            f"{different} different ones"
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


def _read_first_names(path: Path, wnids: list[str]) -> tuple[str, ...]:
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
