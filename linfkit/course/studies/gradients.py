"""Gradients against p: how few coordinates carry one, the reason to train at a small p.

The relaxation of Zhang et al., ICML 2021 (arXiv 2102.05363) and ICLR 2022 (arXiv 2110.06850).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from linfkit._util.devices import on_device_of_model
from linfkit.certification.lipschitz import layer_inputs
from linfkit.certification.margins import certified_radius
from linfkit.course.studies.blowup import at_exponent
from linfkit.nn.layers import DistanceLayer, distance_layers

#: Values of p from the papers' start of training to its end.
EXPONENTS = (8, 20, 60, 200, 1000, math.inf)

#: Adam's ε in every recipe: it moves a weight by about the learning rate, however small its
#: gradient, unless that is smaller than this.
ADAM_EPS = 1e-10


@dataclass(frozen=True)
class LayerGradient:
    """Gradients of one layer's neurons ‖x − w‖_p at one p.

    Attributes:
        name: "layer 1" and so on.
        profile: sizes of a neuron's partial derivatives in its inputs, sorted downwards, each over
            the largest, and averaged over neurons and images, (fan_in,).
        effective: effective number of inputs that carry a gradient: (Σ|gᵢ|)² / Σ gᵢ², averaged; 1
            where a single input carries all, fan_in where all carry the same.
        visible: share of a neuron's inputs whose derivative is above 1 % of the largest, averaged.
        moved: share of the layer's weights whose gradient over the batch is above `ADAM_EPS`, so
            that a step of Adam moves them.
    """

    name: str
    profile: Tensor
    effective: float
    visible: float
    moved: float


@dataclass(frozen=True)
class Gradients:
    """Gradients inside a net at one p.

    Attributes:
        p: the exponent.
        layers: of each distance layer, in order.
        pixels: gradient of each image's margin in its pixels, (B, C, H, W).
    """

    p: float
    layers: Sequence[LayerGradient]
    pixels: Tensor


def gradients_by_exponent(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    exponents: Sequence[float] = EXPONENTS,
    neuron_images: int = 16,
) -> list[Gradients]:
    """Measure how many coordinates carry a gradient, in the same net at several p.

    The partial derivative of ‖x − w‖_p in xᵢ is (|xᵢ − wᵢ| / ‖x − w‖_p)^(p−1), but for its sign: as
    p grows, all but those at the largest difference vanish, and at p=∞ one is left. The gradient in
    the weights is that of one training step on the batch, of the cross-entropy of scaled logits,
    with the batch's own means.

    Args:
        model: a net of `LpDist` layers with a `logit_scale`; it stays as it is.
        x: a batch of training images, (B, C, H, W), in [0, 1]; means are taken anew from them.
        labels: whole numbers, (B,).
        exponents: the values of p.
        neuron_images: of the batch, at which the neurons' own gradients are taken.

    >>> from linfkit.nn.nets import LpDistNet
    >>> net = LpDistNet(4, width=8, depth=2, classes=3)
    >>> rows = gradients_by_exponent(net, torch.rand(9, 1, 2, 2), torch.arange(9) % 3)
    >>> rows[0].layers[0].effective > rows[-1].layers[0].effective == 1.0
    True
    """
    return [_gradients(at_exponent(model, p, x), x, labels, neuron_images) for p in exponents]


@on_device_of_model
def _gradients(net: nn.Module, x: Tensor, labels: Tensor, neuron_images: int) -> Gradients:
    layers = list(distance_layers(net))
    inputs = layer_inputs(net, x[:neuron_images])
    pixels = x.clone().requires_grad_(True)
    margins = 2 * certified_radius(net(pixels), labels)
    (of_pixels,) = torch.autograd.grad(margins.sum(), pixels)
    loss = F.cross_entropy(net.train().logit_scale * net(x), labels)
    of_weights = torch.autograd.grad(loss, [layer.weight for layer in layers])
    rows = [
        _layer_gradient(f"layer {number}", layer, inputs[layer], slope)
        for number, (layer, slope) in enumerate(zip(layers, of_weights, strict=True), start=1)
    ]
    return Gradients(layers[0].p, rows, of_pixels)


@torch.no_grad()
def _layer_gradient(name: str, layer: DistanceLayer, seen: Tensor, slope: Tensor) -> LayerGradient:
    distance = (seen[:, None] - layer.weight).abs()  # (B, O, I)
    relative = distance / distance.amax(dim=2, keepdim=True).clamp(min=1e-30)
    if math.isinf(layer.p):  # on the first coordinate where the maximum is attained
        terms = torch.zeros_like(relative).scatter(2, relative.argmax(dim=2, keepdim=True), 1.0)
    else:
        terms = relative.pow(layer.p - 1)
    return LayerGradient(
        name=name,
        profile=terms.sort(dim=2, descending=True).values.mean(dim=(0, 1)),
        effective=(terms.sum(dim=2).square() / terms.square().sum(dim=2)).mean().item(),
        visible=(terms > 0.01).double().mean().item(),
        moved=(slope.abs() > ADAM_EPS).double().mean().item(),
    )
