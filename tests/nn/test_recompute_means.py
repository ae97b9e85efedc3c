"""Tested: running means taken anew, and that all else of a net is left as it was. Not tested: what
recentring does for a trained net's accuracy (test_training.py)."""

import math

import pytest
import torch

import linfkit as lk
from linfkit.nn.layers import MeanShift

IMAGES = torch.rand(50, 1, 3, 4, generator=torch.Generator().manual_seed(0))


def shifts(net):
    return [module for module in net.modules() if isinstance(module, MeanShift)]


def close(got, wanted):
    return torch.allclose(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch_size", [50, 32, 7, 1])
@pytest.mark.parametrize(
    "net",
    [lk.SortNet(12, 20, 2, 3, rho=0.3, scale=0.4), lk.LpDistNet(12, 20, 2, 3, scale=0.4)],
    ids=["SortNet", "LpDistNet"],
)
def test_behind_one_layer_the_mean_is_that_of_all_images_whatever_the_batches(net, batch_size):
    net.p = 8
    lk.recentre(net, IMAGES, batch_size)
    layer, shift = net.layers[:2]
    distances = lk.lp_dist(net.normalise(IMAGES), layer.weight, math.inf)
    assert close(shift.running_mean, distances.mean(dim=0))


def test_in_one_batch_all_means_are_those_of_evaluation():
    net = lk.SortNet(12, 20, 4, 3, rho=0.3)
    lk.recentre(net, IMAGES)
    u = net.eval().normalise(IMAGES)
    for layer in net.layers[:-1]:
        u = layer(u)
        assert not isinstance(layer, MeanShift) or u.mean(dim=0).abs().max() < 1e-4


def test_later_means_are_of_what_each_batch_brings_when_it_is_centred_on_itself():
    net = lk.SortNet(12, 20, 3, 3, rho=0.3)
    lk.recentre(net, IMAGES, batch_size=40)
    first, _, second = net.eval().layers[:3]
    brought = []
    for batch in net.normalise(IMAGES).split(40):
        u = first(batch)
        brought.append(second(u - u.mean(dim=0)))
    assert close(net.layers[3].running_mean, torch.cat(brought).mean(dim=0))


def test_images_of_a_convolutional_net_count_the_same_too():
    net, images = lk.LpDistLeNet((1, 16, 16), 8, 3), torch.rand(9, 1, 16, 16)
    lk.recentre(net, images, batch_size=4)
    u = net.eval().normalise(images)
    for layer in net.layers:
        if isinstance(layer, MeanShift):
            break
        u = layer(u)
    assert u.shape == (9, 6, 12, 12)
    assert close(layer.running_mean, u.mean(dim=[0, 2, 3]))


@pytest.mark.parametrize("training", [True, False])
def test_all_else_is_left_as_it_was(training):
    net = lk.SortNet(12, 20, 3, 3, rho=0.3).train(training)
    net.p = 8
    shifts(net)[0].momentum = 0.25
    net.layers[2].train(not training)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    random = torch.get_rng_state()
    lk.recentre(net, IMAGES, batch_size=20)
    assert net.p == 8
    assert [module.training for module in net.modules()] == modes
    assert [shift.momentum for shift in shifts(net)] == [0.25, 0.1]
    assert torch.equal(torch.get_rng_state(), random)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]) != name.endswith("running_mean")
    assert all(parameter.grad is None for parameter in net.parameters())


def test_modes_and_momenta_are_put_back_when_the_net_refuses_the_images():
    net = lk.SortNet(12, 20, 3, 3, rho=0.3).train()
    net.p = 8
    with pytest.raises(ValueError, match=r"^x must be a batch of images with 12 pixels each"):
        lk.recentre(net, torch.rand(5, 1, 4, 4))
    assert net.p == 8
    assert all(module.training for module in net.modules())
    assert [shift.momentum for shift in shifts(net)] == [0.1, 0.1]


def test_it_wants_pixels():
    with pytest.raises(ValueError, match=r"^x must hold pixels in \[0, 1\]"):
        lk.recentre(lk.LpDistNet(12, 20, 2, 3), IMAGES * 255)
