"""Tested: the table of longer ablations is read and computed as it says. Not here: its figures."""

import csv

import pytest

import linfkit as lk
from linfkit.course import measured
from linfkit.course.studies import ablations


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
