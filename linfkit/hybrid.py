"""Hybrid nets: ℓ∞ distances as a 1-Lipschitz feature map, then a small MLP with interval bounds."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from linfkit.certificates import certified_radius, check_images
from linfkit.layers import check_count
from linfkit.losses import check_logits
from linfkit.models import LpDistNet, SharedExponent
from linfkit.units import PixelUnits

__all__ = ["HybridNet", "IntervalMLP", "ScaledLinear", "interval_radius"]

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


class HybridNet(SharedExponent, PixelUnits):
    """ℓp-distance layers, then Linear–tanh–Linear, certified by interval bounds.

    The distance layers, a mean shift after each, give features u of (x − mean) / scale that are
    1-Lipschitz in ℓ∞ at p=∞: a perturbation of ε, in pixels, keeps them in the box u ± ε/scale.
    Through the small MLP that box is followed by interval arithmetic (Zhang et al., ICML 2021;
    their ℓ∞-dist net + MLP). Logits are f(x) = scale · MLP(u), so that `logit_scale` · f is what
    the paper's cross-entropy sees, as with `LpDistNet`; they are *not* 1-Lipschitz: half their
    margin proves nothing, `interval_radius` does.

    Args:
        in_features: pixels of one image, channels included.
        width: neurons of each distance layer.
        depth: layers in all, the two linear ones included; 3 or more.
        hidden: tanh units of the MLP.
        classes: number of logits.
        mean: what to subtract from the pixels; one number, or one for each channel.
        scale: what to divide by; one number, so that ε scales with it.
        identity_start: see `LpDist`.

    Attributes:
        p: the exponent of all distance layers; setting it sets them all.
        logit_scale: 1 / scale; a parameter that asks for no gradient.

    Raises:
        TypeError, ValueError: an argument is out of range; its name is in the message.

    >>> net = HybridNet(64, width=32, depth=4, hidden=16, classes=10, mean=0.3, scale=0.4).eval()
    >>> x, labels = torch.rand(5, 1, 8, 8), torch.arange(5)
    >>> logits, worst = net(x), net.worst_logits(x, labels, eps=0.1)
    >>> bool((worst >= logits - logits.gather(1, labels[:, None]) - 1e-5).all())
    True
    """

    def __init__(
        self,
        in_features: int,
        width: int,
        depth: int,
        hidden: int,
        classes: int,
        mean: float | Sequence[float] = 0.0,
        scale: float = 1.0,
        identity_start: bool = True,
    ) -> None:
        check_count("depth", depth, least=3)
        check_count("hidden", hidden)
        # its distance layers are those of a net whose last layer gives way to the MLP
        net = LpDistNet(in_features, width, depth - 1, classes, mean, scale, identity_start)
        super().__init__(in_features, mean, scale)
        self.classes = classes
        #: what to call the class with to build this net again
        self.arguments = {**net.arguments, "depth": depth, "hidden": hidden}
        self.layers = net.layers[:-1]
        self.mlp = IntervalMLP(width, hidden, classes)
        self.logit_scale.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (B, classes), of images in [0, 1], (B, C, H, W) or (B, in_features)."""
        return self.logits_at(self.features(x))

    def worst_logits(self, x: Tensor, labels: Tensor, eps: float | Tensor) -> Tensor:
        """The logits of the worst case within ε of x, less the label's: at most 0 is certified.

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

    @torch.no_grad()
    def certified_radius(self, x: Tensor, labels: Tensor) -> Tensor:
        """The largest ε at which `worst_logits` certify each sample, by bisection, rounded down.

        They are proved at p=∞ in evaluation mode, which `interval_radius` sees to. The distance
        layers see each image once: only the MLP's bounds are bisected.

        Returns:
            Radii in pixels, (B,), multiples of 2⁻³⁰ below 1; where misclassified, negative: minus
            the radius at which the wrong prediction is certified.
        """
        u = self.features(x)
        logits = self.logits_at(u)
        correct = certified_radius(logits, labels) >= 0  # of the margin only the sign counts here
        predicted = torch.where(correct, labels, logits.argmax(dim=1))
        certified, refuted = torch.zeros_like(logits[:, 0]), torch.ones_like(logits[:, 0])
        for _ in range(HALVINGS):
            middle = (certified + refuted) / 2
            worst = self.worst_logits_at(u, predicted, middle)
            stands = worst.scatter(1, predicted[:, None], -math.inf).amax(dim=1) < 0
            certified = torch.where(stands, middle, certified)
            refuted = torch.where(stands, refuted, middle)
        tiny = torch.finfo(certified.dtype).tiny  # so that a wrong prediction is never at 0
        return torch.where(correct, certified, -certified.clamp(min=tiny))

    def features(self, x: Tensor) -> Tensor:
        """Features u, (B, width), of images: 1-Lipschitz in ℓ∞ of the *normalised* input at p=∞."""
        return self.layers(self.normalise(x))

    def logits_at(self, u: Tensor) -> Tensor:
        """Logits, (B, classes), of features u, (B, width)."""
        return self.scale * self.mlp(u)

    def worst_logits_at(self, u: Tensor, labels: Tensor, eps: float | Tensor) -> Tensor:
        """The `worst_logits` of features u, (B, width)."""
        check_logits(u.new_zeros(len(u), self.classes), labels)
        if isinstance(eps, bool) or not isinstance(eps, int | float | Tensor):
            raise TypeError(f"eps must be a number or one a sample; got {eps!r}")
        radius = torch.as_tensor(eps, dtype=u.dtype, device=u.device)
        if radius.shape not in [(), (len(u),)]:
            raise ValueError(
                f"eps must be a number or one for each of the {len(u)} samples; "
                f"its shape is {tuple(radius.shape)}"
            )
        if not ((radius >= 0) & radius.isfinite()).all():
            raise ValueError(f"eps must be finite, 0 or more, in pixels; got {eps}")
        return self.scale * self.mlp.worst_logits(u, labels, radius / self.scale)


@torch.no_grad()
def interval_radius(model: HybridNet, x: Tensor, labels: Tensor) -> Tensor:
    """The largest ε at which interval bounds certify each sample, by bisection, rounded down.

    At p=∞, in evaluation mode, and in float64, so that rounding cannot pass for a certificate; the
    model itself is left as it is.

    Args:
        model: a hybrid net.
        x: images in [0, 1], (B, ...).
        labels: whole numbers from 0 to classes − 1, (B,).

    Returns:
        Radii in pixels, (B,), float64, as `HybridNet.certified_radius` gives them.

    Raises:
        TypeError, ValueError: images or labels are not as above; the message names the argument.

    >>> net = HybridNet(4, width=8, depth=3, hidden=6, classes=3).eval()
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
