"""Tested: what is read of a run at any moment, what of it is shown, and when watching ends.
Not tested: the charts' dots (test_charts.py), how a terminal draws anew."""

import io
import json
import math
import os
import shutil
import time

import pytest
from rich.console import Console
from typer.testing import CliRunner

import linfkit as lk
from linfkit.cli import watching
from linfkit.cli.commands import app
from linfkit.cli.progress import Progress
from linfkit.cli.watching import View, show, watch

RECIPE = lk.load_recipe("digits-small").replace(epochs=20, width=8)


def row(epoch, **changed):
    columns = {
        "epoch": epoch,
        "loss": 2.0 / epoch,
        "zero_hinge": 0.25,
        "starved": 0.125,
        "p": 8.0 * epoch,
        "certified": 0.5,
        "ema_certified": 0.625,
        "seconds": 30.0,
    }
    return json.dumps(columns | changed) + "\n"


@pytest.fixture
def folder(tmp_path):
    """The folder of a run after five epochs of twenty."""
    (tmp_path / "recipe.toml").write_text(RECIPE.to_toml())
    (tmp_path / "history.jsonl").write_text("".join(map(row, range(1, 6))))
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    few = RECIPE.replace(epochs=2, train_images=200)
    lk.fit(few, out=folder, progress=False)
    return folder


def test_a_byte_order_mark_before_the_history_is_passed_over(folder):
    rows = Progress.read(folder).history
    (folder / "history.jsonl").write_bytes(
        b"\xef\xbb\xbf" + (folder / "history.jsonl").read_bytes()
    )
    assert Progress.read(folder).history == rows


def add(folder, text):
    with (folder / "history.jsonl").open("a") as history:
        history.write(text)


def terminal(width=120, height=50):
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=height)


def shown(progress, width=120, height=50):
    console = Console(width=width, height=height)
    with console.capture() as capture:
        console.print(View(progress))
    return capture.get()


class TestProgress:
    def test_it_is_what_the_folder_says(self, folder):
        progress = Progress.read(folder)
        assert progress.recipe == RECIPE
        assert progress.epochs == 5
        assert progress.column("p") == [8, 16, 24, 32, 40]
        assert not progress.finished

    def test_it_is_that_of_a_run_that_fit_has_trained(self, trained):
        progress = Progress.read(trained)
        assert progress.finished
        assert progress.seconds_left == 0
        assert progress.column("epoch") == [1, 2]

    def test_a_line_counts_once_it_is_whole(self, folder):
        line = row(6)
        for end in range(0, len(line), 9):
            (folder / "half").mkdir(exist_ok=True)
            shutil.copy(folder / "recipe.toml", folder / "half")
            (folder / "half" / "history.jsonl").write_text(row(1) + line[:end])
            assert Progress.read(folder / "half").epochs == 1
        add(folder, line)
        assert Progress.read(folder).epochs == 6

    def test_infinity_is_read_as_such(self, folder):
        add(folder, row(6, p="inf"))
        assert Progress.read(folder).column("p")[-1] == math.inf

    def test_a_column_that_older_runs_lack_is_no_number(self, folder):
        assert all(math.isnan(value) for value in Progress.read(folder).column("lipschitz"))

    def test_the_time_left_goes_by_the_last_ten_epochs(self, folder):
        assert Progress.read(folder).seconds_left == 15 * 30
        add(folder, "".join(row(epoch, seconds=3.0) for epoch in range(6, 16)))
        assert Progress.read(folder).seconds_left == 5 * 3

    def test_a_run_that_has_just_begun_has_no_end_in_sight(self, folder):
        (folder / "history.jsonl").write_text("")
        progress = Progress.read(folder)
        assert (progress.epochs, progress.seconds_left) == (0, math.inf)

    @pytest.mark.parametrize(("minutes", "stopped"), [(2, False), (3, True)])
    def test_a_run_whose_epochs_do_not_come_seems_stopped(self, minutes, stopped, folder):
        written = time.time() - 60 * minutes  # epochs took half a minute
        os.utime(folder / "history.jsonl", (written, written))
        progress = Progress.read(folder)
        assert progress.seems_stopped is stopped
        assert ("nothing new for 3 min: has it been stopped?" in shown(progress)) is stopped
        (folder / "model.safetensors").touch()
        assert not Progress.read(folder).seems_stopped

    @pytest.mark.parametrize("name", ["recipe.toml", "history.jsonl"])
    def test_what_is_missing_is_named(self, folder, name):
        (folder / name).unlink()
        with pytest.raises(FileNotFoundError, match=f"^run: .* has no {name}$"):
            Progress.read(folder)

    def test_no_folder_is_an_error(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"^run: there is no folder"):
            Progress.read(tmp_path / "none")

    @pytest.mark.parametrize("line", ["{", "[1]", '{"p": "many"}', '{"p": [1]}'])
    def test_a_whole_line_that_is_no_row_is_named(self, folder, line):
        add(folder, f"{line}\n")
        with pytest.raises(ValueError, match=r"^history\.jsonl: line 6 is no row of a history"):
            Progress.read(folder)


