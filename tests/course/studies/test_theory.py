"""Separation, the net built from it, conventional nets under interval bounds; and their figures.

Not here: what any of them certifies on real data; the notebook measures and asserts that.
"""

import math

import pytest
import torch
from torch import nn

import linfkit as lk
from linfkit.course import figures
from linfkit.course.studies.theory import (
    ReLUNet,
    box_after,
    box_shares,
    measure_separation,
    separating_net,
    train_by_intervals,
)

#: Six images of two pixels: the nearest two of different classes are 1/4 apart, in the first pixel.
IMAGES = torch.tensor(
    [[0.0, 0.0], [0.25, 0.125], [0.5, 0.0], [0.5, 0.875], [1.0, 0.5], [0.0, 1.0]]
).view(6, 1, 1, 2)
LABELS = torch.tensor([0, 1, 0, 2, 1, 2])
SEPARATION = measure_separation(IMAGES, LABELS)
FOUND = (lk.Certificates(torch.tensor([0.2, 0.1])), lk.Certificates(torch.tensor([0.1, -0.1])))
SHARES = {"built": {0.1: [0.9, 1.0], 0.2: [0.8, 0.9]}, "MLP": {0.1: [5.0, 90.0], 0.2: [6.0, 70.0]}}

#: Each public figure of the theorem, by the name it gives itself.
FIGURES = {
    "closest-pair": lambda: figures.closest_pair(SEPARATION, label=2),
    "distance-between-classes": lambda: figures.distance_between_classes(SEPARATION),
    "certified-at-half-r": lambda: figures.certified_at_half_r({"built": FOUND}, r=0.3),
    "box-by-layer": lambda: figures.box_by_layer(SHARES, eps=0.2),
}


def distances(x, images=IMAGES):
    return lk.lp_dist(x.flatten(1), images.flatten(1), math.inf)


@pytest.fixture(scope="module")
def some():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(60, 1, 3, 3, generator=generator)
    return images, torch.randint(0, 4, (60,), generator=generator)


class TestSeparation:
    @pytest.mark.parametrize("block", [1, 7, 2048])
    def test_it_is_the_smallest_distance_between_every_two_classes(self, some, block):
        images, labels = some
        separation = measure_separation(images, labels, block)
        between = distances(images, images)
        for a in range(4):
            for b in set(range(4)) - {a}:
                wanted = between[labels == a][:, labels == b].min()
                assert separation.distance[a, b] == wanted
                one, other = separation.pair[a, b]
                assert (labels[one], labels[other]) == (a, b)
                assert between[one, other] == wanted
        assert separation.distance.diagonal().isinf().all()
        assert separation.r == between[labels[:, None] != labels].min()

    def test_the_nearest_class_has_the_nearest_image(self):
        assert SEPARATION.r == 0.25
        assert [SEPARATION.nearest_class(label) for label in range(3)] == [1, 0, 1]

    def test_a_label_that_no_image_has_is_far_from_all(self):
        distance = measure_separation(IMAGES, 2 * LABELS).distance
        assert distance[[1, 3]].isinf().all()
        assert distance[0, 2] == 0.25

    @pytest.mark.parametrize("labels", [torch.zeros(6).long(), torch.arange(6) - 1])
    def test_one_class_and_negative_labels_are_refused(self, labels):
        with pytest.raises(ValueError, match=r"^labels must be .* two classes; got values from "):
            measure_separation(IMAGES, labels)
        with pytest.raises(ValueError, match=r"^labels must be .* two classes; got values from "):
            separating_net(IMAGES, labels, 6)


