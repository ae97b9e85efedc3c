"""Tested: arguments that the shared checks refuse, with whole messages, and values returned."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from linfkit._util.checks import (
    EPS,
    as_labels,
    check_count,
    check_eps,
    check_eps_of_each,
    check_finite_weights,
    check_model,
    check_real,
)

X = torch.rand(2, 3)


def refused(message, kind=ValueError):
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


@pytest.mark.parametrize("value", [True, torch.tensor(True), 2.5, "2", None])
def test_a_count_is_a_whole_number(value):
    with refused(f"steps must be a whole number; got {value!r}", TypeError):
        check_count("steps", value)


def test_a_real_number_may_be_too_large_for_a_float():
    with refused(f"theta must be a number; got {10**400}"):
        check_real("theta", 10**400, "a number", lambda number: True)
    assert check_real("theta", Fraction(1, 4), "a number", lambda number: True) == 0.25


def test_a_model_is_a_module():
    with refused("model must be a torch.nn.Module; got str", TypeError):
        check_model("model", "net")


def test_a_mean_that_is_nan_is_named():
    norm = nn.BatchNorm1d(2)
    norm.running_mean[1] = math.nan
    with refused("model must have finite weights; its 'running_mean' has NaN or infinite ones"):
        check_finite_weights(norm)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64])
def test_labels_are_whole_numbers_of_any_type(kind):
    assert as_labels(np.array([3, 1], kind), X).tolist() == [3, 1]
    assert as_labels(torch.tensor([3, 1], dtype=torch.uint8), X).dtype == torch.int64


def test_one_label_for_several_images_is_refused_with_a_hint():
    with refused(
        "labels must be one for each of the 2 samples; got shape (): is it one image? give x[None] "
        "and labels[None]"
    ):
        as_labels(3, X)
    with refused("labels must be one for each of the 2 samples; got shape (1,)"):
        as_labels([3], X)


@pytest.mark.parametrize(
    ("eps", "positive", "rest"),
    [
        (-0.5, False, "; got -0.5"),
        (-0.5, True, ", and above 0; got -0.5"),
        (0.0, True, ", and above 0; got 0.0"),
        (8, False, "; got 8 (did you mean 8/255?)"),
        (256, False, "; got 256"),
    ],
)
def test_eps_is_a_size_in_pixels(eps, positive, rest):
    with refused(EPS + rest):
        check_eps(eps, positive)


def test_eps_of_each_is_of_the_type_of_the_images():
    for eps in (0.5, torch.tensor([0.0, 1.0], dtype=torch.float64)):
        assert check_eps_of_each(eps, X.half()).dtype == torch.float16


def test_eps_of_each_is_refused_beyond_a_pixel_and_of_another_shape():
    with refused(f"{EPS}; got values from 0.5 to 1.5"):
        check_eps_of_each(torch.tensor([0.5, 1.5]), X)
    with refused(f"{EPS}; got values from -0.5 to 0.5"):
        check_eps_of_each(torch.tensor([-0.5, 0.5]), X)
    with refused("eps must be one number, or one for each of the 2 samples; got shape (3,)"):
        check_eps_of_each(torch.zeros(3), X)
