"""Small hybrid nets in float64, and images and labels for them."""

import torch
from torch import nn

import linfkit as lk


def hybrid(in_features, width, depth, hidden, classes, **arguments):
    return lk.HybridNet(lk.LpDistNet(in_features, width, depth, classes, **arguments), hidden)


def random_net(seed=0, in_features=6, width=9, depth=3, hidden=7, classes=4, **arguments):
    """A net in evaluation mode, in float64, with biases, and with features around zero."""
    torch.manual_seed(seed)
    net = hybrid(in_features, width, depth, hidden, classes, **arguments).double()
    for shift in net.layers[1::2]:
        shift.momentum = 1.0  # the running means are those of one batch, so no tanh is saturated
    net(torch.rand(20, in_features, dtype=torch.float64))
    nn.init.normal_(net.mlp.hidden.bias)
    nn.init.normal_(net.mlp.last.bias)
    return net.eval()


def random_images(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def labels_of(count, classes=4):
    return torch.arange(count) % classes
