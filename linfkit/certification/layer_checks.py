"""Facts about each layer of a net: its Lipschitz constant in ℓ∞, and how often it rounds."""

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
from linfkit.nn.ensembles import Ensemble, VotingEnsemble
from linfkit.nn.known_layers import has_hooks, is_plain, unwrapped
from linfkit.nn.layers import DistanceLayer
from linfkit.nn.nets import DistanceNet

#: Modules that only pass values from layer to layer, in a way that adds nothing to them.
HOLDING = (nn.Sequential, nn.ModuleList, nn.ModuleDict, DistanceNet, Ensemble)

#: PyTorch's layers that multiply by weights.
MULTIPLYING = (nn.Linear, _ConvNd, _BatchNorm)

#: Roundings of PyTorch's layers; those that round nothing move, select or drop values.
ROUNDINGS: dict[type[nn.Module], int] = dict.fromkeys(
    (nn.Dropout, nn.Dropout2d, nn.Flatten, nn.Identity, nn.MaxPool2d, nn.ReLU, nn.Unflatten), 0
)
ROUNDINGS[nn.Tanh] = 8  # four units in the last place, of which each is two roundings

#: The reason for a module whose forward cannot be verified.
OWN_FORWARD = (
    "has a forward of its own, which can add or multiply what its layers give, so that half the "
    "margin may be no radius: connect them by nn.Sequential, or give the model a proof, a method "
    "certified_radius"
)


@dataclass(frozen=True)
class LayerCheck:
    """Effect of one layer on distances in ℓ∞, at p=∞ in evaluation mode.

    Attributes:
        name: as in ``named_modules``; empty for the model itself.
        layer: the layer's class.
        constant: an upper bound of its Lipschitz constant in ℓ∞; inf where none is known.
        roundings: see `roundings_of`; None where they are not known.
        why: the reason, as the end of a sentence that begins with the layer.
    """

    name: str
    layer: str
    constant: float
    roundings: int | None
    why: str

    @property
    def sound(self) -> bool:
        """True if a certificate can count on the layer's constant and on its roundings."""
        return self.constant <= 1 and self.roundings is not None


def check_lipschitz(model: nn.Module) -> list[LayerCheck]:
    """The Lipschitz constant in ℓ∞ of each layer inside a model, at p=∞ in evaluation mode.

    A net is 1-Lipschitz where all its layers are, and where nothing but `nn.Sequential`, linfkit's
    own nets and their `Ensemble` connects them. Any other module with layers inside has a row after
    theirs, with the constant inf: what its ``forward`` does with them cannot be verified.

    A layer of your own is known by an attribute `roundings`: see
    `linfkit.certification.layer_checks.roundings_of`.

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
    return [row for _, row in _checked("", model)]


@torch.no_grad()
def check_layer(module: nn.Module, name: str = "") -> LayerCheck:
    """Facts about one module: its Lipschitz constant in ℓ∞, its roundings, and the reason.

    >>> check_layer(nn.ReLU())
    LayerCheck(name='', layer='ReLU', constant=1.0, roundings=0, why='lengthens nothing in ℓ∞')
    """
    roundings = None if _is_active_dropout(module) else roundings_of(module)
    constant, why = _constant_of(module, roundings)
    return LayerCheck(name, type(module).__name__, constant, roundings, why)


def layer_roundings(model: nn.Module) -> dict[nn.Module, int] | None:
    """Roundings of each layer of a 1-Lipschitz model; None if its own forward cannot be verified.

    Raises:
        ValueError: a certificate cannot count on one of the layers; the message says why.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net = LpDistNet(4, width=8, depth=2, classes=3)
    >>> list(layer_roundings(net).values())
    [1, 1, 2]
    """
    roundings = {}
    for layer, row in _checked("", model):
        if row.sound and row.roundings is not None:
            roundings[layer] = row.roundings
        elif layer is model and row.why == OWN_FORWARD:
            return None
        else:
            where = f"its layer {row.name!r}, a {row.layer}," if row.name else f"a {row.layer}"
            raise ValueError(f"model must give logits that are 1-Lipschitz; {where} {row.why}")
    return roundings


def not_plain(kind: type[nn.Module]) -> ValueError:
    """Error for a model that is hooked, or has methods or layers in place of its class's own."""
    return ValueError(
        f"model must be a plain {kind.__name__}; got one with a hook, overridden methods or "
        "other layers"
    )


def only_holds(module: nn.Module) -> bool:
    """True if a module adds nothing to what its layers do.

    >>> only_holds(nn.Sequential()), only_holds(nn.ReLU())
    (True, False)
    """
    return unwrapped(module) is not module or any(is_plain(module, kind) for kind in HOLDING)


