"""Answers to the exercises of notebook 01."""

import math

import torch


def gradient(x, w):
    slope = torch.zeros_like(x)
    furthest = (x - w).abs().argmax()
    slope[furthest] = (x - w)[furthest].sign()
    return slope


RIGHT = [
    ("01-neuron", 0.6),
    ("01-neuron", torch.tensor([0.6])),
    ("01-layer", lambda x, w: (x[:, None] - w).abs().amax(dim=2)),
    ("01-layer", lambda x, w: torch.cdist(x, w, p=float("inf"))),
    ("01-gradient", gradient),
    ("01-gradient", lambda x, w: gradient(x, w).tolist()),
    ("01-nearest", 0.12),
    ("01-uneven", 0.2),
    ("01-uneven", 0.6 / 3),
]


WRONG = [
    ("01-neuron", 0.5, "adds something"),
    ("01-neuron", 1.05, "another p"),
    ("01-neuron", math.sqrt(0.4**2 + 0.5**2 + 0.05**2) + 0.1, "another p"),
    ("01-neuron", 0.3, "write down"),
    ("01-layer", lambda x, w: (w[:, None] - x).abs().amax(dim=2), "the other way round"),
    ("01-layer", lambda x, w: (x[:, None] - w).amax(dim=2), "below the weight"),
    ("01-layer", torch.cdist, "the usual length"),
    ("01-layer", lambda x, w: (x[:, None] - w).abs().mean(dim=2), "it is off"),
    ("01-layer", lambda x, w: x, "distances are wanted"),
    ("01-gradient", lambda x, w: -gradient(x, w), "gradient in w"),
    ("01-gradient", lambda x, w: gradient(x, w).abs(), "lies below"),
    ("01-gradient", lambda x, w: (x - w).sign(), "one coordinate alone"),
    ("01-gradient", lambda x, w: gradient(x, w) * (x - w), "slope"),
    ("01-gradient", lambda x, w: gradient(x, w)[:1], "as many numbers"),
    ("01-gradient", 1.0, "a function"),
    ("01-nearest", 0.24, "a margin"),
    ("01-nearest", 0.06, "larger one"),
    ("01-nearest", 0.3, "one class only"),
    ("01-uneven", 0.3, "steeper"),
    ("01-uneven", 0.15, "too careful"),
    ("01-uneven", 0.6, "cone"),
]
