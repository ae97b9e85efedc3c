"""Hybrid nets: ℓ∞ distances as a 1-Lipschitz feature map, then a small MLP with interval bounds."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from numbers import Real

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from linfkit._util.checks import as_labels, check_count, check_images, check_logits
from linfkit._util.devices import on_device_of_model, to_float64
from linfkit.certification.certify import certified_radius, is_evaluated_at
from linfkit.certification.layer_checks import require_one_lipschitz
from linfkit.certification.rounding import Rounded, normalised, rounded_down, through
from linfkit.nn.known_layers import is_plain
from linfkit.nn.layers import DistanceLayer
from linfkit.nn.nets import DistanceNet, Ensemble, Members, SharedExponent
from linfkit.nn.normalization import PixelUnits

__all__ = [
    "HybridEnsemble",
    "HybridNet",
    "IntervalCertified",
    "IntervalMLP",
    "ScaledLinear",
    "ensemble_of",
    "interval_radius",
]

#: Halvings of the bisection on ε: from the whole range of a pixel down to 2⁻³⁰ ≈ 1e-9.
HALVINGS = 30


class ScaledLinear(nn.Linear):
    """A linear layer whose N(0, 1) weights are multiplied by 1/√in_features when they are used.

    y = W x / √in_features + b. The learning rate is meant for weights of size 1, as those of the
    distance layers are.

    >>> layer = ScaledLinear(4, 1)
    >>> _ = nn.init.ones_(layer.weight)
    >>> layer(torch.ones(1, 4)).item()
    2.0
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        nn.init.normal_(self.weight)
        nn.init.zeros_(self.bias)

    @property
    def scaled_weight(self) -> Tensor:
        """The weights as they are used, (out_features, in_features)."""
        return self.weight / math.sqrt(self.in_features)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_features) to (B, out_features)."""
        return F.linear(x, self.scaled_weight, self.bias)


class IntervalMLP(nn.Module):
    """Linear–tanh–Linear, and what its outputs can be over a box around its input.

    Args:
        in_features: number of inputs.
        hidden: number of tanh units.
        classes: number of outputs.

    >>> mlp, u, labels = IntervalMLP(6, 5, 3), torch.rand(2, 6), torch.tensor([0, 2])
    >>> worst = mlp.worst_logits(u, labels, radius=torch.zeros(2))
    >>> logits = mlp(u)
    >>> torch.allclose(worst, logits - logits.gather(1, labels[:, None]), atol=1e-6)
    True
    """

    def __init__(self, in_features: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.hidden = ScaledLinear(in_features, hidden)
        self.last = ScaledLinear(hidden, classes)

    def forward(self, u: Tensor) -> Tensor:
        """Logits, (B, classes), of features, (B, in_features)."""
        return self.last(self.hidden(u).tanh())

    def worst_logits(self, u: Tensor, labels: Tensor, radius: Tensor) -> Tensor:
        """The most that each f_j − f_y can be over the box [u − radius, u + radius].

        Interval arithmetic: a linear layer takes the box's centre c to W c + b and its half-widths
        r to |W| r; tanh takes ends to ends. The last layer is bounded on the differences of its
        rows, W_j − W_y, since what is common to two logits cannot change which is larger.

        Args:
            u: features, (B, in_features).
            labels: whole numbers, (B,).
            radius: half-width of each sample's box, (B,) or a scalar.

        Returns:
            Upper bounds, (B, classes); 0 at the label.
        """
        centre = self.hidden(u)
        # every feature has the same half-width, so |W| r is r times the sum of |W| along a row
        reach = radius.view(-1, 1) * self.hidden.scaled_weight.abs().sum(dim=1)
        low, high = (centre - reach).tanh(), (centre + reach).tanh()
        rows = self.last.scaled_weight
        differences = rows - rows[labels].unsqueeze(1)  # (B, classes, hidden)
        at_centre = torch.einsum("bch,bh->bc", differences, (low + high) / 2)
        beyond = torch.einsum("bch,bh->bc", differences.abs(), (high - low) / 2)
        return at_centre + beyond + self.last.bias - self.last.bias[labels].unsqueeze(1)

    def worst_rounding(self, u: Tensor, radius: Tensor) -> Tensor:
        """How far `worst_logits` can be from those of real numbers, whatever the label, (B,).

        A sum of n products, in whichever order, is off by at most about n·v times the sum of their
        sizes, v the unit of rounding. So a tanh's argument is off by (in_features + 8)·v·A, where A
        is |W||u| + |b| + r·Σ|W|, and what follows, S being the largest Σ|W_j − W_y|, by
        S·(that + 8v) and (hidden + 8)·v·(S + |b_j − b_y|). Twice as much is taken for what products
        of such terms add; weights so small that products underflow are left out.

        Args:
            u: features, (B, in_features).
            radius: half-width of each sample's box, (B,) or a scalar; of smaller ones it holds too.
        """
        weights, unit = self.hidden.scaled_weight.abs(), torch.finfo(u.dtype).eps / 2
        inside = F.linear(u.abs(), weights, self.hidden.bias.abs())
        inside = (inside + radius.view(-1, 1) * weights.sum(dim=1)).amax(dim=1)
        of_rows = 2 * self.last.scaled_weight.abs().sum(dim=1).max()
        of_biases = 2 * self.last.bias.abs().max()
        terms = self.hidden.in_features + self.hidden.out_features + 24
        return 2 * terms * unit * (of_rows * (inside + 1) + of_biases)


class IntervalCertified(SharedExponent, ABC):
    """A net whose logits are bounded over a box around its features, by interval arithmetic.

    A subclass says what its features are, and what logits and worst logits they give; half the
    margin of such logits proves nothing, the worst logits do.

    Attributes:
        scale: the unit of the logits, in pixels; a scalar.
    """

    scale: Tensor

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """What the distance layers make of images, batch first."""

    @abstractmethod
    def rounded_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The features, and how far from those of real numbers, in pixels, (B,), float64."""

    @abstractmethod
    def logits_at(self, u: Tensor) -> Tensor:
        """Logits, (B, classes), of features u."""

    @abstractmethod
    def worst_logits_at(self, u: Tensor, labels: Tensor, eps: float | Tensor) -> Tensor:
        """The `worst_logits` of features u, (B, classes)."""

    @abstractmethod
    def worst_rounding_at(self, u: Tensor, eps: float | Tensor) -> Tensor:
        """How far worst logits, at up to that ε, can be from those of real numbers, (B,)."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (B, classes), of images in [0, 1], (B, C, H, W) or (B, in_features)."""
        return self.logits_at(self.features(x))

    def worst_logits(self, x: Tensor, labels: Tensor, eps: float | Tensor) -> Tensor:
        """The logits of the worst case within ε of x, less the label's: below 0 is certified.

        For j ≠ y it is minus the lower bound of f_y − f_j over the box u ± ε/scale, which for any
        x' with ‖x' − x‖_∞ ≤ ε, in pixels, is at least f_j(x') − f_y(x'); at the label it is 0. At
        ε=0 it is f_j − f_y itself, and it grows with ε. As cross-entropy minds no shift, training
        mixes κ · CE(logit_scale · worst, y) + (1−κ) · CE(logit_scale · logits, y).

        The bound holds at p=∞ in evaluation mode; below, training uses it as a stand-in. Training
        that wants the logits too takes both from one pass of `features`, by `logits_at` and
        `worst_logits_at`.

        Args:
            x: images in [0, 1], (B, C, H, W) or (B, in_features).
            labels: whole numbers from 0 to classes − 1, (B,).
            eps: size of the perturbation in pixels, 0 or more; one number, or one a sample, (B,).

        Returns:
            Bounds in the units of the logits, (B, classes); differentiable.

        Raises:
            TypeError, ValueError: an argument has the wrong type, shape or range; the message
                names it.
        """
        return self.worst_logits_at(self.features(x), labels, eps)

    @on_device_of_model
    @torch.no_grad()
    def certified_radius(self, x: Tensor, labels: Tensor) -> Tensor:
        """The largest ε at which `worst_logits` certify each sample, by bisection, rounded down.

        They are proved at p=∞ in evaluation mode, which `interval_radius` sees to. The distance
        layers see each image once: only what follows them is bisected.

        The radius is one of the net of real numbers. The box around the features is wider by what
        rounding can have moved them (`linfkit.certification.rounding`); what follows them is
        computed in float64, where the worst logits have to be further below 0 than its rounding can
        have taken them (`IntervalMLP.worst_rounding`).

        Returns:
            Radii in pixels, (B,), at most 1; where misclassified, negative: minus the radius at
            which the wrong prediction is certified.

        Raises:
            ValueError: the net is in training mode, or not at p=∞.
        """
        if not is_evaluated_at(self, math.inf):
            raise ValueError(
                "model must be in evaluation mode, at p=∞, where its worst logits are proved; "
                "linfkit.certify sees to both"
            )
        features, rounding = self.rounded_features(x)
        u = to_float64(features)
        rest, rounding, labels = _after_features(self, u), rounding.to(u), as_labels(labels, u)
        logits = rest.logits_at(u)
        correct = certified_radius(logits, labels) >= 0  # of the margin only the sign counts here
        predicted = torch.where(correct, labels, logits.argmax(dim=1))
        # where nothing is known of the features' rounding, this is ∞, which nothing is below
        needed = rest.worst_rounding_at(u, 1 + rounding)[:, None]
        wider = rounding.where(rounding.isfinite(), 0)
        certified, refuted = torch.zeros_like(logits[:, 0]), torch.ones_like(logits[:, 0])
        for _ in range(HALVINGS):
            middle = (certified + refuted) / 2
            worst = rest.worst_logits_at(u, predicted, middle + wider)
            others = worst.scatter(1, predicted[:, None], -math.inf)
            stands = (others < -needed).all(dim=1)
            certified = torch.where(stands, middle, certified)
            refuted = torch.where(stands, refuted, middle)
        radius = rounded_down(certified, features.dtype).clamp(min=0)
        tiny = torch.finfo(radius.dtype).tiny  # so that a wrong prediction is never at 0
        return torch.where(correct, radius, -radius.clamp(min=tiny))


