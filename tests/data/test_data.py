"""Data sets: the embedded one, readers of the standard files, downloads, noise, augmentation.

Not tested here: that servers still serve what they did, since no test uses the network.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import os
import struct
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from linfkit._util.files import cache_folder
from linfkit.data import dataset as dataset_module
from linfkit.data.augmentations import random_crop, random_flip
from linfkit.data.dataset import Dataset
from linfkit.data.downloads import SOURCES, PublishedFile, Source
from linfkit.data.formats import decoded_once, read_cifar, read_idx
from linfkit.data.loading import dataset_names, load_dataset
from linfkit.data.standard_files import STANDARD_FILES

DIGITS_FINGERPRINT = "72c74ecc8d139c605ab174ef26e44c4e1abdaf577e3113238562d53a4c055393"


@pytest.fixture(autouse=True)
def _no_data_of_the_users(monkeypatch, tmp_path, request):
    """Neither the user's data folder nor their cache takes part, but where a test says so."""
    if "real" not in request.node.name:
        monkeypatch.delenv("LINFKIT_DATA", raising=False)
        monkeypatch.setenv("LINFKIT_CACHE", str(tmp_path / "cache"))


def some_images(count, shape, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(256, size=(count, *shape), dtype=np.uint8)
    return images, np.arange(count) % 10


def small_dataset(name, shape, train=20, test=10):
    train_x, train_y = some_images(train, shape)
    test_x, test_y = some_images(test, shape, seed=1)
    classes = STANDARD_FILES[name].classes
    return Dataset.from_arrays(train_x, train_y, test_x, test_y, classes=classes, name=name)


SMALL = {
    "mnist": (1, 28, 28),
    "fashion-mnist": (1, 28, 28),
    "cifar10": (3, 32, 32),
    "cifar100": (3, 32, 32),
}


def idx(array):
    """An IDX file of unsigned bytes."""
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_standard_files(dataset, folder):
    """The data set's standard files, as its makers would have written them."""
    files = STANDARD_FILES[dataset.name]
    folder = folder / files.folder
    folder.mkdir(parents=True)
    if "mnist" in dataset.name:
        arrays = (dataset.train_x[:, 0], dataset.train_y, dataset.test_x[:, 0], dataset.test_y)
        for file, array in zip(files.files, arrays, strict=True):
            (folder / f"{file}.gz").write_bytes(gzip.compress(idx(array.byte().numpy())))
        return
    coarse = 19 if dataset.name == "cifar100" else None
    *train_files, test_file = files.files
    batches = [
        *zip(
            train_files,
            dataset.train_x.tensor_split(len(train_files)),
            dataset.train_y.tensor_split(len(train_files)),
            strict=True,
        ),
        (test_file, dataset.test_x, dataset.test_y),
    ]
    for file, images, labels in batches:
        of_record = [torch.full_like(labels, coarse)[:, None]] if coarse else []
        records = torch.cat([*of_record, labels[:, None], images.flatten(1)], dim=1)
        records.byte().numpy().tofile(folder / file)


@pytest.fixture(params=sorted(SMALL))
def written(request, tmp_path):
    """A small data set, and a folder with its standard files."""
    dataset = small_dataset(request.param, SMALL[request.param])
    write_standard_files(dataset, tmp_path / "files")
    return dataset, tmp_path / "files"


class TestDigits:
    def test_are_as_stated(self):
        digits = load_dataset("digits")
        assert digits.train_x.shape == (1437, 1, 8, 8)
        assert digits.test_x.shape == (360, 1, 8, 8)
        assert digits.train_x.dtype == torch.uint8
        assert digits.train_y.dtype == torch.int64
        assert digits.train_x.min() == 0
        assert digits.train_x.max() == 255
        assert len(digits.train_x.unique()) == 17
        assert digits.classes == tuple("0123456789")
        assert digits.image_shape == (1, 8, 8)
        assert digits.in_features == 64

    def test_are_the_same_everywhere(self):
        assert load_dataset("digits").fingerprint == DIGITS_FINGERPRINT

    def test_are_scikit_learns_own_in_the_stated_order(self):
        from sklearn.datasets import load_digits

        theirs = load_digits()
        first = np.random.default_rng(0).permutation(1797)[0]
        digits = load_dataset("digits")
        assert digits.train_y[0] == theirs.target[first]
        pixels = digits.train_x[0, 0].double().numpy() * 16 / 255
        assert np.abs(pixels - theirs.images[first]).max() < 0.04

    def test_need_no_folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("LINFKIT_DATA", str(tmp_path / "nowhere"))
        assert load_dataset("digits", root=tmp_path).name == "digits"

    def test_mean_and_scale_are_those_of_the_pixels(self):
        digits = load_dataset("digits")
        pixels = digits.train_x.double() / 255
        assert digits.channel_means == pytest.approx((pixels.mean().item(),), rel=1e-12)
        assert digits.pixel_scale == pytest.approx(pixels.std(correction=0).item(), rel=1e-12)


class TestNames:
    @pytest.mark.parametrize(
        ("wrong", "nearest"),
        [
            ("digit", "digits"),
            ("MNIST", "mnist"),
            ("cifar-10", "cifar10"),
            ("FashionMNIST", "fashion-mnist"),
            ("TinyImageNet", "tiny-imagenet"),
        ],
    )
    def test_unknown_ones_name_the_nearest(self, wrong, nearest):
        with pytest.raises(ValueError, match=f"got '{wrong}': did you mean '{nearest}'"):
            load_dataset(wrong)

    def test_known_ones(self):
        known = ("digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "tiny-imagenet")
        assert dataset_names() == known


class TestStandardFiles:
    def test_read_back_as_they_were_written(self, written):
        dataset, folder = written
        read = load_dataset(dataset.name, root=folder)
        assert read.fingerprint == dataset.fingerprint
        assert read.name == dataset.name
        assert read.classes == dataset.classes

    def test_are_found_through_the_environment(self, written, monkeypatch):
        dataset, folder = written
        monkeypatch.setenv("LINFKIT_DATA", str(folder))
        assert load_dataset(dataset.name).fingerprint == dataset.fingerprint

    def test_root_comes_before_the_environment(self, written, tmp_path, monkeypatch):
        dataset, folder = written
        monkeypatch.setenv("LINFKIT_DATA", str(tmp_path / "nowhere"))
        assert load_dataset(dataset.name, root=str(folder)).fingerprint == dataset.fingerprint

    def test_are_found_in_the_cache(self, written, tmp_path):
        dataset, folder = written
        (tmp_path / "cache").mkdir()
        folder.rename(tmp_path / "cache" / "data")
        assert load_dataset(dataset.name).fingerprint == dataset.fingerprint

    def test_missing_below_root_say_what_to_do(self, tmp_path):
        with pytest.raises(
            FileNotFoundError, match=r"cifar10: root is .*no .*data_batch_1\.bin.*give neither root"
        ):
            load_dataset("cifar10", root=tmp_path)

    def test_missing_in_the_environments_folder_say_what_to_do(self, tmp_path, monkeypatch):
        monkeypatch.setenv("LINFKIT_DATA", str(tmp_path))
        with pytest.raises(FileNotFoundError, match=r"LINFKIT_DATA is .*nor LINFKIT_DATA"):
            load_dataset("mnist")

    @pytest.mark.parametrize(
        ("name", "found", "said"),
        [
            (
                "cifar10",
                "cifar-10-batches-py/data_batch_1",
                "cifar-10-batches-py: a version that is",
            ),
            (
                "cifar10",
                "cifar-10-python.tar.gz",
                "the binary one is wanted, cifar-10-binary.tar.gz",
            ),
            (
                "cifar10",
                "cifar-10-binary.tar.gz",
                "tar -xf '.*/cifar-10-binary.tar.gz' -C '.*/my data'$",
            ),
            (
                "cifar10",
                "downloads/cifar-10-binary.tar",
                "tar -xf .*/downloads/cifar-10-binary.tar. -C",
            ),
            ("cifar10", "data_batch_1.bin", "must hold a folder cifar-10-batches-bin with it"),
            (
                "cifar100",
                "cifar-100-python/train",
                "the binary one is wanted, cifar-100-binary.tar.gz",
            ),
            ("cifar100", "cifar-100-binary.tar.gz", "tar -xf"),
            ("mnist", "MNIST/train-images-idx3-ubyte.gz", "must hold a folder MNIST/raw with it"),
            ("mnist", "MNIST/raw/train-images.idx3-ubyte", "a hyphen in place of the dot"),
            ("mnist", "mnist.npz", "a format that is not read"),
            ("fashion-mnist", "train-images-idx3-ubyte", "a folder FashionMNIST/raw with it"),
            ("tiny-imagenet", "tiny-imagenet-200.zip", "unzip .*tiny-imagenet-200.zip. -d"),
            ("tiny-imagenet", "wnids.txt", "must hold a folder tiny-imagenet-200 with it"),
        ],
    )
    def test_what_is_there_instead_is_named_with_what_to_do(
        self, name, found, said, tmp_path, monkeypatch
    ):
        folder = tmp_path / "my data"
        (folder / found).parent.mkdir(parents=True)
        (folder / found).touch()
        monkeypatch.setenv("LINFKIT_DATA", str(folder))
        with pytest.raises(FileNotFoundError, match=rf"^{name}: .*\nThere is {folder}.*{said}"):
            load_dataset(name)

    def test_what_is_in_its_place_is_not_named_as_if_it_were_not(self, written):
        dataset, folder = written
        next(
            path for path in folder.rglob("*") if "t10k" in path.name or "test" in path.name
        ).unlink()
        (folder / "FashionMNIST" / "raw").mkdir(parents=True, exist_ok=True)
        (folder / "FashionMNIST" / "raw" / "train-images-idx3-ubyte").touch()
        with pytest.raises(FileNotFoundError) as fault:
            load_dataset(dataset.name, root=folder)
        assert "There is" not in str(fault.value)

    def test_only_the_missing_one_is_named(self, written):
        dataset, folder = written
        gone, *rest = sorted(path for path in folder.rglob("*") if path.suffix in (".gz", ".bin"))
        gone.unlink()
        with pytest.raises(FileNotFoundError) as fault:
            load_dataset(dataset.name, root=folder)
        assert gone.name.removesuffix(".gz") in str(fault.value)
        assert all(path.name.removesuffix(".gz") not in str(fault.value) for path in rest)

    def test_mnist_unpacked(self, tmp_path):
        dataset = small_dataset("mnist", SMALL["mnist"])
        write_standard_files(dataset, tmp_path)
        for packed in (tmp_path / "MNIST" / "raw").iterdir():
            packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
            packed.unlink()
        assert load_dataset("mnist", root=tmp_path).fingerprint == dataset.fingerprint

    def test_mnist_with_more_labels_than_images(self, tmp_path):
        dataset = small_dataset("mnist", SMALL["mnist"])
        write_standard_files(dataset, tmp_path)
        raw = tmp_path / "MNIST" / "raw"
        (raw / "train-labels-idx1-ubyte.gz").write_bytes(
            (raw / "t10k-labels-idx1-ubyte.gz").read_bytes()
        )
        with pytest.raises(ValueError, match=r"train-labels.*: 10 labels for the 20 images"):
            load_dataset("mnist", root=tmp_path)

    def test_mnist_with_a_label_above_9(self, tmp_path):
        write_standard_files(small_dataset("mnist", SMALL["mnist"]), tmp_path)
        path = tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
        content = bytearray(gzip.decompress(path.read_bytes()))
        content[-1] = 10
        path.write_bytes(gzip.compress(content))
        with pytest.raises(
            ValueError, match=r"t10k-labels-idx1-ubyte.gz must have labels from 0 to 9; got 10"
        ):
            load_dataset("mnist", root=tmp_path)

    def test_cifar_names_its_classes(self, tmp_path):
        write_standard_files(small_dataset("cifar10", SMALL["cifar10"]), tmp_path)
        assert load_dataset("cifar10", root=tmp_path).classes[9] == "truck"
        assert len(set(STANDARD_FILES["cifar100"].classes)) == 100

    def test_cifar100_has_fine_labels(self, tmp_path):
        dataset = small_dataset("cifar100", SMALL["cifar100"])
        dataset = replace(dataset, test_y=torch.arange(90, 100))
        write_standard_files(dataset, tmp_path)
        read = load_dataset("cifar100", root=tmp_path)
        assert read.test_y.tolist() == list(range(90, 100))
        assert (read.classes[0], read.classes[99]) == ("apple", "worm")

    def test_cifar100_with_a_label_above_99(self, tmp_path):
        write_standard_files(small_dataset("cifar100", SMALL["cifar100"]), tmp_path)
        path = tmp_path / "cifar-100-binary" / "test.bin"
        content = bytearray(path.read_bytes())
        content[3 * 3074 + 1] = 100
        path.write_bytes(content)
        with pytest.raises(
            ValueError, match=r"test.bin must have labels from 0 to 99; got 100 in record 3"
        ):
            load_dataset("cifar100", root=tmp_path)

    def test_cifar100_truncated(self, tmp_path):
        write_standard_files(small_dataset("cifar100", SMALL["cifar100"]), tmp_path)
        path = tmp_path / "cifar-100-binary" / "train.bin"
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(
            ValueError, match=r"train.bin: 61,479 bytes, no whole number of records"
        ):
            load_dataset("cifar100", root=tmp_path)


class TestTinyImageNet:
    WNIDS = ("n02", "n01", "n03")  # in no order: theirs is that of the list

    @pytest.fixture
    def root(self, tmp_path):
        """Two training images of each of three classes, and four of validation."""
        root = tmp_path / "files" / "tiny-imagenet-200"
        for label, wnid in enumerate(self.WNIDS):
            for number in range(2):
                file = root / "train" / wnid / "images" / f"{wnid}_{number}.JPEG"
                self.write_jpeg(file, 50 * label + 10 * number)
        for number in range(4):
            self.write_jpeg(root / "val" / "images" / f"val_{number}.JPEG", 200 + number)
        lines = [
            f"val_{number}.JPEG\t{wnid}\t0\t0\t63\t63"
            for number, wnid in enumerate(("n03", "n01", "n02", "n03"))
        ]
        (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
        (root / "wnids.txt").write_text("\n".join(self.WNIDS) + "\n")
        (root / "words.txt").write_text("n01\tgoldfish, Carassius\nn02\tbullfrog\nn09\tsky\n")
        return root

    @staticmethod
    def write_jpeg(path, grey, size=(64, 64), mode="L"):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size, grey).save(path, quality=95)

    def test_is_read(self, root):
        tiny = load_dataset("tiny-imagenet", root=root.parent)
        assert tiny.train_x.shape == (6, 3, 64, 64)
        assert tiny.train_x[:, :, 5, 7].unique(dim=1).flatten().tolist() == [
            0,
            10,
            50,
            60,
            100,
            110,
        ]
        assert tiny.train_y.tolist() == [0, 0, 1, 1, 2, 2]
        assert tiny.test_x[:, 0, 0, 0].tolist() == [200, 201, 202, 203]
        assert tiny.test_y.tolist() == [2, 1, 0, 2]
        assert tiny.classes == ("bullfrog", "goldfish", "n03")

    def test_keeps_colours_apart(self, root):
        self.write_jpeg(root / "val" / "images" / "val_0.JPEG", (250, 128, 6), mode="RGB")
        red, green, blue = load_dataset("tiny-imagenet", root=root.parent).test_x[0, :, 30, 30]
        assert (red > 240, 118 < green < 138, blue < 16) == (True, True, True)

    def test_is_decoded_once(self, root, capsys):
        first = load_dataset("tiny-imagenet", root=root.parent)
        assert "Decoding, this once" in capsys.readouterr().err
        again = load_dataset("tiny-imagenet", root=root.parent)
        assert "Decoding" not in capsys.readouterr().err
        assert again.fingerprint == first.fingerprint
        assert [path.suffix for path in (cache_folder() / "decoded").iterdir()] == [".npy"]

    def test_is_decoded_anew_where_a_file_has_changed(self, root):
        load_dataset("tiny-imagenet", root=root.parent)
        self.write_jpeg(root / "val" / "images" / "val_0.JPEG", 77)
        assert (load_dataset("tiny-imagenet", root=root.parent).test_x[0] == 77).all()

    @pytest.mark.parametrize("damage", [lambda kept: kept[:-1], lambda kept: b"no array"])
    def test_is_decoded_anew_where_what_was_kept_is_damaged(self, root, damage):
        first = load_dataset("tiny-imagenet", root=root.parent).fingerprint
        (kept,) = (cache_folder() / "decoded").iterdir()
        kept.write_bytes(damage(kept.read_bytes()))
        assert load_dataset("tiny-imagenet", root=root.parent).fingerprint == first

    def test_is_not_changed_by_what_is_done_to_its_tensors(self, root):
        load_dataset("tiny-imagenet", root=root.parent).train_x.zero_()
        assert load_dataset("tiny-imagenet", root=root.parent).train_x.any()

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (
                lambda path: path.write_bytes(path.read_bytes()[:-100]),
                "no sound image .*Truncated",
            ),
            (lambda path: path.write_bytes(b""), "no sound image file of JPEG"),
            (
                lambda path: Image.new("L", (64, 64)).save(path, "PNG"),
                "no sound image file of JPEG",
            ),
            (
                lambda path: Image.new("L", (64, 65)).save(path),
                "64 × 64 pixels; got 65 × 64",
            ),
            (lambda path: Image.new("L", (30_000, 1)).save(path), "got 1 × 30000"),
        ],
        ids=["truncated", "empty", "wrong magic", "wrong size", "far too large"],
    )
    def test_refuses_an_image(self, root, spoil, said):
        spoil(root / "train" / "n01" / "images" / "n01_1.JPEG")
        with pytest.raises(ValueError, match=rf"n01_1\.JPEG.*{said}"):
            load_dataset("tiny-imagenet", root=root.parent)
        assert not list((cache_folder() / "decoded").iterdir()), "nothing half done is kept"

    @pytest.mark.parametrize(
        ("file", "content", "said"),
        [
            ("wnids.txt", "n01\nn02\nn01\n", r"got 3, 2 different ones"),
            ("wnids.txt", "", r"got 0, "),
            ("val/val_annotations.txt", "", "got none"),
            (
                "val/val_annotations.txt",
                "val_0.JPEG\tn01\nval_1.JPEG\n",
                "got 'val_1.JPEG' on line 2",
            ),
            ("val/val_annotations.txt", "val_0.JPEG\tn07\t0\n", "n07.* on line 1"),
            ("val/val_annotations.txt", "../val_0.JPEG\tn01\t0\n", "got '../val_0.* on line 1"),
        ],
    )
    def test_refuses_a_list(self, root, file, content, said):
        (root / file).write_text(content)
        with pytest.raises(ValueError, match=f"{Path(file).name}.*{said}"):
            load_dataset("tiny-imagenet", root=root.parent)

    @pytest.mark.parametrize(
        "gone", ["wnids.txt", "val/val_annotations.txt", "val/images/val_2.JPEG"]
    )
    def test_names_what_is_missing(self, root, gone):
        (root / gone).unlink()
        with pytest.raises(FileNotFoundError) as fault:
            load_dataset("tiny-imagenet", root=root.parent)
        assert Path(gone).name in str(fault.value)

    def test_its_lists_may_begin_with_a_byte_order_mark(self, root):
        (root / "words.txt").write_text("n02\tdog\nn01\tcat\n")
        before = load_dataset("tiny-imagenet", root=root.parent)
        for listed in (
            root / "wnids.txt",
            root / "words.txt",
            root / "val" / "val_annotations.txt",
        ):
            listed.write_text(listed.read_text(), "utf-8-sig")
        after = load_dataset("tiny-imagenet", root=root.parent)
        assert after.classes == before.classes == ("dog", "cat", "n03")
        assert after.fingerprint == before.fingerprint

    def test_names_a_class_without_images(self, root):
        for image in (root / "train" / "n03" / "images").iterdir():
            image.unlink()
        with pytest.raises(FileNotFoundError, match=r"n03.images: no \*.JPEG in it"):
            load_dataset("tiny-imagenet", root=root.parent)

    @pytest.mark.parametrize("root", [None, "somewhere"])
    def test_says_where_it_is_to_be_had(self, root, tmp_path):
        if root:
            root = tmp_path
        with pytest.raises(
            FileNotFoundError, match=r"tiny-imagenet-200\.zip.*wnids\.txt|wnids.*zip"
        ):
            load_dataset("tiny-imagenet", root=root)


