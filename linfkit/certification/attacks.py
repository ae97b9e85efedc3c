"""Adversarial attacks: projected gradient descent, and a search for the smallest perturbation.

Both attack a model as `linfkit.certify` sees it: at p=∞ and in evaluation mode. At p=∞ a gradient
is nonzero for a few pixels only, so a search can end where it has none to follow; what an attack
does not find need not be safe.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from linfkit._util.checks import (
    check_count,
    check_eps_of_each,
    check_logits,
    check_model,
    check_not_nan,
    check_samples,
)
from linfkit._util.devices import on_device_of_model, with_gradients
from linfkit.nn.evaluation_mode import evaluating_at
from linfkit.nn.known_layers import unwrapped

#: Halvings of a perturbation's size, while its image stays misclassified.
HALVINGS = 10


@on_device_of_model
@with_gradients
def survives_pgd(
    model: nn.Module, x: Tensor, labels: Tensor, eps: float | Tensor, steps: int = 50, seed: int = 0
) -> Tensor:
    """Samples that survive projected gradient descent, at p=∞.

    Args:
        model: takes images in [0, 1].
        x: images, (B, ...), in [0, 1]; the attack stays inside.
        labels: whole numbers of any type, (B,).
        eps: size of the perturbation in pixels, one for all or one for each sample, (B,).
        steps: gradient steps; each starts from the point before, the first from a random one.
        seed: of the random starts; torch's own generator is left as it was.

    Returns:
        bool, (B,); False where a misclassified point was found.

    Raises:
        TypeError, ValueError: an argument is not as above; the message names it.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net, x = LpDistNet(4, width=8, depth=2, classes=3), torch.rand(5, 4)
    >>> survives_pgd(net, x, net.eval()(x).argmax(dim=1), eps=0.0)
    tensor([True, True, True, True, True])
    """
    with _attackable(model, x, labels, steps, seed) as (attacked, x, labels, steps):
        sizes = check_eps_of_each(eps, x).expand(len(x))
        survives = _is_correct(attacked, x, labels)
        rows = survives & (sizes > 0)
        if rows.any():
            points = _projected_descent(attacked, x[rows], labels[rows], sizes[rows], steps)
            survives[rows] = _is_correct(attacked, points, labels[rows])
    return survives


def smallest_perturbation(
    model: nn.Module, x: Tensor, labels: Tensor, steps: int = 50, seed: int = 0
) -> Tensor:
    """Size of the smallest perturbation found that has each sample misclassified, at p=∞.

    The distance ‖x' − x‖_∞ to `nearest_misclassified`: an upper bound of the size of the smallest
    perturbation that there is, as a certified radius is a lower bound of it.

    Args:
        model: takes images in [0, 1].
        x: images, (B, ...), in [0, 1]; the attack stays inside.
        labels: whole numbers of any type, (B,).
        steps: gradient steps of each search.
        seed: of the random starts; torch's own generator is left as it was.

    Returns:
        Sizes in pixels, (B,): 0 where the sample is misclassified as it is, inf where nothing was
        found.

    Raises:
        TypeError, ValueError: an argument is not as above; the message names it.

    >>> from linfkit.certification.certify import certify
    >>> from linfkit.nn.nets import LpDistNet
    >>> net, x = LpDistNet(4, width=8, depth=2, classes=3).double(), torch.rand(9, 4).double()
    >>> labels = net.eval()(x).argmax(dim=1)
    >>> found = smallest_perturbation(net, x, labels, steps=10)
    >>> bool((found >= certify(net, x, labels).radius - 1e-9).all())
    True
    """
    return nearest_misclassified(model, x, labels, steps, seed)[1]


@on_device_of_model
@with_gradients
def nearest_misclassified(
    model: nn.Module, x: Tensor, labels: Tensor, steps: int = 50, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Nearest misclassified images that two searches find around each sample, and their distances.

    Both take the steps of FMN, the fast minimum-norm attack (Pintor et al., NeurIPS 2021): one
    starts at the sample itself, one where projected gradient descent ends that may change any pixel
    by half of its range, or, where that finds nothing, by all of it. The nearer find counts, its
    perturbation reduced by bisection.

    Args:
        model: takes images in [0, 1].
        x: images, (B, ...), in [0, 1]; the attack stays inside.
        labels: whole numbers of any type, (B,).
        steps: gradient steps of each search.
        seed: of the random starts; torch's own generator is left as it was.

    Returns:
        Images, of the shape of x: x itself where it is misclassified as it is or nothing was found;
        and distances, (B,), as `smallest_perturbation` gives them.

    Raises:
        TypeError, ValueError: an argument is not as above; the message names it.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net, x = LpDistNet(4, width=8, depth=2, classes=3).eval(), torch.rand(5, 4)
    >>> images, sizes = nearest_misclassified(net, x, net(x).argmax(dim=1), steps=10)
    >>> images.shape, sizes.shape
    (torch.Size([5, 4]), torch.Size([5]))
    """
    with _attackable(model, x, labels, steps, seed) as (attacked, x, labels, steps):
        found, size = x.clone(), x.new_zeros(len(x))
        left = _is_correct(attacked, x, labels).nonzero().squeeze(1)
        size[left] = math.inf

        def search(rows: Tensor, starts: Tensor) -> None:
            """Search for some rows, and keep the points that are nearer than those found before."""
            points = _minimum_norm(attacked, x[rows], labels[rows], starts, steps)
            points = _pulled_in(attacked, x[rows], labels[rows], points)
            sizes = _distance(points, x[rows])
            nearer = (sizes < size[rows]) & ~_is_correct(attacked, points, labels[rows])
            found[rows[nearer]], size[rows[nearer]] = points[nearer], sizes[nearer]

        if len(left):
            search(left, x[left])
        for reach in (0.5, 1.0):
            if len(left):
                eps = x.new_full((len(left),), reach)
                starts = _projected_descent(attacked, x[left], labels[left], eps, steps)
                fooled = ~_is_correct(attacked, starts, labels[left])
                if fooled.any():
                    rows = left[fooled]
                    search(rows, _pulled_in(attacked, x[rows], labels[rows], starts[fooled]))
                left = left[~fooled]
        return found, size


