"""Tested: pairs of nets and runs, how they are told, sizes of data sets, the table of recipes.
Not tested: whether a run takes the time that is told."""

import math
import os

import pytest
import torch
from rich.console import Console

import linfkit as lk
from linfkit._util.text import format_eps, parse_eps
from linfkit.cli.catalogue import cost_in_words, net_in_words, recipes_table
from linfkit.cli.cost import PAIRS_PER_SECOND, pairs_of_run, pairs_per_image
from linfkit.data.loading import dataset_names
from linfkit.data.sizes import SIZES
from linfkit.training.building import build_model

DIGITS = lk.load_recipe("digits-small")


def printed(*recipes, width=120):
    console = Console(width=width)
    with console.capture() as capture:
        console.print(recipes_table(recipes))
    return capture.get()


class TestPairs:
    def test_of_layers_they_are_the_weights(self):
        net = lk.LpDistNet(12, width=7, depth=4, classes=3)
        weights = sum(layer.weight.numel() for layer in net.layers[::2])
        assert pairs_per_image(net, (3, 2, 2)) == weights

    def test_of_a_convolution_they_are_its_kernels_at_every_place(self):
        net = lk.LpDistLeNet((1, 28, 28), hidden=16)
        stages = 6 * 25 * 24**2 + 16 * 6 * 25 * 8**2
        assert pairs_per_image(net, (1, 28, 28)) == stages + 256 * 120 + 120 * 16 + 16 * 10

    def test_of_an_ensemble_they_are_those_of_its_members(self):
        net = lk.LpDistNet(12, width=7, depth=3, classes=3)
        assert pairs_per_image(lk.Ensemble([net, net, net]), (3, 2, 2)) == 3 * pairs_per_image(
            net, (3, 2, 2)
        )

    def test_the_net_is_left_as_it_was(self):
        net = lk.LpDistNet(12, width=7, depth=3, classes=3).train()
        net.p = 8
        before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        pairs_per_image(net, (3, 2, 2))
        assert (net.p, net.training) == (8.0, True)
        assert all(torch.equal(before[name], now) for name, now in net.state_dict().items())
        assert not any(module._forward_hooks for module in net.modules())

    def test_images_that_do_not_fit_are_refused(self):
        with pytest.raises(ValueError, match="12 pixels"):
            pairs_per_image(lk.LpDistNet(12, width=7, depth=3, classes=3), (1, 2, 2))

    @pytest.mark.parametrize(
        "changed",
        [
            {},
            {"width": 32, "train_images": 100},
            {"mlp_hidden": 16},
            {"members": 3},
            {"dataset": "mnist", "model": "lenet", "depth": 0},
        ],
    )
    def test_a_run_computes_those_of_its_net_for_each_image_of_each_epoch(self, changed):
        recipe = DIGITS.replace(**changed)
        size = SIZES[recipe.dataset]
        net = build_model(recipe, size.image_shape, size.classes)
        images = recipe.train_images or size.train_images
        assert pairs_of_run(recipe) == 80 * images * pairs_per_image(net, size.image_shape)

    def test_a_run_on_data_of_unknown_size_has_no_cost(self):
        with pytest.raises(ValueError, match=r"^dataset: 'mine' came"):
            pairs_of_run(DIGITS.replace(dataset="mine"))

    def test_counting_leaves_random_weights_random(self):
        pairs_of_run(DIGITS)
        assert torch.randn(3).device.type == "cpu"


class TestSizes:
    def test_every_data_set_has_one(self):
        assert tuple(SIZES) == dataset_names()

    @pytest.mark.parametrize("name", SIZES)
    def test_they_are_those_of_the_data(self, name):
        try:
            data = lk.load_dataset(name, os.environ.get("LINFKIT_DATA", os.devnull))
        except FileNotFoundError:
            pytest.skip(f"no files of {name} in LINFKIT_DATA")
        size = SIZES[name]
        assert (size.image_shape, size.classes) == (data.image_shape, len(data.classes))
        assert (size.train_images, size.test_images) == (len(data.train_x), len(data.test_x))


class TestInWords:
    def test_a_recipe_is_told_with_data_net_cost_and_source(self):
        text = printed(lk.load_recipe("iclr2022-cifar10-8-255"))
        for word in ("iclr2022-cifar10-8-255", "cifar10, mlp 5120 × 6", "8/255", "1300", "40.06 %"):
            assert word in text
        assert "2110.06850" in text
        assert "30 d" in text

    def test_no_name_is_cut_short_where_there_is_little_room(self):
        name = "ema2021-fashion-mnist-0.1-lenet-hybrid-ensemble"
        shown = printed(DIGITS.replace(name=name), width=80)
        first_column = "".join(line.split()[0] for line in shown.splitlines() if line.split())
        assert name in first_column

    def test_time_is_pairs_at_the_rate_of_the_machine(self):
        seconds = pairs_of_run(DIGITS) / PAIRS_PER_SECOND + 960 * 6e-3  # twelve steps an epoch
        assert f"about {seconds:.0f} s on" in cost_in_words(DIGITS)

    def test_data_of_unknown_size_is_told_as_such(self):
        own = DIGITS.replace(dataset="mine")
        assert "'mine'" in cost_in_words(own)
        assert "?" in printed(own)

    def test_convolutional_nets_are_told_without_a_depth(self):
        assert net_in_words(DIGITS.replace(model="lenet", depth=0)) == "lenet 256"


class TestPixels:
    @pytest.mark.parametrize("text", ["8/255", "0.1", "2/255", "0", "1", "0.3333"])
    def test_what_is_shown_is_what_was_read(self, text):
        assert format_eps(parse_eps(text)) == text

    @pytest.mark.parametrize("text", ["8", "-0.1", "8/0", "a tenth", "nan", "inf", ""])
    def test_what_is_no_size_is_refused(self, text):
        with pytest.raises(ValueError, match=r"^eps: .* came; a number of pixels from 0 to 1"):
            parse_eps(text)

    def test_any_number_is_shown_to_four_digits(self):
        assert float(format_eps(math.pi / 10)) == pytest.approx(math.pi / 10, rel=1e-3)