@pytest.mark.parametrize(
    ("name", "train", "image_shape", "classes"),
    [
        ("mnist", 60_000, (1, 28, 28), 10),
        ("fashion-mnist", 60_000, (1, 28, 28), 10),
        ("cifar10", 50_000, (3, 32, 32), 10),
        ("cifar100", 50_000, (3, 32, 32), 100),
    ],
)
def test_real_files_where_there_are_any(name, train, image_shape, classes):
    folder = os.environ.get("LINFKIT_DATA")
    if not folder or STANDARD_FILES[name].missing(Path(folder)):
        pytest.skip(f"no files of {name} in LINFKIT_DATA")
    dataset = load_dataset(name)
    assert dataset.train_x.shape == (train, *image_shape)
    assert dataset.test_x.shape == (10_000, *image_shape)
    assert len(dataset.classes) == classes
    assert dataset.train_y.bincount().min() > 0.8 * train / classes


class TestIdxReader:
    HEADER = struct.pack(">4B3I", 0, 0, 8, 3, 2, 3, 4)
    PIXELS = bytes(range(24))

    @pytest.fixture(params=["images-idx3-ubyte", "images-idx3-ubyte.gz"])
    def write(self, request, tmp_path):
        path = tmp_path / request.param

        def write(content):
            path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
            return path

        return write

    def test_reads_plain_and_gzipped(self, write):
        images = read_idx(write(self.HEADER + self.PIXELS), dimensions=3)
        assert images.dtype == torch.uint8
        assert images.equal(torch.arange(24, dtype=torch.uint8).reshape(2, 3, 4))

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "; got nothing"),
            (
                b"\x00\x00\x08\x01" + HEADER[4:] + PIXELS,
                "must start with 00 00 08 03: .*; got 00 00 08 01",
            ),
            (b"\x00\x00\x0d\x03" + HEADER[4:] + PIXELS, "got 00 00 0d 03"),
            (HEADER[:9], "truncated within its header"),
            (HEADER + PIXELS[:-1], "truncated"),
            (HEADER + PIXELS + b"\x00", "more bytes follow"),
            (
                struct.pack(">4B3I", 0, 0, 8, 3, 2**31, 28, 28) + PIXELS,
                "declares 1,683,627,180,032 bytes .*, more than are ever read",
            ),
            (struct.pack(">4B3I", 0, 0, 8, 3, 2**16, 28, 28) + PIXELS, r"51,380,224 bytes .*hold"),
        ],
        ids=["empty", "labels", "floats", "half a header", "short", "long", "bomb", "firecracker"],
    )
    def test_refuses(self, write, content, said):
        path = write(content)
        with pytest.raises(ValueError, match=said) as fault:
            read_idx(path, dimensions=3)
        assert path.name in str(fault.value)

    @pytest.mark.parametrize("damage", ["cut", "garbled", "wrong checksum", "no gzip"])
    def test_refuses_a_damaged_gzip_file(self, tmp_path, damage):
        path = tmp_path / "labels-idx1-ubyte.gz"
        labels = np.random.default_rng(0).integers(10, size=1000, dtype=np.uint8).tobytes()
        content = bytearray(gzip.compress(struct.pack(">4BI", 0, 0, 8, 1, 1000) + labels))
        if damage == "cut":
            content = content[:200]
        elif damage == "garbled":
            content[100:110] = b"\xff" * 10
        elif damage == "wrong checksum":
            content[-8] ^= 1  # gzip ends in the CRC-32 and the length of what it holds
        else:
            content = bytearray(struct.pack(">4BI", 0, 0, 8, 1, 1000) + labels)
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"labels-idx1-ubyte.gz: no sound gzip file"):
            read_idx(path, dimensions=1)


