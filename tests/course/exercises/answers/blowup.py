"""Answers to the exercises of notebook 03."""

import math

import torch

#: 3072^(1/16) · 5120^(5/16)
BOUND = 3072 ** (1 / 16) * 5120 ** (5 / 16)


def p_by_logarithms(inputs, wanted):
    return sum(math.log(d) for d in inputs) / math.log(wanted)


RIGHT = [
    ("03-below-two", 32),
    ("03-bound", BOUND),
    ("03-bound", round(BOUND, 1)),
    ("03-wider", 2 ** (3 / 8)),
    ("03-wider", 1.3),
    ("03-attained", [1.0] * 16),
    ("03-attained", torch.tensor([0.3, -0.3] * 8)),
    ("03-exponent", p_by_logarithms),
]


WRONG = [
    ("03-below-two", 30, "just 2"),
    ("03-below-two", 16, "ends above 2"),
    ("03-below-two", 64, "earlier stop"),
    ("03-bound", 568, "p=8"),
    ("03-bound", BOUND / 5120 ** (1 / 16), "count the layers"),
    ("03-bound", BOUND * 5120 ** (1 / 16), "six in all"),
    ("03-bound", 5120 ** (6 / 16), "first layer take in"),
    ("03-bound", 3072 ** (1 / 16) + 5 * 5120 ** (1 / 16), "multiply"),
    ("03-bound", 3072 ** (1 / 16), "first layer alone"),
    ("03-bound", 100, "d^(1/p) of every layer"),
    ("03-bound", "many", "one number is wanted"),
    ("03-wider", 2 ** (4 / 8), "first layer"),
    ("03-wider", 2 ** (1 / 8), "that is one layer"),
    ("03-wider", 2, "p-th root"),
    ("03-wider", 8, "p-th root"),
    ("03-wider", 64 ** (1 / 8) * 512 ** (3 / 8), "ratio"),
    ("03-wider", 5, "as a product"),
    ("03-attained", [0.0] * 16, "kink"),
    ("03-attained", [1.0] + [0.0] * 15, "one coordinate"),
    ("03-attained", list(range(16)), "which coordinates"),
    ("03-attained", [1.0] * 8, "16 coordinates"),
    ("03-attained", "up", "could not|new|str|must"),
    ("03-exponent", lambda inputs, wanted: 8, "above it|below it"),
    ("03-exponent", lambda inputs, wanted: 1 / p_by_logarithms(inputs, wanted), "no norm"),
    ("03-exponent", 8, "a function"),
]
