"""Exercises whose answer is a function, a set, a point: more than numbers.toml can look at.

Each is asked by its docstring, and gives a hint for a wrong answer, None for the right one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from linfkit.certification.lipschitz import lipschitz_bound, neuron_bound
from linfkit.certification.margins import certified_radius
from linfkit.course.exercises.exercise import Exercise, one_number, within
from linfkit.course.studies.gradient_attacks import fgsm, loss_gradient
from linfkit.course.studies.theory import separating_net
from linfkit.functional import linf_interval, lp_dist
from linfkit.nn.nets import LpDistNet
from linfkit.training.losses import hinge_loss, mixed_loss

# --- 00_start_here


def radius_of_one(answer: Callable[..., Any]) -> str | None:
    """Ask for a function (logits, label) that gives the certified radius of one image."""
    generator = torch.Generator().manual_seed(0)
    for label in range(5):
        logits = torch.randn(5, generator=generator, dtype=torch.float64)
        right = certified_radius(logits[None], torch.tensor([label])).item()
        number = one_number(answer(logits.clone(), label))
        if within(number, right, 1e-6):
            continue
        if within(number, 2 * right, 1e-6):
            return "it gives the margin, and half of it is certified"
        if right < 0 and within(number, -right, 1e-6):
            return "where another class is ahead the radius is negative: nothing is certified"
        if number == 0:
            return "it gives 0; is the label's own logit among the others?"
        return "for some logits and label it is off; try it on the numbers of exercise 1 first"
    return None


# --- 01_linf_distance_neurons


def layer(answer: Callable[..., Any]) -> str | None:
    """Ask for a function (x, w): ℓ∞ distances of rows, (B, d) and (O, d) to (B, O)."""
    generator = torch.Generator().manual_seed(0)
    for batch, inputs, outputs in [(4, 3, 2), (1, 2, 5), (6, 6, 6)]:
        x = torch.rand(batch, inputs, generator=generator)
        w = torch.rand(outputs, inputs, generator=generator)
        given, right = torch.as_tensor(answer(x.clone(), w.clone())), lp_dist(x, w, math.inf)
        if given.shape == right.t().shape != right.shape:
            return "rows are the neurons and columns the images: the other way round is wanted"
        if given.shape != right.shape:
            raise ValueError(f"{tuple(right.shape)} distances are wanted; got {tuple(given.shape)}")
        if torch.allclose(given, right):
            continue
        if torch.allclose(given, (x[:, None] - w).amax(dim=2)):
            return "a coordinate below the weight is as far from it as one above"
        if torch.allclose(given, lp_dist(x, w, 2)):
            return "that is the usual length, at p=2; at p=∞ one coordinate alone counts"
        return "it is off; try it on the numbers of exercise 1 first"
    return None


def gradient(answer: Callable[..., Any]) -> str | None:
    """Ask for a function (x, w) that gives the gradient of ‖x − w‖_∞ in x, for tensors (d,)."""
    generator = torch.Generator().manual_seed(0)
    pairs: list[tuple[Tensor, Tensor]] = []
    for inputs in (2, 3, 7, 2, 5):
        x, w = torch.rand(2, inputs, generator=generator, dtype=torch.float64)
        given = torch.as_tensor(answer(x.clone(), w.clone()), dtype=torch.float64, device="cpu")
        if given.shape != x.shape:
            raise ValueError(f"the gradient has as many numbers as x, {inputs}; not so yours")
        moved = x[None].clone().requires_grad_(True)
        distance = lp_dist(moved, w[None], math.inf).sum()
        pairs.append((given, torch.autograd.grad(distance, moved)[0][0]))

    if all(torch.allclose(given, right) for given, right in pairs):
        return None
    if all(torch.allclose(given, -right) for given, right in pairs):
        return "that is the gradient in w: which way does u grow when x moves?"
    if all(torch.allclose(given, right.abs()) for given, right in pairs):
        return "the place is right; what if x lies below w in that coordinate?"
    if any(given.count_nonzero() > 1 for given, _ in pairs):
        return "u depends on one coordinate alone; a small step in the others changes nothing"
    return "a step of h in the coordinate that decides changes u by h: how large is the slope?"


# --- 02_attacks_and_certificates


def one_step(answer: Callable[..., Any]) -> str | None:
    """Ask for a function (net, x, labels, eps): the images after a step of FGSM."""
    net, x, labels = _small_task()
    eps = 0.1
    given = _images_of(answer(net, x.clone(), labels.clone(), eps), x)
    up = fgsm(net, x, labels, eps) - x
    slope = loss_gradient(net, x, labels)
    for found, hint in (
        (x + up, None),
        (x, "nothing moves: add the step to x"),
        (
            (x - eps * slope.sign()).clamp(0, 1),
            "the loss falls that way: which sign makes it rise?",
        ),
        (x + eps * slope.sign(), "some pixels leave [0, 1]: such an image there is not"),
        (
            (x + eps * slope).clamp(0, 1),
            "a step along the gradient moves most pixels by less than eps",
        ),
        ((x + slope.sign()).clamp(0, 1), "how far does a pixel move? At most by eps"),
        (eps * slope.sign(), "that is the perturbation alone: which image comes of it?"),
    ):
        if torch.allclose(given, found):
            return hint
    if (given - x).abs().max() > eps + 1e-9:
        return "some pixels move further than eps"
    return "compare the change of one pixel with eps, and its sign with that of the gradient"


def many_steps(answer: Callable[..., Any]) -> str | None:
    """Ask for a function (net, x, labels, eps, steps): the images after `steps` steps of PGD."""
    net, x, labels = _small_task()
    eps, steps = 0.3, 10
    given = _images_of(answer(net, x.clone(), labels.clone(), eps, steps), x)
    length = 2.5 * eps / steps
    beyond = (
        "some pixels end further than eps from the image that was given: the box is around that"
    )

    def walk(length: float, back: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        moved = x
        for _ in range(steps):
            moved = back(moved, moved + length * loss_gradient(net, moved, labels).sign())
        return moved

    def boxed(before: Tensor, after: Tensor) -> Tensor:
        return after.clamp(x - eps, x + eps).clamp(0, 1)

    for found, hint in (
        (walk(length, boxed), None),
        (walk(-length, boxed), "the loss falls that way: which sign makes it rise?"),
        (
            walk(length, lambda before, after: after.clamp(0, 1)),
            beyond,
        ),
        (
            walk(length, lambda before, after: after.clamp(x - eps, x + eps)),
            "some pixels leave [0, 1]: such an image there is not",
        ),
        (fgsm(net, x, labels, eps), "that is one step of FGSM: where are the others?"),
        (walk(eps, boxed), "a step of eps is too long: 2.5 eps / steps is asked for"),
        (walk(eps / steps, boxed), "the steps are too short: 2.5 eps / steps is asked for"),
        (x, "nothing moves: is each step taken from where the last one ended?"),
    ):
        if torch.allclose(given, found):
            return hint
    if (given - x).abs().max() > eps + 1e-9:
        return beyond
    if torch.allclose(given, boxed(x, x + length * loss_gradient(net, x, labels).sign())):
        return "that is the first step: is each step taken from where the last one ended?"
    return "try it with steps=1: one step of 2.5 eps, clipped to the box, is what FGSM does"


def _small_task() -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor]:
    """A small smooth net, images with some pixels at 0 and at 1, and labels."""
    generator = torch.Generator().manual_seed(0)
    images, first, second = (
        torch.randn(size, generator=generator, dtype=torch.float64)
        for size in [(6, 9), (9, 8), (8, 3)]
    )

    def net(x: Tensor) -> Tensor:
        return torch.tanh(3 * x @ first) @ second

    return net, (images + 0.5).clamp(0, 1), torch.arange(6) % 3


def _images_of(given: Any, x: Tensor) -> Tensor:
    """Images that an attack returned, of the shape of x."""
    if not isinstance(given, Tensor):
        raise TypeError(f"it should return images; a {type(given).__name__} came")
    if given.shape != x.shape:
        raise ValueError(f"images of shape {tuple(x.shape)} are wanted; got {tuple(given.shape)}")
    return given.detach().to(x)


def interval(answer: Callable[..., Any]) -> str | None:
    """Ask for a function (lower, upper, w) that gives a neuron's range."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        # at times the weight lies inside the box, where the distance can be 0
        w, middle = torch.rand(2, 1, 3, generator=generator)
        reach = torch.rand(1, 3, generator=generator)
        lower, upper = middle - reach, middle + reach
        low, high = (bound.item() for bound in linf_interval(lower, upper, w))
        given = answer(lower[0], upper[0], w[0])
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise TypeError("two numbers are wanted: the least and the largest distance")
        least, largest = map(one_number, given)
        if abs(largest - high) > 1e-5:
            return "the largest distance is at a corner of the box: look at both ends of each side"
        if least < low - 1e-5 and least < -1e-5:
            return "a distance is never negative: what if the weight lies within the box?"
        if abs(least - low) > 1e-5:
            return "the least distance is not at a corner: within a side, x can come up to w itself"
    return None


