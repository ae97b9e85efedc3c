"""Answers to the exercises of notebook 06."""

import torch


def accuracy(radius, eps):
    return (radius > eps).double().mean().item()


def interval(lower, upper, w):
    least = torch.maximum(lower - w, w - upper).clamp(min=0).max()
    return least, torch.maximum((lower - w).abs(), (upper - w).abs()).max()


RIGHT = [
    ("06-radius", 0.12),
    ("06-radius", torch.tensor(0.12)),
    ("06-accuracy", accuracy),
    ("06-interval", interval),
    ("06-l2", 0.12),
    ("06-possible", {"b", "d"}),
    ("06-possible", ["D", "B"]),
]


WRONG = [
    ("06-radius", 0.24, "that is the margin"),
    ("06-radius", 0.255, "highest of the other"),
    ("06-radius", 7, "take the margin"),
    ("06-radius", "half", "one number"),
    ("06-accuracy", lambda radius, eps: (radius >= eps).double().mean().item(), "above"),
    ("06-accuracy", lambda radius, eps: (radius > eps).sum(), "a share"),
    (
        "06-accuracy",
        lambda radius, eps: (radius[radius > 0] > eps).double().mean(),
        "misclassified ones",
    ),
    ("06-accuracy", lambda radius, eps: 0.5, "differs"),
    ("06-accuracy", 0.5, "a function"),
    ("06-interval", lambda lower, upper, w: (0.0, (upper - w).abs().max()), "both ends"),
    (
        "06-interval",
        lambda lower, upper, w: (
            torch.maximum(lower - w, w - upper).max(),
            interval(lower, upper, w)[1],
        ),
        "never negative",
    ),
    (
        "06-interval",
        lambda lower, upper, w: (
            torch.minimum((lower - w).abs(), (upper - w).abs()).max(),
            interval(lower, upper, w)[1],
        ),
        "not at a corner",
    ),
    ("06-interval", lambda lower, upper, w: 1.0, "two numbers"),
    ("06-interval", 3, "a function"),
    ("06-l2", 0.12 * 8, "longest change"),
    ("06-l2", 0.12 / 8, "too careful"),
    ("06-l2", 1.0, "shortest change"),
    ("06-possible", {"a", "b", "d"}, "fails proves nothing"),
    ("06-possible", {"b"}, "one more"),
    ("06-possible", {"b", "c"}, "one image"),
    ("06-possible", {"e"}, "a to d"),
    ("06-possible", "b", "a set"),
]
