"""The moving average on tiny nets: what is followed, what is averaged, what the figures draw.

Not here: that averaging gains anything; the notebook measures and asserts that.
"""

import pytest
import torch

import linfkit as lk
from linfkit.course import figures
from linfkit.course.studies.ema import Track, WeightPath, ema_gain, follow_weights, mean_history
from linfkit.training.loop import Training
from linfkit.training.runs import Run

TINY = lk.load_recipe("digits-ema").replace(
    width=6, depth=2, epochs=3, batch_size=50, train_images=200, test_images=60, seeds=[0, 1]
)  # 4 steps an epoch


def track(*certified: float) -> Track:
    return Track(
        certified=torch.tensor(certified),
        moved=torch.tensor([0.1] * len(certified)),
        plane=torch.tensor([[0.0, 1.0], [2.0, 3.0]]),
    )


PATH = WeightPath(
    recipe=TINY,
    every=10,
    epochs=torch.tensor([1.0, 2.0, 3.0, 4.0]),
    raw=track(0.4, 0.6, 0.5, 0.7),
    shadow=track(0.4, 0.5, 0.6, 0.6),
    constant={0.9: track(0.1, 0.2, 0.5, 0.55), 0.99: track(0.0, 0.1, 0.2, 0.3)},
)


def run_of(certified: float, averaged: float) -> Run:
    history = [
        {"epoch": epoch, "certified": certified, "ema_certified": averaged} for epoch in (1, 2)
    ]
    net = lk.LpDistNet(4, 4, 2, 2)
    return Run(TINY, 0, net, net, history, {}, None)


RUNS = [run_of(0.4, 0.5), run_of(0.6, 0.65)]

#: Each public figure of the moving average, by the name it gives itself.
FIGURES = {
    "weights-moved": lambda: figures.weights_moved({"constant rate": PATH, "cosine rate": PATH}),
    "weights-in-plane": lambda: figures.weights_in_plane(PATH),
    "certified-with-decay": lambda: figures.certified_with_decay(PATH, 0.9),
    "warm-up": lambda: figures.warm_up(PATH),
    "ema-curves": lambda: figures.ema_curves(RUNS[0]),
    "ema-gain": lambda: figures.ema_gain_curves({"constant rate": RUNS, "cosine rate": RUNS}),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINFKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield follow_weights(TINY, [0.0, 0.9], every=2)


def test_a_run_is_recorded_every_few_steps(path):
    assert path.epochs.tolist() == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    for each in (path.raw, path.shadow, *path.constant.values()):
        assert each.certified.shape == each.moved.shape == (6,)
        assert each.plane.shape == (2, 2)  # of the last quarter: steps 10 and 12


def test_what_is_followed_is_the_run_that_fit_makes_and_finds(path, tmp_path, monkeypatch):
    run = lk.fit(TINY, seed=0, out=tmp_path, progress=False)
    monkeypatch.setattr(Training, "run", lambda *arguments, **more: pytest.fail("trains"))
    found = lk.fit(TINY, seed=0, progress=False)
    assert found.results == run.results
    for net, other in ((found.model, run.model), (found.ema_model, run.ema_model)):
        assert torch.equal(net.layers[0].weight, other.layers[0].weight)
    at_epochs = path.raw.certified[1::2], path.shadow.certified[1::2]
    for followed, column in zip(at_epochs, ("certified", "ema_certified"), strict=True):
        assert followed.tolist() == pytest.approx(run.column(column), abs=1e-6)


def test_an_average_without_memory_is_the_raw_net(path):
    assert torch.equal(path.constant[0.0].certified, path.raw.certified)
    torch.testing.assert_close(path.constant[0.0].moved[1:], path.raw.moved[1:])


def test_an_average_moves_less_than_what_it_averages(path):
    assert path.constant[0.9].moved[1:].mean() < path.raw.moved[1:].mean()
    assert path.shadow.moved[2:].mean() < path.raw.moved[2:].mean()


def test_the_shadow_is_the_raw_net_in_the_first_epoch(path):
    assert torch.equal(path.shadow.certified[:2], path.raw.certified[:2])


def test_what_was_followed_is_read_from_the_cache(path, monkeypatch):
    trains = "linfkit.course.studies.ema._followed"
    monkeypatch.setattr(trains, lambda *arguments: pytest.fail("trains"))
    again = follow_weights(TINY, [0.0, 0.9], every=2)
    assert torch.equal(again.raw.plane, path.raw.plane)


def test_other_decays_are_followed_anew(path, monkeypatch):
    class Anew(Exception):
        pass

    def anew(*arguments):
        raise Anew

    monkeypatch.setattr("linfkit.course.studies.ema._followed", anew)
    with pytest.raises(Anew):
        follow_weights(TINY, [0.5], every=2)


def test_jitter_is_the_mean_jump_of_the_second_half():
    assert track(0.0, 1.0, 0.5, 0.7, 0.6, 0.9).jitter == pytest.approx(0.2)


def test_the_gain_of_the_average_is_a_mean_over_runs():
    assert ema_gain(RUNS) == pytest.approx([0.075, 0.075])
    assert mean_history(RUNS, "epoch") == [1, 2]


def test_raw_weights_and_average_are_drawn_for_each_run():
    names = [trace.name for trace in FIGURES["weights-moved"]().data]
    assert names == [
        "constant rate, raw",
        "constant rate, average",
        "cosine rate, raw",
        "cosine rate, average",
    ]


def test_the_decay_of_the_slider_is_the_one_drawn():
    raw, average = figures.certified_with_decay(PATH, 0.99).data
    assert raw.y == pytest.approx((0.4, 0.6, 0.5, 0.7))
    assert average.y == pytest.approx((0.0, 0.1, 0.2, 0.3))
    assert "β=0.99" in figures.certified_with_decay(PATH, 0.99).layout.title.text


def test_the_warm_up_is_set_against_the_same_decay_without():
    _, warmed, cold = FIGURES["warm-up"]().data
    assert warmed.y == pytest.approx((0.4, 0.5, 0.6, 0.6))
    assert cold.y == pytest.approx((0.0, 0.1, 0.2, 0.3))
