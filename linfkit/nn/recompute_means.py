"""Recompute running means: those kept in training need not be what evaluation sees."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from linfkit._util.checks import check_count, check_images, check_model
from linfkit._util.devices import batches_for
from linfkit.nn.evaluation_mode import evaluating_at
from linfkit.nn.layers import MeanShift


@torch.no_grad()
def recentre(model: nn.Module, images: Tensor, batch_size: int = 1024) -> None:
    """Recompute the running mean of every `MeanShift`, with all else as in evaluation at p=∞.

    Each running mean becomes the mean of the shift's input over all images; each image counts the
    same. It takes one pass: a shift subtracts the mean of the batch, so the means behind it are
    those of evaluation up to the differences between batches; with all images in one batch they are
    the same. Exponents and modes are restored
    (Zhang et al., NeurIPS 2022, do so before they evaluate a SortNet, on the training set).

    Args:
        model: takes images in [0, 1]; without mean shifts, nothing changes.
        images: (B, C, H, W), floating point, in [0, 1].
        batch_size: images that pass through the model at once.

    Raises:
        TypeError, ValueError: model, images or batch_size are not as above.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net, images = LpDistNet(4, width=8, depth=2, classes=3), torch.rand(20, 1, 2, 2)
    >>> recentre(net, images)
    >>> layer, shift, _ = net.layers
    >>> torch.allclose(shift.running_mean, layer(images.flatten(1)).mean(dim=0))
    True
    """
    check_model("model", model)
    images = check_images(images)
    batch_size = check_count("batch_size", batch_size)
    shifts = [module for module in model.modules() if isinstance(module, MeanShift)]
    momenta = [shift.momentum for shift in shifts]
    seen = 0
    with evaluating_at(model, math.inf):
        try:
            for (batch,) in batches_for(model, batch_size, images):
                seen += len(batch)
                for shift in shifts:
                    shift.train()
                    shift.momentum = len(batch) / seen  # every image counts the same
                model(batch)
        finally:
            for shift, momentum in zip(shifts, momenta, strict=True):
                shift.momentum = momentum


@contextmanager
def recentred(model: nn.Module, images: Tensor) -> Iterator[None]:
    """Recompute running means by `recentre`, and restore them after the block.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net = LpDistNet(4, width=8, depth=2, classes=3)
    >>> with recentred(net, torch.rand(20, 4)):
    ...     assert net.layers[1].running_mean.abs().max() > 0
    >>> net.layers[1].running_mean.abs().max()
    tensor(0.)
    """
    with preserve_running_means(model):
        recentre(model, images)
        yield


@contextmanager
def preserve_running_means(model: nn.Module) -> Iterator[list[MeanShift]]:
    """Restore running means after the block, whatever changes them; yields the mean shifts.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net = LpDistNet(4, width=8, depth=2, classes=3).train()
    >>> with preserve_running_means(net) as (shift,):
    ...     _ = net(torch.rand(5, 4))
    ...     assert shift.running_mean.abs().max() > 0
    >>> shift.running_mean.abs().max()
    tensor(0.)
    """
    shifts = [module for module in model.modules() if isinstance(module, MeanShift)]
    means = [shift.running_mean.clone() for shift in shifts]
    try:
        yield shifts
    finally:
        for shift, mean in zip(shifts, means, strict=True):
            shift.running_mean.copy_(mean)
