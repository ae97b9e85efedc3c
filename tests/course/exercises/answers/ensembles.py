"""Answers to the exercises of notebook 05."""

import torch

import linfkit as lk


def radii(logits, labels):
    return torch.stack([lk.certified_radius(each, labels) for each in logits])


RIGHT = [
    ("05-radius", lambda logits, labels: lk.certified_radius(logits.mean(dim=0), labels)),
    ("05-together", [[1.0, 0.9, 0.0], [1.0, 0.0, 0.9]]),
    ("05-voting", 4),
    ("05-voting", 4.0),
    ("05-cost", 25_856 / 13_568),
    ("05-cost", 1.906),
]


WRONG = [
    (
        "05-radius",
        lambda logits, labels: radii(logits, labels).mean(dim=0),
        "mean of the members' radii",
    ),
    ("05-radius", lambda logits, labels: radii(logits, labels).amin(dim=0), "one member alone"),
    ("05-radius", lambda logits, labels: 2 * lk.certified_radius(logits.mean(0), labels), "margin"),
    ("05-radius", lambda logits, labels: torch.zeros(len(labels)), "mean over K"),
    ("05-radius", lambda logits, labels: 0.1, "one radius for each image"),
    ("05-radius", 0.1, "a function"),
    ("05-together", [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]], "a member alone"),
    ("05-together", [[1.0, 0.9, 0.0], [1.0, 0.9, 0.0]], "the mean does not"),
    ("05-together", [[1.0, 0.9], [1.0, 0.9]], "two rows of three"),
    ("05-together", "no", "numbers are wanted"),
    ("05-voting", 8, "not the smallest"),
    ("05-voting", 2, "all logits may"),
    ("05-voting", 1, "derivative"),
    ("05-cost", 13_568 / 25_856, "upside down"),
    ("05-cost", 25_856 / 3392, "there are four"),
    ("05-cost", 4, "hidden layer alone"),
    ("05-cost", 1, "but the hidden one"),
    ("05-cost", 3, "count"),
]
