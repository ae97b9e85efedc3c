"""What is tried: attacks, by foolbox, against a model as `linfkit.certify` sees it."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real

import torch
from torch import Tensor, nn

from linfkit._util.checks import (
    as_labels,
    check_count,
    check_images,
    check_logits,
    check_model,
    check_not_nan,
)
from linfkit._util.devices import on_device_of_model, with_gradients
from linfkit.nn.evaluation_mode import evaluating_at
from linfkit.nn.known_layers import unwrapped

__all__ = ["nearest_misclassified", "smallest_perturbation", "survives_pgd"]


@on_device_of_model
@with_gradients
def survives_pgd(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    eps: float | Tensor,
    steps: int = 50,
    seed: int = 0,
) -> Tensor:
    """Which samples projected gradient descent fails to have misclassified, at p=∞.

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
    from foolbox.attacks import LinfPGD
    from foolbox.models.pytorch import PyTorchModel

    x, labels, steps, seed = _check_attack(model, x, labels, steps, seed)
    if isinstance(eps, bool) or not isinstance(eps, Real | Tensor):
        raise TypeError(f"eps must be a number of pixels, or one a sample; got {eps!r}")
    sizes = torch.as_tensor(eps if isinstance(eps, Tensor) else float(eps)).to(x)
    if sizes.shape not in ((), (len(x),)):
        raise ValueError(f"eps must be one number or {len(x)}; the shape is {tuple(sizes.shape)}")
    if not (sizes.min() >= 0 and sizes.max() <= 1):
        raise ValueError(
            "eps must be finite and 0 or more, in pixels of [0, 1], such as 8/255; "
            f"got values from {sizes.min():g} to {sizes.max():g}"
        )
    sizes = sizes.expand(len(x))
    with _attackable(model) as attacked, _seeded(seed):
        survives = _correct(attacked, x, labels)
        target = PyTorchModel(attacked, bounds=(0, 1), device=x.device)
        attack = LinfPGD(rel_stepsize=2.5 / steps, steps=steps)
        for size in sizes.unique().tolist():
            rows = (sizes == size) & survives
            if size > 0 and rows.any():
                _, _, fooled = attack(target, x[rows], labels[rows], epsilons=size)
                survives[rows] = ~fooled
    return survives


@on_device_of_model
@with_gradients
def smallest_perturbation(
    model: nn.Module, x: Tensor, labels: Tensor, steps: int = 50, seed: int = 0
) -> Tensor:
    """Sizes of the smallest perturbations found that have each sample misclassified, at p=∞.

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
    x, labels, steps, seed = _check_attack(model, x, labels, steps, seed)
    points = nearest_misclassified(model, x, labels, steps, seed)
    with _attackable(model) as attacked:
        return _size_if_misclassified(attacked, points, x, labels)


@on_device_of_model
@with_gradients
def nearest_misclassified(
    model: nn.Module, x: Tensor, labels: Tensor, steps: int = 50, seed: int = 0
) -> Tensor:
    """The nearest misclassified images that two searches find around each sample, at p=∞.

    Both take the steps of FMN, the fast minimum-norm attack (Pintor et al., NeurIPS 2021): one from
    the sample itself, one from wherever projected gradient descent gets when it may change any
    pixel by half of its range, or, where that is too little, by all of it. The nearer find counts.
    At p=∞ a gradient sits on a few pixels, so a search can end where it has none to follow: two
    find more than one.

    Args:
        model: takes images in [0, 1].
        x: images, (B, ...), in [0, 1]; the attack stays inside.
        labels: whole numbers of any type, (B,).
        steps: gradient steps of each search.
        seed: of the random starts; torch's own generator is left as it was.

    Returns:
        Images, of the shape of x: x itself where it is misclassified as it is or nothing was found.

    Raises:
        TypeError, ValueError: an argument is not as above; the message names it.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net, x = LpDistNet(4, width=8, depth=2, classes=3).eval(), torch.rand(5, 4)
    >>> nearest_misclassified(net, x, net(x).argmax(dim=1), steps=10).shape
    torch.Size([5, 4])
    """
    from foolbox.attacks import LinfPGD
    from foolbox.attacks.fast_minimum_norm import LInfFMNAttack
    from foolbox.criteria import Misclassification
    from foolbox.models.pytorch import PyTorchModel

    x, labels, steps, seed = _check_attack(model, x, labels, steps, seed)
    found = x.clone()
    with _attackable(model) as attacked, _seeded(seed):
        size = _size_if_misclassified(attacked, x, x, labels)

        def keep(rows: Tensor, points: Tensor) -> None:
            """Those points of some rows that are misclassified, and nearer than what was found."""
            sizes = _size_if_misclassified(attacked, points, x[rows], labels[rows])
            nearer = sizes < size[rows]
            rows = rows[nearer]
            found[rows], size[rows] = points[nearer], sizes[nearer]

        target = PyTorchModel(attacked, bounds=(0, 1), device=x.device)
        nearest = LInfFMNAttack(steps=steps)
        correct = (size > 0).nonzero().squeeze(1)
        if len(correct):
            wrong = Misclassification(labels[correct])
            keep(correct, nearest.run(target, x[correct], wrong))
        left = correct
        for reach in (0.5, 1.0):
            if not len(left):
                break
            wrong = Misclassification(labels[left])
            descent = LinfPGD(rel_stepsize=2.5 / steps, steps=steps)
            points = descent.run(target, x[left], wrong, epsilon=reach)
            fooled = ~_correct(attacked, points, labels[left])
            rows, starts = left[fooled], points[fooled]
            if len(rows):
                keep(rows, starts)
                wrong = Misclassification(labels[rows])
                keep(rows, nearest.run(target, x[rows], wrong, starting_points=starts))
            left = left[~fooled]
    return found


def _check_attack(
    model: nn.Module, x: Tensor, labels: Tensor, steps: int, seed: int
) -> tuple[Tensor, Tensor, int, int]:
    """Images and labels as tensors, steps and seed as Python's own, all checked."""
    check_model("model", model)
    x = check_images(x)
    return x, as_labels(labels, x), check_count("steps", steps), check_count("seed", seed, least=0)


@contextmanager
def _attackable(model: nn.Module) -> Iterator[nn.Module]:
    """A copy of the model as it is certified, whose weights need no gradients."""
    with evaluating_at(copy.deepcopy(unwrapped(model)).requires_grad_(False), math.inf) as attacked:
        yield attacked


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Within the block, torch draws from this seed; its generators are then as they were."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


@torch.no_grad()
def _correct(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    logits = check_not_nan(model(x))
    check_logits(logits, labels)
    return logits.argmax(dim=1) == labels


def _size_if_misclassified(model: nn.Module, points: Tensor, x: Tensor, labels: Tensor) -> Tensor:
    """‖point − x‖_∞ of each row, (B,), and inf where the point is classified correctly."""
    size = (points - x).flatten(1).abs().amax(dim=1)
    return size.where(~_correct(model, points, labels), math.inf)
