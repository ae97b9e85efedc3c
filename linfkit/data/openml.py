"""Data sets as tables of OpenML, by way of scikit-learn, which holds them against its checksums."""

from __future__ import annotations

import importlib.util
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from linfkit.data.dataset import Dataset


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
                f"{self.name}: a table of {table.data.shape} came from OpenML; {wanted} wanted"
            )
        with np.errstate(invalid="ignore"):  # what does not fit shows as a difference
            pixels = table.data.astype(np.uint8)
        if not np.array_equal(pixels, table.data):
            raise ValueError(
                f"{self.name}: pixels came from OpenML that are no whole numbers from 0 to 255"
            )
        x = pixels.reshape(-1, *self.image_shape)
        y = np.asarray(table.target).astype(np.int64)
        split = self.train_images
        return Dataset.from_arrays(
            x[:split], y[:split], x[split:], y[split:], classes=self.files.classes, name=self.name
        )
