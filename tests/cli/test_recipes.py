"""Tested: the table of recipes, and ε in words."""

import math

import pytest
from rich.console import Console

import linfkit as lk
from linfkit._util.checks import check_eps
from linfkit._util.literals import parse_value
from linfkit._util.text import format_eps
from linfkit.cli.recipes import recipes_table

DIGITS = lk.load_recipe("digits-small")


def printed(*recipes, width=120):
    console = Console(width=width)
    with console.capture() as capture:
        console.print(recipes_table(recipes))
    return capture.get()


class TestInWords:
    def test_a_recipe_is_told_with_data_net_and_source(self):
        text = printed(lk.load_recipe("iclr2022-cifar10-8-255"))
        for word in ("iclr2022-cifar10-8-255", "cifar10, mlp 5120 × 6", "8/255", "1300", "40.06 %"):
            assert word in text
        assert "2110.06850" in text

    def test_no_name_is_cut_short_where_there_is_little_room(self):
        name = "ema2021-fashion-mnist-0.1-lenet-hybrid-ensemble"
        shown = printed(DIGITS.replace(name=name), width=80)
        first_column = "".join(line.split()[0] for line in shown.splitlines() if line.split())
        assert name in first_column

    def test_convolutional_nets_are_told_without_a_depth(self):
        assert DIGITS.replace(model="lenet", depth=0).net == "lenet 256"
        assert DIGITS.replace(model="cnn7", depth=0, filters=64).net == "cnn7 64/256"


class TestPixels:
    @pytest.mark.parametrize("text", ["8/255", "0.1", "2/255", "0", "1", "0.3333"])
    def test_what_is_shown_is_what_was_read(self, text):
        assert format_eps(check_eps(parse_value(text))) == text

    @pytest.mark.parametrize("text", ["8", "-0.1", "8/0", "a tenth", "nan", "inf", ""])
    def test_what_is_no_size_is_refused(self, text):
        with pytest.raises((TypeError, ValueError), match=r"^eps must be in pixels of \[0, 1\]"):
            check_eps(parse_value(text))

    def test_any_number_is_shown_to_four_digits(self):
        assert float(format_eps(math.pi / 10)) == pytest.approx(math.pi / 10, rel=1e-3)
