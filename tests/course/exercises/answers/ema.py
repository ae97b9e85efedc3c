"""Answers to the exercises of notebook 05."""

import math
from itertools import pairwise
from statistics import pstdev

RIGHT = [
    ("05-jumps", lambda values: sum(abs(b - a) for a, b in pairwise(values)) / (len(values) - 1)),
    ("05-lag", 99),
    ("05-lag", 99.0),
    ("05-noise", math.sqrt(0.01 / 1.99)),
    ("05-noise", 0.0709),
    ("05-warm-up", lambda epoch, largest: min(epoch / (epoch + 1), largest)),
    ("05-lipschitz", 1),
    ("05-lipschitz", 1.0),
]


WRONG = [
    ("05-jumps", lambda values: (values[-1] - values[0]) / (len(values) - 1), "cancel"),
    ("05-jumps", lambda values: sum(abs(b - a) for a, b in pairwise(values)), "a mean is wanted"),
    ("05-jumps", lambda values: sum(abs(b - a) for a, b in pairwise(values)) / 12, "one step less"),
    ("05-jumps", pstdev, "does not jump"),
    ("05-jumps", lambda values: 7, "try it on"),
    ("05-lag", 100, "their age is 0"),
    ("05-lag", 69, "median"),
    ("05-lag", 0.01, "in steps"),
    ("05-lag", 500, "share"),
    ("05-noise", 0.005025, "variance"),
    ("05-noise", 14.1, "upside down"),
    ("05-noise", 0.01, "newest step alone"),
    ("05-noise", 0.1, "squares of their shares"),
    ("05-noise", 0.5, "squares"),
    ("05-warm-up", lambda epoch, largest: 1 - 1 / epoch, "counted from 0"),
    ("05-warm-up", lambda epoch, largest: 1 - 1 / (epoch + 1), "above `largest`"),
    ("05-warm-up", lambda epoch, largest: largest, "epoch 0"),
    ("05-warm-up", lambda epoch, largest: 0.0, "epochs 1 and 2"),
    ("05-warm-up", 0.5, "a function"),
    ("05-lipschitz", 0.5, "averaging weights"),
    ("05-lipschitz", 13.5, "p=∞"),
    ("05-lipschitz", True, "one number"),
]
