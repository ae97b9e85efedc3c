"""Recipes: the packaged ones, reading and writing them, and what a bad one is told."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linfkit.data import dataset_names
from linfkit.recipes import Recipe, load_recipe, recipe_names

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


class TestPackaged:
    def test_are_these(self):
        assert recipe_names() == (
            "cifar10-small",
            "digits-ema",
            "digits-ensemble-member",
            "digits-noisy",
            "digits-small",
            "iclr2022-cifar10-16-255",
            "iclr2022-cifar10-2-255",
            "iclr2022-cifar10-8-255",
            "iclr2022-mnist-0.1",
            "iclr2022-mnist-0.3",
            "mnist-small",
        )

    @pytest.mark.parametrize("name", recipe_names())
    def test_are_sound(self, name):
        recipe = load_recipe(name)
        assert recipe.name == name
        assert recipe.description
        assert recipe.dataset in dataset_names()
        assert recipe.theta == 2 * recipe.eps_train
        assert bool(recipe.source) == (recipe.published is not None)

    @pytest.mark.parametrize("name", recipe_names())
    def test_say_in_a_comment_what_they_are_for(self, name):
        path = Path(__file__).parents[1] / "linfkit" / "recipes" / f"{name}.toml"
        assert path.read_text("utf-8").startswith("# ")

    @pytest.mark.parametrize(
        ("name", "eps", "eps_train", "depth", "lam", "ramp", "epochs", "published"),
        [
            ("mnist-0.1", 0.1, 0.3, 5, (0.05, 0.0002), (25, 400), 450, 97.95),
            ("mnist-0.3", 0.3, 0.45, 5, (0.05, 0.0002), (25, 400), 450, 93.20),
            ("cifar10-2-255", 2 / 255, 0.03922, 6, (0.05, 0.002), (100, 1250), 1300, 54.12),
            ("cifar10-8-255", 8 / 255, 0.09411, 6, (0.1, 0.0005), (100, 1250), 1300, 40.06),
            ("cifar10-16-255", 16 / 255, 0.15685, 6, (0.1, 0.0002), (100, 1250), 1300, 29.04),
        ],
    )
    def test_of_the_paper_are_its_table(
        self, name, eps, eps_train, depth, lam, ramp, epochs, published
    ):
        recipe = load_recipe(f"iclr2022-{name}")
        assert (recipe.eps, recipe.eps_train) == (eps, eps_train)
        assert (recipe.depth, recipe.width) == (depth, 5120)
        assert (recipe.lam_start, recipe.lam_end) == lam
        assert [share * epochs for share in recipe.p_ramp] == pytest.approx(ramp)
        assert (recipe.epochs, recipe.batch_size, recipe.lr) == (epochs, 512, 0.03)
        assert (recipe.p_start, recipe.p_end, recipe.loss) == (8, 1000, "mixed")
        assert recipe.published == published
        if recipe.dataset == "mnist":
            assert (recipe.mean, recipe.scale) == (0.1307, 0.3081)
            assert (recipe.crop_padding, recipe.flip) == (1, False)
        else:
            assert (recipe.mean, recipe.scale) == ((0.4914, 0.4822, 0.4465), 0.2009)
            assert (recipe.crop_padding, recipe.flip) == (3, True)

    def test_of_the_loss_notebook_has_noise_and_three_seeds(self):
        recipe = load_recipe("digits-noisy")
        assert recipe.label_noise == 0.2
        assert recipe.seeds == (0, 1, 2)

    def test_a_ramp_that_never_begins_keeps_p_constant(self):
        assert not SMALL.constant_p
        assert SMALL.replace(p_ramp=[1.0, 1.0]).constant_p


class TestLoading:
    def test_an_unknown_name_is_told_the_nearest(self):
        with pytest.raises(ValueError, match=r"'digits-smal' is none of ours.*'digits-small'"):
            load_recipe("digits-smal")

    def test_a_path_that_is_not_there(self, tmp_path):
        for path in (tmp_path / "mine.toml", str(tmp_path / "mine.toml"), "mine.toml"):
            with pytest.raises(FileNotFoundError, match=r"there is no file .*mine\.toml"):
                load_recipe(path)

    def test_a_file_of_ones_own(self, tmp_path):
        path = tmp_path / "mine.toml"
        path.write_text(SMALL.replace(name="other").to_toml(), "utf-8")
        assert load_recipe(path) == load_recipe(str(path)) == SMALL.replace(name="other")

    def test_a_file_without_a_name_takes_its_own(self, tmp_path):
        path = tmp_path / "mine.toml"
        path.write_text(SMALL.to_toml().replace('name = "digits-small"\n', ""), "utf-8")
        assert load_recipe(path).name == "mine"

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"epochs = ", r"^mine\.toml: no TOML"),
            (b"\xff\xfe", r"^mine\.toml: no TOML"),
            (b"epoch = 3", r"mine\.toml: epoch: no key of a recipe; did you mean 'epochs'\?"),
            (b"[train]\nepochs = 3", r"mine\.toml: train: no key of a recipe"),
            (b"epochs = -3", r"mine\.toml: epochs: -3 came; a whole number of at least 1 is"),
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

    @pytest.mark.parametrize("key", sorted(LEAST))
    def test_a_key_that_is_missing(self, key):
        with pytest.raises(ValueError, match=f"^{key}: missing; "):
            Recipe(**{other: value for other, value in LEAST.items() if other != key})

    @pytest.mark.parametrize(
        ("wrong", "nearest"),
        [("epoch", "epochs"), ("eps_trian", "eps_train"), ("batchsize", "batch_size")],
    )
    def test_an_unknown_key_is_told_the_nearest(self, wrong, nearest):
        with pytest.raises(ValueError, match=rf"^{wrong}: no key.*did you mean '{nearest}'\?"):
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
            ("lam_start", 0),
            ("lam_end", -1),
            ("width", 0),
            ("width", True),
            ("depth", 2.0),
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
        with pytest.raises(ValueError, match="is wanted") as fault:
            SMALL.replace(**{key: value})
        (line,) = str(fault.value).splitlines()
        told = "p_end" if (key, value) == ("p_start", math.inf) else key
        assert line.startswith(f"{told}: ")
        assert (repr(value) if told == key else "inf") in line.replace("4.0", "4")
        assert type(fault.value) is ValueError

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
        assert recipe.constant_p
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
        ],
    )
    def test_takes_in_what_decides_a_run(self, change):
        assert SMALL.replace(**change).fingerprint != SMALL.fingerprint

    def test_does_not_mind_how_a_number_is_written(self):
        assert SMALL.replace(eps="1/10", p_start=8).fingerprint == SMALL.fingerprint
