"""Tested: that the packaged recipes are the papers' tables and train; that a recipe is read and
written as it is; what a bad one is told. Not tested: what full-sized runs reach."""

from __future__ import annotations

import copy
import math
import tomllib
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from linfkit.course import published
from linfkit.data.dataset import Dataset
from linfkit.data.loading import dataset_names
from linfkit.nn.convnets import Conv, LpDistAlexNet, LpDistLeNet, LpDistVGG, Pool
from linfkit.recipes.recipe import Recipe, load_recipe, recipe_names
from linfkit.training.building import initial_model
from linfkit.training.loop import Training
from tests.helpers import ROOT

SMALL = load_recipe("digits-small")
LEAST = {
    "name": "least",
    "dataset": "digits",
    "eps": 0.1,
    "eps_train": 0.1,
    "width": 8,
    "depth": 2,
    "epochs": 1,
    "batch_size": 8,
    "lr": 0.03,
}


#: Our own recipes: those of the notebooks, and what a laptop trains in minutes.
OURS = {
    "cifar10-hybrid-small",
    "cifar10-lenet-small",
    "cifar10-small",
    "cifar10-sortnet-small",
    "cifar100-small",
    "digits-ema",
    "digits-ensemble-member",
    "digits-hybrid",
    "digits-noisy",
    "digits-small",
    "digits-sortnet",
    "fashion-mnist-small",
    "laptop-cifar10-8-255",
    "laptop-cifar10-8-255-hybrid",
    "laptop-cifar10-8-255-lenet",
    "laptop-cifar10-8-255-lenet-joint",
    "laptop-mnist-0.1",
    "laptop-mnist-0.3",
    "mnist-hybrid-small",
    "mnist-lenet-small",
    "mnist-small",
    "mnist-sortnet-small",
    "mnist-tiny",
    "tiny-imagenet-small",
}

#: The ICLR 2022 paper: name, eps, eps_train, depth, lam, p_ramp in epochs, epochs. Of TinyImageNet
#: there is no command: as on CIFAR-10 at the same ε.
ICLR = [
    ("iclr2022-mnist-0.1", 0.1, 0.3, 5, (0.05, 0.0002), (25, 400), 450),
    ("iclr2022-mnist-0.3", 0.3, 0.45, 5, (0.05, 0.0002), (25, 400), 450),
    ("iclr2022-cifar10-2-255", 2 / 255, 0.03922, 6, (0.05, 0.002), (100, 1250), 1300),
    ("iclr2022-cifar10-8-255", 8 / 255, 0.09411, 6, (0.1, 0.0005), (100, 1250), 1300),
    ("iclr2022-cifar10-16-255", 16 / 255, 0.15685, 6, (0.1, 0.0002), (100, 1250), 1300),
    ("iclr2022-tiny-imagenet-8-255", 8 / 255, 0.09411, 6, (0.1, 0.0005), (100, 1250), 1300),
]