class TestSeparatingNet:
    def test_a_logit_is_the_distance_to_the_nearest_image_of_another_class(self, some):
        images, labels = some
        net, x = separating_net(images, labels, classes=4), torch.rand(50, 1, 3, 3)
        others = labels != torch.arange(4)[:, None]
        wanted = distances(x, images)[:, None].where(others, math.inf).amin(dim=2)
        torch.testing.assert_close(net(x), wanted, atol=1e-6, rtol=0)

    def test_an_image_is_certified_at_half_the_distance_to_the_nearest_of_another_class(self, some):
        images, labels = some
        certificates = lk.certify(separating_net(images, labels, 4), images, labels)
        assert certificates.rounding is not None, "linfkit itself vouches for this net"
        between = distances(images, images).where(labels[:, None] != labels, math.inf)
        wanted = between.amin(dim=1) / 2
        assert (certificates.radius <= wanted).all()
        torch.testing.assert_close(certificates.radius, wanted, atol=1e-5, rtol=0)

    def test_so_all_at_nearly_half_of_r_and_the_nearest_pair_no_further(self, some):
        images, labels = some
        half = measure_separation(images, labels).r / 2
        certificates = lk.certify(separating_net(images, labels, 4), images, labels)
        assert certificates.accuracy(half - 1e-5) == 1
        assert certificates.accuracy(half) < 1

    def test_other_images_are_given_the_class_of_the_nearest(self, some):
        images, labels = some
        x = torch.rand(50, 1, 3, 3)
        nearest = labels[distances(x, images).argmin(dim=1)]
        assert torch.equal(separating_net(images, labels, 4)(x).argmax(dim=1), nearest)

    def test_of_one_image_with_two_labels_nothing_is_certified(self):
        images, labels = torch.full((2, 1, 2, 2), 0.5), torch.tensor([0, 1])
        assert measure_separation(images, labels).r == 0
        assert lk.certify(separating_net(images, labels, 2), images, labels).accuracy(0) == 0

    def test_it_has_a_neuron_for_each_image_in_its_dtype(self):
        net = separating_net(IMAGES.double(), LABELS, classes=5)
        assert [tuple(layer.weight.shape) for layer in net.layers[::2]] == [(6, 2), (5, 6)]
        assert net.layers[0].weight.dtype == torch.float64
        assert not net.training

    def test_a_class_too_few_is_refused(self):
        with pytest.raises(
            ValueError, match=r"^classes must be more than 2, the last label; got 2"
        ):
            separating_net(IMAGES, LABELS, classes=2)


class TestBoxes:
    @pytest.mark.parametrize("kind", [nn.Linear, lk.LpDist])
    def test_what_comes_out_of_a_box_lies_within_its_bounds(self, kind):
        torch.manual_seed(0)
        layer = kind(4, 6, bias=True)
        lower = torch.randn(1, 4)
        upper = lower + torch.rand(1, 4)
        low, high = box_after(layer, lower, upper)
        corners = torch.cartesian_prod(*[torch.tensor([0.0, 0.5, 1.0])] * 4)
        seen = layer(lower + corners * (upper - lower))
        assert (low - 1e-6 <= seen).all()
        assert (seen <= high + 1e-6).all()
        torch.testing.assert_close(high, seen.amax(dim=0, keepdim=True))  # attained at a corner

    def test_other_layers_of_distances_are_refused(self):
        with pytest.raises(TypeError, match=r"^layer must be .*; got LpDistConv2d$"):
            box_after(lk.LpDistConv2d(1, 1, 2), torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2))

    def test_boxes_of_distances_are_as_wide_as_those_of_pixels(self, some):
        images = 0.4 + 0.2 * some[0]  # no box is cut off
        net = lk.LpDistNet(9, width=8, depth=1, classes=3, mean=0.2, scale=0.3).eval()
        spread = net(images).std(dim=0).mean().item()
        assert box_shares(net, images, 0.125) == pytest.approx([0.125 / spread], rel=1e-4)

    def test_linear_ones_widen_by_their_weights_whatever_their_scale(self, some):
        images = 0.4 + 0.2 * some[0]
        net = ReLUNet(9, width=5, depth=3, classes=2)
        for part in net.parameters():
            nn.init.constant_(part, 0.5)  # all is positive, and every unit sees the sum of pixels
        spread = images.flatten(1).sum(dim=1).std().item()
        assert box_shares(net, images, 0.125) == pytest.approx([9 * 0.125 / spread] * 3, rel=1e-4)
        net.hidden[0].weight.data *= 100
        net.hidden[0].bias.data *= 100
        assert box_shares(net, images, 0.125) == pytest.approx([9 * 0.125 / spread] * 3, rel=1e-3)

    def test_signs_that_cancel_in_values_add_up_in_boxes(self, some):
        images = 0.4 + 0.2 * some[0]
        net = ReLUNet(9, width=5, depth=2, classes=2)
        for part in net.parameters():
            nn.init.constant_(part, 0.5)
        net.last.weight.data[:, 0] = -1.5  # against the other four: a quarter is left of the sum
        first, last = box_shares(net, images, 0.125)
        assert last == pytest.approx(first * (4 * 0.5 + 1.5) / (4 * 0.5 - 1.5), rel=1e-4)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return ReLUNet(9, width=12, depth=3, classes=4)