class HybridNet(IntervalCertified, PixelUnits):
    """A net of distances whose last layer gives way to an MLP, certified by interval bounds.

    All other layers of the net are a feature map: u of (x − mean) / scale is 1-Lipschitz in ℓ∞ at
    p=∞, so that a perturbation of ε, in pixels, keeps it in the box u ± ε/scale. Through the small
    MLP, Linear–tanh–Linear, that box is followed by interval arithmetic (Zhang et al., ICML 2021;
    their ℓ∞-dist net + MLP). Logits are f(x) = scale · MLP(u), so that `logit_scale` · f is what
    the paper's cross-entropy sees, as with `LpDistNet`; they are *not* 1-Lipschitz: half their
    margin proves nothing, `interval_radius` does.

    Args:
        net: an `LpDistNet`, a convolutional net or a `SortNet`; its layers but the last become the
            hybrid's own, its classes and its units too.
        hidden: tanh units of the MLP.

    Attributes:
        p: the exponent of all distance layers; setting it sets them all.
        logit_scale: 1 / scale; a parameter that asks for no gradient.

    Raises:
        TypeError, ValueError: an argument is out of range; its name is in the message.

    >>> from linfkit.nn.nets import LpDistNet
    >>> distances = LpDistNet(64, width=32, depth=3, classes=10, mean=0.3, scale=0.4)
    >>> net = HybridNet(distances, hidden=16).eval()
    >>> x, labels = torch.rand(5, 1, 8, 8), torch.arange(5)
    >>> logits, worst = net(x), net.worst_logits(x, labels, eps=0.1)
    >>> bool((worst >= logits - logits.gather(1, labels[:, None]) - 1e-5).all())
    True
    """

    def __init__(self, net: DistanceNet, hidden: int) -> None:
        if not isinstance(net, DistanceNet):
            raise TypeError(f"net must be a net of distances; got {type(net).__name__}")
        hidden = check_count("hidden", hidden)
        if len(net.layers) < 2:
            raise ValueError("net must have a depth of at least 2, since its last layer gives way")
        super().__init__(net.in_features, net.mean.tolist(), float(net.scale), net.channels)
        self.arguments = {"net": net.architecture, "hidden": hidden}
        *kept, last = net.layers
        if not isinstance(last, DistanceLayer):
            raise TypeError(f"net must end in a layer of distances; got a {type(last).__name__}")
        self.layers = nn.Sequential(*kept)
        self.classes = len(last.weight)
        self.mlp = IntervalMLP(last.fan_in, hidden, self.classes)
        self.logit_scale.requires_grad_(False)
        self.to(net.mean.dtype)

    def features(self, x: Tensor) -> Tensor:
        """Features u, (B, width), of images: 1-Lipschitz in ℓ∞ of the *normalised* input at p=∞."""
        u: Tensor = self.layers(self.normalise(x))
        return u

    def rounded_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The features, and how far from those of real numbers, in pixels, (B,), float64.

        Raises:
            ValueError: they are not 1-Lipschitz, for a layer, or a method, is not as it was made.
        """
        mlp = self.mlp
        linear = all(is_plain(layer, ScaledLinear) for layer in (mlp.hidden, mlp.last))
        if not (is_plain(self, HybridNet) and is_plain(mlp, IntervalMLP) and linear):
            raise ValueError("model must be a plain HybridNet; it has a hook or methods of its own")
        require_one_lipschitz(self.layers)
        u = through(self.layers, normalised(self, Rounded.of(x)))
        return u.value, u.error * self.scale.item()

    def logits_at(self, u: Tensor) -> Tensor:
        """Logits, (B, classes), of features u, (B, width)."""
        return self.scale * self.mlp(u)

    def worst_logits_at(self, u: Tensor, labels: Tensor, eps: float | Tensor) -> Tensor:
        """The `worst_logits` of features u, (B, width)."""
        labels = check_logits(u.new_zeros(len(u), self.classes), labels)
        if isinstance(eps, bool) or not isinstance(eps, Real | Tensor):
            raise TypeError(f"eps must be a number or one a sample; got {eps!r}")
        size = eps if isinstance(eps, Tensor) else float(eps)
        radius = torch.as_tensor(size, dtype=u.dtype, device=u.device)
        if radius.shape not in [(), (len(u),)]:
            raise ValueError(
                f"eps must be a number or one for each of the {len(u)} samples; "
                f"its shape is {tuple(radius.shape)}"
            )
        # a tensor of torch.func: vmap lets nobody look at values
        hidden = isinstance(eps, Tensor) and torch._C._are_functorch_transforms_active()
        if not hidden and not ((radius >= 0) & radius.isfinite()).all():
            raise ValueError(f"eps must be finite, 0 or more, in pixels; got {eps}")
        return self.scale * self.mlp.worst_logits(u, labels, radius / self.scale)

    def worst_rounding_at(self, u: Tensor, eps: float | Tensor) -> Tensor:
        """How far worst logits, at up to that ε, can be from those of real numbers, (B,)."""
        radius = torch.as_tensor(eps, dtype=u.dtype, device=u.device) / self.scale
        return self.scale * self.mlp.worst_rounding(u, radius)


class HybridEnsemble(IntervalCertified, Members):
    """The mean of several hybrids' logits, certified by the mean of their worst logits.

    What f_j − f_y can be of the mean is at most the mean of what it can be of each (Li et al.,
    2021, section 4).

    Args:
        models: the members, each a `HybridNet`, of one width.

    Raises:
        TypeError, ValueError: there is no member, or one that is no `HybridNet`.

    >>> from linfkit.nn.nets import LpDistNet
    >>> members = [HybridNet(LpDistNet(4, 8, 2, 3), hidden=6) for _ in range(3)]
    >>> ensemble, x, labels = HybridEnsemble(members).eval(), torch.rand(2, 4), torch.tensor([0, 2])
    >>> worst = sum(net.worst_logits(x, labels, 0.1) for net in members) / 3
    >>> torch.allclose(ensemble.worst_logits(x, labels, 0.1), worst, atol=1e-6)
    True
    """

    def __init__(self, models: Iterable[nn.Module]) -> None:
        super().__init__(models)
        for model in self.models:
            if not isinstance(model, HybridNet):
                raise TypeError(f"models must be hybrid nets; got a {type(model).__name__}")
        widths = {model.mlp.hidden.in_features for model in self._members()}
        if len(widths) > 1:
            raise ValueError(f"models must be of one width; got {sorted(widths)}")
        scale = next(self._members()).scale
        self.register_buffer("scale", scale.clone())

    def features(self, x: Tensor) -> Tensor:
        """Each member's features, (B, K, width)."""
        return torch.stack([model.features(x) for model in self._members()], dim=1)

    def rounded_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Each member's features, and how far any of them is from those of real numbers.

        Raises:
            ValueError: a member's are not 1-Lipschitz, or a method is not as it was made.
        """
        if not is_plain(self, HybridEnsemble):
            raise ValueError(
                "model must be a plain HybridEnsemble; it has a hook or methods of its own"
            )
        each = [model.rounded_features(x) for model in self._members()]
        u, rounding = zip(*each, strict=True)
        return torch.stack(u, dim=1), torch.stack(rounding).amax(dim=0)

    def logits_at(self, u: Tensor) -> Tensor:
        """Mean logits, (B, classes)."""
        each = [model.logits_at(of) for model, of in self._by_member(u)]
        return torch.stack(each).mean(dim=0)

    def worst_logits_at(self, u: Tensor, labels: Tensor, eps: float | Tensor) -> Tensor:
        """Mean worst logits, (B, classes)."""
        each = [model.worst_logits_at(of, labels, eps) for model, of in self._by_member(u)]
        return torch.stack(each).mean(dim=0)

    def worst_rounding_at(self, u: Tensor, eps: float | Tensor) -> Tensor:
        """How far worst logits, at up to that ε, can be from those of real numbers, (B,).

        The sum of the members', which is more than their mean by what taking a mean rounds.
        """
        each = [model.worst_rounding_at(of, eps) for model, of in self._by_member(u)]
        return torch.stack(each).sum(dim=0)

    def _members(self) -> Iterator[HybridNet]:
        return (model for model in self.models if isinstance(model, HybridNet))  # as all are

    def _by_member(self, u: Tensor) -> Iterator[tuple[HybridNet, Tensor]]:
        return zip(self._members(), u.unbind(dim=1), strict=True)


def ensemble_of(models: Sequence[nn.Module]) -> Ensemble | HybridEnsemble:
    """The mean of several nets' logits, with the proof that its members allow.

    >>> from linfkit.nn.nets import LpDistNet
    >>> type(ensemble_of([LpDistNet(4, 8, 2, 3) for _ in range(2)])).__name__
    'Ensemble'
    """
    hybrids = all(isinstance(model, HybridNet) for model in models)
    return HybridEnsemble(models) if hybrids else Ensemble(models)


def _after_features(model: IntervalCertified, u: Tensor) -> IntervalCertified:
    """A copy of what follows the features u, of their type and device, without distance layers."""
    hybrids = [module for module in model.modules() if isinstance(module, HybridNet)]
    # a copy is not made of what the memo has one for
    return copy.deepcopy(model, {id(hybrid.layers): nn.Identity() for hybrid in hybrids}).to(u)


@torch.no_grad()
def interval_radius(model: IntervalCertified, x: Tensor, labels: Tensor) -> Tensor:
    """The largest ε at which interval bounds certify each sample, by bisection, rounded down.

    At p=∞, in evaluation mode, and in float64, so that rounding cannot pass for a certificate; the
    model itself is left as it is.

    Args:
        model: a hybrid net, or an ensemble of them.
        x: images in [0, 1], (B, ...).
        labels: whole numbers from 0 to classes − 1, (B,).

    Returns:
        Radii in pixels, (B,), float64, as the model's `certified_radius` gives them.

    Raises:
        TypeError, ValueError: images or labels are not as above; the message names the argument.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net = HybridNet(LpDistNet(4, width=8, depth=2, classes=3), hidden=6).eval()
    >>> x = torch.rand(5, 4)
    >>> predicted = net(x).argmax(dim=1)
    >>> bool((interval_radius(net, x, predicted) >= 0).all())
    True
    >>> bool((interval_radius(net, x, (predicted + 1) % 3) < 0).all())
    True
    """
    check_images(x)
    exact = copy.deepcopy(model).double().eval()
    exact.p = math.inf
    return exact.certified_radius(x.double(), labels)
