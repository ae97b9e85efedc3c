"""Gain of averaging several nets: fusion and voting, sizes, widths, cost (Li et al., 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import torch
from torch import Tensor, nn

from linfkit._util.devices import logits_of, on_device_of_model
from linfkit.certification.attacks import survives_pgd
from linfkit.certification.certify import certify
from linfkit.certification.margins import Certificates, certified_radius
from linfkit.course.studies.blowup import at_exponent
from linfkit.nn.ensembles import Ensemble, VotingEnsemble
from linfkit.nn.layers import distance_layers
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


# --- what it costs


@dataclass(frozen=True)
class AtCost:
    """Cost and accuracy of ensembles of `size` nets of one width, averaged over the choices tried.

    Attributes:
        width: neurons of each hidden layer of a member.
        size: members.
        weights: of all members together; each is one |x − w| for each image.
        certified: certified accuracy at ε.
    """

    width: int
    size: int
    weights: int
    certified: float


def weight_count(model: nn.Module) -> int:
    """Weights of all distance layers: as many differences |x − w| as one image takes.

    >>> from linfkit.nn.nets import LpDistNet
    >>> weight_count(LpDistNet(64, width=32, depth=3, classes=10))
    3392
    """
    return sum(layer.weight.numel() for layer in distance_layers(model))


def by_cost(
    runs: Mapping[int, Sequence[Run]], x: Tensor, labels: Tensor, eps: float
) -> dict[int, list[AtCost]]:
    """For each width, what ensembles of 1, 2, … of its nets cost and certify.

    With n nets, K of them are taken in n ways: K neighbours of a ring, starting at each; the
    certified accuracy is the mean over these, so that no size rests on one lucky choice.

    Args:
        runs: by width, the nets.
        x: images, (B, ...), in [0, 1].
        labels: whole numbers, (B,).
        eps: what to certify at, in pixels.
    """
    table = {}
    for width, group in runs.items():
        nets = [run.ema_model for run in group]
        ring = nets + nets
        table[width] = [
            AtCost(
                width=width,
                size=size,
                weights=size * weight_count(nets[0]),
                certified=mean(
                    certify(Ensemble(ring[start : start + size]), x, labels).accuracy(eps)
                    for start in range(len(nets))
                ),
            )
            for size in range(1, len(nets) + 1)
        ]
    return table