def _projected_descent(
    model: nn.Module, x: Tensor, labels: Tensor, eps: Tensor, steps: int
) -> Tensor:
    """Points that projected gradient ascent of the cross-entropy reaches within eps, (B,).

    x ← clip(x + 2.5 eps/steps · sign ∇), from a random start (Madry et al., ICLR 2018).
    """
    reach = _for_each(eps, x)
    lowest, highest = (x - reach).clamp(min=0), (x + reach).clamp(max=1)
    points = (x + reach * (2 * torch.rand_like(x) - 1)).clamp(0, 1)
    for _ in range(steps):
        loss = F.cross_entropy(model(points.requires_grad_()), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, points)
        moved = points.detach() + 2.5 / steps * reach * gradient.sign()
        points = moved.clamp(lowest, highest)
    return points


def _minimum_norm(
    model: nn.Module, x: Tensor, labels: Tensor, points: Tensor, steps: int
) -> Tensor:
    """Nearest misclassified points on the way of FMN from some points; x where there was none.

    Each step follows the gradient of the margin within a ball around x. The ball shrinks while the
    point is misclassified, and grows while it is not: at first, to where the margin's slope puts
    the boundary, then, once a misclassified point was found, a little each step.
    """
    nearest, smallest = x, x.new_full((len(x),), math.inf)
    eps, farthest = smallest, torch.maximum(x, 1 - x).flatten(1).amax(dim=1)
    for step in range(steps):
        cosine = (1 + math.cos(math.pi * step / steps)) / 2
        length, change = 0.01 + 0.99 * cosine, 0.001 + 0.049 * cosine
        logits = model(points.requires_grad_())
        others = logits.scatter(1, labels[:, None], -math.inf).amax(dim=1)
        margin = logits.gather(1, labels[:, None]).squeeze(1) - others
        (gradient,) = torch.autograd.grad(-margin.sum(), points)
        points, margin, size = points.detach(), margin.detach(), _distance(points.detach(), x)
        fooled = logits.argmax(dim=1) != labels
        nearer = fooled & (size < smallest)
        nearest = points.where(_for_each(nearer, x), nearest)
        smallest = size.where(nearer, smallest)
        slope = gradient.flatten(1).abs().sum(dim=1).clamp(min=1e-12)  # the dual norm of ℓ∞
        wider = (eps * (1 + change)).where(smallest.isfinite(), size + margin.abs() / slope)
        eps = (eps * (1 - change)).minimum(smallest).where(fooled, wider).minimum(farthest)
        norm = gradient.flatten(1).norm(dim=1).clamp(min=1e-12)
        moved = points - x + length * gradient / _for_each(norm, x)
        points = _moved_within(x, moved, eps)
    return nearest


def _pulled_in(model: nn.Module, x: Tensor, labels: Tensor, points: Tensor) -> Tensor:
    """Points brought closer to x, misclassified as before: perturbations clipped by bisection."""
    perturbation = points - x
    whole = size = _distance(points, x)
    for halving in range(1, HALVINGS + 1):
        tried = size - whole * 0.5**halving
        closer = _moved_within(x, perturbation, tried)
        size = size.where(_is_correct(model, closer, labels), tried)
    return _moved_within(x, perturbation, size)


@contextmanager
def _attackable(
    model: nn.Module, x: Tensor, labels: Tensor, steps: int, seed: int
) -> Iterator[tuple[nn.Module, Tensor, Tensor, int]]:
    """Check an attack's arguments; within the block, torch draws from the seed.

    Yields a copy of the model at p=∞, without gradients of its weights, then images, labels and
    steps as they are computed with.
    """
    check_model("model", model)
    x, labels = check_samples(x, labels)
    steps, seed = check_count("steps", steps), check_count("seed", seed, least=0)
    attacked = copy.deepcopy(unwrapped(model)).requires_grad_(False)
    devices = range(torch.cuda.device_count())
    with evaluating_at(attacked, math.inf), torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield attacked, x, labels, steps


@torch.no_grad()
def _is_correct(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """True where an image is classified as its label, (B,)."""
    logits = check_not_nan(model(x))
    return logits.argmax(dim=1) == check_logits(logits, labels)


def _moved_within(x: Tensor, perturbation: Tensor, eps: Tensor) -> Tensor:
    """Images moved by perturbations clipped to eps, (B,), and to the range of a pixel."""
    reach = _for_each(eps, x)
    return (x + perturbation.clamp(-reach, reach)).clamp(0, 1)


def _distance(points: Tensor, x: Tensor) -> Tensor:
    """‖point − x‖_∞ of each row, (B,)."""
    return (points - x).flatten(1).abs().amax(dim=1)


def _for_each(value: Tensor, x: Tensor) -> Tensor:
    """One value a sample, (B,), to broadcast over images, (B, ...)."""
    return value.view(-1, *[1] * (x.dim() - 1))
