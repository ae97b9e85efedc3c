"""Figures: that each draws its data, names itself, and describes itself for those who cannot see.

Not here: how they look; sliders in a browser.
"""

import math

import plotly.graph_objects as go
import pytest
import torch

import linfkit as lk
from linfkit import figures
from linfkit.bench import Case, Results, Row, Timing
from linfkit.explore import Explorer
from linfkit.lipschitz import LayerConstant
from linfkit.studies.averaging import EnsembleGain
from linfkit.studies.blowup import AtExponent
from linfkit.studies.losses import AtMargin
from linfkit.training import Run

SWEEP = [
    AtExponent(8.0, 13.5, torch.tensor([2.0, 2.4]), torch.tensor([0.1, 0.9])),
    AtExponent(math.inf, 1.0, torch.tensor([1.0, 1.0]), torch.tensor([0.0, 0.4])),
]
TABLE = {
    "hinge": [AtMargin("hinge", 0.1, (0.5, 0.6)), AtMargin("hinge", 0.3, (0.7, 0.8))],
    "mixed": [AtMargin("mixed", 0.1, (0.7, 0.8)), AtMargin("mixed", 0.3, (0.8, 0.8))],
}
GAIN = EnsembleGain(
    members=[
        lk.Certificates(torch.tensor([0.2, 0.05])),
        lk.Certificates(torch.tensor([0.2, -1.0])),
    ],
    ensembles=[
        lk.Certificates(torch.tensor([0.2, 0.05])),
        lk.Certificates(torch.tensor([0.2, 0.2])),
    ],
)

BENCH = Results(
    device="cpu",
    rows=[
        Row(
            case=case,
            timings=[
                Timing(contender=name, seconds=seconds, turns=1, extra_bytes=None, error=0.0)
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
    "margin-histogram": lambda: figures.margin_histogram(SWEEP[0], 0.6, (-1.0, 1.0)),
    "certified-against-margin": lambda: figures.certified_against_margin(TABLE, eps=0.1),
    "starved-against-p": lambda: figures.starved_against_p(RUNS, eps_train=0.1),
    "clean-labels": lambda: figures.clean_labels(TABLE, eps=0.1),
    "ema-curves": lambda: figures.ema_curves(RUNS[0]),
    "ema-gain": lambda: figures.ema_gain_curves({"constant rate": RUNS, "cosine rate": RUNS}),
    "ensemble-sizes": lambda: figures.ensemble_sizes(GAIN, eps=0.1),
    "ensemble-accuracy": lambda: figures.ensemble_accuracy(GAIN, size=2, eps=0.1),
    "certified-accuracy": lambda: figures.certified_accuracy({"net": GAIN.members[0]}, eps=0.1),
    "pairs-per-second": lambda: figures.pairs_per_second(BENCH),
}


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


def test_every_public_figure_is_looked_at():
    assert len(ALL) == len(figures.__all__)


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


def test_the_histogram_counts_who_is_beyond_theta():
    assert "zero hinge 50%" in ALL["margin-histogram"]().layout.title.text


def test_starvation_is_drawn_up_to_the_end_of_the_ramp():
    assert ALL["starved-against-p"]().data[0].x == (8.0, 80.0)


def test_bars_are_pairs_a_second_at_one_size():
    ours, theirs = ALL["pairs-per-second"]().data
    assert ours.x == ("p=∞<br>forward", "p=8<br>forward<br>+ backward")
    assert ours.y == pytest.approx((256 * 2**20 / 1e-3,) * 2)
    assert theirs.y[0] == pytest.approx(ours.y[0] / 100)


class TestExplorer:
    @pytest.fixture
    def explorer(self):
        def draw(p, colour):
            title = f"p={p} in {colour}"
            return go.Figure(go.Scatter(x=[0, 1], y=[p, 2 * p]), dict(title_text=title))

        return Explorer(draw, p=[8, 16, math.inf], colour=["blue", "red"])

    def test_a_slider_redraws_data_and_title(self, explorer):
        explorer.sliders["p"].value = 16
        assert explorer.figure.data[0].y == (16, 32)
        assert explorer.figure.layout.title.text == "p=16 in blue"

    def test_a_visit_sees_every_value_and_returns(self, explorer):
        assert explorer.visit() == [
            "p=8 in blue",
            "p=16 in blue",
            "p=inf in blue",
            "p=8 in blue",
            "p=8 in red",
        ]
        assert explorer.figure.layout.title.text == "p=8 in blue"

    def test_labels_write_infinity(self, explorer):
        assert [label for label, _ in explorer.sliders["p"].options] == ["8", "16", "∞"]

    def test_a_slider_without_values_is_refused(self):
        with pytest.raises(ValueError, match="p must have at least one value"):
            Explorer(lambda p: go.Figure(), p=[])