class TestCifarReader:
    def test_reads_labels_and_channel_first_pixels(self, tmp_path):
        images, labels = some_images(3, (3, 32, 32))
        records = [
            bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=True)
        ]
        path = tmp_path / "test_batch.bin"
        path.write_bytes(b"".join(records))
        read_images, read_labels = read_cifar(path)
        assert np.array_equal(read_images, images)
        assert read_labels.tolist() == [0, 1, 2]

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "0 bytes"),
            (bytes(3072), "no whole number of records"),
            (bytes(3073 * 2 + 1), "no whole number of records"),
            (bytes(3073) + b"\xc8" + bytes(3072), "got 200 in record 1"),
        ],
        ids=["empty", "short", "long", "label"],
    )
    def test_refuses(self, tmp_path, content, said):
        path = tmp_path / "data_batch_1.bin"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=said) as fault:
            read_cifar(path)
        assert path.name in str(fault.value)


class TestPublished:
    @pytest.fixture
    def theirs(self, tmp_path):
        """A file on its makers' server."""
        path = tmp_path / "theirs.bin"
        path.write_bytes(b"pixels" * 1000)
        return self.published(path)

    @staticmethod
    def published(path):
        content = path.read_bytes()
        return PublishedFile(path.as_uri(), len(content), hashlib.md5(content).hexdigest())

    @pytest.fixture(params=sorted(SMALL))
    def server(self, request, tmp_path, monkeypatch):
        """A small data set, and its server, of which the test may change the files."""
        name, folder = request.param, tmp_path / "server"
        dataset = small_dataset(name, SMALL[name])
        write_standard_files(dataset, folder)
        source = SOURCES[name]
        if source.members:
            (packed,) = source.files
            with tarfile.open(folder / packed, "w:gz") as archive:
                archive.add(folder / STANDARD_FILES[name].folder, STANDARD_FILES[name].folder)
        files = {file: self.published(folder / file) for file in source.files}
        monkeypatch.setitem(SOURCES, name, replace(source, files=files))
        return SimpleNamespace(dataset=dataset, folder=folder)

    def test_is_kept_as_the_standard_files(self, server, tmp_path, capsys):
        name = server.dataset.name
        first = load_dataset(name)
        assert f"Downloading {name} from {SOURCES[name].origin}" in capsys.readouterr().err
        server.folder.rename(tmp_path / "gone")
        assert load_dataset(name).fingerprint == first.fingerprint == server.dataset.fingerprint
        assert len(list((cache_folder() / "data").iterdir())) == 1, "nothing is left beside"

    def test_with_a_wrong_checksum_is_refused(self, server):
        path = max(
            (path for path in server.folder.rglob("*") if path.suffix == ".gz"),
            key=lambda p: p.name,
        )
        content = bytearray(path.read_bytes())
        content[-9] ^= 1
        path.write_bytes(content)
        with pytest.raises(
            ValueError, match=rf"{path.name} must have MD5 \w{{32}}; got \w{{32}}: it was damaged"
        ):
            load_dataset(server.dataset.name)
        assert not list((cache_folder() / "data").iterdir()), "nothing half done is left"

    def test_offline_says_which_files_to_put_where(self, server):
        for path in server.folder.rglob("*.gz"):
            path.unlink()
        with pytest.raises(FileNotFoundError, match=r"no download from .*LINFKIT_DATA: ") as e:
            load_dataset(server.dataset.name)
        files = STANDARD_FILES[server.dataset.name].missing(Path("nowhere"))
        assert all(file in str(e.value) for file in files)
        assert not list((cache_folder() / "data").iterdir()), "nothing half done is left"

    def test_never_happens_where_a_folder_is_named(self, server, tmp_path):
        with pytest.raises(FileNotFoundError, match="root is"):
            load_dataset(server.dataset.name, root=tmp_path / "elsewhere")

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda content: content[:-1], "theirs.bin must have 6,000 bytes; got 5,999"),
            (lambda content: content + b"more", "must have 6,000 bytes; got at least 6,001"),
            (lambda content: content[::-1], "must have MD5"),
        ],
        ids=["truncated", "longer", "another"],
    )
    def test_file_that_has_changed_is_refused(self, theirs, tmp_path, change, said):
        path = tmp_path / "theirs.bin"
        path.write_bytes(change(path.read_bytes()))
        with pytest.raises(ValueError, match=said):
            theirs.download(tmp_path / "ours.bin")

    def test_archive_yields_no_more_than_is_asked_for(self, tmp_path):
        packed = tmp_path / "archive.tar.gz"
        with tarfile.open(packed, "w:gz") as archive:
            for name in ("set/train.bin", "set/readme.txt", "../outside"):
                member = tarfile.TarInfo(name)
                member.size = 3
                archive.addfile(member, io.BytesIO(b"abc"))
        source = Source("x", {"archive": self.published(packed)}, members=("set/train.bin",))
        source.bring(tmp_path / "ours")
        brought = [path.name for path in (tmp_path / "ours").rglob("*") if path.is_file()]
        assert brought == ["train.bin"]


