"""Figures: that each draws its data, names itself, and describes itself for those who cannot see.

Not here: how they look; sliders in a browser.
"""

import dataclasses
import inspect
import math

import plotly.graph_objects as go
import pytest
import torch

import linfkit as lk
from linfkit.bench.operators import Case, Results, Row, Timing
from linfkit.certification.lipschitz import LayerConstant
from linfkit.course import figures
from linfkit.course.measured.observatory import observations
from linfkit.course.measured.plane import plane_in_training
from linfkit.course.studies.blowup import AtExponent
from linfkit.course.studies.losses import AtMargin
from linfkit.training.runs import Run
from tests.course.figures import test_figures_of_attacks_and_tables
from tests.course.studies import (
    test_ablations,
    test_ema,
    test_ensembles,
    test_gradients,
    test_neurons,
    test_perturbations,
    test_theory,
)
from tests.pages import test_run as test_runpage

LAYERS = [LayerConstant("layer 1", 3.0, 1.5), LayerConstant("layer 2", 4.5, 2.0)]
UNIT_LAYERS = [LayerConstant("layer 1", 1.0, 1.0), LayerConstant("layer 2", 1.0, 1.0)]
SWEEP = [
    AtExponent(8.0, 13.5, torch.tensor([2.0, 2.4]), torch.tensor([0.1, 0.9]), LAYERS),
    AtExponent(math.inf, 1.0, torch.tensor([1.0, 1.0]), torch.tensor([0.0, 0.4]), UNIT_LAYERS),
]
TABLE = {
    "hinge": [AtMargin("hinge", 0.1, (0.5, 0.6)), AtMargin("hinge", 0.3, (0.7, 0.8))],
    "mixed": [AtMargin("mixed", 0.1, (0.7, 0.8)), AtMargin("mixed", 0.3, (0.8, 0.8))],
}
BENCH = Results(
    device="cpu",
    rows=[
        Row(
            case=case,
            timings=[
                Timing(contender=name, seconds=seconds, turns=1, error=0.0)
                for name, seconds in [("linfkit", 1e-3), ("torch.cdist", 1e-1)]
            ],
        )
        for case in (Case(p=math.inf), Case(p=8.0, backward=True), Case(p=8.0, batch=1))
    ],
)


def run_of(loss: str, seed: int = 0) -> Run:
    history = [
        {
            "epoch": epoch,
            "p": p,
            "lipschitz": 2.0 / epoch,
            "lipschitz_bound": 13.5 / epoch,
            "zero_hinge": 0.5,
            "starved": 0.1 * epoch + 0.1 * seed,
            "loss": 1.0 / epoch,
            "accuracy": 0.2 * epoch + 0.1 * seed,
            "accuracy_linf": 0.5,
            "certified": 0.4,
            "ema_certified": 0.5,
        }
        for epoch, p in enumerate([8.0, 80.0, math.inf], start=1)
    ]
    recipe = lk.load_recipe("digits-noisy").replace(loss=loss)
    net = lk.LpDistNet(4, 4, 2, 2)
    return Run(recipe, seed, net, net, history, {}, None)


RUNS = [run_of("hinge"), run_of("mixed")]

ALL = {
    "constant-against-p": lambda: figures.constant_against_p({"a": SWEEP, "b": SWEEP}),
    "constant-by-layer": lambda: figures.constant_by_layer(
        {"a": [LayerConstant("layer 1", 1.7, 1.2), LayerConstant("layer 2", 2.0, 1.4)]}
    ),
    "constant-in-training": lambda: figures.constant_in_training(RUNS[0].history),
    "margins-against-p": lambda: figures.margins_against_p(SWEEP, theta=0.6),
    "constant-through-layers": lambda: figures.constant_through_layers({"a": SWEEP}, p=8.0),
    "net-at-exponent": lambda: figures.net_at_exponent({"a": SWEEP}, "a", 8.0, theta=0.6),
    "loss-surface": lambda: figures.loss_surface("mixed", 0.1, 0.2, logit_scale=2.0),
    "loss-curves": lambda: figures.loss_curves(0.1, 0.2, logit_scale=2.0),
    "certified-against-margin": lambda: figures.certified_against_margin(TABLE, eps=0.1),
    "starved-against-p": lambda: figures.starved_against_p(RUNS, eps_train=0.1),
    "learning-curves": lambda: figures.learning_curves(RUNS, eps_train=0.1),
    "clean-labels": lambda: figures.clean_labels(TABLE, eps=0.1),
    "certified-accuracy": lambda: figures.certified_accuracy(
        {"net": lk.Certificates(torch.tensor([0.2, 0.05]))}, eps=0.1
    ),
    "accuracy-against-eps": lambda: figures.accuracy_against_eps(
        lk.Evaluation(
            eps=0.1,
            proofs={"margin": lk.Certificates(torch.tensor([0.2, 0.05]))},
            attack=lk.PGD(),
            survives=torch.tensor([True, False]),
            seconds=1.0,
        )
    ),
    "pairs-per-second": lambda: figures.pairs_per_second(BENCH),
    "sweep": lambda: figures.claims_against("p", [{"p": 8, "claim": "a", "value": 0.5}]),
    **test_ema.FIGURES,
    "observatory": lambda: figures.observatory(observations(), 8, 0.2, "hinge", 0.1),
    **test_ablations.FIGURES,
    **test_ensembles.FIGURES,
    **test_perturbations.FIGURES,
    "plane-in-training": lambda: figures.plane_in_training(
        plane_in_training()["hinge"][1], "hinge"
    ),
    **test_neurons.FIGURES,
    **test_theory.FIGURES,
    **test_gradients.FIGURES,
    **test_runpage.FIGURES,
}


