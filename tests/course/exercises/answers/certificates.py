"""Answers to the exercises of notebook 02."""

import torch


def accuracy(radius, eps):
    return (radius > eps).double().mean().item()


def interval(lower, upper, w):
    least = torch.maximum(lower - w, w - upper).clamp(min=0).max()
    return least, torch.maximum((lower - w).abs(), (upper - w).abs()).max()


RIGHT = [
    ("02-radius", 0.12),
    ("02-radius", torch.tensor(0.12)),
    ("02-accuracy", accuracy),
    ("02-interval", interval),
    ("02-l2", 0.12),
    ("02-possible", {"b", "d"}),
    ("02-possible", ["D", "B"]),
]


WRONG = [
    ("02-radius", 0.24, "that is the margin"),
    ("02-radius", 0.255, "highest of the other"),
    ("02-radius", 7, "take the margin"),
    ("02-radius", "half", "one number"),
    ("02-accuracy", lambda radius, eps: (radius >= eps).double().mean().item(), "above"),
    ("02-accuracy", lambda radius, eps: (radius > eps).sum(), "a share"),
    (
        "02-accuracy",
        lambda radius, eps: (radius[radius > 0] > eps).double().mean(),
        "misclassified ones",
    ),
    ("02-accuracy", lambda radius, eps: 0.5, "differs"),
    ("02-accuracy", 0.5, "a function"),
    ("02-interval", lambda lower, upper, w: (0.0, (upper - w).abs().max()), "both ends"),
    (
        "02-interval",
        lambda lower, upper, w: (
            torch.maximum(lower - w, w - upper).max(),
            interval(lower, upper, w)[1],
        ),
        "never negative",
    ),
    (
        "02-interval",
        lambda lower, upper, w: (
            torch.minimum((lower - w).abs(), (upper - w).abs()).max(),
            interval(lower, upper, w)[1],
        ),
        "not at a corner",
    ),
    ("02-interval", lambda lower, upper, w: 1.0, "two numbers"),
    ("02-interval", 3, "a function"),
    ("02-l2", 0.12 * 8, "longest change"),
    ("02-l2", 0.12 / 8, "too careful"),
    ("02-l2", 1.0, "shortest change"),
    ("02-possible", {"a", "b", "d"}, "fails proves nothing"),
    ("02-possible", {"b"}, "one more"),
    ("02-possible", {"b", "c"}, "one image"),
    ("02-possible", {"e"}, "a to d"),
    ("02-possible", "b", "a set"),
]
