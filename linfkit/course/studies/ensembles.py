"""Ensembles: fusion and voting, sizes, nets trained apart and jointly (Li et al., 2021)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import mean

import torch
from torch import Tensor, nn

from linfkit._util.devices import logits_of, on_device_of_model
from linfkit.certification.attacks import survives_pgd
from linfkit.certification.certify import certify
from linfkit.certification.margins import Certificates, certified_radius
from linfkit.course.studies.blowup import at_exponent
from linfkit.data.dataset import Dataset
from linfkit.nn.checkpoints import ShapesOnly
from linfkit.nn.ensembles import Ensemble, VotingEnsemble, ensemble_of
from linfkit.nn.layers import distance_layers
from linfkit.recipes.recipe import Recipe
from linfkit.training.building import build_model
from linfkit.training.fit import apply_recipe, fit_all
from linfkit.training.runs import Run


@dataclass(frozen=True)
class EnsembleGain:
    """Certificates of single nets and of the means of the first K of them.

    Attributes:
        members: of each net alone.
        ensembles: of the mean of the first K nets, for K = 1, 2, …
    """

    members: list[Certificates]
    ensembles: list[Certificates]

    def gain(self, eps: float) -> float:
        """Certified accuracy of all members' mean, less that of the members on average."""
        return self.ensembles[-1].accuracy(eps) - mean(
            member.accuracy(eps) for member in self.members
        )


def ensemble_gain(runs: Sequence[Run], x: Tensor, labels: Tensor) -> EnsembleGain:
    """Certify each run's averaged net, and the ensembles of the first K of them.

    Args:
        runs: the members, in the order in which they join.
        x: images, (B, ...), in [0, 1].
        labels: whole numbers, (B,).
    """
    nets = [run.ema_model for run in runs]
    return EnsembleGain(
        members=[certify(net, x, labels) for net in nets],
        ensembles=[certify(Ensemble(nets[:size]), x, labels) for size in range(1, len(nets) + 1)],
    )


# --- what a mean of margins does along an attack


@dataclass(frozen=True)
class MarginsAlong:
    """Margins of members and of their mean, on straight ways out from each image; K members.

    Attributes:
        distances: how far, in ℓ∞ and pixels, (T,), from 0.
        members: f_y − max_{j≠y} f_j of each member, (K, B, T).
        ensemble: the same of the mean of the logits, (B, T).
    """

    distances: Tensor
    members: Tensor
    ensemble: Tensor


@on_device_of_model
def attack_directions(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    eps: float,
    steps: int = 20,
    p: float = 16,
) -> Tensor:
    """Directions in which a model's margin shrinks fast, (B, ...), of ℓ∞ size at most 1.

    Ascent by signed steps, at a finite p: there gradients have a part in every pixel, whereas at
    p=∞ they see one at a time. x + eps · direction stays in [0, 1].

    Args:
        model: takes images in [0, 1]; it stays as it is.
        x: images, (B, ...), in [0, 1].
        labels: whole numbers, (B,).
        eps: how far the attack goes, in pixels.
        steps: gradient steps.
        p: the exponent of the copy that gradients are taken of.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net, x = LpDistNet(4, width=8, depth=2, classes=3).eval(), torch.rand(6, 4)
    >>> bool(attack_directions(net, x, torch.arange(6) % 3, eps=0.1).abs().max() <= 1.001)
    True
    """
    smooth = at_exponent(model, p, x).requires_grad_(False)
    low, high = (x - eps).clamp(min=0), (x + eps).clamp(max=1)
    moved = x.clone()
    for _ in range(steps):
        moved.requires_grad_(True)
        with torch.enable_grad():
            margin = certified_radius(smooth(moved), labels).sum()
            (gradient,) = torch.autograd.grad(margin, moved)
        with torch.no_grad():
            step = 2.5 * eps / steps * gradient.sign()
            moved = torch.minimum(torch.maximum(moved - step, low), high)
    return (moved.detach() - x) / eps


