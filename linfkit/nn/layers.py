"""Layers whose neurons are ℓp distances, and the mean shift between them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from linfkit._util.checks import check_count, check_model, check_real, check_tensor
from linfkit._util.distributed import mean_over_processes
from linfkit.functional import check_p, linf_interval, lp_dist

#: One weight of each neuron, far from every input, makes a new layer close to a shift of its input.
IDENTITY_WEIGHT = -10.0


class DistanceLayer(nn.Module):
    """A layer of ℓp-distance neurons u = ‖x − w‖_p + b, with its exponent `p` as an attribute.

    At p=∞ every output is 1-Lipschitz in ℓ∞. `fan_in` is the number of coordinates a neuron sees:
    below p=∞ its Lipschitz constant is at most ``fan_in ** (1 / p)``.
    """

    weight: nn.Parameter
    fan_in: int

    def __init__(self) -> None:
        super().__init__()
        self._p = math.inf

    @property
    def p(self) -> float:
        """The exponent, from 1 up to ``math.inf``; other numbers are refused with a ValueError."""
        return self._p

    @p.setter
    def p(self, p: float) -> None:
        self._p = check_p(p)


class LpDist(DistanceLayer):
    """Layer of ℓp distances between the input and each row of weights, plus a bias.

    u_o = ‖x − w_o‖_p + b_o, with x of shape (B, in_features) and u of shape (B, out_features).

    Weights start as N(0, 1). Where in_features ≤ out_features, ``weight[i, i % in_features]``
    starts at −10, so that the layer begins as a shift of its input (`identity_start`).

    Args:
        in_features: number of inputs.
        out_features: number of neurons.
        bias: add b; off by default, since a mean shift usually follows.
        identity_start: start near a shift of the input if the shape allows it.

    Raises:
        ValueError: in_features or out_features is below 1.

    >>> layer = LpDist(3, 2)
    >>> layer.p = 8
    >>> layer(torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = False, identity_start: bool = True
    ) -> None:
        super().__init__()
        self.in_features = self.fan_in = in_features = check_count("in_features", in_features)
        self.out_features = out_features = check_count("out_features", out_features)
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        if identity_start and in_features <= out_features:
            neurons = torch.arange(out_features)
            with torch.no_grad():
                self.weight[neurons, neurons % in_features] = IDENTITY_WEIGHT

    def forward(self, x: Tensor) -> Tensor:
        """Distances of x, (B, in_features), to the weights: (B, out_features)."""
        distance = lp_dist(x, self.weight, self.p)
        return distance if self.bias is None else distance + self.bias

    def interval(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """Bounds at p=∞, (B, out_features) each, where inputs lie between two, (B, in_features)."""
        bounds = linf_interval(lower, upper, self.weight)
        return bounds if self.bias is None else (bounds[0] + self.bias, bounds[1] + self.bias)

    @property
    def roundings(self) -> int:
        """Number of roundings at p=∞ between inputs and outputs: a difference, and the bias."""
        return 1 if self.bias is None else 2

    def extra_repr(self) -> str:
        """Description of the layer for ``print``."""
        return (
            f"{self.in_features}, {self.out_features}, p={self.p:g}, bias={self.bias is not None}"
        )


class LpDistConv2d(DistanceLayer):
    """Layer of ℓp distances between patches of an image and each kernel, plus a bias.

    The same distance as `LpDist`, over patches of the image; padding adds zeros. Input
    (B, in_channels, H, W), output (B, out_channels, H', W'), where
    H' = ⌊(H + 2·padding − dilation·(kernel_size − 1) − 1) / stride⌋ + 1, and W' likewise.

    Arguments are those of ``torch.nn.Conv2d``, for square kernels: with `groups`, the channels are
    cut into as many equal runs, and the kernels of one run see the inputs of that run alone:
    ``fan_in = in_channels // groups * kernel_size**2``.

    The identity start sets the kernel's centre tap where in_channels ≤ out_channels, the kernels of
    a group taking its channels in turn. The patches are written out and kept for the gradient: at
    stride 1, that is kernel_size² times the memory of the input.

    Raises:
        ValueError: a number of channels, the kernel size, the stride, the dilation or the number of
            groups is below 1, the padding below 0, or groups do not divide the channels.

    >>> layer = LpDistConv2d(2, 4, kernel_size=5, padding=2, groups=2)
    >>> layer(torch.zeros(3, 2, 8, 8)).shape
    torch.Size([3, 4, 8, 8])
    >>> layer.fan_in
    25
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        identity_start: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels = check_count("in_channels", in_channels)
        self.out_channels = out_channels = check_count("out_channels", out_channels)
        self.kernel_size = kernel_size = check_count("kernel_size", kernel_size)
        self.stride = check_count("stride", stride)
        self.padding = check_count("padding", padding, least=0)
        self.dilation = check_count("dilation", dilation)
        self.groups = groups = check_count("groups", groups)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"groups must divide in_channels={in_channels} and out_channels={out_channels}; "
                f"got {groups}"
            )
        group_channels = in_channels // groups
        self.fan_in = group_channels * kernel_size**2
        self.weight = nn.Parameter(
            torch.randn(out_channels, group_channels, kernel_size, kernel_size)
        )
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        if identity_start and in_channels <= out_channels:
            kernels, centre = torch.arange(out_channels), kernel_size // 2
            with torch.no_grad():
                self.weight[kernels, kernels % group_channels, centre, centre] = IDENTITY_WEIGHT

    def forward(self, x: Tensor) -> Tensor:
        """Distances of the patches of x, (B, in_channels, H, W): (B, out_channels, H', W')."""
        patches = self._patches(x)
        pairs = self._groups(patches)
        return self._images([lp_dist(rows, kernels, self.p) for rows, kernels in pairs], patches)

    def interval(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """Bounds at p=∞, (B, out_channels, H', W') each, where images lie between two."""
        patches = self._patches(lower)
        bounds = [linf_interval(*box) for box in self._groups(patches, self._patches(upper))]
        low, high = (self._images(side, patches) for side in zip(*bounds, strict=True))
        return low, high

    def _groups(self, *patches: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Patches as rows, (B·H'·W', fan_in), and the kernels that see them, of each group."""
        rows = (each.flatten(1, 3).flatten(2) for each in patches)
        return zip(*rows, self.weight.flatten(1).chunk(self.groups), strict=True)

    def _images(self, distances: Sequence[Tensor], patches: Tensor) -> Tensor:
        """Distances of each group, (B·H'·W', kernels), as images, with the bias."""
        rows = torch.cat(list(distances), dim=1)
        images = rows.unflatten(0, patches.shape[1:4]).permute(0, 3, 1, 2)
        return images if self.bias is None else images + self.bias[:, None, None]

    def _patches(self, x: Tensor) -> Tensor:
        """Patches that the kernels see: (groups, B, H', W', in_channels // groups, k, k)."""
        check_tensor("x", x)
        if x.dim() != 4 or x.shape[0] == 0 or x.shape[1] != self.in_channels:
            raise ValueError(
                f"x must be images of shape (B, {self.in_channels}, H, W); got {tuple(x.shape)}"
            )
        extent = self.dilation * (self.kernel_size - 1) + 1
        if min(x.shape[2:]) + 2 * self.padding < extent:
            raise ValueError(
                f"x must be at least kernel_size={self.kernel_size} high and wide with "
                f"padding={self.padding} and dilation={self.dilation}; got {tuple(x.shape)}"
            )
        padded = F.pad(x, [self.padding] * 4)
        windows = padded.unfold(2, extent, self.stride).unfold(3, extent, self.stride)
        taps = windows[..., :: self.dilation, :: self.dilation]  # (B, C, H', W', k, k), a view
        # one copy, where torch.nn.functional.unfold and a transposition would make two
        return taps.unflatten(1, (self.groups, -1)).permute(1, 0, 3, 4, 2, 5, 6).contiguous()

    roundings = LpDist.roundings

    def extra_repr(self) -> str:
        """Description of the layer for ``print``."""
        spread = f", dilation={self.dilation}" if self.dilation > 1 else ""
        split = f", groups={self.groups}" if self.groups > 1 else ""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}{spread}{split}, p={self.p:g}"
        )