class TestView:
    def test_it_shows_where_the_run_is(self, folder):
        text = shown(Progress.read(folder))
        for words in (
            "digits-small  digits, mlp 8 × 3",
            "epoch 5 of 20, p = 40, about 8 min left",
            "certified accuracy, ε = 0.1, p = ∞",
            "raw 0.500",
            "averaged 0.625",
            "mixed 0.400",
            "zero hinge 0.250",
            "starved 0.125",
        ):
            assert words in text

    def test_a_finished_run_has_no_time_left(self, trained):
        text = shown(Progress.read(trained))
        assert "epoch 2 of 2, p = 422.2, finished" in text
        assert "left" not in text

    def test_nothing_is_foretold_before_the_first_epoch_nor_after_the_last(self, folder):
        for rows in ("", "".join(map(row, range(1, 21)))):
            (folder / "history.jsonl").write_text(rows)
            assert "left" not in shown(Progress.read(folder))

    @pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 24), (200, 60), (60, 40)])
    def test_it_fits_the_terminal(self, folder, width, height):
        lines = shown(Progress.read(folder), width, height).splitlines()
        assert max(map(len, lines)) <= width
        assert len(lines) <= height


class TestWatching:
    def test_it_follows_the_run_to_its_end(self, folder, monkeypatch):
        todo = iter(range(6, 9))

        def goes_on(seconds):
            assert seconds == 1
            epoch = next(todo)
            add(folder, row(epoch))
            if epoch == 8:
                (folder / "model.safetensors").touch()

        monkeypatch.setattr(watching.time, "sleep", goes_on)
        console = terminal()
        last = watch(folder, console)
        assert last.finished
        text = console.file.getvalue()
        for epoch in range(5, 9):
            assert f"epoch {epoch} of 20" in text

    def test_a_history_that_is_replaced_is_read_anew(self, folder, monkeypatch):
        def starts_anew(seconds):
            (folder / "new").write_text(row(1, loss=7.0))
            (folder / "new").replace(folder / "history.jsonl")
            (folder / "model.safetensors").touch()

        monkeypatch.setattr(watching.time, "sleep", starts_anew)
        assert watch(folder, terminal()).column("loss") == [7.0]

    def test_a_finished_run_is_not_waited_for(self, trained):
        assert watch(trained, terminal(), every=math.inf).finished

    def test_without_a_terminal_it_is_shown_once(self, folder):
        console = Console(file=io.StringIO(), force_terminal=False, width=120)
        assert not watch(folder, console, every=math.inf).finished
        assert console.file.getvalue().count("epoch 5 of 20") == 1

    def test_showing_waits_for_nothing(self, folder):
        assert not show(folder, terminal()).finished


class TestCommand:
    def test_it_shows_the_run(self, folder):
        for words in (["watch", folder], ["watch", folder, "--once"]):
            ran = CliRunner().invoke(app, [str(word) for word in words])
            assert ran.exit_code == 0, ran.output
            assert "epoch 5 of 20" in ran.output

    def test_an_interrupt_leaves_quietly(self, folder, monkeypatch):
        def interrupted(folder):
            raise KeyboardInterrupt

        monkeypatch.setattr(watching, "watch", interrupted)
        ran = CliRunner().invoke(app, ["watch", str(folder)])
        assert (ran.exit_code, ran.output) == (0, "")

    def test_a_wrong_folder_is_one_line(self, tmp_path):
        ran = CliRunner().invoke(app, ["watch", str(tmp_path)])
        assert ran.exit_code == 2
        assert ran.output.startswith("error: run: ")
        assert ran.output.rstrip().endswith("holds no run, for it has no recipe.toml")
