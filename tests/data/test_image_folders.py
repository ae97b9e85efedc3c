"""Folders of images: classes, the split, formats and sizes; refusals name the file.

Not tested here: bytes that nobody wrote, see tests/robustness/test_fuzzing.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import linfkit as lk
from linfkit.data import image_folders
from linfkit.data.image_folders import read_image


def picture(seed, shape=(6, 5, 3)):
    return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


def write(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


@pytest.fixture
def folder(tmp_path):
    """Ten images of each of three classes, whose first pixel says which image it is."""
    for label, name in enumerate(("ant", "bee", "cow")):
        for number in range(10):
            pixels = picture(10 * label + number)
            pixels[0, 0] = (label, number, 0)
            write(tmp_path / name / f"{number}.png", pixels)
    return tmp_path


def who(images):
    """(class, number) of each image."""
    return [tuple(first.tolist()) for first in images[:, :2, 0, 0]]


class TestFolder:
    def test_each_sub_folder_is_a_class_and_nothing_is_lost(self, folder):
        data = lk.Dataset.from_folder(folder, name="animals")
        assert data.name == "animals"
        assert data.classes == ("ant", "bee", "cow")
        assert data.image_shape == (3, 6, 5)
        assert sorted(who(data.train_x) + who(data.test_x)) == [
            (label, number) for label in range(3) for number in range(10)
        ]
        assert [label for label, _ in who(data.train_x)] == data.train_y.tolist()
        assert [label for label, _ in who(data.test_x)] == data.test_y.tolist()

    def test_pixels_are_those_of_the_file(self, folder):
        data = lk.Dataset.from_folder(str(folder))
        label, number = who(data.train_x)[0]
        with Image.open(folder / data.classes[label] / f"{number}.png") as image:
            assert np.array_equal(data.train_x[0].permute(1, 2, 0), np.asarray(image))

    @pytest.mark.parametrize(("share", "held_out"), [(0.2, 2), (0.5, 5), (0.01, 1), (0.99, 9)])
    def test_a_share_of_each_class_is_held_out(self, folder, share, held_out):
        data = lk.Dataset.from_folder(folder, test_share=share)
        assert data.test_y.bincount().tolist() == [held_out] * 3
        assert data.train_y.bincount().tolist() == [10 - held_out] * 3

    def test_the_split_and_the_order_are_a_function_of_the_seed(self, folder):
        once, again, other = (lk.Dataset.from_folder(folder, seed=seed) for seed in (0, 0, 1))
        assert once.fingerprint == again.fingerprint
        assert sorted(who(once.test_x)) != sorted(who(other.test_x))

    def test_the_first_few_are_of_all_classes(self, folder):
        few = lk.Dataset.from_folder(folder).subset(train_images=12)
        assert len(few.train_y.unique()) == 3

    def test_a_split_that_is_there_is_kept(self, folder):
        for name in ("ant", "bee", "cow"):
            (folder / "train").mkdir(exist_ok=True)
            (folder / name).rename(folder / "train" / name)
            last = folder / "train" / name / "9.png"
            (folder / "test" / name).mkdir(parents=True)
            last.rename(folder / "test" / name / "9.png")
        data = lk.Dataset.from_folder(folder)
        assert sorted(who(data.test_x)) == [(0, 9), (1, 9), (2, 9)]
        assert len(data.train_x) == 27

    def test_hidden_files_and_what_is_no_image_are_ignored(self, folder):
        (folder / ".cache").mkdir()
        for name in (".DS_Store", "._1.png", "labels.csv"):
            (folder / "ant" / name).write_bytes(b"no image")
        assert len(lk.Dataset.from_folder(folder).train_x) == 24


class TestImages:
    @pytest.mark.parametrize("ending", [".bmp", ".png", ".PNG", ".ppm", ".webp"])
    def test_lossless_formats_keep_every_pixel(self, tmp_path, ending):
        path, pixels = tmp_path / f"a{ending}", picture(0)
        write(path, pixels, **({"lossless": True} if ending == ".webp" else {}))
        assert np.array_equal(read_image(path), pixels.transpose(2, 0, 1))

    @pytest.mark.parametrize("ending", [".jpg", ".JPEG"])
    def test_jpeg_keeps_about_every_pixel(self, tmp_path, ending):
        path, pixels = tmp_path / f"a{ending}", np.full((8, 8, 3), (200, 100, 50), np.uint8)
        write(path, pixels)
        assert np.abs(read_image(path) - pixels.transpose(2, 0, 1).astype(int)).max() <= 4

    def test_the_files_of_every_ending_are_found(self, tmp_path):
        for label in ("a", "b"):
            for ending in image_folders.ENDINGS:
                grey = Image.fromarray(picture(0, (4, 4)))
                (tmp_path / label).mkdir(exist_ok=True)
                path = tmp_path / label / f"x{ending}"
                (grey.convert("1") if ending == ".pbm" else grey).save(path)
        data = lk.Dataset.from_folder(tmp_path)
        assert len(data.train_x) + len(data.test_x) == 2 * len(image_folders.ENDINGS)

    def test_grey_ones_have_one_channel(self, tmp_path):
        for name in ("a", "b"):
            for number in range(3):
                write(tmp_path / name / f"{number}.png", picture(number, (4, 4)))
        assert lk.Dataset.from_folder(tmp_path).image_shape == (1, 4, 4)

    def test_grey_ones_among_coloured_ones_have_three_alike(self, tmp_path):
        for number in range(2):
            write(tmp_path / "coloured" / f"{number}.png", picture(number, (4, 4, 3)))
            write(tmp_path / "grey" / f"{number}.png", picture(number, (4, 4)))
        data = lk.Dataset.from_folder(tmp_path)
        assert data.image_shape == (3, 4, 4)
        grey = data.train_x[data.train_y == 1]
        assert grey[:, 0].equal(grey[:, 1])
        assert grey[:, 0].equal(grey[:, 2])

    def test_transparency_is_ignored(self, tmp_path):
        pixels = picture(0, (4, 4, 4))
        write(tmp_path / "a.png", pixels)
        assert np.array_equal(read_image(tmp_path / "a.png"), pixels[..., :3].transpose(2, 0, 1))

    def test_resized_to_height_and_width(self, folder):
        write(folder / "ant" / "wide.png", picture(0, (20, 90, 3)))
        data = lk.Dataset.from_folder(folder, size=(8, 12))
        assert data.image_shape == (3, 8, 12)

    def test_what_is_of_the_size_already_is_not_touched(self, folder):
        resized, plain = lk.Dataset.from_folder(folder, size=(6, 5)), lk.Dataset.from_folder(folder)
        assert resized.fingerprint == plain.fingerprint

    def test_resizing_averages(self, tmp_path):
        halves = np.zeros((8, 8), np.uint8)
        halves[:, 4:] = 200
        write(tmp_path / "a.png", halves)
        small = read_image(tmp_path / "a.png", (4, 4), resize=True)
        assert small[0, :, 0].max() < 50
        assert small[0, :, 3].min() > 150


class TestRefusals:
    def test_another_size_says_which_to_give(self, folder):
        write(folder / "bee" / "wide.png", picture(0, (6, 7, 3)))
        wanted = r"wide\.png must be .* 6 × 5 .*; got 6 × 7: give size=\(6, 5\)|6 × 7 .* got 6 × 5"
        with pytest.raises(ValueError, match=wanted):
            lk.Dataset.from_folder(folder)

    def test_a_damaged_file_is_named(self, folder):
        path = folder / "cow" / "3.png"
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(ValueError, match=r"3\.png: no sound image file of BMP, JPEG, PNG"):
            lk.Dataset.from_folder(folder)

    def test_a_file_of_another_format_is_no_image_whatever_its_name(self, tmp_path):
        Image.fromarray(picture(0)).save(tmp_path / "a.gif")
        (tmp_path / "a.gif").rename(tmp_path / "a.png")
        with pytest.raises(ValueError, match=r"a\.png: no sound image"):
            read_image(tmp_path / "a.png")

    def test_sixteen_bits(self, tmp_path):
        write(tmp_path / "a.png", np.zeros((4, 4), np.uint16))
        with pytest.raises(ValueError, match=r"a\.png must have 8 bits a channel; got .*I;16"):
            read_image(tmp_path / "a.png")

    def test_more_pixels_than_are_decoded_at_most(self, tmp_path, monkeypatch):
        monkeypatch.setattr(image_folders, "LARGEST", 29)
        write(tmp_path / "a.png", picture(0))
        with pytest.raises(ValueError, match=r"a\.png must have at most 29 pixels; got 6 × 5"):
            read_image(tmp_path / "a.png", (2, 2), resize=True)

    def test_no_file(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            read_image(tmp_path / "a.png")

    def test_a_class_without_images(self, folder):
        (folder / "dog").mkdir()
        (folder / "dog" / "1.gif").touch()
        with pytest.raises(ValueError, match=r"dog must hold images, \.bmp, .*; got no file of"):
            lk.Dataset.from_folder(folder)

    def test_a_class_with_one_image_cannot_be_split(self, folder):
        write(folder / "dog" / "1.png", picture(0))
        with pytest.raises(ValueError, match=r"dog must hold two images or more.*; got 1"):
            lk.Dataset.from_folder(folder)

    def test_other_classes_to_test_than_to_train(self, folder):
        for name in ("train/ant", "train/bee", "test/ant", "test/cow"):
            write(folder / name / "1.png", picture(0))
        with pytest.raises(ValueError, match=r"test must hold .* ant, bee; got ant, cow"):
            lk.Dataset.from_folder(folder)

    def test_no_classes(self, tmp_path):
        with pytest.raises(ValueError, match=r"must hold a folder of images for each.*; got none"):
            lk.Dataset.from_folder(tmp_path)

    def test_nothing_is_drawn_from_pytorchs_generator(self, folder):
        before = torch.get_rng_state()
        lk.Dataset.from_folder(folder)
        assert torch.get_rng_state().equal(before)
