"""Answers to the exercises of notebook 06."""

import torch

import linfkit as lk


def radii(logits, labels):
    return torch.stack([lk.certified_radius(each, labels) for each in logits])


RIGHT = [
    ("06-radius", lambda logits, labels: lk.certified_radius(logits.mean(dim=0), labels)),
    ("06-together", [[1.0, 0.9, 0.0], [1.0, 0.0, 0.9]]),
    ("06-voting", 4),
    ("06-voting", 4.0),
    ("06-cost", 25_856 / 13_568),
    ("06-cost", 1.906),
]


WRONG = [
    (
        "06-radius",
        lambda logits, labels: radii(logits, labels).mean(dim=0),
        "mean of the members' radii",
    ),
    ("06-radius", lambda logits, labels: radii(logits, labels).amin(dim=0), "one member alone"),
    ("06-radius", lambda logits, labels: 2 * lk.certified_radius(logits.mean(0), labels), "margin"),
    ("06-radius", lambda logits, labels: torch.zeros(len(labels)), "mean over K"),
    ("06-radius", lambda logits, labels: 0.1, "one radius for each image"),
    ("06-radius", 0.1, "a function"),
    ("06-together", [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]], "a member alone"),
    ("06-together", [[1.0, 0.9, 0.0], [1.0, 0.9, 0.0]], "the mean does not"),
    ("06-together", [[1.0, 0.9], [1.0, 0.9]], "two rows of three"),
    ("06-together", "no", "numbers are wanted"),
    ("06-voting", 8, "not the smallest"),
    ("06-voting", 2, "all logits may"),
    ("06-voting", 1, "derivative"),
    ("06-cost", 13_568 / 25_856, "upside down"),
    ("06-cost", 25_856 / 3392, "there are four"),
    ("06-cost", 4, "hidden layer alone"),
    ("06-cost", 1, "but the hidden one"),
    ("06-cost", 3, "count"),
]
