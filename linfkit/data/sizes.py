"""Sizes of the data sets that `load_dataset` knows, before one is read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Numbers of images and classes, and the shape of an image.

    Attributes:
        image_shape: (C, H, W): channels, height and width of an image.
        classes: How many there are.
        train_images: How many train.
        test_images: How many test.
    """

    image_shape: tuple[int, int, int]
    classes: int
    train_images: int
    test_images: int


#: By the names that `load_dataset` knows; as their makers publish them.
SIZES = {
    "digits": Size((1, 8, 8), classes=10, train_images=1_437, test_images=360),
    "mnist": Size((1, 28, 28), classes=10, train_images=60_000, test_images=10_000),
    "fashion-mnist": Size((1, 28, 28), classes=10, train_images=60_000, test_images=10_000),
    "cifar10": Size((3, 32, 32), classes=10, train_images=50_000, test_images=10_000),
    "cifar100": Size((3, 32, 32), classes=100, train_images=50_000, test_images=10_000),
    "tiny-imagenet": Size((3, 64, 64), classes=200, train_images=100_000, test_images=10_000),
}