#: What the commands of the first two papers' code say of nets that the hinge trains: --epochs
#: (ε from, p from, ε for, p to, all), the hinge's mix, --eps-train.
HINGE = {
    "mnist-0.3": ((0, 50, 0, 350, 400), 0.75, 0.45),
    "fashion-mnist-0.1": ((0, 50, 0, 350, 400), 1.0, 0.225),
    "cifar10-8-255": ((0, 100, 0, 750, 800), 0.75, 0.1568),
    "cifar100-8-255": ((0, 100, 0, 750, 800), 0.75, 0.1568),
}
#: Of their hybrids: --epochs, --kappa, --eps-train.
HYBRID = {
    "mnist-0.3": ((0, 50, 50, 350, 400), 0.5, 0.35),
    "fashion-mnist-0.1": ((0, 50, 50, 350, 400), 0.5, 0.11),
    "cifar10-8-255": ((0, 100, 100, 750, 800), 0.95, 0.03451),
    "cifar100-8-255": ((0, 100, 100, 750, 800), 0.95, 0.03451),
    "tiny-imagenet-1-255": ((0, 100, 200, 450, 500), 1.0, 0.005),
}
#: Paper, data set and ε, kind, model, width, depth, members: the ICML 2021 and EMA papers' nets.
#: A convolutional net has a depth of its own, and 0 here.
HINGE_NETS = [
    ("icml2021", "mnist-0.3", "", "mlp", 5120, 5, 1),
    ("icml2021", "fashion-mnist-0.1", "", "mlp", 5120, 5, 1),
    ("icml2021", "cifar10-8-255", "", "mlp", 5120, 6, 1),
    ("ema2021", "mnist-0.3", "", "mlp", 5120, 5, 1),
    ("ema2021", "fashion-mnist-0.1", "", "mlp", 5120, 5, 1),
    ("ema2021", "cifar10-8-255", "", "mlp", 5120, 6, 1),
    ("ema2021", "cifar100-8-255", "", "mlp", 6144, 6, 1),
    ("ema2021", "mnist-0.3", "-ensemble", "mlp", 5120, 5, 5),
    ("ema2021", "fashion-mnist-0.1", "-ensemble", "mlp", 5120, 5, 5),
    ("ema2021", "cifar10-8-255", "-lenet", "lenet", 512, 0, 1),
    ("ema2021", "cifar10-8-255", "-alexnet", "alexnet", 512, 0, 1),
    ("ema2021", "cifar10-8-255", "-vgg", "vgg", 512, 0, 1),
    ("ema2021", "cifar10-8-255", "-cnn7", "cnn7", 1024, 0, 1),
    ("ema2021", "cifar100-8-255", "-cnn7", "cnn7", 1024, 0, 1),
]
#: The same of their hybrids, the MLP counted in the depth, and the MLP's units.
HYBRID_NETS = [
    ("icml2021", "mnist-0.3", "-hybrid", "mlp", 5120, 5, 1, 256),
    ("icml2021", "fashion-mnist-0.1", "-hybrid", "mlp", 5120, 5, 1, 512),
    ("icml2021", "cifar10-8-255", "-hybrid", "mlp", 5120, 6, 1, 512),
    ("icml2021", "tiny-imagenet-1-255", "-hybrid", "mlp", 5120, 6, 1, 512),
    ("ema2021", "mnist-0.3", "-hybrid", "mlp", 5120, 5, 1, 256),
    ("ema2021", "fashion-mnist-0.1", "-hybrid", "mlp", 5120, 5, 1, 512),
    ("ema2021", "cifar10-8-255", "-hybrid", "mlp", 5120, 6, 1, 512),
    ("ema2021", "cifar100-8-255", "-hybrid", "mlp", 6144, 6, 1, 512),
    ("ema2021", "mnist-0.3", "-hybrid-ensemble", "mlp", 5120, 5, 5, 256),
    ("ema2021", "fashion-mnist-0.1", "-hybrid-ensemble", "mlp", 5120, 5, 5, 512),
    ("ema2021", "mnist-0.3", "-lenet-hybrid", "lenet", 1024, 0, 1, 512),
    ("ema2021", "fashion-mnist-0.1", "-lenet-hybrid", "lenet", 1024, 0, 1, 512),
    ("ema2021", "cifar10-8-255", "-lenet-hybrid", "lenet", 1024, 0, 1, 512),
    ("ema2021", "cifar100-8-255", "-lenet-hybrid", "lenet", 1024, 0, 1, 512),
    ("ema2021", "mnist-0.3", "-lenet-hybrid-ensemble", "lenet", 1024, 0, 10, 512),
    ("ema2021", "fashion-mnist-0.1", "-lenet-hybrid-ensemble", "lenet", 1024, 0, 10, 512),
    ("ema2021", "cifar10-8-255", "-lenet-hybrid-ensemble", "lenet", 1024, 0, 10, 512),
    ("ema2021", "cifar100-8-255", "-lenet-hybrid-ensemble", "lenet", 1024, 0, 10, 512),
    ("ema2021", "cifar10-8-255", "-alexnet-hybrid", "alexnet", 1024, 0, 1, 512),
    ("ema2021", "cifar10-8-255", "-vgg-hybrid", "vgg", 1024, 0, 1, 512),
    ("icml2021", "cifar10-8-255", "-cnn7-hybrid", "cnn7", 1024, 0, 1, 512),
    ("ema2021", "cifar10-8-255", "-cnn7-hybrid", "cnn7", 1024, 0, 1, 512),
    ("ema2021", "cifar100-8-255", "-cnn7-hybrid", "cnn7", 1024, 0, 1, 512),
]
#: Kernels of the first layer of their CNN7, which their code calls Conv: 32 for each `width`.
FILTERS = {"cifar10-8-255": 3 * 32, "cifar100-8-255": 4 * 32}

