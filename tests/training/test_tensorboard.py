"""Tested: which scalars are logged, and what is said where the package tensorboard is missing.
Not tested: TensorBoard itself, but for what it reads where it is installed."""

import math
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
from typer.testing import CliRunner

from linfkit.cli.app import app
from linfkit.training.tensorboard import logging_scalars

ROWS = [
    {"epoch": 1, "loss": 2.0, "p": 8.0, "certified": 0.25},
    {"epoch": 2, "loss": 1.0, "p": math.inf, "certified": 0.5},
]


class Writer:
    """In the place of PyTorch's writer: remembers what it was given."""

    def __init__(self, folder):
        self.folder, self.scalars, self.flushed, self.open = folder, [], 0, True
        Writer.last = self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.open = False

    def add_scalar(self, *scalar):
        self.scalars.append(scalar)

    def flush(self):
        self.flushed += 1


@pytest.fixture
def writer(monkeypatch):
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, module.__name__, module)
    package = ModuleType("tensorboard")
    package.__spec__ = ModuleSpec("tensorboard", None)
    monkeypatch.setitem(sys.modules, "tensorboard", package)
    return lambda: Writer.last


def train(tmp_path, *words):
    settings = ["--set", "epochs=2", "--set", "width=8", "--set", "train_images=200"]
    words = ["train", "digits-small", "--out", str(tmp_path / "net"), *settings, *words]
    return CliRunner().invoke(app, words)


def test_each_column_is_a_scalar_at_its_epoch(writer, tmp_path):
    with logging_scalars(tmp_path) as log:
        for count, row in enumerate(ROWS, start=1):
            log(row)
            assert writer().flushed == count
    assert writer().scalars == [
        ("loss", 2.0, 1),
        ("p", 8.0, 1),
        ("certified", 0.25, 1),
        ("loss", 1.0, 2),
        ("p", math.inf, 2),
        ("certified", 0.5, 2),
    ]
    assert (writer().folder, writer().open) == (str(tmp_path), False)


def test_tensorboard_reads_them(tmp_path):
    name = "tensorboard.backend.event_processing.event_accumulator"
    events = pytest.importorskip(name, reason="tensorboard is not installed")
    with logging_scalars(tmp_path) as log:
        for row in ROWS:
            log(row)
    read = events.EventAccumulator(str(tmp_path))
    read.Reload()
    assert read.Tags()["scalars"] == ["loss", "p", "certified"]
    assert [(event.step, event.value) for event in read.Scalars("p")] == [(1, 8.0), (2, math.inf)]


def test_training_logs_every_epoch(writer, tmp_path):
    ran = train(tmp_path, "--tensorboard")
    assert ran.exit_code == 0, ran.output
    assert writer().folder == str(tmp_path / "net" / "tensorboard")
    assert [step for name, _, step in writer().scalars if name == "ema_certified"] == [1, 2]


def test_without_the_package_its_extra_is_named_and_nothing_trained(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    ran = train(tmp_path, "--tensorboard")
    assert ran.exit_code == 2
    assert 'pip install "linfkit[tensorboard]"' in ran.output
    assert not (tmp_path / "net").exists()