@on_device_of_model
@torch.no_grad()
def margins_along(
    ensemble: Ensemble, x: Tensor, labels: Tensor, directions: Tensor, distances: Tensor
) -> MarginsAlong:
    """Margins of an ensemble and its members at x + t · direction, for each distance t.

    Args:
        ensemble: in evaluation mode; its own p stands.
        x: images, (B, ...), in [0, 1].
        labels: whole numbers, (B,).
        directions: as from `attack_directions`, (B, ...).
        distances: values of t in pixels, (T,).
    """
    members, fused = [], []
    for distance in distances:
        logits = ensemble.logits(x + distance * directions)
        members.append(torch.stack([2 * certified_radius(each, labels) for each in logits]))
        fused.append(2 * certified_radius(logits.mean(dim=0), labels))
    return MarginsAlong(distances, torch.stack(members, dim=-1), torch.stack(fused, dim=-1))


# --- fusion against voting


@dataclass(frozen=True)
class Robustness:
    """Shares of images: classified rightly, still so under attack at ε, certified at ε.

    Attributes:
        clean: accuracy.
        attacked: accuracy under the strongest of the attacks tried, an upper bound of the truth.
        certified: certified accuracy, or None where there is no certificate.
    """

    clean: float
    attacked: float
    certified: float | None


def robustness(
    model: Ensemble | VotingEnsemble, x: Tensor, labels: Tensor, eps: float
) -> Robustness:
    """Clean, attacked and certified accuracy of an ensemble that is in evaluation mode at p=∞.

    An image survives if neither projected gradient descent on the model itself nor the attack on
    the members' mean logits at a finite p (`attack_directions`) has it misclassified.

    Args:
        model: of either kind.
        x: images, (B, ...), in [0, 1].
        labels: whole numbers, (B,).
        eps: size of the attacks, in pixels.
    """
    survives = survives_pgd(model, x, labels, eps, steps=20)
    directions = attack_directions(Ensemble(model.models), x, labels, eps)
    with torch.no_grad():
        clean = logits_of(model, x).argmax(dim=1) == labels
        survives &= logits_of(model, x + eps * directions).argmax(dim=1) == labels
    votes = isinstance(model, VotingEnsemble)
    return Robustness(
        clean=int(clean.sum()) / len(x),
        attacked=int(survives.sum()) / len(x),
        certified=None if votes else certify(model, x, labels).accuracy(eps),
    )


@dataclass(frozen=True)
class VotingMargins:
    """Half the margin of mean probabilities, which is no radius, beside what an attack found.

    Attributes:
        logit_scale: s of the voting.
        half_margins: half of P_y − max_{j≠y} P_j, (B,).
        radius: certified radius of the same members' fusion, in pixels, (B,).
        flipped_at: size of the smallest perturbation found that has the voting misclassify, (B,);
            ∞ where none was.
    """

    logit_scale: float
    half_margins: Tensor
    radius: Tensor
    flipped_at: Tensor

    @property
    def refuted(self) -> Tensor:
        """Mask of the images at which less than half its margin flipped the voting, bool, (B,)."""
        return self.flipped_at < self.half_margins


@torch.no_grad()
def voting_margins(
    models: Sequence[nn.Module],
    logit_scales: Sequence[float],
    x: Tensor,
    labels: Tensor,
    sizes: Sequence[float],
) -> list[VotingMargins]:
    """Compare half the voting's margin with perturbations that flip it, for each logit scale.

    One attack for each size, on the mean of the logits, serves all scales.

    Args:
        models: the members.
        logit_scales: values of s.
        x: images, (B, ...), in [0, 1].
        labels: whole numbers, (B,).
        sizes: ℓ∞ sizes of the perturbations tried, in pixels, rising.
    """
    fusion = Ensemble(models).eval()
    radius = certify(fusion, x, labels).radius
    attacked = [x + size * attack_directions(fusion, x, labels, size) for size in sizes]
    reached = [(images - x).flatten(1).abs().amax(dim=1) for images in attacked]
    rows = []
    for scale in logit_scales:
        voting = VotingEnsemble(models, scale).eval()
        flipped_at = torch.full_like(radius, torch.inf)
        for images, size in zip(attacked, reached, strict=True):
            flips = logits_of(voting, images).argmax(dim=1) != labels
            flipped_at = torch.where(flips, flipped_at.minimum(size), flipped_at)
        half_margins = certified_radius(logits_of(voting, x), labels)
        rows.append(VotingMargins(scale, half_margins, radius, flipped_at))
    return rows


# --- how the members are trained