def test_a_sweep_with_infinity_draws_it_beside_the_numbers():
    rows = [{"p": p, "claim": "a", "value": 0.5} for p in (8, "inf")]
    figure = figures.claims_against("p", rows)
    assert figure.data[0].x == ("8", "inf")
    assert figure.layout.xaxis.type == "category"


@pytest.mark.parametrize("name", ALL)
def test_every_figure_says_what_it_is(name):
    figure = ALL[name]()
    assert isinstance(figure, go.Figure)
    assert figure.layout.meta["name"] == name
    assert len(figure.layout.meta["description"]) > 40
    assert figure.layout.title.text
    assert figure.layout.xaxis.title.text
    assert figure.layout.yaxis.title.text
    assert all(len(trace.x) for trace in figure.data)


EVERY = ALL | test_figures_of_attacks_and_tables.ALL
#: Values that lie where figures of other data, nets and attacks have few.
FAR = AtExponent(8.0, 90.0, torch.tensor([9.0]), torch.linspace(-7, 5, 300).pow(3), LAYERS)
FARTHER = {
    "a wide net at p=8": lambda: figures.net_at_exponent({"a": [FAR, *SWEEP[1:]]}, "a", 8.0, 0.6),
    "a wide net at p=∞": lambda: figures.net_at_exponent(
        {"a": SWEEP, "b": [FAR]}, "a", math.inf, 0.6
    ),
    "θ beyond all margins": lambda: figures.net_at_exponent({"a": SWEEP}, "a", 8.0, theta=3.0),
    "votes that hardly flip": lambda: figures.voting_margin(
        dataclasses.replace(test_ensembles.VOTING, flipped_at=torch.tensor([0.8, 0.9, 0.1, 0.0]))
    ),
    "an attack that finds little": lambda: figures.image_and_perturbation(
        test_figures_of_attacks_and_tables.study_of([0.9, 0.1, 0.0]), 0
    ),
    "an average far above": lambda: figures.warm_up(
        dataclasses.replace(test_ema.PATH, shadow=test_ema.track(0.4, 0.8, 0.9, 0.9))
    ),
}
#: Their lines go on beyond what is looked at, as losses, cones and squares do; points may not.
CUT_OFF = {
    "loss-curves",
    "margins-on-the-way",
    "margin-cones",
    "decision-regions",
    "squares-of-size",
}


@pytest.mark.parametrize("name", EVERY | FARTHER)
def test_nothing_that_is_drawn_lies_off_a_fixed_axis(name):
    figure = (EVERY | FARTHER)[name]()
    for trace in figure.data:
        for letter in "xy":
            axis = figure.layout[f"{letter}axis{(trace[f'{letter}axis'] or letter)[1:]}"]
            if axis.range is None or trace.type == "heatmap":
                continue
            if name in CUT_OFF and trace.mode != "markers":
                continue
            low, high = (10**end if axis.type == "log" else end for end in sorted(axis.range))
            drawn = [value for value in trace[letter] if isinstance(value, int | float)]
            assert not [value for value in drawn if not low <= value <= high]


@pytest.mark.parametrize("name", ["net-at-exponent", *list(FARTHER)[:3]])
def test_bars_count_every_image_and_those_right_of_theta_are_the_share_in_the_title(name):
    figure = (ALL | FARTHER)[name]()
    bars, theta = figure.data[0], figure.layout.shapes[0].x0
    images = 300 if name == "a wide net at p=8" else 2
    beyond = sum(n for x, n in zip(bars.x, bars.y, strict=True) if x > theta)
    assert sum(bars.y) == images
    assert f"{beyond / images:.0%} > θ" in figure.layout.title.text


