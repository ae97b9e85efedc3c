"""Answers to the exercises of notebook 02."""

import torch


def slope(net, x, labels):
    x = x.detach().requires_grad_(True)
    loss = torch.nn.functional.cross_entropy(net(x), labels, reduction="sum")
    return torch.autograd.grad(loss, x)[0]


def fgsm(net, x, labels, eps):
    return (x + eps * slope(net, x, labels).sign()).clamp(0, 1)


def pgd(net, x, labels, eps, steps, length=2.5, inside=True, around_start=True):
    moved = x
    for _ in range(steps):
        before = moved
        moved = moved + length * eps / steps * slope(net, moved, labels).sign()
        middle = x if around_start else before
        moved = moved.clamp(middle - eps, middle + eps)
        moved = moved.clamp(0, 1) if inside else moved
    return moved


def pgd_without_projection(net, x, labels, eps, steps):
    for _ in range(steps):
        x = (x + 2.5 * eps / steps * slope(net, x, labels).sign()).clamp(0, 1)
    return x


def interval(lower, upper, w):
    least = torch.maximum(lower - w, w - upper).clamp(min=0).max()
    return least, torch.maximum((lower - w).abs(), (upper - w).abs()).max()


RIGHT = [
    ("02-fgsm", fgsm),
    ("02-pgd", pgd),
    ("02-interval", interval),
    ("02-l2", 0.12),
    ("02-possible", {"b", "d"}),
    ("02-possible", ["D", "B"]),
]


WRONG = [
    ("02-fgsm", lambda net, x, y, eps: fgsm(net, x, y, -eps), "loss falls"),
    ("02-fgsm", lambda net, x, y, eps: x + eps * slope(net, x, y).sign(), "leave [0, 1]"),
    (
        "02-fgsm",
        lambda net, x, y, eps: (x + eps * slope(net, x, y)).clamp(0, 1),
        "by less than eps",
    ),
    ("02-fgsm", lambda net, x, y, eps: fgsm(net, x, y, 1.0), "At most by eps"),
    ("02-fgsm", lambda net, x, y, eps: eps * slope(net, x, y).sign(), "perturbation alone"),
    ("02-fgsm", lambda net, x, y, eps: x, "nothing moves"),
    ("02-fgsm", lambda net, x, y, eps: fgsm(net, x, y, 2 * eps), "further than eps"),
    ("02-fgsm", lambda net, x, y, eps: fgsm(net, x, y, eps / 2), "one pixel with eps"),
    ("02-fgsm", lambda net, x, y, eps: x.sum(), "shape"),
    ("02-fgsm", lambda net, x, y, eps: ..., "should return images"),
    ("02-fgsm", 0.1, "a function"),
    ("02-pgd", lambda net, x, y, eps, steps: pgd(net, x, y, eps, steps, length=-2.5), "loss falls"),
    ("02-pgd", pgd_without_projection, "further than eps"),
    ("02-pgd", lambda *given: pgd(*given, inside=False), "leave [0, 1]"),
    ("02-pgd", lambda *given: pgd(*given, around_start=False), "further than eps"),
    ("02-pgd", lambda net, x, y, eps, steps: fgsm(net, x, y, eps), "one step of FGSM"),
    ("02-pgd", lambda *given: pgd(*given, length=given[-1]), "too long"),
    ("02-pgd", lambda *given: pgd(*given, length=1.0), "too short"),
    ("02-pgd", lambda net, x, y, eps, steps: x, "nothing moves"),
    ("02-pgd", lambda net, x, y, eps, steps: fgsm(net, x, y, 2.5 * eps / steps), "first step"),
    ("02-pgd", lambda net, x, y, eps, steps: fgsm(net, x, y, 2 * eps), "further than eps"),
    ("02-pgd", lambda *given: pgd(*given, length=1.7), "steps=1"),
    ("02-pgd", 0.1, "a function"),
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