#: SortNet: name, eps_train, dropout (the share kept), lam, --epochs (ε from, ε to, p from, p to,
#: all), and the setting that its logs go by.
SORTNET = [
    ("mnist-0.1", 0.3, 0.7, (0.1, 0.001), (0, 0, 100, 1450, 1500), "mnist0.1"),
    ("mnist-0.3", 0.45, 0.75, (0.02, 0.0002), (0, 0, 100, 1450, 1500), "mnist0.3"),
    ("cifar10-2-255", 0.03137, 0.75, (1, 0.01), (0, 0, 200, 2950, 3000), "cifar2_255"),
    ("cifar10-8-255", 0.09411, 0.85, (0.2, 0.002), (0, 0, 200, 2950, 3000), "cifar8_255"),
    ("cifar10-2-255-hybrid", 0.008627, 0.7, (1, 0.01), (0, 500, 200, 2950, 3000), "cifar2_255_mlp"),
    ("cifar10-8-255-hybrid", 0.03451, 0.6, (1, 0.01), (0, 500, 200, 2950, 3000), "cifar8_255_mlp"),
    (
        "tiny-imagenet-1-255-hybrid",
        0.00431,
        0.7,
        (1, 0.01),
        (0, 500, 100, 980, 1000),
        "tinyimagenet1_255_mlp",
    ),
]

#: Where the recipes' published figures stand in the table of `linfkit.course.published`.
ROWS = {
    "icml2021-mnist-0.3-hybrid": ("Linf-dist net (ICML 2021)", "MNIST", "0.3"),
    "icml2021-fashion-mnist-0.1-hybrid": ("Linf-dist net (ICML 2021)", "Fashion-MNIST", "0.1"),
    "icml2021-cifar10-8-255": ("Linf-dist net (ICML 2021)", "CIFAR-10", "8/255"),
    "icml2021-cifar10-8-255-hybrid": ("Linf-dist net + MLP (ICML 2021)", "CIFAR-10", "8/255"),
    "icml2021-tiny-imagenet-1-255-hybrid": (
        "Linf-dist net + MLP (ICML 2021)",
        "TinyImageNet",
        "1/255",
    ),
    "iclr2022-mnist-0.1": ("Linf-dist net boosted (ICLR 2022)", "MNIST", "0.1"),
    "iclr2022-mnist-0.3": ("Linf-dist net boosted (ICLR 2022)", "MNIST", "0.3"),
    "iclr2022-cifar10-2-255": ("Linf-dist net boosted (ICLR 2022)", "CIFAR-10", "2/255"),
    "iclr2022-cifar10-8-255": ("Linf-dist net boosted (ICLR 2022)", "CIFAR-10", "8/255"),
    "iclr2022-cifar10-16-255": ("Linf-dist net boosted (ICLR 2022)", "CIFAR-10", "16/255"),
    "iclr2022-tiny-imagenet-8-255": ("Linf-dist net boosted (ICLR 2022)", "TinyImageNet", "8/255"),
    "ema2021-mnist-0.3-hybrid": ("Linf-dist net + EMA (2021)", "MNIST", "0.3"),
    "ema2021-cifar10-8-255-hybrid": ("Linf-dist net + EMA (2021)", "CIFAR-10", "8/255"),
    "ema2021-cifar10-8-255-lenet-hybrid-ensemble": (
        "Linf-dist LeNet + EMA + ensemble (2021)",
        "CIFAR-10",
        "8/255",
    ),
}

#: Mean, and one scale.
NORMALISATION = {
    "mnist": (0.1307, 0.3081),
    "fashion-mnist": (0.2860, 0.3520),
    "cifar10": ((0.4914, 0.4822, 0.4465), 0.2009),
    "cifar100": ((0.5071, 0.4867, 0.4408), 0.2667),
    "tiny-imagenet": ((0.4802, 0.4481, 0.3975), 0.2276),
}


def in_epochs(share: float | tuple[float, ...], epochs: int) -> object:
    """Shares of a run as the epochs that they end."""
    shares = share if isinstance(share, tuple) else (share,)
    return pytest.approx([one * epochs for one in shares])


#: Shape of an image, and number of classes.
SHAPES = {
    "digits": ((1, 8, 8), 10),
    "mnist": ((1, 28, 28), 10),
    "fashion-mnist": ((1, 28, 28), 10),
    "cifar10": ((3, 32, 32), 10),
    "cifar100": ((3, 32, 32), 100),
    "tiny-imagenet": ((3, 64, 64), 200),
}


def random_images(dataset: str) -> Dataset:
    """Eight images to train on and eight to test on, of the data set's shape and classes."""
    shape, classes = SHAPES[dataset]
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (8, *shape), generator=generator, dtype=torch.uint8)
    y = torch.randint(classes, (8,), generator=generator)
    names = [str(label) for label in range(classes)]
    return Dataset.from_arrays(x, y, x, y, classes=names, name=dataset)


def thin(stage: Conv | Pool) -> Conv | Pool:
    """A convolution of 4 channels in place of one of many; a pool as it is."""
    return replace(stage, out_channels=4) if isinstance(stage, Conv) else stage


