"""Downloads from OpenML, kept as the standard files so that they are read like any others."""

from __future__ import annotations

import http.client
import importlib.util
import math
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from linfkit.data.dataset import Dataset
from linfkit.data.standard_files import STANDARD_FILES, Cifar10, Mnist


@dataclass(frozen=True)
class OpenmlTable:
    """How OpenML names a table, and how its rows are images of ours."""

    which: dict[str, Any]  # arguments of fetch_openml
    image_shape: tuple[int, int, int]
    train_images: int  # the first so many rows train
    images: int
    classes: tuple[str, ...]


OPENML_TABLES = {
    "mnist": OpenmlTable(
        which={"name": "mnist_784", "version": 1},
        image_shape=(1, 28, 28),
        train_images=60_000,
        images=70_000,
        classes=Mnist.classes,
    ),
    "cifar10": OpenmlTable(
        which={"data_id": 40927},
        image_shape=(3, 32, 32),
        train_images=50_000,
        images=60_000,
        classes=Cifar10.classes,
    ),
}


def download(name: str, folder: Path) -> None:
    """Download a data set from OpenML, and write its standard files into `folder`.

    They are written beside, and only renamed to their names when all are complete.

    Raises:
        FileNotFoundError: The download failed; says which files to put where instead.
        ValueError: What came is not the data set.
    """
    files = STANDARD_FILES[name]
    folder.mkdir(parents=True, exist_ok=True)
    print(f"Downloading {name} from OpenML into {folder}, this once", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix=".incoming-", dir=folder) as beside:
        files.write(_fetch(name, Path(beside, "openml")), Path(beside, "standard"))
        _rename(Path(beside, "standard"), folder)


def _fetch(name: str, downloads: Path) -> Dataset:
    """The data set from OpenML, by way of files in a folder that is empty, and not needed after.

    Without one, scikit-learn would download everything twice: for its checksum, and to read it.
    """
    from sklearn.datasets import fetch_openml

    source = OPENML_TABLES[name]
    # The pandas parser is the faster, but pandas is no requirement of ours.
    parser = "pandas" if importlib.util.find_spec("pandas") else "liac-arff"
    try:
        table = fetch_openml(**source.which, as_frame=False, parser=parser, data_home=downloads)
    except (OSError, EOFError, http.client.HTTPException) as fault:
        files = STANDARD_FILES[name]
        raise FileNotFoundError(
            f"{name}: no download from OpenML ({type(fault).__name__}: {fault}). Try again when "
            f"online, or put {files.description} into a folder and name it in LINFKIT_DATA: there "
            f"should then be {', '.join(files.missing(Path('$LINFKIT_DATA')))}"
        ) from fault
    wanted = (source.images, math.prod(source.image_shape))
    if table.data.shape != wanted:
        raise ValueError(f"{name}: a table of {table.data.shape} came from OpenML; {wanted} wanted")
    with np.errstate(invalid="ignore"):  # what does not fit shows as a difference
        pixels = table.data.astype(np.uint8)
    if not np.array_equal(pixels, table.data):
        raise ValueError(f"{name}: pixels came from OpenML that are no whole numbers from 0 to 255")
    x = pixels.reshape(-1, *source.image_shape)
    y = np.asarray(table.target).astype(np.int64)
    split = source.train_images
    return Dataset.from_arrays(
        x[:split], y[:split], x[split:], y[split:], classes=source.classes, name=name
    )


def _rename(beside: Path, folder: Path) -> None:
    """Move the files in one folder to the same places in another."""
    for written in sorted(beside.rglob("*")):
        final = folder / written.relative_to(beside)
        if written.is_dir():
            final.mkdir(exist_ok=True)
        else:
            written.replace(final)
