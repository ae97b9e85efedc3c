"""Figures and studies of notebooks 02 and 07: their data, names and descriptions, and the table.

Not here: how they look.
"""

import dataclasses
import math

import pytest
import torch

import linfkit as lk
from linfkit.course import figures, published
from linfkit.course.figures.table import Table
from linfkit.course.studies import attacks, intervals, rounding, scale
from linfkit.training.runs import Run

CURVE = published.training_curve("mnist_eps0.3")


def study_of(size, radius=(0.2, 0.1, -0.1)):
    images = torch.zeros(3, 1, 2, 2)
    points = images.clone()
    points[:, 0, 0, 0] = 0.25
    return attacks.Attacked(
        images=images,
        labels=torch.tensor([0, 1, 2]),
        radius=torch.tensor(radius),
        intervals=torch.tensor([0.25, 0.1, -0.1]),
        points=points,
        read_as=torch.tensor([1, 0, 0]),
        size=torch.tensor(size),
    )


STUDY = study_of([0.3, 0.1, 0.0])


def enclosed_of(proved=(0.2, 0.1, 0.05), true=(0.2, 0.15, 0.05), found=(0.2, 0.15, 0.3)):
    return intervals.Enclosed(
        place=torch.tensor([0, 3, 4]),
        labels=torch.tensor([7, 8, 9]),
        proved=torch.tensor(proved),
        true=torch.tensor(true, dtype=torch.float64),
        found=torch.tensor(found),
    )


ENCLOSED = enclosed_of()


def run_of():
    history = [
        {"epoch": epoch, "p": p, "certified": 0.1 * epoch}
        for epoch, p in enumerate([8.0, 80.0, math.inf], start=1)
    ]
    recipe = lk.load_recipe("digits-small").replace(epochs=3)
    net = lk.LpDistNet(4, 4, 2, 2)
    return Run(recipe, 0, net, net, history, {"accuracy": 0.9, "certified": 0.75}, None)


ROWS = [scale.AtScale(8, 1, 10.0**place, 0.2 + 0.1 * place) for place in range(4)]
PAPER = [
    (lk.load_recipe("iclr2022-mnist-0.3"), 1e10),
    (lk.load_recipe("iclr2022-cifar10-8-255"), 1e11),
]

ALL = {
    "two-readings": lambda: figures.two_readings(
        torch.zeros(1, 2, 2), torch.full((1, 2, 2), 0.1), 3, {"ordinary": (3, 8), "ours": (3, 3)}
    ),
    "accuracy-under-attacks": lambda: figures.accuracy_under_attacks(
        [0.0, 0.2], {("ordinary", "FGSM"): [1.0, 0.0]}, lk.Certificates(torch.tensor([0.1, 0.3]))
    ),
    "image-and-perturbation": lambda: figures.image_and_perturbation(STUDY, 0),
    "radius-against-attack": lambda: figures.radius_against_attack(STUDY),
    "certified-and-attacked": lambda: figures.certified_and_attacked(STUDY, 0.1),
    "accuracy-after-changes": lambda: figures.accuracy_after_changes({"none": 1.0, "turned": 0.5}),
    "turned-image": lambda: figures.turned_image(
        torch.ones(1, 2, 2), torch.zeros(1, 2, 2), 30, 7, 0.2
    ),
    "proved-true-found": lambda: figures.proved_true_found(ENCLOSED),
    "training-beside": lambda: figures.training_beside(CURVE, run_of()),
    "published-learning": lambda: figures.published_learning(CURVE),
    "certified-by-exponent": lambda: figures.certified_by_exponent([CURVE], run_of()),
    "certified-against-scale": lambda: figures.certified_against_scale(
        ROWS, scale.extrapolate(ROWS, 1e10), PAPER, "digits"
    ),
}


@pytest.mark.parametrize("name", ALL)
def test_every_figure_says_what_it_is(name):
    figure = ALL[name]()
    assert figure.layout.meta["name"] == name
    assert len(figure.layout.meta["description"]) > 40
    assert figure.layout.title.text
    assert figure.layout.xaxis.title.text
    assert figure.data


# --- 02


