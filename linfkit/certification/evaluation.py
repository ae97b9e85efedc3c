"""Clean, attacked and certified accuracy of a net on a data set's test images."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from linfkit._util.checks import check_count, check_eps
from linfkit._util.progress import progress_bar
from linfkit.certification.attacks import survives_pgd
from linfkit.certification.certify import CheckedModel, certify_checked, check_for_proofs
from linfkit.certification.intervals import interval_proof, widest_intervals
from linfkit.certification.margins import Certificates, join
from linfkit.data.dataset import Dataset

#: Images that are certified or attacked at once.
BATCH = 500

#: Number of certified images that are attacked too, those with the smallest radii.
PROBES = 16

#: Largest effect of rounding on a radius, or on a point that is tried, in pixels.
ROUNDING = 1e-5


@dataclass(frozen=True)
class PGD:
    """Settings of projected gradient descent (see `linfkit.survives_pgd`).

    Attributes:
        steps: gradient steps from each start.
        restarts: random starts; an image is broken if one of them is.
        seed: of the first start; those after it take the seeds that follow.

    Raises:
        TypeError, ValueError: steps or restarts is no whole number of at least 1, or the seed none
            of at least 0.

    >>> PGD(steps=20)
    PGD(steps=20, restarts=1, seed=0)
    """

    steps: int = 100
    restarts: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("restarts", 1), ("seed", 0)):
            object.__setattr__(self, name, check_count(name, getattr(self, name), least))


@dataclass(frozen=True)
class Evaluation:
    """Certificates of each image, the result of an attack, and the accuracies that follow.

    Attributes:
        eps: size of the perturbations, in pixels.
        proofs: certificates, by proof: "margin" (of a hybrid "features", bounds that start there),
            "intervals" from the pixels on, and "either", the better of the two for each image; the
            first alone of a net without interval bounds; "own" of a model with a method
            `certified_radius`. The last is the strongest.
        attack: settings of the attack; None if there was none.
        survives: True where an image is classified correctly at every point tried, bool, (B,); None
            without an attack.
        seconds: that it took.
    """

    eps: float
    proofs: Mapping[str, Certificates]
    attack: PGD | None
    survives: Tensor | None
    seconds: float

    @property
    def strongest(self) -> Certificates:
        """The largest radius that any of the proofs gives each image."""
        *_, strongest = self.proofs.values()
        return strongest

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.strongest.radius)

    @property
    def clean_accuracy(self) -> float:
        """The fraction of images that are classified correctly as they are."""
        return self.strongest.clean_accuracy

    @property
    def attacked_accuracy(self) -> float | None:
        """The fraction that the attack left: an upper bound of robust accuracy at eps."""
        return None if self.survives is None else int(self.survives.sum()) / self.images

    @property
    def certified_accuracy(self) -> float:
        """The fraction that is certified at eps: a lower bound of robust accuracy."""
        return self.strongest.accuracy(self.eps)

    @property
    def spread(self) -> float:
        """Standard error of the certified accuracy a on n images: √(a(1 − a)/n)."""
        return math.sqrt(self.certified_accuracy * (1 - self.certified_accuracy) / self.images)


def evaluate(
    model: nn.Module,
    data: Dataset,
    eps: float,
    attack: PGD | None = None,
    images: int | None = None,
    progress: bool = True,
) -> Evaluation:
    """Certify a net on test images at p=∞, and attack what the proofs leave open.

    Only images that are classified correctly and not certified are attacked, since a proof decides
    the others; so certified ≤ attacked ≤ clean accuracy. To see that the proofs hold, the certified
    images with the smallest radii are attacked as well, a few of them.

    Args:
        model: as for `linfkit.certify`; it computes on the device that it is on.
        data: whose test images to take.
        eps: size of the perturbations, in pixels of [0, 1].
        attack: settings of the attack; None leaves it out.
        images: the first so many; None takes all.
        progress: show bars, on stderr or in the notebook.

    Raises:
        TypeError, ValueError: an argument is wrong, the data's images do not fit the model, or its
            margins prove nothing.
        RuntimeError: the attack broke a certified image, so that a proof is wrong.

    >>> from linfkit.data.loading import load_dataset
    >>> from linfkit.nn.nets import LpDistNet
    >>> net = LpDistNet(64, width=16, depth=2, classes=10)
    >>> found = evaluate(net, load_dataset("digits"), 0.01, PGD(steps=5), images=50, progress=False)
    >>> found.certified_accuracy <= found.attacked_accuracy <= found.clean_accuracy
    True
    """
    started = time.monotonic()
    checked = check_for_proofs(model)
    if not isinstance(data, Dataset):
        raise TypeError(f"data must be a Dataset; got {type(data).__name__}")
    eps = check_eps(eps)
    if not isinstance(attack, PGD | None):
        raise TypeError(f"attack must be a PGD or None; got {type(attack).__name__}")
    if (weight := next(checked.model.parameters(), None)) is None:
        raise ValueError("model must hold parameters; got none")
    data = data.subset(test_images=images)
    x, labels = data.test_x.to(weight.dtype) / 255, data.test_y
    proofs = _proofs(checked, x, labels, progress)
    *_, strongest = proofs.values()
    survives = None
    if attack is not None:
        survives = _survivors(checked.model, x, labels, strongest, eps, attack, progress)
    return Evaluation(eps, proofs, attack, survives, time.monotonic() - started)


def _proofs(
    checked: CheckedModel, x: Tensor, labels: Tensor, progress: bool
) -> dict[str, Certificates]:
    """Certificates by each proof that fits the model, the strongest last."""
    batches = list(zip(x.split(BATCH), labels.split(BATCH), strict=True))
    bar = partial(progress_bar, batches, leave=False, progress=progress)
    parts = [certify_checked(checked, *batch) for batch in bar(desc="certifying")]
    certified, holds = join(parts), interval_proof(checked)
    if holds is None:
        return {"own" if checked.has_own_method else "margin": certified}
    with bar(desc="interval bounds") as shown:
        intervals = join(
            [
                widest_intervals(checked, holds, images, classes, part)
                for (images, classes), part in zip(shown, parts, strict=True)
            ]
        )
    either = Certificates(certified.radius.maximum(intervals.radius), certified.correct)
    first = "margin" if checked.members is None else "features"
    return {first: certified, "intervals": intervals, "either": either}


def _survivors(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    certificates: Certificates,
    eps: float,
    attack: PGD,
    progress: bool,
) -> Tensor:
    """True for images that are certified, or left by the attack; RuntimeError for a bad proof."""
    radius, survives = certificates.radius, certificates.correct.clone()
    undecided = (survives & (radius <= eps)).nonzero().squeeze(1)
    certified = (radius > eps + ROUNDING).nonzero().squeeze(1)
    probes = certified[radius[certified].argsort()[:PROBES]]
    rows = torch.cat([undecided, probes])
    with progress_bar(total=len(rows), desc="attacking", unit="image", progress=progress) as bar:
        for part in rows.split(BATCH):
            for seed in range(attack.seed, attack.seed + attack.restarts):
                left = part[survives[part]]
                if len(left):
                    survives[left] = survives_pgd(
                        model, x[left], labels[left], eps, attack.steps, seed
                    )
            bar.update(len(part))
    for broken in probes[~survives[probes]].tolist():
        raise RuntimeError(
            f"PGD has test image {broken} misclassified within eps = {eps:g}, although its "
            f"certified radius is {radius[broken]:g}: a proof is wrong. Please report it, with the "
            "checkpoint"
        )
    return survives
