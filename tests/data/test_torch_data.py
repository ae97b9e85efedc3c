"""PyTorch data sets and loaders, of all the kinds of samples that people have."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import linfkit as lk

PIXELS = torch.randint(
    0, 256, (10, 3, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)
LABELS = torch.arange(10) % 4
ARRAYS = lk.Dataset.from_arrays(PIXELS, LABELS, PIXELS, LABELS)


class Samples(Dataset):
    """The images, each made of its pixels and label by a function."""

    def __init__(self, sample, classes=None):
        self.sample = sample
        if classes is not None:
            self.classes = classes

    def __len__(self):
        return len(PIXELS)

    def __getitem__(self, place):
        return self.sample(PIXELS[place], int(LABELS[place]))


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(PIXELS, LABELS, strict=True))


KINDS = {
    "tensors": TensorDataset(PIXELS, LABELS),
    "in 0 to 1": TensorDataset(PIXELS / 255, LABELS),
    "pairs of int": Samples(lambda pixels, label: (pixels, label)),
    "lists": Samples(lambda pixels, label: [pixels, label]),
    "numpy": Samples(lambda pixels, label: (pixels.numpy(), np.int64(label))),
    "pillow": Samples(lambda pixels, label: (Image.fromarray(hwc(pixels)), label)),
    "stream": Stream(),
    "loader": DataLoader(TensorDataset(PIXELS, LABELS), batch_size=4),
    "loader of samples": DataLoader(TensorDataset(PIXELS, LABELS), batch_size=None),
    "loader of given batches": DataLoader(
        TensorDataset(PIXELS / 255, LABELS), batch_sampler=[[0, 1, 2], [3, 4, 5, 6], [7, 8, 9]]
    ),
}


def hwc(pixels):
    return pixels.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_gives_what_the_arrays_do(kind):
    assert lk.Dataset.from_torch(KINDS[kind], KINDS["tensors"]).fingerprint == ARRAYS.fingerprint
    assert lk.Dataset.from_torch(KINDS["tensors"], KINDS[kind]).fingerprint == ARRAYS.fingerprint


@pytest.mark.parametrize(
    "sample",
    [
        lambda pixels, label: (Image.fromarray(hwc(pixels)).convert("L"), label),
        lambda pixels, label: (pixels[0], label),
    ],
    ids=["pillow", "tensor"],
)
def test_grey_images_have_one_channel(sample):
    data = lk.Dataset.from_torch(Samples(sample), Samples(sample))
    assert data.image_shape == (1, 6, 5)


def test_classes_are_those_of_the_data_set_unless_given():
    def pairs(pixels, label):
        return pixels, label

    named = Samples(pairs, classes=["n", "e", "s", "w"])
    assert lk.Dataset.from_torch(named, named).classes == ("n", "e", "s", "w")
    assert lk.Dataset.from_torch(DataLoader(named), named).classes == ("n", "e", "s", "w")
    given = lk.Dataset.from_torch(named, named, classes=["a", "b", "c", "d"], name="mine")
    assert (given.classes, given.name) == (("a", "b", "c", "d"), "mine")
    other = Samples(pairs, classes={0: "n"})  # of another kind
    assert lk.Dataset.from_torch(other, other).classes == ("0", "1", "2", "3")


def test_nothing_is_drawn_from_pytorchs_generator():
    before = torch.get_rng_state()
    lk.Dataset.from_torch(KINDS["tensors"], KINDS["pillow"])
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize(
    ("sample", "error", "said"),
    [
        (lambda pixels, _: pixels, TypeError, "^train must give pairs of .*; got Tensor"),
        (lambda pixels, label: {"x": pixels, "y": label}, TypeError, "pairs .*; got dict"),
        (lambda pixels, label: ("a.png", label), TypeError, "^images of train must be numb.* str"),
        (
            lambda pixels, label: (pixels / 127.5 - 1, label),
            ValueError,
            "^images of train must be .* a net normalises its images itself",
        ),
        (
            lambda pixels, label: (pixels[:, : 3 + label], label),
            ValueError,
            r"^images of train must be of one shape; got \(3, 3, 5\) and \(3, 4, 5\)",
        ),
        (
            lambda pixels, label: (pixels, str(label)),
            TypeError,
            "^labels of train must hold whole numbers",
        ),
        (
            lambda pixels, label: (pixels, torch.eye(4, dtype=torch.int64)[label]),
            ValueError,
            r"^train_y must be \(N,\).*argmax",
        ),
        (
            lambda pixels, label: (Image.new("I;16", (4, 4)), label),
            ValueError,
            "^images of train must have 8 bits a channel",
        ),
    ],
    ids=["no pair", "dict", "paths", "normalised", "shapes", "names", "one-hot", "16 bits"],
)
def test_refuses_other_samples_and_says_what_is_wanted(sample, error, said):
    with pytest.raises(error, match=said):
        lk.Dataset.from_torch(Samples(sample), KINDS["tensors"])