def test_a_perturbation_is_magnified_and_every_reading_told():
    figure = ALL["two-readings"]()
    assert figure.layout.title.text == "A 3, moved by at most 0.1; ordinary: 3 → 8; ours: 3 → 3"
    assert [trace.z.max() for trace in figure.data] == pytest.approx([0, 1, 0.1], abs=1e-3)


def test_each_net_under_attack_has_a_colour_and_the_proof_is_a_line():
    shares = {(net, attack): [1.0, 0.5] for net in ("a", "b") for attack in ("FGSM", "PGD")}
    proved = lk.Certificates(torch.tensor([0.1, 0.3]))
    *lines, certified = figures.accuracy_under_attacks([0.0, 0.2], shares, proved).data
    assert len({line.line.color for line in lines}) == len({line.line.dash for line in lines}) == 2
    assert list(certified.y) == [1.0, 0.5]


@pytest.mark.parametrize(
    ("index", "lengths"), [(0, (0.2, 0.1, 0.03)), (1, (0.1, 0.0, 0.23)), (2, (0.0, 0.0, 0.33))]
)
def test_the_bar_is_proved_unknown_attacked_and_fills_the_axis(index, lengths):
    bars = figures.image_and_perturbation(STUDY, index).data[:3]
    assert [bar.name for bar in bars] == ["proved", "unknown", "attacked"]
    assert [bar.x[0] for bar in bars] == pytest.approx(lengths, abs=1e-6)


def test_where_nothing_is_found_all_beyond_the_proof_is_unknown():
    figure = figures.image_and_perturbation(study_of([math.inf, 0.1, 0.0]), 0)
    assert [bar.x[0] for bar in figure.data[:3]] == pytest.approx([0.2, 0.02, 0.0], abs=1e-6)
    assert "none found" in figure.layout.title.text


def test_images_of_every_kind_draw_the_same_traces():
    kinds = [[t.type for t in figures.image_and_perturbation(STUDY, k).data] for k in range(3)]
    assert kinds[0] == kinds[1] == kinds[2] == ["bar"] * 3 + ["heatmap"] * 2


def test_a_perturbation_is_magnified_to_the_full_scale():
    assert figures.image_and_perturbation(STUDY, 0).data[-1].z.max() == 1


def test_only_correct_images_with_a_find_are_points():
    points = figures.radius_against_attack(study_of([math.inf, 0.15, 0.0])).data[0]
    assert (points.x, points.y) == (pytest.approx((0.1,)), pytest.approx((0.15,)))


def test_the_three_accuracies_are_shares_of_all_images():
    margin, intervals, attack = figures.certified_and_attacked(STUDY, 0.1, points=4).data
    assert margin.x == pytest.approx([0, 0.1, 0.2, 0.3])
    assert margin.y[0] == intervals.y[0] == attack.y[0] == pytest.approx(2 / 3)
    assert all(a <= b for a, b in zip(margin.y, attack.y, strict=True))
    assert (margin.y[2], intervals.y[2]) == (0, pytest.approx(1 / 3))


def test_an_attack_inside_the_certified_ball_is_counted():
    assert STUDY.beaten() == 0
    assert study_of([0.15, 0.1, 0.0]).beaten() == pytest.approx(1 / 3)
    assert STUDY.gap.tolist() == pytest.approx([0.1, 0.0])


def test_a_study_certifies_and_attacks():
    torch.manual_seed(0)
    net, x = lk.LpDistNet(4, width=8, depth=2, classes=3), torch.rand(6, 1, 2, 2)
    labels = attacks.predictions(net, x)
    study = attacks.attack_images(net, x, labels, steps=20)
    assert study.beaten() == 0
    assert torch.equal(study.radius, lk.certify(net, x, labels).radius)
    found = study.size.isfinite()
    assert (study.read_as != labels)[found].all()
    assert torch.equal(study.points[~found], x[~found])


def test_the_true_radius_has_to_lie_between():
    assert ENCLOSED.out_of_order() == 0
    assert ENCLOSED.tight().tolist() == [True, False, True]
    assert ENCLOSED.missed().tolist() == [False, False, True]
    assert enclosed_of(true=(0.19, 0.15, 0.05)).out_of_order() == pytest.approx(1 / 3)
    assert enclosed_of(found=(0.2, 0.14, 0.04)).out_of_order() == pytest.approx(2 / 3)
    assert enclosed_of(true=(0.2 - 9e-6, 0.15, 0.05 + 9e-6)).out_of_order() == 0


