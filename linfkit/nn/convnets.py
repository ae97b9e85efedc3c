"""Convolutional nets of ℓp distances: LeNet, AlexNet, VGG and CNN7, as the papers build them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from torch import nn

from linfkit._util.checks import check_count
from linfkit.nn.layers import LpDist, LpDistConv2d, MeanShift
from linfkit.nn.nets import DistanceNet, with_mean_shifts

Shape = tuple[int, int, int]  # channels, height, width


@dataclass(frozen=True)
class Conv:
    """Convolution of distances over all channels, followed by a mean shift."""

    out_channels: int
    kernel_size: int
    stride: int = 1
    padding: int = 0


@dataclass(frozen=True)
class Pool:
    """Maximum over windows of each channel: 1-Lipschitz in ℓ∞."""

    kernel_size: int
    stride: int
    padding = 0


class LpDistConvNet(DistanceNet):
    """Convolutions of ℓp distances and max-pooling, then layers of distances.

    The stages of a subclass, then layers of `features`, `hidden` and `classes` distances, a mean
    shift following every layer of distances but the last. Logits are f(x) = −scale · u, where u is
    the last layer's output on the normalised input; as max-pooling and flattening do not lengthen
    anything in ℓ∞ either, they are 1-Lipschitz in ℓ∞ of the *pixels* at p=∞.

    ``layers[:-1]`` is a feature map for a hybrid net: (B, in_features), the normalised images as
    rows, to (B, hidden), 1-Lipschitz in ℓ∞.

    Args:
        image_shape: (C, H, W): channels, height and width of an image.
        hidden: neurons of the layer before the last.
        classes: number of logits.
        mean: subtracted from the pixels; one number, or one for each channel.
        scale: the number to divide by: one, so that ε scales with it.
        identity_start: see `LpDist` and `LpDistConv2d`.

    Attributes:
        stages: convolutions and pools, in order; of the class.
        features: neurons of the first layer after them; of the class. None: that layer is left out.
        p: the exponent of all layers; setting it sets them all.
        logit_scale: the learned scalar s / scale of the mixed loss (`linfkit.mixed_loss`).

    Raises:
        TypeError, ValueError: an argument is out of range; its name is in the message.

    >>> import torch
    >>> class Small(LpDistConvNet):
    ...     stages, features = (Conv(4, 3, stride=2), Pool(3, stride=1)), 12
    >>> net = Small((1, 8, 8), hidden=16, classes=10, mean=0.3, scale=0.4)
    >>> net(torch.rand(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """

    stages: tuple[Conv | Pool, ...]
    features: int | None

    def __init__(
        self,
        image_shape: Sequence[int],
        hidden: int = 512,
        classes: int = 10,
        mean: float | Sequence[float] = 0.0,
        scale: float = 1.0,
        identity_start: bool = True,
    ) -> None:
        shape = _check_shape(image_shape)
        hidden, classes = check_count("hidden", hidden), check_count("classes", classes)
        super().__init__(math.prod(shape), mean, scale, channels=shape[0])
        sizes = {"image_shape": list(shape), "hidden": hidden, "classes": classes}
        self.keep_arguments(scale, identity_start, **sizes)
        self.layers = nn.Sequential(nn.Unflatten(1, shape))
        for stage in self.stages:
            channels, *sides = shape
            window = stage.kernel_size, stage.stride, stage.padding
            if isinstance(stage, Pool):
                self.layers.append(nn.MaxPool2d(*window))
            else:
                in_and_out = channels, stage.out_channels
                conv = LpDistConv2d(*in_and_out, *window, identity_start=identity_start)
                channels = stage.out_channels
                self.layers.extend([conv, MeanShift(channels)])
            height, width = (
                (side + 2 * stage.padding - stage.kernel_size) // stage.stride + 1 for side in sides
            )
            shape = channels, height, width
            if min(shape) < 1:
                raise ValueError(
                    f"image_shape must be large enough for {type(self).__name__}, whose {stage} "
                    f"would have no output; got {tuple(image_shape)}"
                )
        rows = [] if self.features is None else [self.features]
        counts = [math.prod(shape), *rows, hidden]
        after_stages = with_mean_shifts(
            *(LpDist(i, o, identity_start=identity_start) for i, o in pairwise(counts)),
            LpDist(hidden, classes, bias=True, identity_start=identity_start),
        )
        self.layers.append(nn.Flatten()).extend(after_stages)


class LpDistLeNet(LpDistConvNet):
    """LeNet: two convolutions of 5×5, each followed by 2×2 pooling; 120; hidden; classes.

    Of a 32×32 image the stages leave 16 × 5 × 5, of a 28×28 one 16 × 4 × 4. Li et al., 2021, take
    512 hidden neurons, and 1024 where a hybrid's MLP follows.

    >>> import torch
    >>> net = LpDistLeNet((1, 28, 28), mean=0.1307, scale=0.3081)
    >>> net(torch.rand(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    stages = (Conv(6, 5), Pool(2, 2), Conv(16, 5), Pool(2, 2))
    features = 120


class LpDistAlexNet(LpDistConvNet):
    """AlexNet for small images: five convolutions, the first two pooled; 1024; hidden; classes.

    Of a 32×32 image the stages leave 256 × 3 × 3.

    >>> net = LpDistAlexNet((3, 32, 32), hidden=16)
    >>> [layer.fan_in for layer in net.layers if isinstance(layer, LpDist)]
    [2304, 1024, 16]
    """

    stages = (
        Conv(96, 7, stride=2, padding=2),
        Pool(3, 2),
        Conv(256, 5, padding=2),
        Pool(3, 2),
        Conv(384, 3, padding=1),
        Conv(384, 3, padding=1),
        Conv(256, 3, padding=1),
    )
    features = 1024


class LpDistVGG(LpDistConvNet):
    """VGG: runs of 3×3 convolutions, pooled between them; 256; hidden; classes.

    3 of 64 channels, 3 of 128, 5 of 256, 5 of 512 and 5 of 512. Of a 32×32 image the stages leave
    512 × 2 × 2.

    >>> net = LpDistVGG((3, 32, 32), hidden=16)
    >>> sum(isinstance(layer, LpDistConv2d) for layer in net.layers)
    21
    """

    stages = (
        *[Conv(64, 3, padding=1)] * 3,
        Pool(2, 2),
        *[Conv(128, 3, padding=1)] * 3,
        Pool(2, 2),
        *[Conv(256, 3, padding=1)] * 5,
        Pool(2, 2),
        *[Conv(512, 3, padding=1)] * 5,
        Pool(2, 2),
        *[Conv(512, 3, padding=1)] * 5,
    )
    features = 256


class LpDistCNN7(LpDistConvNet):
    """CNN7: five 3×3 convolutions, none pooled, the third with stride 2; hidden; classes.

    The first two convolutions have as many kernels as `filters` says, the others twice as many. Of
    a 32×32 image they leave 2 · filters × 16 × 16. Zhang et al., ICML 2021, and Li et al., 2021,
    take 96 filters on CIFAR-10, the latter 128 on CIFAR-100, and 1024 hidden neurons.

    Args:
        image_shape, hidden, classes, mean, scale, identity_start: see `LpDistConvNet`.
        filters: kernels of the first convolution.

    >>> net = LpDistCNN7((3, 32, 32), hidden=16, filters=8)
    >>> [layer.fan_in for layer in net.layers if isinstance(layer, (LpDist, LpDistConv2d))]
    [27, 72, 72, 144, 144, 4096, 16]
    """

    features = None

    def __init__(
        self,
        image_shape: Sequence[int],
        hidden: int = 512,
        classes: int = 10,
        mean: float | Sequence[float] = 0.0,
        scale: float = 1.0,
        identity_start: bool = True,
        filters: int = 64,
    ) -> None:
        filters = check_count("filters", filters)
        narrow, wide = Conv(filters, 3, padding=1), Conv(2 * filters, 3, padding=1)
        self.stages = (narrow, narrow, replace(wide, stride=2), wide, wide)
        super().__init__(image_shape, hidden, classes, mean, scale, identity_start)
        self.arguments = {**(self.arguments or {}), "filters": filters}


def _check_shape(image_shape: Sequence[int]) -> Shape:
    wanted = "image_shape must be (channels, height, width)"
    if isinstance(image_shape, str) or not isinstance(image_shape, Sequence):
        raise TypeError(f"{wanted}; got {image_shape!r}")
    if len(image_shape) != 3:
        raise ValueError(f"{wanted}; got {image_shape!r}")
    channels, height, width = (
        check_count(f"image_shape: {name}", count)
        for name, count in zip(("channels", "height", "width"), image_shape, strict=True)
    )
    return channels, height, width
