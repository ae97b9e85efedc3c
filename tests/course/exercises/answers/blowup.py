"""Answers to the exercises of notebook 02."""

import math

import torch

#: 3072^(1/16) · 5120^(5/16)
BOUND = 3072 ** (1 / 16) * 5120 ** (5 / 16)


def p_by_logarithms(inputs, wanted):
    return sum(math.log(d) for d in inputs) / math.log(wanted)


RIGHT = [
    ("02-bound", BOUND),
    ("02-bound", round(BOUND, 1)),
    ("02-wider", 2 ** (3 / 8)),
    ("02-wider", 1.3),
    ("02-attained", [1.0] * 16),
    ("02-attained", torch.tensor([0.3, -0.3] * 8)),
    ("02-exponent", p_by_logarithms),
]


WRONG = [
    ("02-bound", 568, "p=8"),
    ("02-bound", BOUND / 5120 ** (1 / 16), "count the layers"),
    ("02-bound", BOUND * 5120 ** (1 / 16), "six in all"),
    ("02-bound", 5120 ** (6 / 16), "first layer take in"),
    ("02-bound", 3072 ** (1 / 16) + 5 * 5120 ** (1 / 16), "multiply"),
    ("02-bound", 3072 ** (1 / 16), "first layer alone"),
    ("02-bound", 100, "d^(1/p) of every layer"),
    ("02-bound", "many", "one number is wanted"),
    ("02-wider", 2 ** (4 / 8), "first layer"),
    ("02-wider", 2 ** (1 / 8), "that is one layer"),
    ("02-wider", 2, "p-th root"),
    ("02-wider", 8, "p-th root"),
    ("02-wider", 64 ** (1 / 8) * 512 ** (3 / 8), "ratio"),
    ("02-wider", 5, "as a product"),
    ("02-attained", [0.0] * 16, "kink"),
    ("02-attained", [1.0] + [0.0] * 15, "one coordinate"),
    ("02-attained", list(range(16)), "which coordinates"),
    ("02-attained", [1.0] * 8, "16 coordinates"),
    ("02-attained", "up", "could not|new|str|must"),
    ("02-exponent", lambda inputs, wanted: 8, "above it|below it"),
    ("02-exponent", lambda inputs, wanted: 1 / p_by_logarithms(inputs, wanted), "no norm"),
    ("02-exponent", 8, "a function"),
]