def test_a_tiny_net_is_enclosed_where_it_is_right():
    torch.manual_seed(0)
    net, x = lk.LpDistNet(4, width=4, depth=2, classes=3).eval(), torch.rand(6, 1, 2, 2)
    labels = attacks.predictions(net, x)
    labels[1] = (labels[1] + 1) % 3  # a mistake, which has no radius
    study = intervals.enclose(net, x, labels, steps=20)
    assert study.place.tolist() == [0, 2, 3, 4, 5]
    assert torch.equal(study.labels, labels[study.place])
    assert torch.equal(study.proved, lk.certify(net, x, labels).radius[study.place])
    assert study.true[1] == lk.exact_radius(net, x[2], int(labels[2])).upper
    assert torch.equal(study.found, attacks.attack_images(net, x, labels, 20).size[study.place])
    assert study.out_of_order() == 0


def test_a_radius_that_is_not_known_is_refused(monkeypatch):
    unsolved = lk.ExactRadius(0.1, 0.2, None)
    monkeypatch.setattr(intervals, "exact_radius", lambda *_: unsolved)
    net, x = lk.LpDistNet(4, width=4, depth=2, classes=3).eval(), torch.rand(2, 1, 2, 2)
    with pytest.raises(RuntimeError, match=r"^the solver's time ran out with a radius .* 0.1 and"):
        intervals.enclose(net, x, attacks.predictions(net, x), steps=5)


def test_rows_rise_with_the_true_radius_and_what_was_not_found_has_no_mark():
    figure = figures.proved_true_found(enclosed_of(found=(math.inf, 0.15, 0.3)))
    _, proved, true, found = figure.data
    assert true.y == ("4, a 9", "3, a 8", "0, a 7")
    assert true.x == pytest.approx((0.05, 0.15, 0.2))
    assert proved.x == pytest.approx((0.05, 0.1, 0.2))
    assert found.x[2] is None
    assert found.x[:2] == pytest.approx((0.3, 0.15))


def test_rounding_is_measured_against_the_same_net_in_float64():
    torch.manual_seed(0)
    net, x = lk.LpDistNet(4, width=8, depth=3, classes=3, scale=0.3), torch.rand(50, 1, 2, 2)
    net.p = 8.0
    labels = attacks.predictions(net, x)
    measured = rounding.measure_rounding(net, x, labels)
    assert net.p == 8
    assert net.training
    net.eval().p = math.inf
    with torch.no_grad():
        executed = net(x).double()
        exact = net.double()(x.double())
    assert torch.equal(measured.seen, (executed - exact).abs().amax(dim=1))
    assert measured.seen.max() > 0
    assert (measured.seen <= measured.allowed).all()
    best, second = executed.topk(2).values.unbind(dim=1)
    assert torch.equal(measured.half_margin, (best - second) / 2)
    difference = measured.half_margin - measured.taken_off
    torch.testing.assert_close(measured.radius.double(), difference, rtol=0, atol=1e-7)


def test_images_that_rounding_costs_are_counted():
    half_margin = torch.tensor([0.3, 0.1 + 1e-6, 0.1 - 1e-6], dtype=torch.float64)
    taken_off = torch.full((3,), 4e-6)
    radius = (half_margin - taken_off).float()
    measured = rounding.Rounding(half_margin, radius, taken_off, seen=torch.zeros(3))
    assert measured.lost(0.1) == 1
    assert measured.lost(0.2) == 0
    table = figures.rounding_table(measured, 0.1)
    assert table.caption.startswith("Rounding, over 3 images; 2 certified at ε=0.1")
    assert table.rows[2] == ["taken off the radius", "4.0e-06", "4.0e-06"]


def test_a_model_whose_rounding_nobody_knows_is_refused():
    net = lk.HybridNet(lk.LpDistNet(4, 8, 2, 3), hidden=4).eval()
    with pytest.raises(ValueError, match=r"^model must be one whose rounding is known"):
        rounding.measure_rounding(net, torch.rand(2, 4), torch.tensor([0, 1]))


