"""Answers to the exercises of notebook 00."""

import torch

import linfkit as lk


def radius(logits, label):
    others = torch.cat([logits[:label], logits[label + 1 :]])
    return (logits[label] - others.max()) / 2


RIGHT = [
    ("00-radius", 0.11),
    ("00-radius", (-1.4 + 1.62) / 2),
    ("00-radius", torch.tensor(0.11)),
    ("00-certified-accuracy", 0.4),
    ("00-certified-accuracy", 2 / 5),
    ("00-grey-steps", 1.6),
    ("00-fooled", 9),
    ("00-fooled", torch.tensor(10)),
    ("00-function", radius),
    (
        "00-function",
        lambda logits, label: lk.certified_radius(logits[None], torch.tensor([label])).item(),
    ),
]


WRONG = [
    ("00-radius", 0.22, "that is the margin"),
    ("00-radius", -0.11, "its radius is positive"),
    ("00-radius", 0.45, "comes nearest"),
    ("00-radius", 7.0, "find the label's logit"),
    ("00-certified-accuracy", 0.6, "exactly ε"),
    ("00-certified-accuracy", 0.8, "clean accuracy"),
    ("00-certified-accuracy", 2, "a share is wanted"),
    ("00-certified-accuracy", 0.5, "count the radii"),
    ("00-fooled", 11, "survive"),
    ("00-fooled", 0, "the ordinary net"),
    ("00-fooled", 19, "at 0.1"),
    ("00-fooled", 0.45, "not a share"),
    ("00-fooled", 14, "count the others"),
    ("00-grey-steps", 25.5, "256 levels"),
    ("00-grey-steps", 0.1, "grey steps fit"),
    ("00-grey-steps", 17, "the same share"),
    ("00-function", lambda logits, label: 2 * radius(logits, label), "it gives the margin"),
    ("00-function", lambda logits, label: abs(radius(logits, label)), "negative"),
    (
        "00-function",
        lambda logits, label: logits[label] - logits.max(),
        "among the others|it is off",
    ),
    ("00-function", lambda logits, label: logits.max(), "it is off"),
    ("00-function", 0.11, "a function"),
]
