"""Studies of ensembles on small nets, and their figures: margins, voting, joint training.

Not here: that ensembles gain anything; the notebook measures and asserts that.
"""

import math

import pytest
import torch

import linfkit as lk
from linfkit.course import figures
from linfkit.course.studies import ensembles
from linfkit.course.studies.ensembles import (
    Comparison,
    EnsembleGain,
    MarginsAlong,
    Robustness,
    VotingMargins,
)

TINY = lk.load_recipe("digits-small").replace(
    width=8, depth=2, epochs=2, train_images=200, seeds=[0, 1, 2]
)
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
ALONG = MarginsAlong(
    distances=torch.tensor([0.0, 0.1]),
    members=torch.tensor([[[0.4, 0.3]], [[0.0, -0.1]]]),
    ensemble=torch.tensor([[0.3, 0.2]]),
)
VOTING = VotingMargins(
    logit_scale=8.0,
    half_margins=torch.tensor([0.4, 0.1, 0.3, -0.1]),
    radius=torch.tensor([0.2, 0.1, 0.1, -0.1]),
    flipped_at=torch.tensor([0.25, 0.2, math.inf, 0.0]),
)
COMPARED = Comparison(
    width=16,
    size=3,
    wider=38,
    certified={
        "single": [0.5, 0.6],
        "apart": [0.6, 0.7],
        "joint": [0.75, 0.85],
        "wider": [0.9, 0.9],
    },
)

#: Each public figure of ensembles, by the name it gives itself.
FIGURES = {
    "margins-on-the-way": lambda: figures.margins_on_the_way(ALONG, image=0),
    "fusion-against-voting": lambda: figures.fusion_against_voting(
        {"fusion": Robustness(0.9, 0.8, 0.7), "voting": Robustness(0.9, 0.8, None)}, eps=0.1
    ),
    "voting-margin": lambda: figures.voting_margin(VOTING),
    "ensemble-sizes": lambda: figures.ensemble_sizes(GAIN, eps=0.1),
    "ensemble-accuracy": lambda: figures.ensemble_accuracy(GAIN, size=2, eps=0.1),
    "ensembles-by-width": lambda: figures.ensembles_by_width([COMPARED], eps=0.1),
    "ensembles-by-size": lambda: figures.ensembles_by_size([COMPARED], eps=0.1),
    "joint-gain": lambda: figures.joint_gain([COMPARED], eps=0.1),
}


@pytest.fixture
def nets(runs):
    for run in runs:
        run.ema_model.p = math.inf  # as at the end of a whole run
    return [run.ema_model for run in runs]


@pytest.fixture
def x(digits):
    return digits.test_x / 255


# --- sizes


def test_the_ensemble_of_one_is_the_first_net(runs, x, digits):
    gain = ensembles.ensemble_gain(runs, x, digits.test_y)
    torch.testing.assert_close(gain.ensembles[0].radius, gain.members[0].radius)
    assert len(gain.ensembles) == len(gain.members) == 3


def test_what_all_members_certify_the_ensemble_certifies(runs, x, digits):
    gain = ensembles.ensemble_gain(runs, x, digits.test_y)
    together = torch.stack([member.radius for member in gain.members]).amin(dim=0)
    assert (gain.ensembles[-1].radius >= together - 1e-6).all()


def test_the_gain_compares_with_the_members_on_average(runs, x, digits):
    gain = ensembles.ensemble_gain(runs, x, digits.test_y)
    members = [member.accuracy(0.05) for member in gain.members]
    assert gain.gain(0.05) == pytest.approx(gain.ensembles[-1].accuracy(0.05) - sum(members) / 3)


# --- margins on the way


def test_an_attack_stays_in_its_ball_and_in_the_images(nets, x, digits):
    directions = ensembles.attack_directions(nets[0], x, digits.test_y, eps=0.1)
    moved = x + 0.1 * directions
    assert directions.abs().max() <= 1 + 1e-5
    assert moved.min() >= -1e-6
    assert moved.max() <= 1 + 1e-6


def test_an_attack_takes_margins_away(nets, x, digits):
    fusion, labels = lk.Ensemble(nets).eval(), digits.test_y
    directions = ensembles.attack_directions(fusion, x, labels, eps=0.1)
    along = ensembles.margins_along(fusion, x, labels, directions, torch.tensor([0.0, 0.1]))
    lost = along.ensemble[:, 0] - along.ensemble[:, 1]
    assert lost.mean() > 0.02
    assert lost.max() <= 0.2 + 1e-5  # twice the distance, at most


def test_margins_start_at_twice_the_radius(nets, x, digits):
    fusion, labels = lk.Ensemble(nets).eval(), digits.test_y
    along = ensembles.margins_along(fusion, x, labels, torch.zeros_like(x), torch.zeros(1))
    for margins, net in [(along.ensemble[:, 0], fusion), (along.members[1, :, 0], nets[1])]:
        radius = lk.certify(net, x, labels).radius  # rounding taken off
        torch.testing.assert_close(margins, 2 * radius, rtol=0, atol=1e-4)


# --- fusion and voting


def test_voting_has_accuracies_and_no_certificate(nets, x, digits):
    fusion = ensembles.robustness(lk.Ensemble(nets).eval(), x, digits.test_y, eps=0.02)
    voting = ensembles.robustness(lk.VotingEnsemble(nets, 4.0).eval(), x, digits.test_y, eps=0.02)
    assert fusion.certified <= fusion.attacked <= fusion.clean
    assert voting.certified is None
    assert voting.attacked <= voting.clean


