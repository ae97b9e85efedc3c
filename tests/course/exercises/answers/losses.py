"""Answers to the exercises of notebook 04."""

import torch
from torch.nn import functional as F

#: r is 0.5 and −2, so the loss is 0.75 · 0.5 + 0.25 · 0.5 / 3
HINGE = 0.75 * 0.5 + 0.25 * 0.5 / 3


def mixed(logits, labels, theta, lam, logit_scale, highest=1.0, weight=1.0):
    differences = logits.gather(1, labels[:, None]) - logits
    shortfall = (1 - differences / theta).scatter(1, labels[:, None], 0.0)
    hinge = shortfall.amax(dim=1).clamp(0, highest).mean()
    return hinge + weight * lam * F.cross_entropy(logit_scale * logits, labels)


def starved(now, later, theta, eps):
    return (now >= theta) & (later / 2 <= eps)


RIGHT = [
    ("04-observatory", 18),
    ("04-observatory", 70.0 - 51.9),
    ("04-hinge", HINGE),
    ("04-hinge", torch.tensor(0.417)),
    ("04-pull", {"hinge", "cross-entropy"}),
    ("04-pull", ["cross-entropy", "hinge"]),
    ("04-mixed", mixed),
    ("04-starved", starved),
]


WRONG = [
    ("04-observatory", 0.18, "not a share"),
    ("04-observatory", -18, "less the hinge"),
    ("04-observatory", 5.3, "θ = 0.3"),
    ("04-observatory", 9, "right end"),
    ("04-hinge", 0.5, "maximum alone"),
    ("04-hinge", 0.375, "κ is missing"),
    ("04-hinge", 0.375 + 0.25 * 0.25, "y included"),
    ("04-hinge", 0.75 * 0.5 + 0.25 * (0.5 - 2) / 3, "negative"),
    ("04-hinge", 0.5 * 0.75 + 0.25 * 0.5, "maximum alone"),
    ("04-hinge", 0.0, "write down g"),
    ("04-hinge", "nothing", "one number is wanted"),
    ("04-pull", "hinge", "not all"),
    ("04-pull", {"clipped hinge", "hinge", "cross-entropy"}, "flat"),
    ("04-pull", set(), "not all"),
    ("04-pull", {"mixed"}, "the names are"),
    ("04-pull", 3, "a set of names"),
    ("04-mixed", lambda *given: mixed(*given, highest=100.0), "clip it"),
    ("04-mixed", lambda *given: 2 * mixed(*given), "clipped hinge should be left"),
    ("04-mixed", lambda f, y, theta, lam, s: mixed(f, y, theta, lam, 1.0), "s · f"),
    ("04-mixed", lambda *given: mixed(*given, weight=2.0), "the cross-entropy is not"),
    ("04-mixed", 0.5, "a function"),
    ("04-mixed", lambda *given: given[0], "one number"),
    ("04-starved", lambda now, later, theta, eps: now >= theta, "certified"),
    ("04-starved", lambda now, later, theta, eps: (now >= theta) & (later <= eps), "m/2"),
    ("04-starved", lambda now, later, theta, eps: (now >= theta) & (later < theta), "ε_train"),
    ("04-starved", lambda now, later, theta, eps: later <= 2 * eps, "above zero"),
    ("04-starved", lambda now, later, theta, eps: now > 2 * theta, "leave out"),
    ("04-starved", lambda now, later, theta, eps: now, "bools"),
    ("04-starved", True, "a function"),
]
