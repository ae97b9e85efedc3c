"""What each layer of a net can lengthen in ℓ∞, so that a certificate has something to stand on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd

from linfkit._util.checks import check_finite_weights, check_model
from linfkit._util.devices import to_float64
from linfkit.certification.rounding import may_mix_samples, roundings_of, unit_of, window_size
from linfkit.nn.known_layers import has_hooks, is_plain, unwrapped
from linfkit.nn.layers import DistanceLayer, LpDist, MeanShift
from linfkit.nn.nets import DistanceNet, Ensemble, LpDistNet, VotingEnsemble

__all__ = [
    "LayerCheck",
    "check_lipschitz",
    "has_own_forward",
    "require_one_lipschitz",
    "require_plain",
]

#: Modules that only pass values from layer to layer, in a way that adds nothing to them.
HOLDING = (nn.Sequential, nn.ModuleList, nn.ModuleDict, DistanceNet, Ensemble)

#: PyTorch's layers that multiply by weights.
MULTIPLYING = (nn.Linear, _ConvNd, _BatchNorm)


@dataclass(frozen=True)
class LayerCheck:
    """What one layer can do to a distance in ℓ∞, at p=∞ in evaluation mode.

    Attributes:
        name: as ``named_modules`` has it; empty for the model itself.
        layer: the layer's class.
        constant: an upper bound of its Lipschitz constant in ℓ∞; inf where none is known.
        roundings: see `linfkit.certification.rounding.roundings_of`; None where they are not known.
        why: the reason, as the end of a sentence that begins with the layer.
    """

    name: str
    layer: str
    constant: float
    roundings: int | None
    why: str

    @property
    def sound(self) -> bool:
        """Whether a certificate can count on the layer: on its constant, and on its rounding."""
        return self.constant <= 1 and self.roundings is not None


def check_lipschitz(model: nn.Module) -> list[LayerCheck]:
    """The Lipschitz constant in ℓ∞ of each layer inside a model, at p=∞ in evaluation mode.

    A net is 1-Lipschitz where all its layers are, and where nothing but `nn.Sequential`, linfkit's
    own nets and their `Ensemble` connects them. Any other module with layers inside is a row of its
    own, after theirs, with the constant inf: what its ``forward`` does with them cannot be seen.

    A layer of your own is known by an attribute `roundings`: see
    `linfkit.certification.rounding.roundings_of`.

    >>> from linfkit.nn.layers import LpDist
    >>> net = nn.Sequential(LpDist(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> _ = nn.init.constant_(net[2].weight, -0.5)
    >>> rows = check_lipschitz(net)
    >>> [(row.name, row.layer, row.constant) for row in rows]
    [('0', 'LpDist', 1.0), ('1', 'ReLU', 1.0), ('2', 'Linear', 4.0)]
    >>> rows[2].why
    'multiplies by its weights, and is up to 4 times as steep, so that half the margin is no radius'
    """
    check_model("model", model)
    check_finite_weights(model)
    return list(_rows("", model))


def require_one_lipschitz(model: nn.Module) -> None:
    """Refuse a model with a layer that no certificate can count on, and say why.

    What the ``forward`` of the model itself does with its layers is not looked into:
    `has_own_forward` tells whether that has to be trusted.

    >>> from linfkit.nn.nets import LpDistNet
    >>> require_one_lipschitz(LpDistNet(4, width=8, depth=2, classes=3))
    """
    for row in _rows("", model):
        if not row.sound and not (row.name == "" and has_own_forward(model)):
            layer = f"its layer {row.name!r}, a {row.layer}," if row.name else f"a {row.layer}"
            raise ValueError(f"model must give logits that are 1-Lipschitz; {layer} {row.why}")


def require_plain(model: nn.Module) -> LpDistNet:
    """The net itself, unwrapped, if it is an `LpDistNet` of the layers that its class makes.

    For proofs that go through these layers one by one.

    Raises:
        TypeError: it is no `LpDistNet`.
        ValueError: a layer is of another kind, or has a hook or a ``forward`` of its own, as the
            net itself may have; a weight is NaN or infinite; or its scale is no positive number.

    >>> net = LpDistNet(4, width=8, depth=2, classes=3)
    >>> require_plain(net) is net
    True
    """
    model = unwrapped(model)
    if not isinstance(model, LpDistNet):
        raise TypeError(f"model must be an LpDistNet; got {type(model).__name__}")
    if not (is_plain(model, LpDistNet) and is_plain(model.layers, nn.Sequential)):
        raise ValueError("model must be a plain LpDistNet; it has a hook or methods of its own")
    check_finite_weights(model)
    for place, layer in enumerate(model.layers):
        if not is_plain(layer, MeanShift if place % 2 else LpDist):
            raise ValueError(
                "model must be a plain LpDistNet, distances and mean shifts in turn; its layer "
                f"'layers.{place}', a {type(layer).__name__}, is not"
            )
    unit_of(model)
    return model


def has_own_forward(model: nn.Module) -> bool:
    """Whether a model connects its layers in a way of its own, which cannot be seen.

    >>> class Residual(nn.Sequential):
    ...     def forward(self, x):
    ...         return x + super().forward(x)
    >>> has_own_forward(Residual(nn.Identity())), has_own_forward(nn.Sequential(nn.Identity()))
    (True, False)
    """
    held = _only_holds(model) or is_plain(model, VotingEnsemble)
    own = not (held or has_hooks(model))  # what a hook does is nobody's word
    return bool(list(model.children())) and own and roundings_of(model) is None


def _rows(name: str, module: nn.Module) -> Iterator[LayerCheck]:
    for of_child, child in module.named_children():
        yield from _rows(f"{name}.{of_child}" if name else of_child, child)
    if not _only_holds(module):
        constant, why = _constant(module)
        yield LayerCheck(name, type(module).__name__, constant, _roundings(module), why)


def _only_holds(module: nn.Module) -> bool:
    return unwrapped(module) is not module or any(is_plain(module, kind) for kind in HOLDING)


def _roundings(module: nn.Module) -> int | None:
    return None if _is_active_dropout(module) else roundings_of(module)


@torch.no_grad()
def _constant(module: nn.Module) -> tuple[float, str]:
    """An upper bound of a layer's Lipschitz constant in ℓ∞, and the reason."""
    if has_hooks(module):
        return math.inf, (
            "has a hook, which can change what it is given and what it gives, so that half the "
            "margin may be no radius: remove the hook (that of a pruned layer by prune.remove)"
        )
    if may_mix_samples(module):
        return math.inf, (
            "may mix the samples of a batch, so that a radius may be of no one of them: let its "
            "dimensions be counted from the front, from 1 on"
        )
    if isinstance(module, DistanceLayer) and roundings_of(module) is not None:
        return 1.0, "is a distance in ℓ∞"
    if is_plain(module, nn.AvgPool2d):
        constant = window_size(module) / abs(module.divisor_override or window_size(module))
        if constant > 1:
            return constant, f"sums a window, {_steeper(constant)}"
        return constant, "averages a window"
    if (norm := _norm(module)) is not None:
        if norm > 1:
            return norm, f"multiplies by its weights, {_steeper(norm)}"
        return norm, "multiplies by its weights, in sums whose rounding is not bounded here"
    if _is_active_dropout(module):
        return math.inf, (
            "is active: each call is of another net, and a radius would be of none of them; call "
            "model.eval()"
        )
    if isinstance(module, VotingEnsemble):
        return module.logit_scale / 2, (
            "gives mean probabilities, which can change faster than the pixels do, so that half "
            "their difference is no radius: certify the Ensemble of the same models, the mean of "
            "logits"
        )
    if roundings_of(module) is not None:
        return 1.0, "lengthens nothing in ℓ∞"
    if list(module.children()):
        return math.inf, (
            "has a forward of its own, which can add or multiply what its layers give, so that "
            "half the margin may be no radius: connect them by nn.Sequential, or give the model "
            "a proof of its own, a method certified_radius"
        )
    return math.inf, "is not known to lengthen nothing in ℓ∞, so that half the margin is no radius"


def _norm(module: nn.Module) -> float | None:
    """The norm in ℓ∞ of a layer's weights, the largest sum along a row; None where it has none.

    A subclass of PyTorch's layers has one if it multiplies as they do, or states as its
    `scaled_weight` what else it multiplies by.
    """
    stating = (
        kind
        for kind in type(module).__mro__
        if "scaled_weight" in vars(kind) or kind.__module__.startswith("torch.nn.modules.")
    )
    if not (isinstance(module, MULTIPLYING) and is_plain(module, next(stating))):
        return None
    if isinstance(module, _BatchNorm):
        if module.running_var is None:
            return None
        slope = (to_float64(module.running_var) + module.eps).rsqrt()
        if module.weight is not None:
            slope = slope * to_float64(module.weight).abs()
        return slope.max().item()
    used = "scaled_weight" if hasattr(module, "scaled_weight") else "weight"
    weight: Tensor = getattr(module, used)
    if isinstance(module, _ConvNd) and module.transposed:
        weight = weight.transpose(0, 1)  # of all groups
    return to_float64(weight).flatten(1).abs().sum(dim=1).max().item()


def _steeper(constant: float) -> str:
    return f"and is up to {constant:.3g} times as steep, so that half the margin is no radius"


def _is_active_dropout(module: nn.Module) -> bool:
    return isinstance(module, _DropoutNd) and module.training and module.p > 0
