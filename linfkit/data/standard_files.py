"""Standard files of each data set: finding, reading and writing them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from linfkit.data.dataset import Dataset
from linfkit.data.formats import read_cifar, read_idx, write_cifar, write_idx
from linfkit.data.tiny_imagenet import TinyImageNet


class StandardFiles(Protocol):
    """A data set in the files that its makers publish it in, below some folder."""

    @property
    def description(self) -> str:
        """Name of these files, as the object of "put … there"."""

    def missing(self, folder: Path) -> list[str]:
        """The files that are not there, as paths below `folder`."""

    def read(self, folder: Path) -> Dataset:
        """The data set in these files; ValueError names the one that is not what it should be."""


@dataclass(frozen=True)
class Mnist:
    """Four IDX files in a folder of their own, each gzipped or not: MNIST, and its like."""

    name: str
    title: str
    folder: str
    classes: tuple[str, ...]

    @property
    def description(self) -> str:
        """Name of these files."""
        return f"{self.title}'s four files, gzipped or not,"

    @property
    def files(self) -> tuple[str, str, str, str]:
        """Images and labels to train on, then to test on."""
        return (
            f"{self.folder}/train-images-idx3-ubyte",
            f"{self.folder}/train-labels-idx1-ubyte",
            f"{self.folder}/t10k-images-idx3-ubyte",
            f"{self.folder}/t10k-labels-idx1-ubyte",
        )

    def missing(self, folder: Path) -> list[str]:
        """The files that are there neither plain nor gzipped."""
        return [f"{file}(.gz)" for file in self.files if not _plain_or_packed(folder / file)]

    def read(self, folder: Path) -> Dataset:
        """Read the four files, and see that they fit together."""
        train_x, train_y = self._read_part(folder / self.files[0], folder / self.files[1])
        test_x, test_y = self._read_part(folder / self.files[2], folder / self.files[3])
        return Dataset(self.name, train_x, train_y, test_x, test_y, self.classes)

    def write(self, dataset: Dataset, folder: Path) -> None:
        """Write the four files, gzipped, making the folders it takes."""
        arrays = (
            dataset.train_x[:, 0],
            dataset.train_y.to(torch.uint8),
            dataset.test_x[:, 0],
            dataset.test_y.to(torch.uint8),
        )
        for file, array in zip(self.files, arrays, strict=True):
            path = folder / f"{file}.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_idx(path, array)

    def _read_part(self, images_file: Path, labels_file: Path) -> tuple[Tensor, Tensor]:
        images_path, labels_path = _present(images_file), _present(labels_file)
        images = read_idx(images_path, dimensions=3)
        labels = read_idx(labels_path, dimensions=1)
        if images.numel() == 0:
            raise ValueError(f"{images_path}: no pixels in shape {tuple(images.shape)}")
        if len(images) != len(labels):
            raise ValueError(
                f"{labels_path}: {len(labels):,} labels for the {len(images):,} images "
                f"of {images_path.name}"
            )
        largest = len(self.classes) - 1
        if labels.max() > largest:
            raise ValueError(
                f"{labels_path} must have labels from 0 to {largest}; got {labels.max()}"
            )
        return images.unsqueeze(1), labels.long()


class Cifar10:
    """Six batches of records in `cifar-10-batches-bin`, and the names of the classes."""

    description = "the six .bin files of CIFAR-10's binary version"
    train_files = tuple(f"cifar-10-batches-bin/data_batch_{batch}.bin" for batch in range(1, 6))
    test_file = "cifar-10-batches-bin/test_batch.bin"
    classes_file = "cifar-10-batches-bin/batches.meta.txt"
    classes = (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    )  # fmt: skip

    def missing(self, folder: Path) -> list[str]:
        """The batches that are not there; the names of the classes we know without their file."""
        files = (*self.train_files, self.test_file)
        return [file for file in files if not (folder / file).is_file()]

    def read(self, folder: Path) -> Dataset:
        """Read the six batches."""
        batches = [read_cifar(folder / file) for file in self.train_files]
        test_x, test_y = read_cifar(folder / self.test_file)
        return Dataset(
            name="cifar10",
            train_x=torch.cat([images for images, _ in batches]),
            train_y=torch.cat([labels for _, labels in batches]),
            test_x=test_x,
            test_y=test_y,
            classes=_read_names(folder / self.classes_file, known=self.classes),
        )

    def write(self, dataset: Dataset, folder: Path) -> None:
        """Write the six batches, the training images shared out evenly, and the names."""
        (folder / self.test_file).parent.mkdir(parents=True, exist_ok=True)
        images = dataset.train_x.tensor_split(len(self.train_files))
        labels = dataset.train_y.tensor_split(len(self.train_files))
        for file, batch_x, batch_y in zip(self.train_files, images, labels, strict=True):
            write_cifar(folder / file, batch_x, batch_y)
        write_cifar(folder / self.test_file, dataset.test_x, dataset.test_y)
        (folder / self.classes_file).write_text("\n".join(dataset.classes) + "\n", "utf-8")


class Cifar100:
    """Two files of records in `cifar-100-binary`, of which the fine labels are taken."""

    description = "the two .bin files of CIFAR-100's binary version"
    train_file = "cifar-100-binary/train.bin"
    test_file = "cifar-100-binary/test.bin"
    classes_file = "cifar-100-binary/fine_label_names.txt"
    classes = (
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
    )  # fmt: skip

    def missing(self, folder: Path) -> list[str]:
        """The files that are not there; the names of the classes we know without theirs."""
        files = (self.train_file, self.test_file)
        return [file for file in files if not (folder / file).is_file()]

    def read(self, folder: Path) -> Dataset:
        """Read the two files."""
        train_x, train_y = read_cifar(folder / self.train_file, classes=100, label_bytes=2)
        test_x, test_y = read_cifar(folder / self.test_file, classes=100, label_bytes=2)
        classes = _read_names(folder / self.classes_file, known=self.classes)
        return Dataset("cifar100", train_x, train_y, test_x, test_y, classes)


MNIST = Mnist("mnist", "MNIST", "MNIST/raw", classes=tuple("0123456789"))
FASHION_MNIST = Mnist(
    "fashion-mnist",
    "Fashion-MNIST",
    "FashionMNIST/raw",
    classes=(
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
        "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
)  # fmt: skip

STANDARD_FILES: dict[str, StandardFiles] = {
    "mnist": MNIST,
    "fashion-mnist": FASHION_MNIST,
    "cifar10": Cifar10(),
    "cifar100": Cifar100(),
    "tiny-imagenet": TinyImageNet(),
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
        "cifar-10-batches-py": _CIFAR.format("cifar-10"),
        "cifar-10-python.tar*": _CIFAR.format("cifar-10"),
        "cifar-10-batches-mat": _CIFAR.format("cifar-10"),
        "cifar-10-matlab.tar*": _CIFAR.format("cifar-10"),
    },
    "cifar100": {
        "train.bin": _INSIDE.format("cifar-100-binary"),
        "cifar-100-binary.tar*": _UNTAR,
        "cifar-100-python*": _CIFAR.format("cifar-100"),
        "cifar-100-matlab*": _CIFAR.format("cifar-100"),
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


def _present(path: Path) -> Path:
    return _plain_or_packed(path)[0]


def _read_names(path: Path, known: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the classes in a file, one a line; those known where there is no file."""
    if not path.is_file():
        return known
    if path.stat().st_size > 100 * len(known):
        raise ValueError(f"{path} must have {len(known)} names; got {path.stat().st_size:,} bytes")
    names = tuple(path.read_text("utf-8-sig").split())
    if len(names) != len(known):
        raise ValueError(f"{path} must have {len(known)} names; got {len(names)}")
    return names