class TestCacheFolder:
    def test_is_the_environments(self, tmp_path):
        assert cache_folder() == tmp_path / "cache"

    def test_is_the_platforms_otherwise(self, monkeypatch):
        monkeypatch.delenv("LINFKIT_CACHE")
        assert "linfkit" in cache_folder().parts


class TestFromArrays:
    IMAGES, LABELS = some_images(6, (3, 4, 5))

    def make(self, **changes):
        arrays = {
            "train_x": self.IMAGES,
            "train_y": self.LABELS,
            "test_x": self.IMAGES[:3],
            "test_y": self.LABELS[:3],
        }
        return Dataset.from_arrays(**(arrays | changes))

    def test_takes_numpy_and_torch_alike(self):
        theirs = self.make()
        ours = self.make(
            train_x=torch.from_numpy(self.IMAGES), train_y=torch.from_numpy(self.LABELS)
        )
        assert ours.fingerprint == theirs.fingerprint
        assert ours.classes == tuple("012345")

    @pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint16, np.uint64, ">i4"])
    def test_takes_any_integers_for_labels(self, dtype):
        assert self.make(train_y=self.LABELS.astype(dtype)).train_y.tolist() == [0, 1, 2, 3, 4, 5]

    @pytest.mark.parametrize(
        "of_any_type", [list, tuple, torch.tensor, lambda labels: [np.int64(i) for i in labels]]
    )
    def test_takes_labels_of_any_kind_of_list(self, of_any_type):
        labels = self.make(train_y=of_any_type(self.LABELS.tolist())).train_y
        assert labels.dtype == torch.int64
        assert labels.tolist() == self.LABELS.tolist()

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
    def test_takes_pixels_in_0_to_1_that_are_levels(self, dtype):
        levels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
        for pixels in (
            (levels / 255).astype(dtype),
            levels.astype(dtype) * np.array(1 / 255, dtype),
        ):
            for images in (
                pixels,
                torch.from_numpy(pixels.astype(np.dtype(dtype).newbyteorder("="))),
            ):
                ours = Dataset.from_arrays(images, [0], images, [1])
                assert np.array_equal(ours.train_x, levels)

    @pytest.mark.parametrize(
        ("pixels", "said"),
        [
            (IMAGES / 127.5 - 1, r"got values from -.* a net normalises its images itself"),
            (
                IMAGES * 1.0,
                r"got values from .* write images\.astype\('uint8'\) where they are levels",
            ),
            (IMAGES / 16, r"got values from 0 to "),
            (np.full(IMAGES.shape, np.nan), "got values from nan to nan"),
            (np.round(IMAGES / 255, 2), r"write \(images \* 255\)\.round\(\)\.astype\('uint8'\)"),
            (
                torch.from_numpy(IMAGES / 255).bfloat16(),
                r"got torch.bfloat16 up to .* away from one",
            ),
        ],
        ids=["normalised", "levels", "beyond", "nan", "decimals", "bfloat16"],
    )
    def test_refuses_other_pixels_and_says_what_to_write(self, pixels, said):
        with pytest.raises(ValueError, match=rf"^train_x must be .*{said}"):
            self.make(train_x=pixels)

    @pytest.mark.parametrize("dtype", [np.int64, np.uint16, bool])
    def test_refuses_pixels_of_other_integers(self, dtype):
        with pytest.raises(TypeError, match=r"^train_x must be uint8 .*images\.astype\('uint8'\)"):
            self.make(train_x=self.IMAGES.astype(dtype))

    def test_gives_grey_images_a_channel(self):
        grey = self.make(train_x=self.IMAGES[:, 0], test_x=self.IMAGES[:3, 0])
        assert grey.image_shape == (1, 4, 5)

    def test_takes_rows_for_square_grey_images(self):
        square, _ = some_images(6, (1, 28, 28))
        ours = self.make(train_x=square.reshape(6, 784), test_x=square.reshape(6, 784)[:3] / 255)
        assert np.array_equal(ours.train_x, square)
        assert np.array_equal(ours.test_x, square[:3])

    @pytest.mark.parametrize("pixels", [3072, 5])
    def test_refuses_other_rows_and_says_what_to_write(self, pixels):
        with pytest.raises(
            ValueError, match=rf"^train_x must be images.*\(6, {pixels}\): write images\.reshape\("
        ):
            self.make(train_x=np.zeros((6, pixels), dtype=np.uint8))

    @pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (5, 5, 4), (48, 64, 3)])
    def test_refuses_channels_that_come_last(self, shape):
        images, _ = some_images(6, shape)
        said = r"^train_x must have its channels first.* write images\.transpose\(0, 3, 1, 2\)"
        for of_any_type in (images, images / 255, torch.from_numpy(images)):
            with pytest.raises(ValueError, match=said):
                self.make(train_x=of_any_type)
        first = images.transpose(0, 3, 1, 2)
        assert self.make(train_x=first, test_x=first[:3]).image_shape == shape[2:] + shape[:2]

    @pytest.mark.parametrize(
        "shape", [(3, 32, 3), (1, 8, 1), (4, 64, 4), (16, 1, 1), (3, 1, 1), (4, 4, 3), (6, 7, 5)]
    )
    def test_takes_what_may_have_its_channels_first(self, shape):
        images, _ = some_images(6, shape)
        assert self.make(train_x=images, test_x=images[:3]).image_shape == shape

    def test_takes_mirrored_and_read_only_arrays(self):
        mirrored = self.IMAGES[:, :, :, ::-1]
        mirrored.flags.writeable = False
        assert np.array_equal(self.make(train_x=mirrored).train_x, mirrored)

    def test_copies(self):
        images = self.IMAGES.copy()
        dataset = self.make(train_x=images)
        images[:] = 0
        assert np.array_equal(dataset.train_x, self.IMAGES)

    @pytest.mark.parametrize(
        ("argument", "value", "error", "said"),
        [
            ("train_x", [[1, 2]], TypeError, "got list"),
            ("train_x", IMAGES.astype(str), TypeError, "got <U3"),
            ("train_x", IMAGES[:0], ValueError, r"got shape \(0, 3, 4, 5\)"),
            ("train_x", IMAGES[:, :, :3], ValueError, None),
            ("train_y", LABELS[:4], ValueError, "each of the 6 images of train_x; got 4"),
            ("train_y", LABELS * 1.0, TypeError, "whole numbers; got ndarray of float64"),
            ("train_y", LABELS > 2, TypeError, "got ndarray of bool"),
            ("train_y", LABELS - 1, ValueError, "labels from 0 to 4; got -1"),
            (
                "train_y",
                LABELS[:, None],
                ValueError,
                r"\(N,\).*; got shape \(6, 1\).* labels.reshape",
            ),
            (
                "train_y",
                np.eye(6, dtype=int),
                ValueError,
                r"shape \(6, 6\): .* labels\.argmax\(1\)",
            ),
            ("train_y", list("012345"), TypeError, "got list of <U1"),
            ("train_y", None, TypeError, "got NoneType of object"),
            ("train_y", LABELS[:0], ValueError, r"got shape \(0,\)"),
            ("test_y", LABELS[:3] + 10**9, ValueError, None),
            ("classes", ("cat", "dog"), ValueError, None),
            ("classes", ("cat",), ValueError, "at least two names"),
            ("classes", (1, 2), TypeError, "a tuple of strings"),
        ],
    )
    def test_refuses(self, argument, value, error, said):
        with pytest.raises(error, match=said) as fault:
            self.make(**{argument: value})
        if said:
            assert str(fault.value).startswith(f"{argument} must ")

    @pytest.mark.parametrize(
        ("argument", "value", "said"),
        [
            ("train_x", IMAGES, "a torch tensor of .*; got ndarray"),
            ("test_x", torch.ones(3, 3, 4, 5), r"torch\.uint8 .*; got torch\.float32"),
            ("train_y", LABELS, "a torch tensor of .*; got ndarray"),
            ("test_y", torch.zeros(3).int(), r"torch\.int64 labels; got torch\.int32"),
            ("classes", ["cat"] * 5, "a tuple of strings"),
        ],
    )
    def test_made_of_its_parts_refuses_what_is_not_as_it_keeps_them(self, argument, value, said):
        with pytest.raises(TypeError, match=f"^{argument} must be .*{said}"):
            dataclasses.replace(self.make(), **{argument: value})

    def test_of_images_that_differ_in_shape(self):
        with pytest.raises(ValueError, match=r"test_x must .*\(3, 3, 5\); got \(3, 4, 5\)"):
            self.make(train_x=self.IMAGES[:, :, :3])

    def test_of_labels_that_are_no_count(self):
        with pytest.raises(ValueError, match="got label 1,000,000,002 among 9 labels"):
            self.make(test_y=self.LABELS[:3] + 10**9)

    def test_of_labels_without_a_class(self):
        with pytest.raises(ValueError, match="train_y must hold labels from 0 to 1; got 5"):
            self.make(classes=("cat", "dog"))

    def test_of_equal_pixels_have_no_scale(self):
        with pytest.raises(ValueError, match="train_x must have at least two levels"):
            _ = self.make(train_x=np.zeros_like(self.IMAGES)).pixel_scale

    def test_means_are_the_channels_own(self):
        pixels = torch.from_numpy(self.IMAGES).double() / 255
        assert self.make().channel_means == pytest.approx(pixels.mean((0, 2, 3)).tolist())
        assert self.make().pixel_scale == pytest.approx(pixels.std(correction=0).item())


