"""Data sets: the embedded one, readers of the standard files, downloads, noise, augmentation.

Not tested here: that OpenML's server still serves what it did, since no test uses the network.
"""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch

from linfkit.data import (
    Dataset,
    cache_folder,
    dataset_names,
    load_dataset,
    random_crop,
    random_flip,
)
from linfkit.data import downloads as downloads_module
from linfkit.data.cifar import read_cifar
from linfkit.data.idx import read_idx
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


SMALL = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}


@pytest.fixture(params=sorted(SMALL))
def written(request, tmp_path):
    """A small data set, and a folder with its standard files."""
    dataset = small_dataset(request.param, SMALL[request.param])
    STANDARD_FILES[request.param].write(dataset, tmp_path / "files")
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
        ("wrong", "nearest"), [("digit", "digits"), ("MNIST", "mnist"), ("cifar-10", "cifar10")]
    )
    def test_unknown_ones_name_the_nearest(self, wrong, nearest):
        with pytest.raises(ValueError, match=f"name: '{wrong}'.*did you mean '{nearest}'"):
            load_dataset(wrong)

    def test_known_ones(self):
        assert dataset_names() == ("digits", "mnist", "cifar10")


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
            FileNotFoundError, match=r"cifar10: root is .*no .*data_batch_1\.bin.*without root"
        ):
            load_dataset("cifar10", root=tmp_path)

    def test_missing_in_the_environments_folder_say_what_to_do(self, tmp_path, monkeypatch):
        monkeypatch.setenv("LINFKIT_DATA", str(tmp_path))
        with pytest.raises(FileNotFoundError, match=r"LINFKIT_DATA is .*unset LINFKIT_DATA"):
            load_dataset("mnist")

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
        STANDARD_FILES["mnist"].write(dataset, tmp_path)
        for packed in (tmp_path / "MNIST" / "raw").iterdir():
            packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
            packed.unlink()
        assert load_dataset("mnist", root=tmp_path).fingerprint == dataset.fingerprint

    def test_mnist_with_more_labels_than_images(self, tmp_path):
        dataset = small_dataset("mnist", SMALL["mnist"])
        STANDARD_FILES["mnist"].write(dataset, tmp_path)
        raw = tmp_path / "MNIST" / "raw"
        (raw / "train-labels-idx1-ubyte.gz").write_bytes(
            (raw / "t10k-labels-idx1-ubyte.gz").read_bytes()
        )
        with pytest.raises(ValueError, match=r"train-labels.*: 10 labels for the 20 images"):
            load_dataset("mnist", root=tmp_path)

    def test_mnist_with_a_label_above_9(self, tmp_path):
        STANDARD_FILES["mnist"].write(small_dataset("mnist", SMALL["mnist"]), tmp_path)
        path = tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
        content = bytearray(gzip.decompress(path.read_bytes()))
        content[-1] = 10
        path.write_bytes(gzip.compress(content))
        with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte.gz: label 10"):
            load_dataset("mnist", root=tmp_path)

    def test_cifar_names_its_classes_without_their_file(self, tmp_path):
        dataset = small_dataset("cifar10", SMALL["cifar10"])
        STANDARD_FILES["cifar10"].write(dataset, tmp_path)
        (tmp_path / "cifar-10-batches-bin" / "batches.meta.txt").unlink()
        assert load_dataset("cifar10", root=tmp_path).classes[9] == "truck"

    def test_cifar_with_too_few_names(self, tmp_path):
        STANDARD_FILES["cifar10"].write(small_dataset("cifar10", SMALL["cifar10"]), tmp_path)
        (tmp_path / "cifar-10-batches-bin" / "batches.meta.txt").write_text("cat\ndog\n")
        with pytest.raises(ValueError, match=r"batches.meta.txt: 2 names; 10 are wanted"):
            load_dataset("cifar10", root=tmp_path)