def possible(answer: Any) -> str | None:
    """Ask which of four findings would show a mistake."""
    if not isinstance(answer, set | list | tuple):
        raise TypeError('a set of letters is wanted, such as {"a", "d"}')
    given = {str(letter).strip().lower() for letter in answer}
    if unknown := given - set("abcd"):
        raise ValueError(f"the letters are a to d; {', '.join(sorted(unknown))} came too")
    if "a" in given:
        return "an attack that fails proves nothing: it may only be weak"
    if given - {"b", "d"}:
        return "a certificate is about changes of one image, not about what its label should be"
    if given != {"b", "d"}:
        return "there is one more: which numbers bound the true size from below, which from above?"
    return None


# --- 03_lipschitz_blowup


def attained(answer: Any) -> str | None:
    """Ask for a point x of 16 coordinates where ‖x‖_8 climbs as steeply as the bound allows."""
    x = torch.as_tensor(answer, dtype=torch.float64, device="cpu").detach().flatten()
    if len(x) != 16:
        raise ValueError(f"16 coordinates are wanted; {len(x)} came")
    if not x.isfinite().all() or not x.any():
        return "x must be finite, and not w itself, where the distance has a kink"
    x = x[None].clone().requires_grad_()
    (slopes,) = torch.autograd.grad(lp_dist(x, torch.zeros_like(x), 8).sum(), x)
    constant = slopes.abs().sum().item()  # the steepest change for ‖v‖_∞ = 1
    if within(constant, neuron_bound(16, 8), 1e-3):
        return None
    if within(constant, 1.0, 1e-3):
        return "there the constant is 1, the least it can be: one coordinate does all the work"
    return (
        f"there the constant is {constant:.3f}, less than the bound: which coordinates take part?"
    )