class TestPackaged:
    def test_are_these(self):
        of_papers = {
            *(name for name, *_ in ICLR),
            *(paper + "-" + at + kind for paper, at, kind, *_ in HINGE_NETS),
            *(paper + "-" + at + kind for paper, at, kind, *_ in HYBRID_NETS),
            *("neurips2022-" + name for name, *_ in SORTNET),
        }
        assert recipe_names() == tuple(sorted(OURS | of_papers))

    @pytest.mark.parametrize("name", recipe_names())
    def test_are_sound(self, name):
        recipe = load_recipe(name)
        assert recipe.name == name
        assert recipe.description
        assert recipe.dataset in dataset_names()
        assert recipe.theta == 2 * recipe.eps_train
        assert bool(recipe.source) == (name not in OURS)
        assert ("figure: " in recipe.source) == (recipe.published is not None)

    @pytest.mark.parametrize("name", recipe_names())
    def test_say_in_a_comment_what_they_are_for(self, name):
        path = ROOT / "linfkit" / "recipes" / f"{name}.toml"
        assert path.read_text("utf-8").startswith("# ")

    @pytest.mark.parametrize("name", recipe_names())
    def test_take_two_steps_when_shrunk(self, name, monkeypatch):
        for net in (LpDistAlexNet, LpDistLeNet, LpDistVGG):
            monkeypatch.setattr(net, "stages", tuple(thin(stage) for stage in net.stages))
        recipe = load_recipe(name)
        recipe = recipe.replace(
            width=8,
            filters=recipe.filters and 4,
            mlp_hidden=recipe.mlp_hidden and 4,
            members=min(recipe.members, 2),
            batch_size=2,
        )
        data = random_images(recipe.dataset)
        training = Training(recipe, 0, data, initial_model(recipe, data), torch.device("cpu"))
        before = copy.deepcopy(training.model.state_dict())

        def stop_after_two() -> None:
            if training.step == 2:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            training.run(progress=False, after_step=stop_after_two)
        assert training.totals[0].isfinite()
        after = training.model.state_dict()
        assert after.keys() == before.keys()
        assert all(value.isfinite().all() for value in after.values())
        weights = [name for name in after if name.endswith("weight")]
        assert all(not after[name].equal(before[name]) for name in weights)

    @pytest.mark.parametrize("name", sorted(set(recipe_names()) - OURS))
    def test_of_papers_start_and_normalise_as_theirs(self, name):
        recipe = load_recipe(name)
        assert (recipe.mean, recipe.scale) == NORMALISATION[recipe.dataset]
        assert (recipe.p_start, recipe.p_end, recipe.batch_size) == (8, 1000, 512)
        assert recipe.flip == ("mnist" not in recipe.dataset)
        assert (recipe.train_images, recipe.test_images, recipe.label_noise) == (None, None, 0)
        assert recipe.lr_schedule == "cosine"

    @pytest.mark.parametrize(("name", "eps", "eps_train", "depth", "lam", "ramp", "epochs"), ICLR)
    def test_of_iclr_2022_are_its_table(self, name, eps, eps_train, depth, lam, ramp, epochs):
        recipe = load_recipe(name)
        assert (recipe.eps, recipe.eps_train) == (eps, eps_train)
        assert (recipe.depth, recipe.width) == (depth, 5120)
        assert (recipe.lam_start, recipe.lam_end) == lam
        assert in_epochs(recipe.p_ramp, epochs) == ramp
        assert (recipe.epochs, recipe.lr, recipe.loss) == (epochs, 0.03, "mixed")
        assert recipe.optimizer == "adam"
        assert recipe.crop_padding == {"mnist": 1, "cifar10": 3, "tiny-imagenet": 4}[recipe.dataset]

    @pytest.mark.parametrize(
        ("paper", "at", "kind", "model", "width", "depth", "members"), HINGE_NETS
    )
    def test_of_the_first_papers_are_their_commands(
        self, paper, at, kind, model, width, depth, members
    ):
        recipe = load_recipe(paper + "-" + at + kind)
        (_, p_from, _, p_to, epochs), mix, eps_train = HINGE[at]
        eps_ramp = (0, p_from) if model == "cnn7" else ()  # whose --epochs is that of hybrids
        assert (recipe.model, recipe.width, recipe.depth) == (model, width, depth)
        assert (recipe.members, recipe.mlp_hidden) == (members, None)
        assert (recipe.loss, recipe.kappa, recipe.eps_train) == ("hinge", 1 - mix, eps_train)
        assert (recipe.epochs, recipe.lr) == (epochs, 0.02)
        assert recipe.filters == (FILTERS[at] if model == "cnn7" else None)
        assert in_epochs(recipe.eps_ramp or (), epochs) == eps_ramp
        assert in_epochs(recipe.p_ramp, epochs) == (p_from, p_to)
        assert in_epochs(recipe.lr_hold, epochs) == (p_from,)
        assert (recipe.optimizer, recipe.weight_decay) == ("lp_adamw", 0.005)
        assert recipe.crop_padding == (1 if "mnist" in at else 4)
        assert recipe.crop_padding_mode == "zeros"

    @pytest.mark.parametrize(
        ("paper", "at", "kind", "model", "width", "depth", "members", "mlp_hidden"), HYBRID_NETS
    )
    def test_of_the_first_hybrids_are_their_commands(
        self, paper, at, kind, model, width, depth, members, mlp_hidden
    ):
        recipe = load_recipe(paper + "-" + at + kind)
        (_, p_from, eps_to, p_to, epochs), kappa, eps_train = HYBRID[at]
        if (paper, at) == ("icml2021", "cifar10-8-255") or model == "cnn7":
            kappa = 1.0  # where the two papers' commands differ
        assert recipe.filters == (FILTERS[at] if model == "cnn7" else None)
        assert (recipe.model, recipe.width, recipe.depth) == (model, width, depth)
        assert (recipe.members, recipe.mlp_hidden) == (members, mlp_hidden)
        assert (recipe.loss, recipe.worst_share) == ("cross_entropy", kappa)
        assert (recipe.epochs, recipe.eps_train) == (epochs, eps_train)
        assert recipe.lr == (0.04 if at == "tiny-imagenet-1-255" else 0.02)
        assert in_epochs(recipe.p_ramp, epochs) == (p_from, p_to)
        assert in_epochs(recipe.eps_ramp, epochs) == (0, eps_to)
        assert in_epochs(recipe.lr_hold, epochs) == (p_from,)
        assert (recipe.optimizer, recipe.weight_decay) == ("lp_adamw", 0.005)
        assert recipe.mlp_weight_decay == 0.005
        assert recipe.crop_padding == (1 if "mnist" in at else 4)

    @pytest.mark.parametrize(("name", "eps_train", "kept", "lam", "epochs", "setting"), SORTNET)
    def test_of_sortnet_are_its_commands(self, name, eps_train, kept, lam, epochs, setting):
        recipe = load_recipe(f"neurips2022-{name}")
        _, eps_to, p_from, p_to, total = epochs
        mnist, hybrid = recipe.dataset == "mnist", name.endswith("hybrid")
        assert (recipe.model, recipe.width, recipe.depth) == ("sortnet", 5120, 5 if mnist else 6)
        assert recipe.rho == pytest.approx(1 - kept)
        assert recipe.identity_start == mnist
        assert recipe.mlp_hidden == (512 if hybrid else None)
        assert (recipe.loss, recipe.eps_train) == ("mixed", eps_train)
        assert (recipe.lam_start, recipe.lam_end) == lam
        assert (recipe.epochs, recipe.lr, recipe.lr_hold) == (total, 0.02, 0)
        assert in_epochs(recipe.p_ramp, total) == (p_from, p_to)
        assert in_epochs(recipe.eps_ramp or (0, 0), total) == (0, eps_to)
        assert recipe.eps_smooth_start == (0.4 if hybrid else 0)
        assert (recipe.weight_decay, recipe.mlp_weight_decay) == (0, 0.02 if hybrid else 0)
        assert recipe.crop_padding == {"mnist": 1, "cifar10": 3, "tiny-imagenet": 5}[recipe.dataset]
        assert recipe.crop_padding_mode == "replicate"
        best = max(one.certified for one in published.sortnet_seeds(setting))
        assert recipe.published == pytest.approx(100 * best)

    def test_have_a_published_figure_where_there_is_a_row_or_a_seed(self):
        of_seeds = {"neurips2022-" + name for name, *_ in SORTNET}
        given = {name for name in recipe_names() if load_recipe(name).published is not None}
        assert given == ROWS.keys() | of_seeds

    @pytest.mark.parametrize("name", ROWS)
    def test_agree_with_the_published_table(self, name):
        recipe = load_recipe(name)
        (row,) = (
            row for row in published.results() if (row.method, row.dataset, row.eps) == ROWS[name]
        )
        assert row.dataset.lower().replace("-", "") == recipe.dataset.replace("-", "")
        assert recipe.eps == pytest.approx(row.eps_pixels)
        assert recipe.published == pytest.approx(100 * row.certified)

    @pytest.mark.parametrize(
        "same",
        [
            "mnist-0.3",
            "mnist-0.3-hybrid",
            "fashion-mnist-0.1-hybrid",
            "cifar10-8-255",
            "cifar10-8-255-cnn7-hybrid",
        ],
    )
    def test_of_the_paper_on_the_moving_average_are_runs_of_the_one_before(self, same):
        before, after = load_recipe(f"icml2021-{same}"), load_recipe(f"ema2021-{same}")
        assert before.fingerprint == after.fingerprint

    def test_of_the_loss_notebook_has_noise_and_three_seeds(self):
        recipe = load_recipe("digits-noisy")
        assert recipe.label_noise == 0.2
        assert recipe.seeds == (0, 1, 2)


