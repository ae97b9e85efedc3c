"""SortNet: neurons that weigh differences by their rank, trained by dropping some at random."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from linfkit._util.checks import check_count, check_counts, check_tensor
from linfkit._util.devices import sent
from linfkit.functional import check_rho, lp_dist, sorted_dist, sorted_interval
from linfkit.nn.layers import LpDist
from linfkit.nn.nets import DistanceNet, with_mean_shifts

#: Number of differences that count in evaluation.
TERMS = 10

#: Number of samples of which training drops the same coordinates.
SAMPLES_A_DRAW = 32


class SortDist(LpDist):
    """Layer of expected ℓ∞ distances to each row of weights, where coordinates drop out.

    In evaluation u_o = Σ_k c_k·|x − w_o|₍ₖ₎ + b_o, the absolute differences sorted, largest first,
    and c_k proportional to ρ^(k−1): the expected maximum when each coordinate is dropped with
    probability ρ, cut off after ten terms (`linfkit.functional.sorted_dist`). It is 1-Lipschitz in
    ℓ∞, whatever p is.

    In training u_o = ‖x − w_o‖_p + b_o over coordinates drawn at random: how many is drawn once for
    the layer, and which, once for each 32 samples; at least one is kept. Draws come from torch's
    global generator on the CPU, whatever the device (Zhang et al., NeurIPS 2022, section 4).

    Args:
        in_features: number of inputs.
        out_features: number of neurons.
        rho: ρ, from 0, which makes it an `LpDist` at p=∞ in evaluation, up to but without 1.
        bias: whether to add b.
        identity_start: see `LpDist`; weights start as its do.

    Raises:
        TypeError, ValueError: an argument is out of range; its name is in the message.

    >>> layer, x = SortDist(20, 4, rho=0.3).eval(), torch.rand(5, 20)
    >>> nearby = x + 0.1 * torch.rand(5, 20)
    >>> bool(((layer(nearby) - layer(x)).abs() <= 0.1 + 1e-6).all())
    True
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        rho: float,
        bias: bool = False,
        identity_start: bool = True,
    ) -> None:
        super().__init__(in_features, out_features, bias, identity_start)
        self.rho = check_rho(rho)

    def forward(self, x: Tensor) -> Tensor:
        """Expected distances of x, (B, in_features): (B, out_features); in training, drawn ones."""
        check_tensor("x", x)
        if x.dim() != 2 or x.shape[1] != self.in_features:
            raise ValueError(
                f"x must have {self.in_features} features, (B, {self.in_features}); "
                f"got shape {tuple(x.shape)}"
            )
        expected = self.rho, TERMS
        distance = self._drawn(x) if self.training else sorted_dist(x, self.weight, *expected)
        return distance if self.bias is None else distance + self.bias

    def interval(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """Bounds in evaluation, (B, out_features) each, where inputs lie between two."""
        bounds = sorted_interval(lower, upper, self.weight, self.rho, TERMS)
        return bounds if self.bias is None else (bounds[0] + self.bias, bounds[1] + self.bias)

    def _drawn(self, x: Tensor) -> Tensor:
        """The ℓp distances over the coordinates that are kept, (B, out_features)."""
        groups = x.split(SAMPLES_A_DRAW)
        return torch.cat(
            [
                lp_dist(rows.index_select(1, kept), self.weight.index_select(1, kept), self.p)
                for rows, kept in zip(groups, sent(self._kept(len(groups)), x.device), strict=True)
            ]
        )

    def _kept(self, draws: int) -> Tensor:
        """Coordinates that each draw keeps, in order, equally many: (draws, count)."""
        count = max(1, int((torch.rand(self.in_features, device="cpu") >= self.rho).sum()))
        scores = torch.rand(draws, self.in_features, device="cpu")
        return scores.topk(count).indices.sort().values

    @property
    def roundings(self) -> int:
        """Number of roundings in evaluation between inputs and outputs, the weights c_k included.

        With K terms: a difference, a product and K − 1 sums; of c_k, two for a power, K + 1 for the
        sum of powers, one for their quotient; one for what is below the smallest number; the bias.
        """
        terms = min(TERMS, self.in_features)
        return 2 * terms + 6 + (self.bias is not None)

    def extra_repr(self) -> str:
        """Description of the layer for ``print``."""
        return f"{super().extra_repr()}, rho={self.rho:g}"


class SortNet(DistanceNet):
    """A net of sorted distances: one layer of ℓp distances, then `SortDist` layers.

    A mean shift follows every layer but the last; the first layer drops no pixels. In evaluation at
    p=∞ the logits are 1-Lipschitz in ℓ∞ of the pixels. Training sees other means than evaluation
    does: when it has ended, let `linfkit.recentre` recompute them (Zhang et al., NeurIPS 2022).

    Args:
        in_features: pixels of one image, channels included.
        width: neurons of each hidden layer.
        depth: layers in all, the first and the last included; 2 or more.
        classes: number of logits.
        rho: the probability ρ that a coordinate is dropped, from 0 up to but without 1.
        mean: subtracted from the pixels; one number, or one for each channel.
        scale: the number to divide by: one, so that ε scales with it.
        identity_start: see `LpDist`. Outputs jump by several units when the one far coordinate is
            dropped, until training has brought it closer: short runs do better without.

    Attributes:
        p: the exponent of all layers; setting it sets them all.
        logit_scale: the learned scalar s / scale of the mixed loss (`linfkit.mixed_loss`).

    Raises:
        TypeError, ValueError: an argument is out of range; its name is in the message.

    >>> net = SortNet(64, width=32, depth=3, classes=10, rho=0.3, mean=0.3, scale=0.4)
    >>> net(torch.rand(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """

    def __init__(
        self,
        in_features: int,
        width: int,
        depth: int,
        classes: int,
        rho: float,
        mean: float | Sequence[float] = 0.0,
        scale: float = 1.0,
        identity_start: bool = True,
    ) -> None:
        sizes = check_counts(in_features=in_features, width=width, depth=depth, classes=classes)
        check_count("depth", depth, least=2)
        super().__init__(sizes["in_features"], mean, scale)
        self.keep_arguments(scale, identity_start, **sizes, rho=check_rho(rho))
        self.layers = with_mean_shifts(
            LpDist(in_features, width, identity_start=identity_start),
            *(SortDist(width, width, rho, identity_start=identity_start) for _ in range(depth - 2)),
            SortDist(width, classes, rho, bias=True, identity_start=identity_start),
        )