def roundings_of(layer: nn.Module) -> int | None:
    """Number of roundings between a layer's inputs and each output; None where it is not known.

    A layer states it as its class's attribute or property `roundings`, and states by it that it is
    1-Lipschitz in ℓ∞ at p=∞ in evaluation mode, sample by sample, and that none of the values it
    rounds, except for a `bias` added last, cancel, or are larger than `roundings` times its output.
    A subclass that overrides a method that the class computes with has to state it again. A layer
    that mixes samples, or has a hook, is not known.

    >>> from linfkit.nn.layers import LpDist, MeanShift
    >>> [roundings_of(layer) for layer in (LpDist(2, 3), LpDist(2, 3, bias=True), MeanShift(3))]
    [1, 2, 1]
    >>> roundings_of(nn.Linear(2, 3)) is None
    True
    """
    if is_plain(layer, nn.AvgPool2d):
        return _window_size(layer) + 2  # a sum, and a product with 1/count
    if _may_mix_samples(layer):
        return None
    for kind in type(layer).__mro__:
        if kind in ROUNDINGS:
            return ROUNDINGS[kind] if is_plain(layer, kind) else None
        if "roundings" in vars(kind):
            stated = layer.roundings
            known = isinstance(stated, int) and stated >= 0 and is_plain(layer, kind)
            return stated if known else None  # type: ignore[return-value]
    return None


def _checked(name: str, module: nn.Module) -> Iterator[tuple[nn.Module, LayerCheck]]:
    """Check each module inside that computes something, innermost first."""
    for of_child, child in module.named_children():
        yield from _checked(f"{name}.{of_child}" if name else of_child, child)
    if not only_holds(module):
        yield module, check_layer(module, name)


def _constant_of(module: nn.Module, roundings: int | None) -> tuple[float, str]:
    """An upper bound of a layer's Lipschitz constant in ℓ∞, and the reason."""
    if has_hooks(module):
        return math.inf, (
            "has a hook, which can change what it is given and what it gives, so that half the "
            "margin may be no radius: remove the hook (that of a pruned layer by prune.remove)"
        )
    if _may_mix_samples(module):
        return math.inf, (
            "may mix the samples of a batch, so that a radius may be of no one of them: let its "
            "dimensions be counted from the front, from 1 on"
        )
    if isinstance(module, DistanceLayer) and roundings is not None:
        return 1.0, "is a distance in ℓ∞"
    if is_plain(module, nn.AvgPool2d):
        constant = _window_size(module) / abs(module.divisor_override or _window_size(module))
        does = f"sums a window{_steeper(constant)}" if constant > 1 else "averages a window"
        return constant, does
    if (norm := _norm(module)) is not None:
        unbounded = ", in sums whose rounding is not bounded here"
        return norm, f"multiplies by its weights{_steeper(norm) if norm > 1 else unbounded}"
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
    if roundings is not None:
        return 1.0, "lengthens nothing in ℓ∞"
    if list(module.children()):
        return math.inf, OWN_FORWARD
    return math.inf, "is not known to lengthen nothing in ℓ∞, so that half the margin is no radius"


def _norm(module: nn.Module) -> float | None:
    """Norm in ℓ∞ of a layer's weights, the largest sum along a row; None where it has none.

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
    weight: Tensor = getattr(module, "scaled_weight", module.weight)
    if isinstance(module, _ConvNd) and module.transposed:
        weight = weight.transpose(0, 1)  # of all groups
    return to_float64(weight).flatten(1).abs().sum(dim=1).max().item()


def _steeper(constant: float) -> str:
    return f", and is up to {constant:.3g} times as steep, so that half the margin is no radius"


def _is_active_dropout(module: nn.Module) -> bool:
    return isinstance(module, _DropoutNd) and module.training and module.p > 0


def _may_mix_samples(layer: nn.Module) -> bool:
    """True if a layer reshapes the batch's own dimension, as one counted from the end may be."""
    if isinstance(layer, nn.Flatten):
        return layer.start_dim < 1
    return isinstance(layer, nn.Unflatten) and not (isinstance(layer.dim, int) and layer.dim >= 1)


def _window_size(pool: nn.AvgPool2d) -> int:
    """Number of values that a pool looks at for each of its outputs."""
    size = pool.kernel_size
    sides = [size] if isinstance(size, int) else list(size)  # PyTorch takes (k,) for (k, k)
    return math.prod(sides if len(sides) > 1 else 2 * sides)