class TestLoading:
    def test_an_unknown_name_is_told_the_nearest(self):
        with pytest.raises(ValueError, match=r"^recipe must .* got 'digits-smal'.* 'digits-small'"):
            load_recipe("digits-smal")

    def test_a_path_that_is_not_there(self, tmp_path):
        for path in (tmp_path / "mine.toml", str(tmp_path / "mine.toml"), "mine.toml"):
            with pytest.raises(FileNotFoundError, match=r"there is no file .*mine\.toml"):
                load_recipe(path)

    def test_a_file_of_ones_own(self, tmp_path):
        path = tmp_path / "mine.toml"
        path.write_text(SMALL.replace(name="other").to_toml(), "utf-8")
        assert load_recipe(path) == load_recipe(str(path)) == SMALL.replace(name="other")

    def test_a_byte_order_mark_is_passed_over(self, tmp_path):
        path, text = tmp_path / "mine.toml", SMALL.to_toml()
        path.write_text(text, "utf-8-sig")
        assert load_recipe(path) == Recipe.from_toml("\ufeff" + text) == SMALL

    def test_a_file_without_a_name_takes_its_own(self, tmp_path):
        path = tmp_path / "mine.toml"
        path.write_text(SMALL.to_toml().replace('name = "digits-small"\n', ""), "utf-8")
        assert load_recipe(path).name == "mine"

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"epochs = ", r"^mine\.toml: (recipe must be TOML|'utf-8' codec)"),
            (b"\xff\xfe", r"^mine\.toml: (recipe must be TOML|'utf-8' codec)"),
            (b"epoch = 3", r"mine\.toml: 'epoch' is no key of a recipe; did you mean 'epochs'\?"),
            (b"[train]\nepochs = 3", r"mine\.toml: 'train' is no key of a recipe"),
            (b"epochs = -3", r"mine\.toml: epochs must be greater than or equal to 1; got -3"),
        ],
    )
    def test_a_bad_file_is_named(self, tmp_path, content, said):
        path = tmp_path / "mine.toml"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=said):
            load_recipe(path)


