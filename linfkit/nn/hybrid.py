"""Hybrid nets: ℓ∞ distances as a 1-Lipschitz feature map, then a small MLP with interval bounds.

`linfkit.certification.hybrid` certifies them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from linfkit._util.checks import check_count, check_eps_of_each, check_logits
from linfkit.nn.layers import DistanceLayer
from linfkit.nn.nets import DistanceNet, SharedExponent
from linfkit.nn.normalization import Normalization


class ScaledLinear(nn.Linear):
    """Linear layer whose N(0, 1) weights are multiplied by 1/√in_features when they are used.

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
        """Weights as they are used, (out_features, in_features)."""
        return self.weight / math.sqrt(self.in_features)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_features) to (B, out_features)."""
        return F.linear(x, self.scaled_weight, self.bias)


class IntervalMLP(nn.Module):
    """Linear–tanh–Linear, with bounds of its outputs over a box around its input.

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
        """Upper bounds of each f_j − f_y over the box [u − radius, u + radius].

        Interval arithmetic: a linear layer takes the box's centre c to W c + b and its half-widths
        r to |W| r; tanh takes ends to ends. The last layer is bounded on the differences of its
        rows, W_j − W_y, since what is common to two logits cannot change which is larger.

        Args:
            u: features, (B, in_features).
            labels: whole numbers, (B,).
            radius: half-width of each sample's box, (B,) or a scalar; or of each feature,
                (B, in_features).

        Returns:
            Upper bounds, (B, classes); 0 at the label.
        """
        centre, weights = self.hidden(u), self.hidden.scaled_weight.abs()
        if radius.dim() == 2:
            reach = F.linear(radius, weights)
        else:  # every feature has the same half-width
            reach = radius.view(-1, 1) * weights.sum(dim=1)
        low, high = (centre - reach).tanh(), (centre + reach).tanh()
        rows = self.last.scaled_weight
        differences = rows - rows[labels].unsqueeze(1)  # (B, classes, hidden)
        at_centre = torch.einsum("bch,bh->bc", differences, (low + high) / 2)
        beyond = torch.einsum("bch,bh->bc", differences.abs(), (high - low) / 2)
        return at_centre + beyond + self.last.bias - self.last.bias[labels].unsqueeze(1)


class HybridNet(SharedExponent, Normalization):
    """A net of distances whose last layer is replaced by an MLP, certified by interval bounds.

    All other layers of the net are a feature map: u of (x − mean) / scale is 1-Lipschitz in ℓ∞ at
    p=∞, so that a perturbation of ε, in pixels, keeps it in the box u ± ε/scale. Interval
    arithmetic follows that box through the small MLP, Linear–tanh–Linear (Zhang et al., ICML 2021;
    their ℓ∞-dist net + MLP). Logits are f(x) = scale · MLP(u), so that `logit_scale` · f is what
    the paper's cross-entropy sees, as with `LpDistNet`; they are *not* 1-Lipschitz: half their
    margin proves nothing. `linfkit.certify` bounds the worst logits instead.

    Args:
        net: an `LpDistNet`, a convolutional net or a `SortNet`; the hybrid takes its layers but the
            last, and has its normalisation and number of classes.
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
            raise ValueError(
                "net must have a depth of at least 2, since its last layer is replaced; got 1"
            )
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

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (B, classes), of images in [0, 1], (B, C, H, W) or (B, in_features)."""
        return self.scale * self.mlp(self.features(x))

    def logits_and_worst(
        self, x: Tensor, labels: Tensor, eps: float | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits and `worst_logits`, (B, classes) each, from one pass through the distances."""
        u = self.features(x)
        logits: Tensor = self.scale * self.mlp(u)
        labels, radius = check_logits(logits, labels), check_eps_of_each(eps, u) / self.scale
        return logits, self.scale * self.mlp.worst_logits(u, labels, radius)

    def worst_logits(self, x: Tensor, labels: Tensor, eps: float | Tensor) -> Tensor:
        """The logits of the worst case within ε of x, less the label's: below 0 is certified.

        For j ≠ y it is minus the lower bound of f_y − f_j over the box u ± ε/scale, which for any
        x' with ‖x' − x‖_∞ ≤ ε, in pixels, is at least f_j(x') − f_y(x'); at the label it is 0. At
        ε=0 it is f_j − f_y itself, and it grows with ε. A shift does not change cross-entropy, so
        training mixes κ · CE(logit_scale · worst, y) + (1−κ) · CE(logit_scale · logits, y).

        The bound holds at p=∞ in evaluation mode; below, training uses it as a stand-in.

        Args:
            x: images in [0, 1], (B, C, H, W) or (B, in_features).
            labels: whole numbers from 0 to classes − 1, (B,).
            eps: size of the perturbation in pixels, from 0 to 1; one number, or one a sample, (B,).

        Returns:
            Bounds in the units of the logits, (B, classes); differentiable.

        Raises:
            TypeError, ValueError: an argument has the wrong type, shape or range; the message
                names it.
        """
        return self.logits_and_worst(x, labels, eps)[1]
