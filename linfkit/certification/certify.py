"""Certified radii of any model: choose the proof that fits it, and run it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from linfkit._util.checks import as_labels, check_count, check_images, check_not_nan
from linfkit._util.devices import batches_for, device_of
from linfkit.certification.hybrid import certify_hybrid, plain_members
from linfkit.certification.layer_checks import layer_roundings
from linfkit.certification.margins import Certificates, certified_radius, certify_margins, join
from linfkit.nn.ensembles import HybridEnsemble
from linfkit.nn.evaluation_mode import evaluating_at, is_evaluated_at
from linfkit.nn.hybrid import HybridNet
from linfkit.nn.known_layers import unwrapped
from linfkit.nn.layers import distance_layers

#: Certificates of a batch of images and their labels.
Proof = Callable[[Tensor, Tensor], Certificates]


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
    x = check_images(x)
    labels = as_labels(labels, x)
    batch_size, model = check_count("batch_size", batch_size), unwrapped(model)
    if not any(distance_layers(model)):
        raise ValueError(
            "model must hold ℓp-distance layers, or its margins prove nothing; got none"
        )
    proof = _proof_of(model)
    with certification_mode(model):
        found = join([proof(*batch) for batch in batches_for(model, batch_size, x, labels)])
    check_not_nan(found.radius)
    rounding = None if found.rounding is None else found.rounding.to(x.device)
    return Certificates(found.radius.to(x.device), found.correct.to(x.device), rounding)


def has_own_proof(model: nn.Module) -> bool:
    """True if a model is certified by other means than its margin.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net = LpDistNet(4, width=8, depth=2, classes=3)
    >>> has_own_proof(net), has_own_proof(HybridNet(net, hidden=6))
    (False, True)
    """
    # the class is asked, since a compiled module passes on attributes that it lacks
    return hasattr(type(model), "certified_radius") or isinstance(model, HybridNet | HybridEnsemble)


def _proof_of(model: nn.Module) -> Proof:
    """The proof that fits a model, each fact about its layers computed once."""
    if hasattr(type(model), "certified_radius"):
        return partial(_by_own_method, model)
    if isinstance(model, HybridNet | HybridEnsemble):
        return partial(certify_hybrid, plain_members(model))
    roundings = layer_roundings(model)
    if roundings is not None:
        return partial(certify_margins, model, roundings)
    warnings.warn(
        f"cannot verify {type(model).__name__}.forward(); assuming that it only composes its "
        "layers, so that its logits are 1-Lipschitz; rounding is not counted. nn.Sequential or a "
        "method certified_radius would make this certain",
        stacklevel=4,  # beyond certify and no_grad
    )
    return lambda x, labels: Certificates(certified_radius(model(x), labels))


def _by_own_method(model: Any, x: Tensor, labels: Tensor) -> Certificates:
    radius = model.certified_radius(x, labels)
    return Certificates(radius, correct=radius >= 0)


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