class TestSubset:
    def test_is_the_first(self):
        digits = load_dataset("digits")
        part = digits.subset(train_images=100, test_images=7)
        assert part.train_x.equal(digits.train_x[:100])
        assert part.test_y.equal(digits.test_y[:7])

    def test_of_all_is_the_same(self):
        digits = load_dataset("digits")
        assert digits.subset().fingerprint == digits.fingerprint

    @pytest.mark.parametrize("whole", [np.int32, torch.tensor])
    def test_counts_whole_numbers_of_any_type(self, whole):
        assert len(load_dataset("digits").subset(train_images=whole(7)).train_x) == 7

    @pytest.mark.parametrize(
        ("count", "error"),
        [(0, ValueError), (1438, ValueError), (1.5, TypeError), (True, TypeError)],
    )
    def test_refuses(self, count, error):
        with pytest.raises(error, match=r"^train_images must be "):
            load_dataset("digits").subset(train_images=count)


class TestOnADevice:
    def test_is_the_same_data_set(self):
        digits = load_dataset("digits")
        assert digits.on("cpu").fingerprint == digits.fingerprint

    def test_stays_where_it_is_if_it_does_not_fit(self, monkeypatch):
        digits = load_dataset("digits")
        size = digits.train_x.nbytes + digits.train_y.nbytes + digits.test_x.nbytes
        size += digits.test_y.nbytes
        for free, moved in [(2 * size, True), (2 * size - 1, False)]:
            monkeypatch.setattr(dataset_module, "_free_memory", lambda device, free=free: free)
            assert (digits.on("cpu") is not digits) == moved

    @pytest.mark.gpu
    def test_is_on_the_gpu(self):
        assert load_dataset("digits").on("cuda").train_x.is_cuda


