"""Evaluation mode at a given p, for a while."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from linfkit.nn.layers import distance_layers

#: One lock for all models: a second thread that wants another p waits until the first is done.
_LOCK = threading.RLock()


@contextmanager
def evaluating_at(model: nn.Module, p: float) -> Iterator[nn.Module]:
    """Put a model into evaluation mode, all its layers at p, and restore it after the block.

    Other threads that enter such a block wait meanwhile.

    Raises:
        ValueError: the model stays in training mode.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net = LpDistNet(4, width=8, depth=2, classes=3).train()
    >>> with evaluating_at(net, 8):
    ...     assert net.p == 8 and not net.training
    >>> (net.p, net.training)
    (inf, True)
    """
    with _LOCK:
        modes = [(module, module.training) for module in model.modules()]
        exponents = [(layer, layer.p) for layer in distance_layers(model)]
        try:
            model.eval()
            for layer, _ in exponents:
                layer.p = p
            if not is_evaluated_at(model, p):
                raise ValueError(
                    "model must go into evaluation mode; its train() keeps it in training"
                )
            yield model
        finally:
            for module, mode in modes:
                module.training = mode
            for layer, own_p in exponents:
                layer.p = own_p


def is_evaluated_at(model: nn.Module, p: float) -> bool:
    """Check that a model is in evaluation mode with all its layers at p.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net = LpDistNet(4, width=8, depth=2, classes=3).eval()
    >>> is_evaluated_at(net, 8), is_evaluated_at(net, float("inf"))
    (False, True)
    """
    training = any(module.training for module in model.modules())
    return not training and all(layer.p == p for layer in distance_layers(model))