def test_half_margins_grow_with_the_scale_and_are_refuted(nets, x, digits):
    mild, sharp = ensembles.voting_margins(
        nets, [1.0, 100.0], x, digits.test_y, sizes=[0.05, 0.1, 0.2]
    )
    assert sharp.half_margins.max() > mild.half_margins.max()
    assert sharp.half_margins.max() <= 0.5
    assert sharp.refuted.any()
    torch.testing.assert_close(sharp.radius, mild.radius)


def test_what_flips_the_vote_truly_flips_it_and_is_that_small(nets, x, digits):
    sizes = [0.1]
    (row,) = ensembles.voting_margins(nets, [8.0], x, digits.test_y, sizes)
    directions = ensembles.attack_directions(lk.Ensemble(nets).eval(), x, digits.test_y, 0.1)
    voting = lk.VotingEnsemble(nets, 8.0).eval()
    flipped = voting(x + 0.1 * directions).argmax(dim=1) != digits.test_y
    assert torch.equal(row.flipped_at.isfinite(), flipped)
    assert row.flipped_at[flipped].max() <= 0.1 + 1e-6


def test_half_the_margin_over_half_the_scale_is_not_refuted(nets, x, digits):
    (row,) = ensembles.voting_margins(nets, [8.0], x, digits.test_y, sizes=[0.02, 0.05, 0.1, 0.2])
    assert (row.flipped_at >= row.half_margins / 4).all()


# --- trained apart and jointly


@pytest.fixture(scope="module")
def compared(digits):
    return ensembles.compare_training(TINY, digits, [(6, 2), (6, 3)], repetitions=2)


def test_each_repetition_is_what_its_own_nets_certify(compared, digits):
    x, labels = digits.test_x / 255, digits.test_y

    def certified(seed, **overrides):
        run = lk.fit(TINY.replace(**overrides), data=digits, seed=seed)
        return lk.certify(run.ema_model, x, labels).accuracy(TINY.eps), run.ema_model

    found = compared[6, 2].certified
    for turn in range(2):
        alone = [certified(3 * turn + place, width=6) for place in range(2)]
        apart = lk.certify(lk.Ensemble([net for _, net in alone]), x, labels)
        assert found["single"][turn] == pytest.approx((alone[0][0] + alone[1][0]) / 2)
        assert found["apart"][turn] == apart.accuracy(TINY.eps)
        assert found["joint"][turn] == certified(6 + turn, width=6, members=2)[0]
        assert found["wider"][turn] == certified(8 + turn, width=12)[0]


def test_repetitions_share_no_net_and_sizes_do(digits, monkeypatch):
    trained = []

    def recorded(pairs, data):
        trained.extend(pairs)
        return lk.fit_all(pairs, data=data)

    monkeypatch.setattr(ensembles, "fit_all", recorded)
    ensembles.compare_training(TINY, digits, [(6, 2), (6, 3)], repetitions=2)
    assert len(trained) == len(set(trained)) == 6 + 2 * 2 + 2 * 2
    assert len({(recipe.members, recipe.width, seed) for recipe, seed in trained}) == 14


@pytest.mark.parametrize(("width", "size"), [(8, 3), (16, 5), (7, 1)])
def test_the_wider_net_is_the_smallest_that_costs_no_less(width, size, digits):
    def weights(width):
        return 64 * width + width**2 + 10 * width

    wider = ensembles.equal_width(TINY.replace(width=width, depth=3), digits, size)
    assert weights(wider - 1) < size * weights(width) <= weights(wider)


def test_a_gain_is_of_the_means():
    assert COMPARED.gain("single") == pytest.approx(0.25)
    assert COMPARED.gain("wider") == pytest.approx(-0.1)


def test_weights_are_those_of_all_layers():
    assert ensembles.weight_count(lk.LpDistNet(64, width=8, depth=2, classes=10)) == 592


# --- figures


def test_the_cone_falls_by_two_for_each_unit():
    cone = FIGURES["margins-on-the-way"]().data[-1]
    assert cone.y == pytest.approx((0.3, 0.1))
    assert "r = 0.150" in FIGURES["margins-on-the-way"]().layout.title.text


def test_voting_shows_that_it_has_no_certificate():
    _, voting = FIGURES["fusion-against-voting"]().data
    assert voting.text == ("0.90", "0.80", "none")


def test_points_below_the_diagonal_are_told_apart():
    below, above, none_found, _ = FIGURES["voting-margin"]().data
    assert (below.x, below.y) == (pytest.approx((0.4,)), pytest.approx((0.25,)))
    assert (above.x, above.y) == (pytest.approx((0.1,)), pytest.approx((0.2,)))
    assert (none_found.x, none_found.y) == (pytest.approx((0.3,)), (0.5,))
    assert "33%" in FIGURES["voting-margin"]().layout.title.text  # of what is rightly classified


def test_bars_reach_from_the_lowest_repetition_to_the_highest():
    joint = next(line for line in FIGURES["ensembles-by-width"]().data if "jointly" in line.name)
    assert joint.x == ("16",)
    assert joint.y == pytest.approx((0.8,))
    assert joint.error_y.array == pytest.approx((0.05,))
    assert joint.error_y.arrayminus == pytest.approx((0.05,))
    gains = [bar.y[0] for bar in FIGURES["joint-gain"]().data]
    assert gains == pytest.approx([0.25, 0.15, -0.1])