@pytest.mark.parametrize("flips", [[0.25, 0.2, math.inf, 0.0], [0.1, 0.9, 0.1, math.inf]])
def test_points_are_all_images_of_which_the_title_tells_the_share(flips):
    row = dataclasses.replace(test_ensembles.VOTING, flipped_at=torch.tensor(flips))
    below, *others, _ = (figure := figures.voting_margin(row)).data
    images = len(below.x) + sum(len(trace.x) for trace in others)
    assert images == (row.half_margins > 0).sum() == 3
    assert f"{len(below.x) / images:.0%} flip" in figure.layout.title.text


TABLES = {"results_table", "rounding_table"}  # which are no figures


def test_every_public_figure_is_looked_at():
    public = {name for name, value in vars(figures).items() if inspect.isfunction(value)}
    assert len(EVERY) == len(public - TABLES)


def test_infinity_is_written_as_such():
    assert ALL["constant-against-p"]().data[0].x == ("8", "∞")


def test_the_worst_case_is_drawn_not_the_mean():
    measured, _, bound = ALL["constant-against-p"]().data
    assert measured.y == pytest.approx((2.4, 1.0))
    assert bound.y == (13.5, 1.0)


def test_points_are_means_and_bars_the_range_over_seeds():
    hinge = ALL["certified-against-margin"]().data[0]
    assert hinge.x == pytest.approx((1.0, 3.0))
    assert hinge.y == pytest.approx((0.55, 0.75))
    assert hinge.error_y.array == pytest.approx((0.05, 0.05))


def test_a_net_at_an_exponent_shows_constant_bound_and_who_is_beyond_theta():
    figure = ALL["net-at-exponent"]()
    title = figure.layout.title.text
    assert all(part in title for part in ("p=8", "stretch 2.40", "≤ 13.5", "50% > θ"))
    histogram, bound, measured, here = figure.data
    assert all(abs(x - m) < 0.02 for x, m in zip(histogram.x, (0.1, 0.9), strict=True))
    assert histogram.y == (1, 1)
    assert (bound.y, measured.y) == ((13.5, 1.0), pytest.approx((2.4, 1.0)))
    assert (here.x, here.y) == (("8", "8"), pytest.approx((13.5, 2.4)))


def test_what_layers_make_together_is_the_product_so_far():
    product, whole, bounds = ALL["constant-through-layers"]().data
    assert product.y == pytest.approx((1.5, 3.0))
    assert bounds.y == pytest.approx((3.0, 13.5))
    assert (whole.x, whole.y) == ((2,), pytest.approx((2.4,)))


def test_the_axes_stay_while_p_slides():
    for draw in (
        lambda p: figures.constant_through_layers({"a": SWEEP}, p),
        lambda p: figures.net_at_exponent({"a": SWEEP}, "a", p, 0.6),
    ):
        at_8, at_infinity = draw(8.0).layout, draw(math.inf).layout
        assert at_8.xaxis.range == at_infinity.xaxis.range
        assert at_8.yaxis.range == at_infinity.yaxis.range


def test_starvation_is_drawn_up_to_the_end_of_the_ramp():
    assert ALL["starved-against-p"]().data[0].x == (8.0, 80.0)


def test_learning_curves_are_means_over_the_seeds_of_each_loss():
    runs = [run_of("hinge"), run_of("hinge", seed=1), run_of("mixed")]
    lines = {line.name: line for line in figures.learning_curves(runs, eps_train=0.1).data}
    assert len(lines) == 8
    assert lines["hinge, training accuracy"].y == pytest.approx((0.25, 0.45, 0.65))
    assert lines["mixed, training accuracy"].y == pytest.approx((0.2, 0.4, 0.6))
    assert lines["mixed, loss"].yaxis == "y2"


def test_starvation_is_drawn_for_every_seed_and_their_mean():
    runs = [run_of("hinge"), run_of("hinge", seed=1)]
    *each, mean = figures.starved_against_p(runs, eps_train=0.1).data
    assert [trace.y for trace in each] == [pytest.approx((0.1, 0.2)), pytest.approx((0.2, 0.3))]
    assert mean.y == pytest.approx((0.15, 0.25))
    assert mean.name == "hinge"


def test_bars_are_pairs_a_second_at_one_size():
    ours, theirs = ALL["pairs-per-second"]().data
    assert ours.x == ("p=∞<br>forward", "p=8<br>forward<br>+ backward")
    assert ours.y == pytest.approx((256 * 2**20 / 1e-3,) * 2)
    assert theirs.y[0] == pytest.approx(ours.y[0] / 100)