def exponent(answer: Callable[..., Any]) -> str | None:
    """Ask for a function (inputs, wanted): the p at which the bound of a net is `wanted`."""
    generator = Random(0)
    for _ in range(5):
        pixels, width = generator.choices(range(10, 60), k=2)
        depth, wanted = generator.randint(2, 4), generator.uniform(1, 1.5)
        inputs = [pixels, *[width] * (depth - 1)]
        p = one_number(answer(inputs, wanted))
        if p < 1:
            return "p below 1 is no norm: which way round does your quotient go?"
        net = LpDistNet(pixels, width, depth, classes=2)
        net.p = p
        reached = lipschitz_bound(net)
        if not within(reached, wanted, 1e-3):
            side = "above" if reached > wanted else "below"
            return (
                f"for inputs {inputs} and a wanted bound of {wanted:.3f}, the bound at your p is "
                f"{reached:.3f}, {side} it; take the logarithm of the product"
            )
    return None


# --- 04_hinge_vs_mixed


def pull(answer: Any) -> str | None:
    """Ask which of three losses pull at a sample of negative margin."""
    if not isinstance(answer, Iterable):
        raise TypeError('a set of names is wanted, such as {"hinge"}')
    given = {answer} if isinstance(answer, str) else set(answer)
    if not given <= {"hinge", "clipped hinge", "cross-entropy"}:
        raise ValueError("the names are hinge, clipped hinge, cross-entropy")
    if "clipped hinge" in given:
        return "at least one of yours is flat there: look at the lower panel, left of 0"
    if given != {"hinge", "cross-entropy"}:
        return "none of yours is flat there, but they are not all: look left of 0 once more"
    return None