class TestLabelNoise:
    def dataset(self, count=20_000):
        images = np.zeros((count, 1, 1), dtype=np.uint8)
        labels = np.arange(count) % 10
        return Dataset.from_arrays(images, labels, images[:10], labels[:10])

    def test_redraws_that_share_from_all_classes(self):
        clean = self.dataset()
        noisy = clean.with_label_noise(0.2, seed=3)
        changed = noisy.train_y != clean.train_y
        # Of 4,000 redrawn, 1 in 10 is right by chance: 3,600 ± 19 are wrong.
        assert abs(int(changed.sum()) - 3600) < 100
        # What they became is even over the classes: 360 ± 18 each.
        assert (noisy.train_y[changed].bincount(minlength=10) - 360).abs().max() < 90

    def test_leaves_all_else(self):
        clean = self.dataset(100)
        noisy = clean.with_label_noise(1.0, seed=0)
        assert noisy.test_y.equal(clean.test_y)
        assert noisy.train_x.equal(clean.train_x)
        assert clean.train_y.equal(torch.arange(100) % 10)

    def test_is_a_function_of_its_seed(self):
        clean = self.dataset(100)
        once, again, other = (clean.with_label_noise(0.5, seed).fingerprint for seed in (0, 0, 1))
        assert once == again != other

    def test_takes_numbers_of_any_type(self):
        clean = self.dataset(100)
        ours = clean.with_label_noise(np.float32(0.5), seed=np.uint8(3))
        assert ours.fingerprint == clean.with_label_noise(0.5, seed=3).fingerprint

    def test_of_nothing_changes_nothing(self):
        clean = self.dataset(100)
        assert clean.with_label_noise(0, seed=0).fingerprint == clean.fingerprint

    @pytest.mark.parametrize(
        ("share", "seed", "error", "said"),
        [
            (1.1, 0, ValueError, "^share must be a number from 0 to 1; got 1.1"),
            (float("nan"), 0, ValueError, "^share must be a number from 0 to 1; got nan"),
            ("a lot", 0, TypeError, "^share must be a number from 0 to 1; got 'a lot'"),
            (0.1, -1, ValueError, "^seed must be at least 0; got -1"),
            (0.1, 0.5, TypeError, "^seed must be a whole number; got 0.5"),
        ],
    )
    def test_refuses(self, share, seed, error, said):
        with pytest.raises(error, match=said):
            self.dataset(10).with_label_noise(share, seed)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class TestAugmentation:
    IMAGES = torch.from_numpy(some_images(64, (3, 7, 5))[0])

    @pytest.mark.parametrize("padding", [1, 3, 9])
    @pytest.mark.parametrize(
        ("padding_mode", "as_torch_calls_it"), [("replicate", "replicate"), ("zeros", "constant")]
    )
    def test_crop_is_that_of_each_padded_image(self, padding, padding_mode, as_torch_calls_it):
        cropped = random_crop(self.IMAGES, padding, generator(), padding_mode)
        padded = torch.nn.functional.pad(
            self.IMAGES.float(), (padding,) * 4, mode=as_torch_calls_it
        )
        shifts = torch.randint(-padding, padding + 1, (2, 64, 1), generator=generator()) + padding
        for image, around, down, right in zip(
            cropped, padded, *shifts[:, :, 0].tolist(), strict=True
        ):
            assert image.equal(around[:, down : down + 7, right : right + 5].byte())

    def test_crops_of_one_pixel_take_all_nine_places(self):
        image = torch.arange(35.0).reshape(1, 1, 7, 5).expand(500, 1, 7, 5)
        centres = random_crop(image, 1, generator())[:, 0, 3, 2].unique()
        assert centres.tolist() == [11, 12, 13, 16, 17, 18, 21, 22, 23]

    def test_flip_mirrors_half_of_them(self):
        flipped = random_flip(self.IMAGES, generator())
        mirrored = (flipped == self.IMAGES.flip(-1)).flatten(1).all(dim=1)
        kept = (flipped == self.IMAGES).flatten(1).all(dim=1)
        assert mirrored.equal(~kept)
        assert 16 < mirrored.sum() < 48

    def test_crops_shift_alike_whatever_fills_the_gap(self):
        ones = torch.ones(64, 1, 7, 5)
        within = random_crop(ones, 2, generator(), "zeros")
        assert 0.5 < within.mean() < 1
        edged, zeroed = (
            random_crop(self.IMAGES, 2, generator(), mode) for mode in ("replicate", "zeros")
        )
        assert zeroed.equal(edged * within.byte())

    @pytest.mark.parametrize(
        "augment",
        [
            lambda x, g: random_crop(x, 2, g),
            lambda x, g: random_crop(x, 2, g, "zeros"),
            random_flip,
        ],
    )
    @pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
    def test_keeps_the_dtype_and_is_a_function_of_the_generator(self, augment, dtype):
        images = self.IMAGES.to(dtype)
        once, again, other = (augment(images, generator(seed)) for seed in (0, 0, 1))
        assert once.dtype == dtype
        assert once.equal(again)
        assert not once.equal(other)

    def test_no_padding_draws_nothing(self):
        drawn = generator()
        assert random_crop(self.IMAGES, 0, drawn).equal(self.IMAGES)
        assert drawn.get_state().equal(generator().get_state())

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    def test_shifts_are_the_same_on_every_device(self):
        here = random_crop(self.IMAGES, 2, generator())
        assert random_crop(self.IMAGES.cuda(), 2, generator()).cpu().equal(here)


def test_decoded_images_stay_in_memory_where_none_can_be_kept(tmp_path):
    path, kept = tmp_path / "grey.JPEG", tmp_path / "in the way" / "kept.npy"
    Image.new("L", (8, 8), 128).save(path)
    kept.parent.write_text("a file where the folder should be")
    with pytest.warns(RuntimeWarning, match="decoded images stay in memory"):
        images = decoded_once([path] * 3, side=8, kept=kept)
    assert images.shape == (3, 3, 8, 8)
    assert (images == 128).all()