@pytest.mark.parametrize(
    ("name", "train", "image_shape"),
    [("mnist", 60_000, (1, 28, 28)), ("cifar10", 50_000, (3, 32, 32))],
)
def test_real_files_where_there_are_any(name, train, image_shape):
    folder = os.environ.get("LINFKIT_DATA")
    if not folder or STANDARD_FILES[name].missing(Path(folder)):
        pytest.skip(f"no files of {name} in LINFKIT_DATA")
    dataset = load_dataset(name)
    assert dataset.train_x.shape == (train, *image_shape)
    assert dataset.test_x.shape == (10_000, *image_shape)
    assert len(dataset.classes) == 10
    assert dataset.train_y.bincount().min() > 0.08 * train


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
            (b"", "starts with nothing"),
            (b"\x00\x00\x08\x01" + HEADER[4:] + PIXELS, "starts with 00 00 08 01; 00 00 08 03"),
            (b"\x00\x00\x0d\x03" + HEADER[4:] + PIXELS, "starts with 00 00 0d 03"),
            (HEADER[:9], "truncated within its header"),
            (HEADER + PIXELS[:-1], "truncated"),
            (HEADER + PIXELS + b"\x00", "more bytes follow"),
            (struct.pack(">4B3I", 0, 0, 8, 3, 2**31, 28, 28) + PIXELS, "declares 1,683,627,180"),
            (struct.pack(">4B3I", 0, 0, 8, 3, 2**16, 28, 28) + PIXELS, r"51,380,224 bytes .*hold"),
        ],
        ids=["empty", "labels", "floats", "half a header", "short", "long", "bomb", "firecracker"],
    )
    def test_refuses(self, write, content, said):
        path = write(content)
        with pytest.raises(ValueError, match=said) as fault:
            read_idx(path, dimensions=3)
        assert path.name in str(fault.value)

    @pytest.mark.parametrize("damage", ["cut", "garbled", "no gzip"])
    def test_refuses_a_damaged_gzip_file(self, tmp_path, damage):
        path = tmp_path / "labels-idx1-ubyte.gz"
        labels = np.random.default_rng(0).integers(10, size=1000, dtype=np.uint8).tobytes()
        content = bytearray(gzip.compress(struct.pack(">4BI", 0, 0, 8, 1, 1000) + labels))
        if damage == "cut":
            content = content[:200]
        elif damage == "garbled":
            content[100:110] = b"\xff" * 10
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
            (bytes(3073) + b"\xc8" + bytes(3072), "label 200 in record 1"),
        ],
        ids=["empty", "short", "long", "label"],
    )
    def test_refuses(self, tmp_path, content, said):
        path = tmp_path / "data_batch_1.bin"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=said) as fault:
            read_cifar(path)
        assert path.name in str(fault.value)