def mixed(answer: Callable[..., Any]) -> str | None:
    """Ask for the mixed loss, as a function (logits, labels, theta, lam, logit_scale)."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 5, generator=generator)
    labels = torch.randint(5, (40,), generator=generator)
    theta, lam, scale = 0.7, 0.3, 2.0

    def differs(lam: float, right: Tensor) -> bool:
        given = one_number(answer(logits, labels, theta, lam, scale))
        return not within(given, right.item(), 1e-4)

    if differs(0.0, mixed_loss(logits, labels, theta, 0.0, scale)):
        if not differs(0.0, hinge_loss(logits, labels, theta, kappa=0.0)):
            return "with λ=0 your hinge grows beyond 1 where a sample is wrong: clip it"
        return "with λ=0 the mean of the clipped hinge should be left, and yours differs"
    if differs(lam, mixed_loss(logits, labels, theta, lam, scale)):
        if not differs(lam, mixed_loss(logits, labels, theta, lam, 1.0)):
            return "the cross-entropy sees s · f, not f"
        return "the hinge is right; the cross-entropy is not: mean over the batch, times λ?"
    return None


def starved(answer: Callable[..., Any]) -> str | None:
    """Ask which samples starve: a function (margin_now, margin_at_infinity, theta, eps)."""
    grid = 0.05 + 0.1 * torch.arange(12.0)
    now, later = (margins.flatten() for margins in torch.meshgrid(grid, grid, indexing="ij"))
    theta, eps = 0.6, 0.2
    given = torch.as_tensor(answer(now, later, theta, eps))
    if given.shape != now.shape or given.dtype != torch.bool:
        raise ValueError("for tensors of margins, a tensor of as many bools is wanted")
    done = now >= theta
    for found, hint in (
        (done & (later <= 2 * eps), None),
        (done & (later <= eps), "a margin of m certifies a radius of m/2, not of m"),
        (done & (later < theta), "whether it is certified is asked at ε, not at ε_train"),
        (done, "some of yours are certified: those have learnt enough, and are not starved"),
    ):
        if given.equal(found):
            return hint
    if (given & ~done).any():
        return "some of yours still have a hinge above zero: they learn"
    return "you leave out some whose hinge is zero and that are not certified, or take others in"


# --- 05_ema


def jumps(answer: Callable[..., Any]) -> str | None:
    """Ask for a function of a list: the mean size of the step from one value to the next."""
    generator = np.random.default_rng(0)
    for _ in range(5):
        values = generator.random(12)
        steps = np.diff(values)
        given = one_number(answer(values.tolist()))
        for found, hint in (
            (np.abs(steps).mean(), None),
            (steps.mean(), "ups and downs cancel each other: the size of each step is wanted"),
            (np.abs(steps).sum(), "that is the sum of the steps: a mean is wanted"),
            (np.abs(steps).sum() / 12, "there is one step less than there are values"),
            (values.std(), "a curve that rises steadily has a spread, and does not jump"),
        ):
            if within(given, found, 1e-6):
                if hint:
                    return hint
                break
        else:
            return "try it on [0.1, 0.3, 0.2], whose steps are 0.2 and 0.1"
    return None


def warm_up(answer: Callable[..., Any]) -> str | None:
    """Ask for a function (epoch, largest): the warmed-up decay of an epoch, counted from 0."""
    tried = [(epoch, largest) for largest in (0.9, 0.99) for epoch in (0, 1, 2, 5, 50, 1000)]
    try:
        given = [one_number(answer(epoch, largest)) for epoch, largest in tried]
    except ZeroDivisionError:
        return "it divides by zero at one epoch: they are counted from 0"
    wanted = [min(1 - 1 / (epoch + 1), largest) for epoch, largest in tried]
    if np.allclose(given, wanted, rtol=0, atol=1e-9):
        return None
    if any(g > largest + 1e-9 for g, (_, largest) in zip(given, tried, strict=True)):
        return "late in a run it goes above `largest`"
    if abs(given[0]) > 1e-9:
        return "look at epoch 0: the average should forget the initial weights at once"
    return "early epochs are right at 0; compare epochs 1 and 2 with the formula, then a late one"


# --- 06_ensembles


def radius_of_mean(answer: Callable[..., Any]) -> str | None:
    """Ask for a function (logits, labels): the certified radius of the mean of K members."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 40, 4, generator=generator)
    labels = torch.randint(4, (40,), generator=generator)
    given = answer(logits.clone(), labels.clone())
    if not isinstance(given, Tensor) or given.shape != labels.shape:
        raise TypeError("it should return a tensor with one radius for each image, (B,)")
    right = certified_radius(logits.mean(dim=0), labels)
    alone = torch.stack([certified_radius(each, labels) for each in logits])
    one_alone = "one member alone decides there: the ensemble has logits of its own"
    for found, hint in (
        (right, None),
        (2 * right, "that is the margin: how much of it can a perturbation of size r take away?"),
        (
            alone.mean(dim=0),
            "that is the mean of the members' radii: true, but it proves less than can be proved, "
            "as members may fear different classes; average something else first",
        ),
        (alone.amin(dim=0), one_alone),
        (alone.amax(dim=0), one_alone),
    ):
        if torch.allclose(given.to(found.dtype), found, atol=1e-5):
            return hint
    return "first the ensemble's logits, a mean over K; then the certificate of any such logits"


