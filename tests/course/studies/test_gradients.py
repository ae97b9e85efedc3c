"""Gradients at several p: of neurons, of a training step, of the margin; and their figures.

Not here: how sparse those of a trained net are; the notebook measures and asserts that.
"""

import math

import pytest
import torch

import linfkit as lk
from linfkit.course import figures
from linfkit.course.studies.gradients import Gradients, LayerGradient, gradients_by_exponent

PIXELS = torch.tensor([[[[0.5, -1.0], [0.001, 0.0]]]])
ROWS = [
    Gradients(
        8.0,
        [
            LayerGradient("layer 1", torch.tensor([1.0, 0.5, 0.1, 0.0]), 3.0, 0.75, 0.9),
            LayerGradient("layer 2", torch.tensor([1.0, 0.2]), 1.5, 1.0, 1.0),
        ],
        PIXELS,
    ),
    Gradients(
        math.inf,
        [
            LayerGradient("layer 1", torch.tensor([1.0, 0.0, 0.0, 0.0]), 1.0, 0.25, 0.1),
            LayerGradient("layer 2", torch.tensor([1.0, 0.0]), 1.0, 0.5, 0.2),
        ],
        torch.zeros_like(PIXELS),
    ),
]
IMAGE = torch.rand(1, 1, 2, 2)

#: Each public figure of gradients, by the name it gives itself.
FIGURES = {
    "gradient-profile": lambda: figures.gradient_profile(ROWS, p=8),
    "gradient-of-margin": lambda: figures.gradient_of_margin(ROWS, IMAGE, p=8, image=0),
    "gradients-against-p": lambda: figures.gradients_against_p(ROWS),
}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return lk.LpDistNet(9, width=12, depth=3, classes=4, mean=0.5, scale=0.3).eval()


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(20, 1, 3, 3, generator=generator), torch.arange(20) % 4


def test_at_infinity_one_input_carries_all_and_at_one_all_carry_the_same(net, batch):
    at_one, at_infinity = gradients_by_exponent(net, *batch, exponents=[1, math.inf])
    for layer, fan_in in zip(at_one.layers, (9, 12, 12), strict=True):
        assert layer.effective == pytest.approx(fan_in)
        assert layer.visible == 1
        assert torch.equal(layer.profile, torch.ones(fan_in))
    for layer, fan_in in zip(at_infinity.layers, (9, 12, 12), strict=True):
        assert layer.effective == 1
        assert layer.visible == pytest.approx(1 / fan_in)
        assert layer.profile.tolist() == [1.0] + [0.0] * (fan_in - 1)


def test_a_profile_is_that_of_the_operators_own_gradient(net, batch):
    x, labels = batch
    (row,) = gradients_by_exponent(net, x, labels, exponents=[8], neuron_images=5)
    inside, weight = net.normalise(x[:5]), net.layers[0].weight.detach()
    slopes = torch.stack(
        [
            torch.autograd.functional.jacobian(lambda x: lk.lp_dist(x[None], weight, 8)[0], one)
            for one in inside
        ]
    ).abs()
    relative = (slopes / slopes.amax(dim=2, keepdim=True)).sort(dim=2, descending=True).values
    torch.testing.assert_close(
        row.layers[0].profile, relative.mean(dim=(0, 1)), atol=1e-5, rtol=1e-4
    )
    effective = slopes.sum(dim=2) ** 2 / slopes.square().sum(dim=2)
    assert row.layers[0].effective == pytest.approx(effective.mean().item(), rel=1e-4)
    assert row.layers[0].visible == pytest.approx((relative > 0.01).double().mean().item())


def test_fewer_inputs_and_weights_are_reached_as_p_grows(net, batch):
    rows = gradients_by_exponent(net, *batch, exponents=[2, 8, math.inf])
    assert [row.p for row in rows] == [2, 8, math.inf]
    for layers in zip(*(row.layers for row in rows), strict=True):
        assert [layer.name for layer in layers] == [layers[0].name] * 3
        for measure in ("effective", "visible", "moved"):
            values = [getattr(layer, measure) for layer in layers]
            assert values == sorted(values, reverse=True)
            assert values[0] > values[2]


def test_the_margins_gradient_is_that_of_its_own_image(net, batch):
    x, labels = batch
    (row,) = gradients_by_exponent(net, x, labels, exponents=[math.inf])
    assert row.pixels.shape == x.shape
    # the label's logit and its rival's: a pixel each, with a slope of 1 in pixels, or the same one
    sizes = row.pixels.flatten(1).abs()
    assert ((sizes > 1e-6).sum(dim=1) <= 2).all()
    assert (sizes.sum(dim=1) <= 2 + 1e-5).all()
    assert sizes.any()


def test_the_net_stays_as_it_was(net, batch):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    gradients_by_exponent(net, *batch, exponents=[8])
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.p == math.inf
    assert not net.training
    assert all(parameter.grad is None for parameter in net.parameters())


class TestFigures:
    def test_a_profile_is_drawn_down_to_a_millionth(self):
        first, second = FIGURES["gradient-profile"]().data
        assert first.x == (1, 2, 3, 4)
        assert first.y == pytest.approx((1.0, 0.5, 0.1, 1e-6))
        assert second.x == (1, 2)

    def test_long_profiles_are_drawn_at_some_ranks_with_the_first_and_last(self):
        long = LayerGradient("layer 1", torch.linspace(1, 0.1, 784), 9.0, 1.0, 1.0)
        (line,) = figures.gradient_profile([Gradients(8.0, [long], PIXELS)], p=8).data
        assert line.x[:3] == (1, 2, 3)
        assert line.x[-1] == 784
        assert len(line.x) < 50

    def test_pixels_that_carry_the_gradient_are_counted(self):
        figure = FIGURES["gradient-of-margin"]()
        assert figure.layout.title.text.startswith("p=8: 2 of 4 pixels")
        image, slope = figure.data
        assert image.z == pytest.approx(IMAGE[0, 0].numpy(), abs=1e-3)
        assert slope.z == pytest.approx(PIXELS[0, 0].numpy(), abs=1e-3)

    def test_a_margin_without_a_gradient_is_drawn_too(self):
        figure = figures.gradient_of_margin(ROWS, IMAGE, p=math.inf, image=0)
        assert figure.layout.title.text.startswith("p=∞: 0 of 4 pixels")
        assert not figure.data[1].z.any()

    def test_a_layer_has_a_line_above_and_below(self):
        above, below, *others = FIGURES["gradients-against-p"]().data
        assert (above.x, above.y) == (("8", "∞"), (3.0, 1.0))
        assert (below.x, below.y) == (("8", "∞"), (0.9, 0.1))
        assert above.yaxis == "y2"
        assert len(others) == 2

    def test_the_axes_stay_while_p_slides(self):
        first, second = (figures.gradient_profile(ROWS, p).layout for p in (8.0, math.inf))
        assert first.xaxis.range == second.xaxis.range
        assert first.yaxis.range == second.yaxis.range
