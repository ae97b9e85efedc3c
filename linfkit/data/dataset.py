"""Data set: images and labels to train on and to test on, checked once, never changed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linfkit._util.checks import as_whole_numbers, check_count, check_real
from linfkit._util.devices import moved
from linfkit.data.image_folders import read_image_folder
from linfkit.data.pixels import Array, as_images
from linfkit.data.torch_data import TorchData, class_names, collect

#: How many channels an image of bytes can have: grey, or three or four colours.
CHANNELS = (1, 3, 4)


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images and labels, to train on and to test on, and what the labels mean.

    Everything is checked when it is made: a `Dataset` that exists is sound.

    Attributes:
        name: What it is called in messages and results.
        train_x: Training images, uint8 (N, C, H, W), pixels 0 to 255.
        train_y: Their labels, int64 (N,), from 0 to `len(classes) - 1`.
        test_x: Test images, uint8 (M, C, H, W).
        test_y: Their labels, int64 (M,).
        classes: One name a label.

    Raises:
        TypeError: An argument that is no tensor, or not of these dtypes.
        ValueError: A wrong shape, an empty tensor, or a label that no class is for. Images whose
            last dimension alone can be channels, (N, 32, 32, 3), are of a wrong shape.

    Example:
        >>> from linfkit.data.loading import load_dataset
        >>> digits = load_dataset("digits")
        >>> digits
        Dataset('digits', train=1437, test=360, image_shape=(1, 8, 8), classes=10)
        >>> assert digits.in_features == 64
    """

    name: str
    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        are_names = all(isinstance(label, str) for label in self.classes)
        if not (are_names and isinstance(self.classes, tuple)):
            raise TypeError(f"classes must be a tuple of strings; got {self.classes!r}")
        if len(self.classes) < 2:
            raise ValueError(f"classes must be at least two names; got {self.classes!r}")
        for part, images, labels in (
            ("train", self.train_x, self.train_y),
            ("test", self.test_x, self.test_y),
        ):
            _check_images(f"{part}_x", images)
            _check_labels(f"{part}_y", labels, len(self.classes))
            if len(images) != len(labels):
                raise ValueError(
                    f"{part}_y must hold one label for each of the {len(images):,} images of "
                    f"{part}_x; got {len(labels):,}"
                )
        if self.train_x.shape[1:] != self.test_x.shape[1:]:
            raise ValueError(
                f"test_x must be images of the shape of those in train_x, {self.image_shape}; "
                f"got {tuple(self.test_x.shape[1:])}"
            )

    @classmethod
    def from_arrays(
        cls,
        train_x: Array,
        train_y: Array | Sequence[int],
        test_x: Array,
        test_y: Array | Sequence[int],
        *,
        classes: Sequence[str] | None = None,
        name: str = "own-data",
    ) -> Dataset:
        """Make a data set of your own arrays; they are copied, and checked.

        Args:
            train_x: Pixels, numpy or torch, (N, C, H, W); (N, H, W), or (N, H²) for square ones, of
                grey images. uint8, or floating-point in [0, 1] that are uint8 divided by 255.
            train_y: Integer labels (N,), counted from 0; numpy, torch, or a list.
            test_x: As `train_x`.
            test_y: As `train_y`.
            classes: One name a label; "0", "1", … up to the largest label seen if not given.
            name: What to call it.

        Raises:
            TypeError: No array, pixels that are other integers, labels that are not integers.
            ValueError: A wrong shape, channels that come last, an empty array, pixels that are no
                levels of 0 to 255, or a label that no class is for. The message says what to write.

        Example:
            >>> import numpy as np
            >>> images, labels = np.zeros((4, 5, 6), dtype=np.uint8), np.array([0, 1, 2, 0])
            >>> mine = Dataset.from_arrays(images, labels, images, labels, name="mine")
            >>> mine
            Dataset('mine', train=4, test=4, image_shape=(1, 5, 6), classes=3)
        """
        train_labels = as_whole_numbers("train_y", train_y).to("cpu", copy=True)
        test_labels = as_whole_numbers("test_y", test_y).to("cpu", copy=True)
        if isinstance(classes, str) or not isinstance(classes, Sequence | None):
            raise TypeError(f"classes must be a name for each label; got {classes!r}")
        if classes is None:
            classes = _count_classes(train_labels, test_labels)
        train_images, test_images = as_images("train_x", train_x), as_images("test_x", test_x)
        return cls(name, train_images, train_labels, test_images, test_labels, tuple(classes))

    @classmethod
    def from_folder(
        cls,
        root: str | Path,
        *,
        size: tuple[int, int] | None = None,
        test_share: float = 0.2,
        seed: int = 0,
        name: str = "own-data",
    ) -> Dataset:
        """Read a folder of images, a folder for each class, into memory.

        Either `root/CLASS/*.png` for all, of which a share of each class is held out as the test;
        or `root/train/CLASS/*.png` and `root/test/CLASS/*.png`. Classes are numbered in the order
        of their names, images are shuffled. BMP, JPEG, PNG, PPM and WebP files are read, with 8
        bits a channel; other files are ignored, and so is transparency. Images have one channel if
        all of them are grey, otherwise three.

        Args:
            root: The folder.
            size: (H, W) to which every image is resized, whatever its proportions; None where all
                are of one size.
            test_share: How many of each class test, above 0 and below 1; where there is no `test`.
            seed: Of the shuffling, and of the choice of the test images.
            name: What to call it.

        Raises:
            TypeError: A root that is no path, or an argument of another type.
            FileNotFoundError: No such folder.
            ValueError: Fewer than two classes, a class without images, or with fewer than two where
                some are held out, other classes in `test` than in `train`, an image of another
                size, or a file that is no sound image.

        Example:
            >>> from tempfile import TemporaryDirectory
            >>> from PIL import Image
            >>> with TemporaryDirectory() as root:
            ...     for label, animal in enumerate(["cat", "dog"]):
            ...         Path(root, animal).mkdir()
            ...         for number in range(5):
            ...             image = Image.new("RGB", (40, 30), (100 * label, number, 0))
            ...             image.save(Path(root, animal, f"{number}.png"))
            ...     pets = Dataset.from_folder(root, size=(16, 16), name="pets")
            >>> pets
            Dataset('pets', train=8, test=2, image_shape=(3, 16, 16), classes=2)
            >>> assert pets.classes == ("cat", "dog")
        """
        train_x, train_y, test_x, test_y, classes = read_image_folder(root, size, test_share, seed)
        return cls(name, train_x, train_y, test_x, test_y, classes)

    @classmethod
    def from_torch(
        cls,
        train: TorchData,
        test: TorchData,
        *,
        classes: Sequence[str] | None = None,
        name: str = "own-data",
    ) -> Dataset:
        """Read PyTorch data sets or loaders into memory, each in one pass.

        What a transform draws at random is drawn once: leave augmentation to the recipe, and
        normalisation to the net.

        Args:
            train: `torch.utils.data.Dataset` of pairs (image, label), or `DataLoader` of batches of
                them. An image is Pillow's, or an array or tensor as in `from_arrays`.
            test: As `train`.
            classes: One name a label; those in `train.classes`, as torchvision's data sets have
                them, or "0", "1", … if not given.
            name: What to call it.

        Raises:
            TypeError: Neither of the two, samples that are no pairs, or as `from_arrays`.
            ValueError: No samples, images of several shapes, or as `from_arrays`.

        Example:
            >>> from torch.utils.data import DataLoader, TensorDataset
            >>> images, labels = torch.rand(6, 1, 5, 5).mul(255).byte(), torch.arange(6) % 3
            >>> theirs = TensorDataset(images / 255, labels)
            >>> mine = Dataset.from_torch(theirs, DataLoader(theirs, batch_size=4))
            >>> assert mine.train_x.equal(images) and mine.test_y.equal(labels)
        """
        if classes is None:
            classes = class_names(train)
        arrays = (*collect("train", train), *collect("test", test))
        return cls.from_arrays(*arrays, classes=classes, name=name)

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r}, train={len(self.train_x)}, test={len(self.test_x)}, "
            f"image_shape={self.image_shape}, classes={len(self.classes)})"
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W): channels, height and width of an image."""
        _, channels, height, width = self.train_x.shape
        return channels, height, width

    @property
    def in_features(self) -> int:
        """Number of values in an image: C · H · W."""
        return math.prod(self.image_shape)

    @cached_property
    def channel_means(self) -> tuple[float, ...]:
        """The mean of each channel over the training images, pixels counted in [0, 1]."""
        counts = self._pixel_counts
        return tuple(float(mean) for mean in counts @ _LEVELS / counts.sum(axis=1))

    @cached_property
    def pixel_scale(self) -> float:
        """The standard deviation of all training pixels together, counted in [0, 1].

        One number for all channels, so that a perturbation of size ε has size ε / scale in the
        network, whichever pixel it falls on.

        Raises:
            ValueError: All the training pixels are equal, and have no scale.
        """
        shares = self._pixel_counts.sum(axis=0) / self.train_x.numel()
        scale = math.sqrt(float(shares @ (_LEVELS - shares @ _LEVELS) ** 2))
        if scale == 0.0:
            raise ValueError("train_x must have at least two levels; got pixels that are all equal")
        return scale

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of images, labels and class names, but not of the data set's own name.

        Example:
            >>> from linfkit.data.loading import load_dataset
            >>> digits = load_dataset("digits")
            >>> assert digits.subset(train_images=100).fingerprint != digits.fingerprint
        """
        digest = hashlib.sha256(repr(self.classes).encode())
        for tensor in (self.train_x, self.train_y, self.test_x, self.test_y):
            digest.update(repr(tuple(tensor.shape)).encode())
            digest.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
        return digest.hexdigest()

    def subset(self, train_images: int | None = None, test_images: int | None = None) -> Dataset:
        """The first so many images of each part; None takes all.

        Raises:
            TypeError: A number that is not an integer.
            ValueError: Fewer than one image, or more than there are.

        Example:
            >>> from linfkit.data.loading import load_dataset
            >>> assert len(load_dataset("digits").subset(train_images=100).train_x) == 100
        """
        parts: dict[str, Any] = {}
        for part, wanted in (("train", train_images), ("test", test_images)):
            images, labels = getattr(self, f"{part}_x"), getattr(self, f"{part}_y")
            count = len(images) if wanted is None else check_count(f"{part}_images", wanted)
            if count > len(images):
                most = f"{len(images):,}, all there are"
                raise ValueError(f"{part}_images must be at most {most}; got {count:,}")
            parts |= {f"{part}_x": images[:count], f"{part}_y": labels[:count]}
        return replace(self, **parts)

    def on(self, device: torch.device | str) -> Dataset:
        """The data set on a device, where it takes at most half of what memory is free there.

        Otherwise the data set as it is, batches of which the training loop then has to move.

        Example:
            >>> from linfkit.data.loading import load_dataset
            >>> assert load_dataset("digits").on("cpu").train_x.device.type == "cpu"
        """
        device = torch.device(device)
        tensors = (self.train_x, self.train_y, self.test_x, self.test_y)
        if 2 * sum(tensor.nbytes for tensor in tensors) > _free_memory(device):
            return self
        there: Dataset = moved(self, device)
        return there

    def with_label_noise(self, share: float, seed: int) -> Dataset:
        """Copy with a share of the *training* labels drawn anew from all classes.

        A label drawn anew is the right one as often as any other, so of ten classes 20 % noise
        leaves about 18 % of the labels wrong. The test labels stay as they are.

        Args:
            share: How many labels to draw anew, from 0 to 1, rounded to whole labels.
            seed: Which labels, and what they become: of `numpy.random.default_rng`.

        Raises:
            TypeError: A seed that is not an integer, or a share that is no number.
            ValueError: A share outside [0, 1], or a negative seed.

        Example:
            >>> from linfkit.data.loading import load_dataset
            >>> digits = load_dataset("digits")
            >>> noisy = digits.with_label_noise(0.2, seed=0)
            >>> wrong = (noisy.train_y != digits.train_y).float().mean().item()
            >>> assert 0.15 < wrong < 0.2
        """
        share = check_real("share", share, "a number from 0 to 1", lambda share: 0 <= share <= 1)
        seed = check_count("seed", seed, least=0)
        rng = np.random.default_rng(seed)
        redrawn = rng.permutation(len(self.train_y))[: round(share * len(self.train_y))]
        labels = self.train_y.clone()
        labels[torch.from_numpy(redrawn)] = torch.from_numpy(
            rng.integers(len(self.classes), size=len(redrawn))
        )
        return replace(self, train_y=labels)

    @cached_property
    def _pixel_counts(self) -> NDArray[np.int64]:
        """(C, 256): how often each level occurs in each channel of the training images."""
        channels = self.train_x.unbind(dim=1)
        counts = [channel.reshape(-1).bincount(minlength=256) for channel in channels]
        return torch.stack(counts).cpu().numpy()