class TestValidation:
    def test_defaults_are_the_papers(self):
        recipe = Recipe(**LEAST)
        assert recipe.loss == "mixed"
        assert (recipe.kappa, recipe.lam_start, recipe.lam_end) == (0.25, 0.1, 0.0005)
        assert (recipe.p_start, recipe.p_end, recipe.p_ramp) == (8, 1000, (0.06, 0.9))
        assert (recipe.ema_decay, recipe.identity_start, recipe.seeds) == (0.99, True, (0,))

    @pytest.mark.parametrize(
        ("given", "plain"),
        [
            ({"width": np.int64(8), "batch_size": np.uint8(8), "epochs": torch.tensor(8)}, 8),
            ({"lr": np.float32(0.5), "eps": np.float64(0.5), "kappa": Fraction(1, 2)}, 0.5),
            ({"seeds": range(3)}, (0, 1, 2)),
            ({"seeds": np.arange(3)}, (0, 1, 2)),
            ({"seeds": [np.int64(0), torch.tensor(1), 2]}, (0, 1, 2)),
            ({"mean": np.array([0.25, 0.5]), "p_ramp": torch.tensor([0.25, 0.5])}, (0.25, 0.5)),
            ({"flip": np.True_, "identity_start": np.array(True)}, True),
        ],
        ids=str,
    )
    def test_numbers_may_be_of_any_type(self, given, plain):
        recipe, wanted = SMALL.replace(**given), SMALL.replace(**dict.fromkeys(given, plain))
        assert recipe == wanted
        assert recipe.to_toml() == wanted.to_toml()

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("width", np.True_),
            ("width", np.float64(8)),
            ("seeds", np.array([0.0, 1.0])),
            ("seeds", np.array([[0, 1]])),
            ("eps", np.float32("nan")),
            ("flip", np.int64(1)),
        ],
    )
    def test_numbers_of_any_type_are_held_to_the_same(self, key, value):
        with pytest.raises(ValueError, match=rf"^{key} must .*; got .*$"):
            SMALL.replace(**{key: value})

    @pytest.mark.parametrize("key", sorted(LEAST.keys() - {"depth"}))
    def test_a_key_that_is_missing(self, key):
        with pytest.raises(ValueError, match=f"(?m)^{key} must be given$"):
            Recipe(**{other: value for other, value in LEAST.items() if other != key})

    @pytest.mark.parametrize(
        ("wrong", "nearest"),
        [("epoch", "epochs"), ("eps_trian", "eps_train"), ("batchsize", "batch_size")],
    )
    def test_an_unknown_key_is_told_the_nearest(self, wrong, nearest):
        with pytest.raises(ValueError, match=rf"^'{wrong}' is no key.*did you mean '{nearest}'\?"):
            SMALL.replace(**{wrong: 1})

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("name", ""),
            ("name", "../elsewhere"),
            ("description", 3),
            ("published", 101.0),
            ("dataset", None),
            ("train_images", 0),
            ("train_images", 10.5),
            ("test_images", -1),
            ("label_noise", 1.5),
            ("label_noise_seed", -1),
            ("eps", -0.1),
            ("eps", 8),
            ("eps", "8/0"),
            ("eps", "8 / 255 pixels"),
            ("eps_train", 0),
            ("eps_train", math.inf),
            ("loss", "mixd"),
            ("kappa", 2),
            ("lam_start", -0.1),
            ("lam_end", -1),
            ("width", 0),
            ("width", True),
            ("depth", 2.0),
            ("model", "resnet"),
            ("rho", 1.0),
            ("mlp_hidden", 0),
            ("members", 0),
            ("worst_share", 1.5),
            ("eps_ramp", [0.5, 0.5]),
            ("eps_ramp", 0.5),
            ("eps_smooth_start", -0.1),
            ("optimizer", "sgd"),
            ("weight_decay", -0.1),
            ("mlp_weight_decay", math.inf),
            ("lr_hold", 1.0),
            ("lr_steps", [0.5, 0.25]),
            ("lr_steps", 0.5),
            ("lr_factor", 0),
            ("crop_padding_mode", "edge"),
            ("identity_start", 1),
            ("mean", "grey"),
            ("mean", []),
            ("mean", [0.1, 128]),
            ("scale", 0),
            ("p_start", 0.5),
            ("p_start", math.nan),
            ("p_start", math.inf),
            ("p_end", math.inf),
            ("p_end", 4),
            ("p_ramp", [0.9, 0.06]),
            ("p_ramp", [0.5, 0.5]),
            ("p_ramp", [25, 400]),
            ("p_ramp", [0.5]),
            ("p_ramp", 0.5),
            ("p_ramp", [0.1, math.nan]),
            ("epochs", 0),
            ("epochs", "20"),
            ("batch_size", 0),
            ("lr", 0),
            ("lr", math.nan),
            ("lr", True),
            ("lr_schedule", "step"),
            ("crop_padding", -1),
            ("flip", "no"),
            ("ema_decay", 1),
            ("seeds", []),
            ("seeds", 3),
            ("seeds", [1, 1]),
            ("seeds", [-1]),
        ],
    )
    def test_a_bad_value_is_named_with_its_key_and_what_is_wanted(self, key, value):
        with pytest.raises(ValueError, match=r" must .*; got ") as fault:
            SMALL.replace(**{key: value})
        (line,) = str(fault.value).splitlines()
        told = "p_end" if (key, value) == ("p_start", math.inf) else key
        assert line.startswith(f"{told} must ")
        assert (repr(value) if told == key else "inf") in line.replace("4.0", "4")
        assert type(fault.value) is ValueError

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"depth": 0}, r"^depth must be at least 1 for model = 'mlp'; got 0"),
            (
                {"depth": 1, "mlp_hidden": 4, "loss": "mixed"},
                r"^depth must .* 2 .* got 1",
            ),
            ({"model": "lenet"}, r"^depth must be 0 for model = 'lenet', .*; got 3"),
            ({"mlp_hidden": 4, "loss": "hinge"}, r"^loss must be .* with mlp_hidden; got 'hinge'"),
            ({"model": "cnn7", "depth": 0}, r"^filters must be given for model = 'cnn7'$"),
            ({"filters": 64}, r"^filters must be left out unless model = 'cnn7'; got 64"),
            ({"rho": 0.25}, r"^rho must be left out unless model = 'sortnet'; got 0\.25"),
            ({"worst_share": 0.5}, r"^worst_share must .* loss = 'cross_entropy'; got 0\.5"),
            ({"weight_decay": 0.005}, r"^weight_decay must .* 'lp_adamw'; got 0\.005"),
            ({"mlp_weight_decay": 0.02}, r"^mlp_weight_decay must .* 'lp_adamw'; got 0\.02"),
            ({"lr_schedule": "constant", "lr_hold": 0.1}, r"^lr_hold must .* 'cosine'; got 0\.1"),
            ({"lam_start": 0}, r"^lam_start and lam_end must both be 0, .*; got 0\.0 and 0\.0005"),
            ({"lr_steps": [0.5]}, r"^lr_steps must .* 'steps'; got \(0\.5,\)"),
        ],
    )
    def test_values_that_do_not_go_together(self, values, said):
        with pytest.raises(ValueError, match=said):
            SMALL.replace(**values)

    def test_every_fault_has_a_line(self):
        with pytest.raises(ValueError, match="epochs") as fault:
            SMALL.replace(epochs=-1, lr="fast", epoch=3)
        assert len(str(fault.value).splitlines()) == 3

    def test_an_integer_is_a_number(self):
        assert isinstance(SMALL.replace(lr=1).lr, float)
        assert SMALL.replace(p_ramp=[0, 1]).p_ramp == (0.0, 1.0)

    def test_a_fraction_is_a_number(self):
        recipe = SMALL.replace(eps="8/255", eps_train="24/255", p_ramp=["1/4", 1])
        assert (recipe.eps, recipe.eps_train, recipe.p_ramp) == (8 / 255, 24 / 255, (0.25, 1.0))

    def test_constant_p_may_be_infinite(self):
        recipe = SMALL.replace(p_start=math.inf, p_ramp=[1.0, 1.0])
        assert recipe.p_start == math.inf
        assert Recipe(**tomllib.loads(recipe.to_toml())) == recipe

    def test_is_frozen(self):
        with pytest.raises(ValueError, match="frozen"):
            SMALL.epochs = 3

    def test_replacing_leaves_the_old_one(self):
        assert SMALL.replace(epochs=3).epochs == 3
        assert SMALL.epochs == 80


