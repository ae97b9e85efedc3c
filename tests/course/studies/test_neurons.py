"""The plane: level sets, gradients and regions are what their formulas say; figures show them.

Not here: how the figures look.
"""

import math

import pytest
import torch

import linfkit as lk
from linfkit.course import figures
from linfkit.course.explorer import Explorer
from linfkit.course.studies import neurons
from linfkit.course.studies.blowup import at_exponent

EXPONENTS = [1, 1.5, 2, 8, 64, math.inf]
W = torch.tensor([0.45, 0.5], dtype=torch.float64)

REGIONS = neurons.Regions(
    p=math.inf,
    classes=torch.tensor([[0, 0], [0, 1]]),  # class 1 around (0.75, 0.75)
    points=torch.tensor([[0.25, 0.5], [0.75, 0.6]]),
    labels=torch.tensor([0, 1]),
    radius=torch.tensor([0.2, -0.1]),
    distance=torch.tensor([0.5, 0.05]),
)
LINE = neurons.Line(
    start=torch.zeros(2),
    direction=torch.ones(2),
    sizes=torch.tensor([0.0, 0.1, 0.2]),
    label=0,
    logits=torch.tensor([[0.3, 0.0, 0.1], [0.2, 0.15, 0.0], [0.1, 0.0, 0.3]]),
)
STAGES = [
    neurons.Stage(torch.tensor([0.2, 0.9]), torch.zeros(0, dtype=torch.int64)),
    neurons.Stage(torch.tensor([0.1, -0.3, 0.2]), torch.tensor([1, 1, 0])),
    neurons.Stage(torch.tensor([-0.7, -0.4]), torch.tensor([2, 0])),
]
#: every figure of the plane, for test_figures
FIGURES = {
    "level-sets-by-p": lambda: figures.level_sets_by_p(W),
    "level-sets": lambda: figures.level_sets(W, 8),
    "decision-regions": lambda: figures.decision_regions(REGIONS),
    "squares-of-size": lambda: figures.squares_of_size(REGIONS, eps=0.1),
    "margin-cones": lambda: figures.margin_cones(LINE, REGIONS),
    "net-at-work": lambda: figures.net_at_work(STAGES),
}


@pytest.fixture(scope="module")
def data():
    return neurons.spirals(60, 12)


@pytest.fixture(scope="module")
def net(data):
    torch.manual_seed(0)
    return lk.LpDistNet(2, width=8, depth=3, classes=3, mean=0.5, scale=0.2)


@pytest.fixture(scope="module")
def regions(net, data):
    return neurons.decision_regions(net, math.inf, data, points=9, side=30)


def line_from(regions, net, data, point=0, degrees=30):
    exact = at_exponent(net, math.inf, data.train_x / 255).double()
    x, label = regions.points[point], int(regions.labels[point])
    return neurons.logits_along(exact, x, label, degrees, furthest=0.2, steps=40)


class TestNumbersThrough:
    def test_each_number_is_the_distance_that_its_one_coordinate_makes(self, net, data):
        exact = at_exponent(net, math.inf, data.train_x / 255)
        x = data.test_x[0].flatten() / 255
        stages = neurons.numbers_through(exact, x)
        assert [len(stage.values) for stage in stages] == [2, 8, 8, 3]
        torch.testing.assert_close(stages[-1].values, exact(x[None])[0].detach())
        last = exact.layers[-1]
        decided = stages[-1].decided_by
        differences = (stages[-2].values - last.weight).abs()
        distances = differences.gather(1, decided[:, None]).squeeze(1) + last.bias
        torch.testing.assert_close(stages[-1].values, -exact.scale * distances.detach())

    def test_the_two_largest_logits_are_followed_back_to_a_pixel(self):
        *_, label, rival = FIGURES["net-at-work"]().data
        assert label.name == "logit 1, the largest"
        assert list(label.text) == ["0.900", "0.100", "-0.400"]
        assert list(rival.text) == ["0.200", "0.200", "-0.700"]