class TestReLUNet:
    def test_without_a_perturbation_the_worst_logits_are_the_differences(self, net, some):
        x, labels = some
        logits = net(x)
        differences = logits - logits.gather(1, labels[:, None])
        torch.testing.assert_close(net.worst_logits(x, labels, 0.0), differences)

    @pytest.mark.parametrize("eps", [0.02, 0.3])
    def test_no_image_within_eps_is_worse(self, net, some, eps):
        x, labels = some
        worst = net.worst_logits(x, labels, eps)
        for seed in range(50):
            torch.manual_seed(seed)
            moved = (x + eps * (2 * torch.rand_like(x) - 1).sign()).clamp(0, 1)
            logits = net(moved)
            assert (logits - logits.gather(1, labels[:, None]) <= worst + 1e-5).all()

    def test_the_box_ends_where_pixels_do(self, net):
        black, labels = torch.zeros(1, 1, 3, 3), torch.tensor([0])
        at_half = net.worst_logits(black + 0.5, labels, 0.5)
        torch.testing.assert_close(net.worst_logits(black, labels, 1.0), at_half)

    def test_the_radius_is_the_largest_eps_that_the_bounds_certify(self, net, some):
        x, _ = some
        labels = net(x).argmax(dim=1)
        found = net.certify(x, labels, batch_size=7)
        assert found.clean_accuracy == 1
        assert (found.radius > 0).all()

        def certified(eps):
            worst = net.worst_logits(x, labels, eps).scatter(1, labels[:, None], -1.0)
            return worst.amax(dim=1) < 0

        assert certified(found.radius).all()
        assert not certified(found.radius + 2**-19).any()

    def test_where_it_is_wrong_the_radius_is_negative(self, net, some):
        x, _ = some
        found = net.certify(x, (net(x).argmax(dim=1) + 1) % 4)
        assert found.clean_accuracy == 0
        assert (found.radius < 0).all()

    def test_it_has_a_hidden_layer(self):
        with pytest.raises(ValueError, match=r"^depth must be at least 2; got 1$"):
            ReLUNet(9, width=12, depth=1, classes=4)


LITTLE = dict(classes=2, width=16, epochs=40, batch_size=20, lr=0.02)


class TestTraining:
    def test_by_intervals_more_is_certified_at_its_eps_than_without(self, some):
        images, _ = some
        one, other = (images[:, 0, 0, 0] > 0.5), (images[:, 0, 1, 1] > 0.5)
        labels = (one != other).long()
        by_intervals, as_usual = (
            train_by_intervals(images, labels, eps=eps, seed=1, **LITTLE).certify(images, labels)
            for eps in (0.05, 0.0)
        )
        assert by_intervals.clean_accuracy > 0.6
        assert by_intervals.accuracy(0.05) > as_usual.accuracy(0.05) + 0.05

    def test_a_seed_gives_one_net_and_leaves_the_random_numbers_of_others_alone(self):
        torch.manual_seed(5)
        wanted = torch.rand(3)
        torch.manual_seed(5)
        one, same, other = (
            train_by_intervals(IMAGES, LABELS % 2, eps=0.1, seed=seed, **LITTLE)
            for seed in (0, 0, 1)
        )
        assert torch.equal(torch.rand(3), wanted)
        assert torch.equal(one.last.weight, same.last.weight)
        assert not torch.equal(one.last.weight, other.last.weight)


class TestFigures:
    def test_a_pair_stands_beside_its_middle_and_its_difference(self):
        (panels,) = FIGURES["closest-pair"]().data
        assert panels.z[0] == pytest.approx(
            [0.5, 0.875, math.nan, 0.75, 0.6875, math.nan, 1, 0.5, math.nan, 0.5, 0.375],
            abs=1e-3,
            nan_ok=True,
        )
        title = FIGURES["closest-pair"]().layout.title.text
        assert title == "A 2 and the nearest other, a 1: 0.500 apart"

    def test_the_table_names_r_and_shows_no_class_beside_itself(self):
        figure = FIGURES["distance-between-classes"]()
        assert figure.layout.title.text.endswith("R = 0.250")
        (table,) = figure.data
        assert table.z[0] == pytest.approx([math.nan, 0.25, 0.875], nan_ok=True)

    def test_a_net_has_a_line_for_training_and_one_for_test_images(self):
        training, test = FIGURES["certified-at-half-r"]().data
        assert (training.name, test.name) == ("built, training", "built, test")
        assert (training.y[0], test.y[0]) == (1.0, 0.5)
        assert training.x[-1] == pytest.approx(0.18)
        assert training.y[-1] == 0.5

    def test_the_axis_stays_while_eps_slides(self):
        first, second = (figures.box_by_layer(SHARES, eps) for eps in (0.1, 0.2))
        assert first.layout.yaxis.range == second.layout.yaxis.range
        assert second.layout.title.text == "ε=0.2: boxes of up to 70 times the spread"
        assert [trace.y for trace in second.data] == [(0.8, 0.9), (6.0, 70.0)]