class TestToml:
    @pytest.mark.parametrize("name", recipe_names())
    def test_reads_back_as_it_was(self, name):
        recipe = load_recipe(name)
        read = Recipe(**tomllib.loads(recipe.to_toml()))
        assert read == recipe
        assert read.fingerprint == recipe.fingerprint

    @given(
        description=st.text(st.characters(codec="utf-8")),
        lr=st.floats(min_value=1e-300, max_value=1e300),
        mean=st.none() | st.floats(0, 1) | st.lists(st.floats(0, 1), min_size=1, max_size=4),
        seeds=st.lists(st.integers(0, 2**62), min_size=1, max_size=5, unique=True),
        flip=st.booleans(),
        train_images=st.none() | st.integers(1, 10**6),
    )
    def test_reads_back_whatever_it_holds(self, **values):
        recipe = SMALL.replace(**values)
        read = Recipe(**tomllib.loads(recipe.to_toml()))
        assert read == recipe
        assert read.fingerprint == recipe.fingerprint


class TestFingerprint:
    @pytest.mark.parametrize(
        "labels",
        [
            {"name": "another"},
            {"description": "another"},
            {"source": "another"},
            {"published": 12.0},
            {"seeds": [7]},
        ],
    )
    def test_leaves_out_what_decides_nothing(self, labels):
        assert SMALL.replace(**labels).fingerprint == SMALL.fingerprint

    @pytest.mark.parametrize(
        "change",
        [
            {"eps": 0.2},
            {"eps_train": 0.2},
            {"loss": "hinge"},
            {"lr": 0.02},
            {"epochs": 79},
            {"p_ramp": [1.0, 1.0]},
            {"p_start": 9},
            {"mean": 0.5},
            {"train_images": 100},
            {"test_images": 100},
            {"label_noise": 0.1},
            {"identity_start": False},
            {"flip": True},
            {"dataset": "mnist"},
            {"members": 2},
            {"mlp_hidden": 8},
            {"model": "sortnet", "rho": 0.25},
            {"optimizer": "madam"},
            {"lr_hold": 0.1},
            {"crop_padding_mode": "zeros"},
        ],
    )
    def test_takes_in_what_decides_a_run(self, change):
        assert SMALL.replace(**change).fingerprint != SMALL.fingerprint

    def test_does_not_mind_how_a_number_is_written(self):
        assert SMALL.replace(eps="1/10", p_start=8).fingerprint == SMALL.fingerprint