class TestNeuron:
    @pytest.mark.parametrize("p", EXPONENTS)
    def test_level_sets_lie_on_their_level(self, p):
        around = neurons.level_set(W, p, 0.3)
        assert torch.equal(around[0], around[-1]) or torch.allclose(around[0], around[-1])
        distance = lk.lp_dist(around, W[None], p)
        assert torch.allclose(distance, torch.full_like(distance, 0.3))

    def test_at_p_1_and_infinity_the_corners_are_among_the_points(self):
        for p, corner in [(1, W + W.new_tensor([0.3, 0.0])), (math.inf, W + 0.3)]:
            assert (neurons.level_set(W, p, 0.3) - corner).abs().amax(dim=1).min() < 1e-12

    @pytest.mark.parametrize("p", [1.5, 2, 8])
    def test_the_gradient_is_the_formula(self, p):
        x = torch.rand(5, 2, dtype=torch.float64)
        away = x - W
        wanted = away.sign() * (away.abs() / lk.lp_dist(x, W[None], p)) ** (p - 1)
        assert torch.allclose(neurons.neuron_gradient(x, W, p), wanted)

    def test_at_infinity_one_coordinate_has_all_of_the_gradient(self):
        gradient = neurons.neuron_gradient(torch.rand(50, 4).double(), W.repeat(2), math.inf)
        assert torch.equal(gradient.abs().sum(dim=1), torch.ones(50).double())
        assert torch.equal((gradient != 0).sum(dim=1), torch.ones(50).long())

    @pytest.mark.parametrize("p", EXPONENTS)
    def test_difference_quotients_stay_under_the_constant_and_come_near(self, p):
        worst = neurons.difference_quotients(W, p).max()
        assert 0.9 * 2 ** (1 / p) < worst <= 2 ** (1 / p) + 1e-9


class TestSpirals:
    def test_arms_are_equally_full_and_inside_the_square(self, data):
        assert data.train_y.bincount().tolist() == [20, 20, 20]
        assert 0 < data.train_x.min() < data.train_x.max() < 255

    def test_the_seed_decides(self, data):
        assert neurons.spirals(60, 12).fingerprint == data.fingerprint
        assert neurons.spirals(60, 12, seed=1).fingerprint != data.fingerprint


class TestRegions:
    def test_the_grid_is_read_as_drawn(self, net, data, regions):
        # row 3, column 20: x₂ = 3.5/30, x₁ = 20.5/30
        point = torch.tensor([20.5 / 30, 3.5 / 30], dtype=torch.float64).view(1, 2, 1, 1)
        exact = at_exponent(net, math.inf, data.train_x / 255).double()
        assert regions.classes[3, 20] == exact(point).argmax()
        assert regions.axis[20] == 20.5 / 30

    def test_radii_are_those_that_certify_gives(self, net, data, regions):
        exact = at_exponent(net, math.inf, data.train_x / 255).double()
        certified = lk.certify(exact, data.test_x[:9].double() / 255, data.test_y[:9])
        torch.testing.assert_close(regions.radius, certified.radius, rtol=0, atol=1e-13)

    def test_a_square_crosses_where_another_class_is_nearer_than_its_side(self):
        distance = torch.tensor([0.5, 0.05])
        near = neurons.Regions(**{**vars(REGIONS), "radius": 0.9 * distance})
        far = neurons.Regions(**{**vars(REGIONS), "radius": 1.1 * distance})
        assert not near.crossing.any()
        assert far.crossing.all()

    def test_distances_are_those_of_a_search(self, regions):
        centres = [(x1, x2) for x2 in regions.axis for x1 in regions.axis]
        for point, label, distance in zip(
            regions.points, regions.labels, regions.distance, strict=True
        ):
            found = [
                max(abs(x1 - point[0]), abs(x2 - point[1]))
                for (x1, x2), seen in zip(centres, regions.classes.flatten(), strict=True)
                if seen != label
            ]
            assert distance == min(found, default=math.inf)

    def test_at_infinity_no_square_holds_another_class(self, regions):
        assert not regions.crossing.any()


