"""Certified radii of any model: choose the proof that fits it, and run it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from linfkit._util.checks import check_count, check_not_nan, check_samples
from linfkit._util.devices import batches_for, device_of, moved
from linfkit.certification.hybrid import Member, certify_hybrid, plain_members
from linfkit.certification.layer_checks import layer_roundings
from linfkit.certification.margins import Certificates, certified_radius, certify_margins, join
from linfkit.nn.ensembles import HybridEnsemble
from linfkit.nn.evaluation_mode import evaluating_at, is_evaluated_at
from linfkit.nn.hybrid import HybridNet
from linfkit.nn.known_layers import unwrapped
from linfkit.nn.layers import distance_layers


@dataclass(frozen=True)
class CheckedModel:
    """Model whose layers were checked once, for all proofs that go through them.

    Attributes:
        model: unwrapped.
        roundings: of its layers; None of a hybrid or where a forward of its own cannot be verified.
        members: of a hybrid or an ensemble of hybrids; None of other models.
    """

    model: nn.Module
    roundings: dict[nn.Module, int] | None = None
    members: list[Member] | None = None

    @property
    def has_own_method(self) -> bool:
        """True if the model's class has a method `certified_radius`."""
        # the class is asked, since a compiled module passes on attributes that it lacks
        return hasattr(type(self.model), "certified_radius")

    def certify(self, x: Tensor, labels: Tensor) -> Certificates:
        """Certificates of one batch, at p=∞ and in evaluation mode, by the proof that fits."""
        model: Any = self.model
        if self.has_own_method:
            radius = model.certified_radius(x, labels)
            return Certificates(radius, correct=radius >= 0)
        if self.members is not None:
            return certify_hybrid(self.members, x, labels)
        if self.roundings is not None:
            return certify_margins(model, self.roundings, x, labels)
        return Certificates(certified_radius(model(x), labels))


def check_for_proofs(model: nn.Module, stacklevel: int = 3) -> CheckedModel:
    """Check the layers of a model; a forward that cannot be verified is a warning.

    Args:
        model: as for `certify`.
        stacklevel: whose line the warning names, by default that of the caller's caller.

    Raises:
        TypeError, ValueError: the model is none, holds no distance layer, or has a layer that no
            certificate can count on.

    >>> from linfkit.nn.nets import LpDistNet
    >>> list(check_for_proofs(LpDistNet(4, width=8, depth=2, classes=3)).roundings.values())
    [1, 1, 2]
    """
    model = unwrapped(model)
    if not any(distance_layers(model)):
        raise ValueError(
            "model must hold ℓp-distance layers, or its margins prove nothing; got none"
        )
    if (unchecked := CheckedModel(model)).has_own_method:
        return unchecked
    if isinstance(model, HybridNet | HybridEnsemble):
        return CheckedModel(model, members=plain_members(model))
    roundings = layer_roundings(model)
    if roundings is None:
        warnings.warn(
            f"cannot verify {type(model).__name__}.forward(); assuming that it only composes its "
            "layers, so that its logits are 1-Lipschitz; rounding is not counted. nn.Sequential or "
            "a method certified_radius would make this certain",
            stacklevel=stacklevel,
        )
    return CheckedModel(model, roundings)


@torch.no_grad()
def certify(model: nn.Module, x: Tensor, labels: Tensor, batch_size: int = 1024) -> Certificates:
    """Certify each sample: one forward pass at p=∞, in evaluation mode.

    The radius is half the margin, less what rounding can have added to it, rounded down: within
    that radius, and within the range of a pixel, the prediction stands, both that of the net of
    real numbers and that of the net as it is executed (`linfkit.certification.rounding` has the
    proof). The model's own p and mode are restored afterwards; autocast is off meanwhile.

    Args:
        model: takes images in [0, 1], and gives logits that are 1-Lipschitz in pixels at p=∞; or a
            `linfkit.HybridNet` or `linfkit.HybridEnsemble`, whose radii come from interval bounds;
            or a model of your own class with a method ``certified_radius(images, labels)``, whose
            radii are used as they are. A ``forward`` of your own cannot be verified: a warning says
            so, and rounding is then left out.
        x: images, (B, ...), floating point, in [0, 1].
        labels: whole numbers of any type, (B,).
        batch_size: samples that pass through the model at once.

    Returns:
        `Certificates` with ``.radius`` (B,), in pixels, ``.accuracy(eps)``, and ``.rounding``, what
        was subtracted for rounding.

    Raises:
        TypeError, ValueError: images or labels are not as above, the model holds no distance
            layer, has one that no certificate can count on (`linfkit.check_lipschitz`), or gives
            NaN; the message names the argument, or the layer.
        RuntimeError: another thread changed the model's p or mode meanwhile.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net, x = LpDistNet(4, width=8, depth=2, classes=3), torch.rand(5, 4)
    >>> certificates = certify(net, x, torch.tensor([0, 1, 2, 0, 1]))
    >>> certificates.radius.shape, bool((certificates.rounding < 1e-4).all())
    (torch.Size([5]), True)
    """
    samples = check_samples(x, labels)
    batch_size = check_count("batch_size", batch_size)
    checked = check_for_proofs(model, stacklevel=4)  # beyond torch.no_grad
    return certify_checked(checked, *samples, batch_size)


@torch.no_grad()
def certify_checked(
    checked: CheckedModel, x: Tensor, labels: Tensor, batch_size: int = 1024
) -> Certificates:
    """Certify each sample, as `certify` does, of a model that is checked already.

    Args:
        checked: the model, with its layers' facts.
        x: images, (B, ...), floating point, in [0, 1].
        labels: whole numbers, (B,).
        batch_size: samples that pass through the model at once.
    """
    batches = batches_for(checked.model, batch_size, x, labels)
    with certification_mode(checked.model):
        found = join([checked.certify(*batch) for batch in batches])
    check_not_nan(found.radius)
    on_device_of_x: Certificates = moved(found, x.device)
    return on_device_of_x


@contextmanager
def certification_mode(model: nn.Module) -> Iterator[None]:
    """Put a model at p=∞, in evaluation mode and its own arithmetic; restore it after the block.

    Raises:
        RuntimeError: the model's p or mode was changed within the block.
    """
    device = device_of(model).type
    with evaluating_at(model, math.inf), torch.autocast(device, enabled=False):
        yield
        if not is_evaluated_at(model, math.inf):
            raise RuntimeError(
                "model must be left alone while it is certified; its p or its mode was changed "
                "meanwhile: if another thread trains it, certify a copy"
            )
