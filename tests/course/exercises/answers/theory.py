"""Answers to the exercises of notebook 08."""

import math

import torch

import linfkit as lk


def distances_to(counted):
    """Smallest distance to the images that `counted` picks for each class."""

    def answer(x, images, labels, classes, distance=lambda x, w: lk.lp_dist(x, w, math.inf)):
        between = distance(x, images)
        return torch.stack([counted(between, labels == c) for c in range(classes)], dim=1)

    return answer


others = distances_to(lambda between, own: between[:, ~own].amin(dim=1))
own = distances_to(lambda between, own: between[:, own].amin(dim=1))
farthest = distances_to(lambda between, own: between[:, ~own].amax(dim=1))

RIGHT = [
    ("08-nearest", 0.435),
    ("08-radius", 0.15),
    ("08-box", 4),
    ("08-carry", 0.01 ** (1 / 19)),
    ("08-carry", 0.785),
    ("08-logits", others),
]

WRONG = [
    ("08-nearest", 0.2176, "half-way"),
    ("08-nearest", 0.56, "come nearer"),
    ("08-nearest", 0.1, "all ten classes"),
    ("08-radius", 0.3, "the margin"),
    ("08-radius", 0.25, "at a training image"),
    ("08-radius", 0.35, "two highest logits"),
    ("08-radius", -0.15, "it is a 3"),
    ("08-radius", 1, "the logit of 3"),
    ("08-radius", "far", "one number is wanted"),
    ("08-box", 1, "against each other"),
    ("08-box", 8, "whole interval"),
    ("08-box", 2, "every input moves"),
    ("08-box", math.sqrt(6.5), "ℓ2"),
    ("08-box", 3, "add up"),
    ("08-carry", 0.01 ** (1 / 20), "is not p"),
    ("08-carry", 0.01, "ratio of the derivatives"),
    ("08-carry", 1.2, "no difference is larger"),
    ("08-carry", 0.5, "as a power"),
    ("08-logits", own, "for c?"),
    ("08-logits", lambda *given: -own(*given), "margins may differ"),
    ("08-logits", lambda *given: others(*given, distance=torch.cdist), "another distance"),
    ("08-logits", farthest, "the farthest"),
    ("08-logits", lambda x, *given: torch.zeros(len(x), 3), "not of class c"),
    ("08-logits", lambda x, *given: x, r"shape"),
    ("08-logits", 0.5, "a function"),
]