def test_images_turn_and_move():
    x = torch.rand(2, 3, 5, 5)
    assert torch.allclose(attacks.rotated(x, 0), x, atol=1e-6)
    assert torch.allclose(attacks.rotated(x, 90), x.rot90(1, (2, 3)), atol=1e-5)
    for right, down in [(1, 0), (-2, 0), (0, 1), (0, -1), (2, -1)]:
        moved = attacks.shifted(x, right=right, down=down)
        assert moved.shape == x.shape
        rolled = x.roll((down, right), (2, 3))
        inside = slice(max(down, 0), 5 + min(down, 0)), slice(max(right, 0), 5 + min(right, 0))
        assert torch.equal(moved[..., *inside], rolled[..., *inside])
        assert moved.count_nonzero() == moved[..., *inside].count_nonzero()


def test_one_pixel_finds_the_smallest_change_of_a_value():
    net = lk.LpDistNet(1, width=1, depth=1, classes=2, identity_start=False)
    with torch.no_grad():
        net.layers[0].weight.copy_(torch.tensor([[0.0], [1.0]]))
    x, labels = torch.tensor([0.25, 0.875]).view(2, 1, 1, 1), torch.tensor([0, 1])
    assert attacks.one_pixel(net, x, labels).tolist() == [0.75, 0.875]


def test_noise_is_of_its_seed_and_shape():
    like = torch.zeros(1, 3, 4, 4)
    assert torch.equal(attacks.noise(2, like, seed=1), attacks.noise(2, like, seed=1))
    assert not torch.equal(attacks.noise(2, like, seed=1), attacks.noise(2, like, seed=2))


# --- 07


def test_what_is_published_and_what_is_ours_is_marked_in_every_row():
    table = figures.results_table(published.results(), [run_of()])
    assert [row[0] for row in table.rows] == ["published"] * 20 + ["this machine"]
    assert table.rows[-1][2:] == [
        "digits", "0.1", "90.00 %", "—", "75.00 %", "3 × 256, 3 epochs"
    ]  # fmt: skip
    assert "8/255" in table.rows[3]


def test_curves_are_drawn_against_the_share_of_their_own_run():
    theirs, ours, *_ = figures.training_beside(CURVE, run_of()).data
    assert theirs.x[-1] == ours.x[-1] == 1
    assert theirs.y[-1] == CURVE.last_certified
    assert (theirs.name, ours.name) == ("published", "this machine")


def test_published_curves_are_drawn_over_their_ramp():
    theirs, ours = figures.certified_by_exponent([CURVE], run_of()).data
    assert max(theirs.x) <= 1000
    assert ours.x == (8.0, 80.0)
    assert "published" in theirs.name


def test_a_refused_line_is_not_drawn():
    near, far = (scale.extrapolate(ROWS, target) for target in (1e4, 1e10))
    drawn = [
        len(figures.certified_against_scale(ROWS, line, PAPER, "digits").data)
        for line in (near, far)
    ]
    assert drawn == [4, 3]


def test_scales_are_sorted_and_of_the_runs():
    data = lk.load_dataset("digits")
    recipe = lk.load_recipe("digits-small").replace(epochs=1)
    rows = scale.at_scales(recipe, widths=[16, 8], epochs=[1], data=data)
    assert [row.width for row in rows] == [8, 16]
    assert rows[0].scale == scale.weight_count(64, 8, 3, 10)


def test_a_table_is_html_and_columns_and_escapes():
    table = Table("a < b", ["net", "ε"], [["<i>", "0.1"]])
    assert str(table).splitlines() == ["a < b", "net  ε", "<i>  0.1"]
    assert "<caption>a &lt; b</caption>" in table._repr_html_()
    assert "<td>&lt;i&gt;</td><td>0.1</td>" in table._repr_html_()
    assert '<th scope="col">net</th>' in table._repr_html_()


def test_a_table_refuses_rows_of_another_length():
    with pytest.raises(ValueError, match=r"^rows must have 2 cells each"):
        dataclasses.replace(Table("", ["a", "b"], []), rows=[["1"]])
