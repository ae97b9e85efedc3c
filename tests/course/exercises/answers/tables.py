"""Answers to the exercises of notebook 07."""

from linfkit.course.studies.scale import weight_count

WEIGHTS = weight_count(784, width=5120, depth=5, classes=10)


def half(shares, values):
    return next(
        share for share, value in zip(shares, values, strict=True) if value >= values[-1] / 2
    )


def half_of_largest(shares, values):
    return next(
        share for share, value in zip(shares, values, strict=True) if value >= max(values) / 2
    )


RIGHT = [
    ("07-gain", 93.20 - 93.09),
    ("07-gain", 0.11),
    ("07-weights", WEIGHTS),
    ("07-weights", 82_708_480),
    ("07-noise", 0.49),
    ("07-half", half),
]


WRONG = [
    ("07-gain", 0.0011, "not a share"),
    ("07-gain", -0.11, "came after"),
    ("07-gain", 100 * (93.20 / 93.09 - 1), "ratio"),
    ("07-gain", 6.76, "look at the certified column"),
    ("07-gain", None, "one number"),
    ("07-weights", 82.708480, "not millions"),
    ("07-weights", 5 * 5120**2, "not every layer"),
    ("07-weights", WEIGHTS + 5120**2, "counts all layers"),
    ("07-weights", 5120, "inputs × neurons"),
    ("07-noise", 0.0049, "not a share"),
    ("07-noise", 100 * 0.4006 * 0.5994 / 1e4, "variance"),
    ("07-noise", 49.0, "one image"),
    ("07-noise", 1.0, "q(1 − q)/n"),
    ("07-half", half_of_largest, "not of the largest"),
    ("07-half", lambda shares, values: shares.index(half(shares, values)), "not the place"),
    ("07-half", lambda shares, values: 0.123, "another share"),
    ("07-half", 0.5, "a function"),
]
