"""Tested: tables of longer runs are read and computed as they say. Not here: ablations' figures."""

import csv
import math

import pytest
import torch
from PIL import Image

import linfkit as lk
from linfkit.course import figures, measured
from linfkit.course.figures import observatory as observatory_figure
from linfkit.course.measured import observatory, plane
from linfkit.course.studies import ablations
from linfkit.course.studies.neurons import spirals
from linfkit.course.studies.observatory import watch
from linfkit.course.studies.plane import watch_plane
from tests.helpers import ROOT


@pytest.fixture
def tiny_table(tmp_path, monkeypatch):
    """A table of a small study, with a row of another data set in it."""
    table = tmp_path / "ablations.csv"
    others = dict.fromkeys(measured.COLUMNS, "1") | {"dataset": "cifar10", "loss": "hinge"}
    lines = [measured.COLUMNS, others.values()]
    table.write_text("".join(",".join(line) + "\n" for line in lines), "utf-8")
    changes = {"epochs": 1, "width": 8, "depth": 2, "train_images": 100, "seeds": [0, 1]}
    monkeypatch.setattr(measured, "FILE", table)
    monkeypatch.setitem(measured.BASES, "digits", ("digits-noisy", changes, 6.0))
    monkeypatch.setitem(measured.GRIDS, "digits", ([3.0], [0.1, 0.2], [0.001]))
    monkeypatch.setenv("LINFKIT_CACHE", str(tmp_path / "cache"))
    return table


def test_the_table_holds_what_it_is_said_to_hold():
    for dataset, (thetas, starts, ends) in measured.GRIDS.items():
        base = measured.base(dataset)
        for variants in (
            ablations.LOSSES,
            ablations.margins_of(base, thetas),
            ablations.weights_of(starts, ends),
        ):
            found = measured.measured(dataset, variants)
            assert list(found) == list(variants)
            for ablation in found.values():
                assert len(ablation.clean) == len(base.seeds)
                for shares in zip(ablation.clean, ablation.certified, strict=True):
                    assert 0 < shares[1] <= shares[0] < 1


def test_what_is_measured_is_what_ablate_finds(tiny_table):
    measured.measure("digits")
    base, data = measured.base("digits"), lk.load_dataset("digits")
    for variants in (
        ablations.LOSSES,
        ablations.margins_of(base, [3.0]),
        ablations.weights_of([0.1, 0.2], [0.001]),
    ):
        found, direct = (
            measured.measured("digits", variants),
            ablations.ablate(base, variants, data),
        )
        for name, ablation in direct.items():
            for column in measured.ACCURACIES:
                shares = getattr(ablation, column)
                assert getattr(found[name], column) == pytest.approx(shares, abs=1e-6)


def test_measuring_again_replaces_a_data_set_s_rows_alone(tiny_table):
    measured.measure("digits")
    once = tiny_table.read_text("utf-8")
    measured.measure("digits")
    assert tiny_table.read_text("utf-8") == once
    rows = list(csv.DictReader(once.splitlines()))
    assert [row["dataset"] for row in rows].count("cifar10") == 1
    assert len({tuple(row.values()) for row in rows}) == len(rows)


def test_a_variant_that_nobody_measured_is_no_row(tiny_table):
    with pytest.raises(KeyError):
        measured.measured("digits", {"mixed": {}})


class TestObservatory:
    def test_the_file_holds_every_moment_of_every_run(self):
        runs, eps = observatory.observations(), observatory.base().eps
        thetas = [multiple * eps for multiple in observatory.THETAS]
        assert list(runs) == [
            (loss, pytest.approx(theta)) for loss in ("hinge", "mixed") for theta in thetas
        ]
        for moments in runs.values():
            assert [moment.p for moment in moments] == [m.p for m in runs["hinge", 2 * eps]]
            assert len(moments) == len(observatory.EPOCHS)
            assert moments[0].p == 8
            assert math.isinf(moments[-1].p)
            for moment in moments:
                assert sum(moment.counts) == 360
                assert moment.measured <= moment.bound * 1.001

    def test_measuring_writes_what_is_read(self, tmp_path, monkeypatch):
        tiny = lk.load_recipe("digits-noisy").replace(epochs=2, width=8, train_images=100)
        monkeypatch.setattr(observatory, "FILE", tmp_path / "observatory.csv")
        monkeypatch.setattr(observatory, "base", lambda: tiny)
        monkeypatch.setattr(observatory, "THETAS", (2,))
        monkeypatch.setattr(observatory, "EPOCHS", (1, 2))
        observatory.measure()
        runs = observatory.observations()
        assert list(runs) == [("hinge", 0.2), ("mixed", 0.2)]
        direct = watch(tiny.replace(eps_train=0.1), lk.load_dataset("digits"), (1, 2))
        assert [moment.counts for moment in runs["mixed", 0.2]] == [m.counts for m in direct]

    def test_the_figure_shows_the_moment(self):
        runs = observatory.observations()
        now = runs["mixed", 0.2][3]
        figure = observatory_figure(runs, now.p, 0.2, "mixed", 0.1)
        bars, *_, dot = figure.data
        assert tuple(bars.y) == now.counts
        assert (dot.x, dot.y) == ((0.2,), (now.certified,))
        assert figure.layout.title.text.startswith("mixed loss, θ = 0.2, p = 18: 61%")

    def test_the_readme_s_picture_has_a_frame_for_each_moment(self):
        with Image.open(ROOT / "figures" / "observatory.gif") as moving:
            assert moving.n_frames == 2 * len(observatory.EPOCHS)


class TestPlane:
    def test_the_file_holds_every_moment_of_both_runs(self):
        for moments in plane.plane_in_training().values():
            assert len(moments) == len(plane.EPOCHS)
            assert moments[0].p == 8
            assert math.isinf(moments[-1].p)
            assert not moments[-1].starved.any()  # with θ = 2ε both say the same at p=∞
            for moment in moments:
                assert moment.classes.shape == (plane.SIDE, plane.SIDE)
                assert moment.points.shape == (plane.POINTS, 2)

    def test_measuring_writes_what_is_read(self, tmp_path, monkeypatch):
        tiny = plane.base().replace(epochs=2, width=8)
        monkeypatch.setattr(plane, "FILE", tmp_path / "plane.npz")
        monkeypatch.setattr(plane, "base", lambda: tiny)
        monkeypatch.setattr(plane, "EPOCHS", (1, 2))
        plane.measure()
        found = plane.plane_in_training()["mixed"]
        data = spirals(600, 60)
        direct = watch_plane(tiny.replace(loss="mixed"), data, (1, 2), plane.POINTS, plane.SIDE)
        for moment, other in zip(found, direct, strict=True):
            assert moment.p == other.p
            assert torch.equal(moment.classes, other.classes.to(torch.uint8))
            assert torch.equal(moment.starved, other.starved)
            assert torch.equal(moment.certified, other.certified)

    def test_stars_stand_where_points_starve(self):
        moment = plane.plane_in_training()["hinge"][1]
        figure = figures.plane_in_training(moment, "hinge")
        _, stars, squares, every = figure.data
        assert len(stars.x) - 1 == moment.starved.sum() > 0
        assert len(squares.x) - 1 == moment.certified.sum()
        assert set(zip(stars.x, stars.y, strict=True)) <= set(zip(every.x, every.y, strict=True))
        assert f"{moment.starved.double().mean():.0%} starved" in figure.layout.title.text