class TestDownload:
    @pytest.fixture(params=sorted(SMALL))
    def openml(self, request, monkeypatch):
        """OpenML as it would answer, with 30 images a table; counts how often it is asked."""
        name = request.param
        dataset = small_dataset(name, SMALL[name])
        source = downloads_module.OPENML_TABLES[name]
        small = downloads_module.OpenmlTable(source.which, SMALL[name], 20, 30, source.classes)
        monkeypatch.setitem(downloads_module.OPENML_TABLES, name, small)
        calls = []

        def fetch(*, data_home, **arguments):
            calls.append(arguments)
            images = torch.cat([dataset.train_x, dataset.test_x]).flatten(1)
            labels = torch.cat([dataset.train_y, dataset.test_y])
            answer = SimpleNamespace(
                data=images.double().numpy(), target=labels.numpy().astype(str).astype(object)
            )
            return openml.change(answer)

        monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
        openml = SimpleNamespace(dataset=dataset, calls=calls, change=lambda answer: answer)
        return openml

    def test_is_kept_as_the_standard_files(self, openml, capsys):
        name = openml.dataset.name
        first, second = load_dataset(name), load_dataset(name)
        assert first.fingerprint == second.fingerprint == openml.dataset.fingerprint
        assert len(openml.calls) == 1
        assert not STANDARD_FILES[name].missing(cache_folder() / "data")
        assert len(list((cache_folder() / "data").iterdir())) == 1, "nothing is left beside"
        assert f"Downloading {name} from OpenML" in capsys.readouterr().err

    def test_never_happens_where_a_folder_is_named(self, openml, tmp_path):
        with pytest.raises(FileNotFoundError):
            load_dataset(openml.dataset.name, root=tmp_path)
        assert not openml.calls

    def test_offline_says_which_files_to_put_where(self, openml):
        def fail(answer):
            raise URLError("no route to host")

        openml.change = fail
        with pytest.raises(FileNotFoundError, match=r"no download.*no route.*LINFKIT_DATA: ") as e:
            load_dataset(openml.dataset.name)
        files = STANDARD_FILES[openml.dataset.name].missing(Path("nowhere"))
        assert all(file in str(e.value) for file in files)
        assert not list((cache_folder() / "data").iterdir()), "nothing half done is left"

    @pytest.mark.parametrize("pixel", [0.5, -1.0, 256.0, float("nan")])
    def test_refuses_pixels_that_are_none(self, openml, pixel):
        def spoil(answer):
            answer.data[3, 5] = pixel
            return answer

        openml.change = spoil
        with pytest.raises(ValueError, match="whole numbers from 0 to 255"):
            load_dataset(openml.dataset.name)
        assert STANDARD_FILES[openml.dataset.name].missing(cache_folder() / "data")

    def test_refuses_a_table_of_another_size(self, openml):
        def shorten(answer):
            return SimpleNamespace(data=answer.data[:-1], target=answer.target[:-1])

        openml.change = shorten
        with pytest.raises(ValueError, match=r"a table of \(29, "):
            load_dataset(openml.dataset.name)


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

    def test_gives_grey_images_a_channel(self):
        grey = self.make(train_x=self.IMAGES[:, 0], test_x=self.IMAGES[:3, 0])
        assert grey.image_shape == (1, 4, 5)

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
            ("train_x", [[1, 2]], TypeError, "list came"),
            ("train_x", IMAGES / 255, TypeError, r"torch.float64 came; torch.uint8"),
            ("train_x", IMAGES.astype(str), TypeError, "an array of <U3 came"),
            ("train_x", IMAGES[0, 0], ValueError, r"shape \(4, 5\) came; \(N, C, H, W\)"),
            ("train_x", IMAGES[:0], ValueError, r"shape \(0, 3, 4, 5\) came"),
            ("train_x", IMAGES[:, :, :3], ValueError, None),
            ("train_y", LABELS[:4], ValueError, "4 labels came for the 6 images"),
            ("train_y", LABELS * 1.0, TypeError, "torch.float64 came; integer labels"),
            ("train_y", LABELS > 2, TypeError, "torch.bool came"),
            ("train_y", LABELS - 1, ValueError, "label -1 came; labels from 0 to 4"),
            ("train_y", LABELS[:, None], ValueError, r"shape \(6, 1\) came; \(N,\)"),
            ("train_y", LABELS[:0], ValueError, r"shape \(0,\) came"),
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
            assert str(fault.value).startswith(f"{argument}: ")

    def test_of_images_that_differ_in_shape(self):
        with pytest.raises(ValueError, match=r"test_x: .*\(3, 4, 5\) came; \(3, 3, 5\)"):
            self.make(train_x=self.IMAGES[:, :, :3])

    def test_of_labels_that_are_no_count(self):
        with pytest.raises(ValueError, match="label 1,000,000,002 among 9 labels"):
            self.make(test_y=self.LABELS[:3] + 10**9)

    def test_of_labels_without_a_class(self):
        with pytest.raises(ValueError, match="train_y: label 5 came; labels from 0 to 1"):
            self.make(classes=("cat", "dog"))

    def test_of_equal_pixels_have_no_scale(self):
        with pytest.raises(ValueError, match="train_x: all pixels are equal"):
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

    @pytest.mark.parametrize(
        ("count", "error"), [(0, ValueError), (1438, ValueError), (1.5, TypeError)]
    )
    def test_refuses(self, count, error):
        with pytest.raises(error, match=r"^train_images: "):
            load_dataset("digits").subset(train_images=count)


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

    def test_of_nothing_changes_nothing(self):
        clean = self.dataset(100)
        assert clean.with_label_noise(0, seed=0).fingerprint == clean.fingerprint

    @pytest.mark.parametrize(
        ("share", "seed", "error", "said"),
        [
            (1.1, 0, ValueError, "^share: 1.1 came"),
            (float("nan"), 0, ValueError, "^share: nan came"),
            ("a lot", 0, TypeError, "^share: 'a lot' came"),
            (0.1, -1, ValueError, "^seed: -1 came"),
            (0.1, 0.5, TypeError, "^seed: 0.5 came"),
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
    def test_crop_is_that_of_each_image_padded_by_its_edges(self, padding):
        cropped = random_crop(self.IMAGES, padding, generator())
        padded = torch.nn.functional.pad(self.IMAGES.float(), (padding,) * 4, mode="replicate")
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

    @pytest.mark.parametrize("augment", [lambda x, g: random_crop(x, 2, g), random_flip])
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

    @pytest.mark.parametrize(
        ("images", "padding", "error", "said"),
        [
            (IMAGES[0], 1, ValueError, r"^images: shape \(3, 7, 5\) came"),
            ("cat", 1, TypeError, "^images: str came"),
            (IMAGES, -1, ValueError, "^padding: -1 came"),
            (IMAGES, 0.5, TypeError, "^padding: 0.5 came"),
        ],
    )
    def test_refuses(self, images, padding, error, said):
        with pytest.raises(error, match=said):
            random_crop(images, padding, generator())

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    def test_shifts_are_the_same_on_every_device(self):
        here = random_crop(self.IMAGES, 2, generator())
        assert random_crop(self.IMAGES.cuda(), 2, generator()).cpu().equal(here)