@dataclass(frozen=True)
class Comparison:
    """Certified accuracy of K nets of one width, by how they are trained, in each repetition.

    Attributes:
        width: neurons of each hidden layer of a member.
        size: K, the number of members.
        wider: width of the one net that has as many weights as all members together.
        certified: certified accuracy at ε, one number a repetition, of "single" nets on average,
            of the mean of nets trained "apart", of nets trained jointly, "joint", and of one
            "wider" net of equal cost.
    """

    width: int
    size: int
    wider: int
    certified: dict[str, list[float]]

    def gain(self, over: str) -> float:
        """Certified accuracy of the joint ensemble less that of another kind, mean over all."""
        return mean(self.certified["joint"]) - mean(self.certified[over])


def compare_training(
    recipe: Recipe, data: Dataset, shapes: Sequence[tuple[int, int]], repetitions: int = 3
) -> dict[tuple[int, int], Comparison]:
    """Train K nets apart, K jointly, and one wider net of equal cost; certify them all.

    A joint ensemble is trained as one net: one loss, of the mean of the members' logits, and one
    optimizer of all weights (Li et al., 2021, and their code). Repetitions share no seed; within
    one, the nets of one width that are trained apart are the first of the same sequence.

    Args:
        recipe: of a member; its eps is what is certified.
        data: what to train on, and whose test images to certify.
        shapes: pairs of width and K.
        repetitions: how many times, with other seeds.

    Returns:
        By width and K, the certified accuracies of the averaged weights.

    >>> from linfkit import load_dataset, load_recipe
    >>> tiny = load_recipe("digits-small").replace(epochs=1, depth=2)
    >>> found = compare_training(tiny, load_dataset("digits"), [(8, 3)], repetitions=1)
    >>> found[8, 3].wider, list(found[8, 3].certified)
    (24, ['single', 'apart', 'joint', 'wider'])
    """
    most = max(size for _, size in shapes)
    plan: dict[tuple[int, int], list[dict[str, list[tuple[Recipe, int]]]]] = {}
    for width, size in shapes:
        member = recipe.replace(width=width)
        wider = recipe.replace(width=equal_width(member, data, size))
        plan[width, size] = [
            {
                "apart": [(member, turn * most + place) for place in range(size)],
                "joint": [(member.replace(members=size), repetitions * most + turn)],
                "wider": [(wider, repetitions * (most + 1) + turn)],
            }
            for turn in range(repetitions)
        ]
    kinds = chain.from_iterable(turn.values() for turns in plan.values() for turn in turns)
    pairs = dict.fromkeys(chain.from_iterable(kinds))  # each net once
    nets = dict(zip(pairs, [run.ema_model for run in fit_all(pairs, data=data)], strict=True))
    tested = apply_recipe(data, recipe)
    x, labels = tested.test_x / 255, tested.test_y

    def certified(members: Sequence[tuple[Recipe, int]]) -> float:
        fused = ensemble_of([nets[member] for member in members])
        return certify(fused, x, labels).accuracy(recipe.eps)

    return {
        (width, size): Comparison(
            width,
            size,
            wider=turns[0]["wider"][0][0].width,
            certified={
                "single": [mean(certified([one]) for one in turn["apart"]) for turn in turns],
                **{kind: [certified(turn[kind]) for turn in turns] for kind in turns[0]},
            },
        )
        for (width, size), turns in plan.items()
    }


def equal_width(recipe: Recipe, data: Dataset, size: int) -> int:
    """Width of one net that has at least as many weights as `size` nets of the recipe.

    >>> from linfkit import load_dataset, load_recipe
    >>> recipe = load_recipe("digits-small").replace(width=16, depth=3)
    >>> equal_width(recipe, load_dataset("digits"), size=5)
    56
    """

    def weights(width: int) -> int:
        with ShapesOnly():
            shape, classes = data.train_x.shape[1:], len(data.classes)
            return weight_count(build_model(recipe.replace(width=width), shape, classes))

    least = size * weights(recipe.width)
    return bisect_left(range(size * recipe.width + 1), least, lo=recipe.width, key=weights)


def weight_count(model: nn.Module) -> int:
    """Weights of all distance layers: as many differences |x − w| as one image takes.

    >>> from linfkit.nn.nets import LpDistNet
    >>> weight_count(LpDistNet(64, width=32, depth=3, classes=10))
    3392
    """
    return sum(layer.weight.numel() for layer in distance_layers(model))