class TestLine:
    def test_it_starts_at_the_point_and_moves_by_t(self, regions, net, data):
        line = line_from(regions, net, data)
        assert line.direction.abs().max() == 1
        assert line.sizes[0] == 0
        assert line.sizes[-1] == pytest.approx(0.2)
        assert line.radius == pytest.approx(regions.radius[0].item())

    @pytest.mark.parametrize("degrees", [0, 45, 100, 250])
    def test_logits_stay_in_their_cones_at_infinity(self, regions, net, data, degrees):
        assert line_from(regions, net, data, degrees=degrees).leaves_cones <= 1e-12

    def test_crossing_lines_are_seen(self):
        assert LINE.radius == pytest.approx(0.1)
        assert LINE.rival.tolist() == pytest.approx([0.1, 0.15, 0.3])
        assert LINE.changes_at == pytest.approx(0.2)
        assert LINE.leaves_cones == pytest.approx(0, abs=1e-7)


class TestFigures:
    def test_the_corner_of_the_square_is_at_2_to_the_1_over_p(self):
        corner = next(trace for trace in figures.level_sets(W, 1).data if trace.name == "corner")
        assert corner.text == ("u=0.6",)

    def test_arrows_are_coloured_by_the_coordinate_ahead(self):
        figure = figures.level_sets(W, math.inf)
        x1, x2 = (trace for trace in figure.data if trace.name.startswith("gradient"))
        assert len(x1.x) == len(x2.x) == 8 * 3
        assert all(x1.y[k] == pytest.approx(x1.y[k + 1]) for k in range(0, 24, 3))  # level
        assert all(x2.x[k] == pytest.approx(x2.x[k + 1]) for k in range(0, 24, 3))  # upright

    def test_squares_are_counted_in_the_title(self, regions):
        wrong = neurons.Regions(**{**vars(regions), "distance": regions.radius - 0.01})
        right = int((regions.radius > 0).sum())
        title = figures.decision_regions(wrong).layout.title.text
        assert title == f"p=∞: {len(wrong.points)} of {right} squares hold another class"

    def test_a_misclassified_point_has_fallen_at_any_size(self):
        title = figures.squares_of_size(REGIONS, 0.01).layout.title.text
        assert title == "ε=0.01: certified 1, standing without proof 0, fallen 1"

    def test_each_point_has_one_square_of_size_eps(self, regions):
        figure = figures.squares_of_size(regions, 0.05)
        corners = sum(x is not None and x == x for trace in figure.data[2:] for x in trace.x)
        assert corners == 5 * len(regions.points)

    def test_cones_meet_at_half_the_margin(self, regions, net, data):
        line = line_from(regions, net, data)
        figure = figures.margin_cones(line, regions)
        own, rival = (trace for trace in figure.data if trace.name.startswith("cone"))
        falling = own.y[2] - own.y[0]
        rising = rival.y[1] - rival.y[0]
        assert (own.y[0] - rival.y[0]) / (rising - falling) * own.x[1] == pytest.approx(line.radius)

    @pytest.mark.parametrize("name", ["level_sets", "decision_regions", "squares", "cones"])
    def test_sliders_move_over_them(self, name, regions, net, data):
        lines = {degrees: line_from(regions, net, data, degrees=degrees) for degrees in (0, 90)}
        explorer = {
            "level_sets": lambda: Explorer(lambda p: figures.level_sets(W, p), p=[1, 2, math.inf]),
            "decision_regions": lambda: Explorer(
                lambda p: figures.decision_regions(
                    neurons.decision_regions(net, p, data, side=10, points=9)
                ),
                p=[8, math.inf],
            ),
            "squares": lambda: Explorer(
                lambda eps: figures.squares_of_size(regions, eps), eps=[0.0, 0.05, 0.2]
            ),
            "cones": lambda: Explorer(
                lambda degrees: figures.margin_cones(lines[degrees], regions), degrees=[0, 90]
            ),
        }[name]()
        assert len(set(explorer.visit())) > 1 or name == "cones"