def together(answer: Any) -> str | None:
    """Ask for logits of two members that certify class 0 at ε=0.1 together, neither alone."""
    try:
        logits = torch.as_tensor(answer, dtype=torch.float64, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        raise TypeError("numbers are wanted, two rows of three") from None
    if logits.shape != (2, 3):
        raise ValueError(f"two rows of three logits are wanted; the shape is {tuple(logits.shape)}")
    *alone, mean = certified_radius(
        torch.stack([*logits, logits.mean(dim=0)]), torch.zeros(3).long()
    )
    if max(alone) > 0.1:
        return "a member alone certifies class 0 at ε=0.1 there"
    if mean <= 0.1:
        return "the mean does not certify it: let the members fear different classes"
    return None


# --- 07_paper_tables


def half(answer: Callable[..., Any]) -> str | None:
    """Ask for a function (shares, values): the share at which a curve reaches half its end."""
    generator = np.random.default_rng(0)
    for _ in range(20):
        shares = np.sort(generator.random(12))
        # a curve that rises with wiggles, as training curves do: it may peak before the end
        values = np.linspace(0.05, 0.8, 12) + generator.normal(0, 0.12, 12).clip(-0.3, 0.3)
        given = one_number(answer(shares.tolist(), values.tolist()))
        if abs(given - shares[(values >= values[-1] / 2).argmax()]) < 1e-9:
            continue
        if abs(given - shares[(values >= values.max() / 2).argmax()]) < 1e-9:
            return "half of the last value, not of the largest"
        if any(abs(given - place) < 1e-9 for place in range(12)):
            return "the share of the run is wanted, not the place in the list"
        return "on a random curve it gives another share: the first whose value is half the last"
    return None


# --- 08_theory


def logits_of_built_net(answer: Callable[..., Any]) -> str | None:
    """Ask for a function (x, images, labels, classes): logits of the net built of the images."""
    generator = torch.Generator().manual_seed(0)
    x, images = (torch.rand(n, 6, generator=generator) for n in (5, 12))
    labels = torch.arange(12) % 3
    given = torch.as_tensor(answer(x.clone(), images.clone(), labels.clone(), 3)).detach().cpu()
    if given.shape != (5, 3):
        raise ValueError(f"logits of shape (5, 3) are wanted here; {tuple(given.shape)} came")
    of_class = labels == torch.arange(3)[:, None]  # (classes, N)

    def same(distances: Tensor, counted: Tensor, sign: float = 1.0) -> bool:
        nearest = distances[:, None].where(counted, math.inf).amin(dim=2)
        return torch.allclose(given.to(nearest), sign * nearest, atol=1e-5)

    distances = lp_dist(x, images, math.inf)
    if torch.allclose(given.to(x), separating_net(images, labels, 3)(x), atol=1e-5):
        return None
    if same(distances, of_class):
        return "the nearest class has the lowest of these; which images does the net look at for c?"
    if same(distances, of_class, sign=-1.0):
        return "right of the prediction, but these are other logits: its margins may differ"
    if same(torch.cdist(x, images), ~of_class):
        return "the right images, by another distance"
    if same(-distances, ~of_class, sign=-1.0):
        return "the right images, but the farthest of them; which of 2 − h is the largest?"
    return "take the smallest of the distances to all images that are not of class c"


EXERCISES = {
    "00-function": Exercise(radius_of_one, of_function=True),
    "01-layer": Exercise(layer, of_function=True),
    "01-gradient": Exercise(gradient, of_function=True),
    "02-fgsm": Exercise(one_step, of_function=True),
    "02-pgd": Exercise(many_steps, of_function=True),
    "02-interval": Exercise(interval, of_function=True),
    "02-possible": Exercise(possible),
    "03-attained": Exercise(attained),
    "03-exponent": Exercise(exponent, of_function=True),
    "04-pull": Exercise(pull),
    "04-mixed": Exercise(mixed, of_function=True),
    "04-starved": Exercise(starved, of_function=True),
    "05-jumps": Exercise(jumps, of_function=True),
    "05-warm-up": Exercise(warm_up, of_function=True),
    "06-radius": Exercise(radius_of_mean, of_function=True),
    "06-together": Exercise(together),
    "07-half": Exercise(half, of_function=True),
    "08-logits": Exercise(logits_of_built_net, of_function=True),
}