class MeanShift(nn.Module):
    """Subtract each feature's mean: the batch's in training, the running one in evaluation.

    A batch normalisation without the division: a shift leaves the Lipschitz constant alone. The
    gradient flows through the batch mean. Features are the second dimension of the input. Where
    several processes train, the batch is that of all of them.

    Args:
        features: number of features (or channels).
        momentum: weight of the newest batch in the running mean, from 0 to 1.

    Raises:
        TypeError, ValueError: an argument is out of range; its name is in the message.

    >>> shift = MeanShift(2)
    >>> shift(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    tensor([[-1., -2.],
            [ 1.,  2.]])
    """

    running_mean: Tensor
    roundings = 1  # a difference

    def __init__(self, features: int, momentum: float = 0.1) -> None:
        super().__init__()
        features = check_count("features", features)
        wanted = "a number from 0 to 1"
        self.momentum = check_real("momentum", momentum, wanted, lambda m: 0 <= m <= 1)
        self.register_buffer("running_mean", torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        """Subtract the mean of each feature of x, (B, features, ...); the shape stays."""
        check_tensor("x", x)
        features = self.running_mean.numel()
        if x.dim() < 2 or x.shape[1] != features or not x.numel():
            raise ValueError(
                f"x must have {features} features, (B, {features}, ...), and not be empty; "
                f"got shape {tuple(x.shape)}"
            )
        if self.training:
            mean = mean_over_processes(x.mean(dim=[0, *range(2, x.dim())]), rows=x.shape[0])
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
        else:
            mean = self.running_mean
        return x - mean.view(-1, *[1] * (x.dim() - 2))

    def extra_repr(self) -> str:
        """Description of the layer for ``print``."""
        return f"{self.running_mean.numel()}, momentum={self.momentum}"


def distance_layers(module: nn.Module) -> Iterator[DistanceLayer]:
    """The ℓp-distance layers inside a module, in the order in which they were added.

    >>> [layer.out_features for layer in distance_layers(nn.Sequential(LpDist(2, 3), LpDist(3, 1)))]
    [3, 1]
    """
    check_model("model", module)
    return (layer for layer in module.modules() if isinstance(layer, DistanceLayer))


def set_p(module: nn.Module, p: float) -> None:
    """Set the exponent of every ℓp-distance layer inside a module.

    >>> net = nn.Sequential(LpDist(2, 3), LpDist(3, 1))
    >>> set_p(net, 8)
    >>> [layer.p for layer in distance_layers(net)]
    [8.0, 8.0]
    """
    for layer in distance_layers(module):
        layer.p = p
