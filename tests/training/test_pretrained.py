"""Tested: the nets that come with linfkit are their recipes', and as good as their files say."""

import pytest
import torch

import linfkit as lk
from linfkit.data.loading import is_at_hand
from linfkit.nn.checkpoints import read_header
from linfkit.training import pretrained
from linfkit.training.building import build_model
from linfkit.training.fit import apply_recipe
from linfkit.training.runs import accuracies
from linfkit.training.saved import SavedNet

OURS = [name for name in pretrained.NAMES if not name.endswith("-ordinary")]


def at_hand(name):
    if not is_at_hand(name):
        pytest.skip(f"no files of {name} in LINFKIT_DATA")
    return lk.load_dataset(name)


@pytest.mark.parametrize("name", OURS)
def test_a_net_is_its_recipe_s(name):
    saved, net = SavedNet.read(pretrained.pretrained_file(name)), lk.load_pretrained(name)
    assert saved.recipe == lk.load_recipe(name)
    shape = (1, 8, 8) if name.startswith("digits") else (1, 28, 28)
    built = build_model(saved.recipe, shape, classes=10)
    assert {key: value.shape for key, value in net.state_dict().items()} == {
        key: value.shape for key, value in built.state_dict().items()
    }
    assert not net.training
    assert net.p == float("inf")


@pytest.mark.parametrize("name", OURS)
def test_a_net_is_as_good_as_its_file_says(name):
    saved = SavedNet.read(pretrained.pretrained_file(name))
    data = apply_recipe(at_hand(saved.recipe.dataset), saved.recipe)
    assert data.fingerprint == saved.trained_on.fingerprint
    images = data.test_x.float() / 255
    found = accuracies(lk.load_pretrained(name), images, data.test_y, saved.eps)
    assert found == pytest.approx(saved.results, abs=1e-4)


def test_the_ordinary_net_is_as_accurate_as_its_pair_and_falls():
    data = at_hand("mnist")
    name = "mnist-tiny-ordinary"
    ordinary, images = lk.load_pretrained(name), data.test_x.float() / 255
    right = ordinary(images).argmax(dim=1) == data.test_y
    said = read_header(pretrained.pretrained_file(name))["results"]["accuracy"]
    assert right.double().mean().item() == pytest.approx(said, abs=1e-4)
    pair = SavedNet.read(pretrained.pretrained_file("mnist-tiny")).results
    assert said == pytest.approx(pair["accuracy"], abs=0.02)
    few = images[:500], data.test_y[:500]
    assert lk.survives_pgd(ordinary, *few, eps=0.1).double().mean() < 0.3
    assert lk.survives_pgd(lk.load_pretrained("mnist-tiny"), *few, eps=0.1).double().mean() > 0.8


def test_they_take_little_room():
    files = map(pretrained.pretrained_file, pretrained.NAMES + pretrained.SAMPLES)
    sizes = [file.stat().st_size for file in files]
    assert sum(sizes) < 1_000_000
    weights = lk.load_pretrained("mnist-tiny").state_dict().items()
    assert sum(tensor.numel() for name, tensor in weights if name.endswith("weight")) == 26_432


def test_samples_are_the_first_test_images_that_both_nets_read_right():
    images, labels = lk.load_samples("mnist")
    assert labels.tolist() == sorted([*range(10)] * 2)
    nets = [lk.load_pretrained(name) for name in pretrained.NAMES if name.startswith("mnist")]
    data = at_hand("mnist")
    for label in range(10):
        ours, x = images[labels == label], data.test_x[data.test_y == label] / 255
        right = torch.stack([net(x).argmax(dim=1) == label for net in nets]).all(dim=0)
        torch.testing.assert_close(x[right][:2], ours)


def test_an_unknown_name_is_told_the_nearest():
    with pytest.raises(ValueError, match="got 'mnist-tini': did you mean 'mnist-tiny'"):
        lk.load_pretrained("mnist-tini")
    with pytest.raises(ValueError, match="got 'mnist-samples'"):
        lk.load_pretrained("mnist-samples")
    with pytest.raises(ValueError, match="name must be one of mnist; got 'digits'"):
        lk.load_samples("digits")


def test_an_ordinary_net_has_no_relu_behind_its_logits():
    net = pretrained.ordinary_net([4, 8, 3])
    assert isinstance(net[-1], torch.nn.Linear)
    assert net(torch.rand(5, 1, 2, 2)).shape == (5, 3)
