"""Answers to the exercises of notebook 04."""

import math

RIGHT = [
    ("04-lag", 99),
    ("04-lag", 99.0),
    ("04-noise", math.sqrt(0.01 / 1.99)),
    ("04-noise", 0.0709),
    ("04-warm-up", lambda epoch, largest: min(epoch / (epoch + 1), largest)),
    ("04-lipschitz", 1),
    ("04-lipschitz", 1.0),
]


WRONG = [
    ("04-lag", 100, "their age is 0"),
    ("04-lag", 69, "median"),
    ("04-lag", 0.01, "in steps"),
    ("04-lag", 500, "share"),
    ("04-noise", 0.005025, "variance"),
    ("04-noise", 14.1, "upside down"),
    ("04-noise", 0.01, "newest step alone"),
    ("04-noise", 0.1, "squares of their shares"),
    ("04-noise", 0.5, "squares"),
    ("04-warm-up", lambda epoch, largest: 1 - 1 / epoch, "counted from 0"),
    ("04-warm-up", lambda epoch, largest: 1 - 1 / (epoch + 1), "above `largest`"),
    ("04-warm-up", lambda epoch, largest: largest, "epoch 0"),
    ("04-warm-up", lambda epoch, largest: 0.0, "epochs 1 and 2"),
    ("04-warm-up", 0.5, "a function"),
    ("04-lipschitz", 0.5, "averaging weights"),
    ("04-lipschitz", 13.5, "p=∞"),
    ("04-lipschitz", True, "one number"),
]