_LEVELS = np.arange(256) / 255  # what a uint8 pixel is in [0, 1]


def _free_memory(device: torch.device) -> float:
    """Bytes that a GPU has free; the processor's own memory holds the data set already."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else math.inf


def _count_classes(train_y: Tensor, test_y: Tensor) -> list[str]:
    """The labels seen, from 0 up, as names."""
    labels = torch.cat([train_y.reshape(-1), test_y.reshape(-1)])
    largest = int(labels.max()) if len(labels) else 0
    if largest >= max(len(labels), 2):
        raise ValueError(
            f"classes must be given, or labels counted from 0; got label {largest:,} among "
            f"{len(labels):,} labels"
        )
    return [str(label) for label in range(max(largest, 1) + 1)]


def _check_dtype(argument: str, tensor: Tensor, dtype: torch.dtype, of: str) -> None:
    if not (isinstance(tensor, Tensor) and tensor.dtype == dtype):
        got = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
        raise TypeError(f"{argument} must be a torch tensor of {dtype} {of}; got {got}")


def _check_images(argument: str, images: Tensor) -> None:
    _check_dtype(argument, images, torch.uint8, "pixels from 0 to 255")
    if images.ndim != 4 or images.numel() == 0:
        raise ValueError(
            f"{argument} must be (N, C, H, W), none of them 0; got shape {tuple(images.shape)}"
        )
    *image, last = images.shape[1:]
    if last in CHANNELS and min(image) > max(CHANNELS):
        raise ValueError(
            f"{argument} must have its channels first, (N, C, H, W); got {tuple(images.shape)}, "
            "which has them last: write images.transpose(0, 3, 1, 2), or of a tensor "
            "images.permute(0, 3, 1, 2)"
        )


def _check_labels(argument: str, labels: Tensor, classes: int) -> None:
    _check_dtype(argument, labels, torch.int64, "labels")
    if labels.ndim != 1 or labels.numel() == 0:
        one_hot = ": write labels.reshape(-1), or labels.argmax(1) where they are one-hot"
        raise ValueError(
            f"{argument} must be (N,), N at least 1; got shape {tuple(labels.shape)}"
            + one_hot * (labels.ndim == 2)
        )
    for label in (int(labels.min()), int(labels.max())):
        if not 0 <= label < classes:
            raise ValueError(f"{argument} must hold labels from 0 to {classes - 1}; got {label}")
