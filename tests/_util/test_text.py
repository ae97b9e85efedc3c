"""Consoles whose encoding lacks characters: every command prints, and files are written first."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

import linfkit as lk
from linfkit._util.text import say
from linfkit.bench import operators as bench
from linfkit.bench.operators import Case
from linfkit.cli.app import app, main
from linfkit.course import exercises
from linfkit.course.exercises import Exercise
from tests.helpers import ROOT
from tests.helpers.small_notebooks import PARAMETERS, write_notebook

TINY = "--set epochs=1 --set width=8 --set train_images=100 --set test_images=50"


class Console:
    """Standard output and error of one encoding, which refuse what it lacks."""

    def __init__(self, encoding: str) -> None:
        self.stdout, self.stderr = (
            io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict") for _ in range(2)
        )

    @property
    def shown(self) -> str:
        for stream in (self.stdout, self.stderr):
            stream.flush()
        shown = self.stdout.buffer.getvalue() + self.stderr.buffer.getvalue()
        return shown.decode(self.stdout.encoding, "replace")

    def call(self, function, *words) -> int | str | None:
        """Call a function here, with these words on the command line; how it exits."""
        with pytest.MonkeyPatch.context() as here:
            here.setattr(sys, "argv", ["linfkit", *map(str, words)])
            here.setattr(sys, "stdout", self.stdout)
            here.setattr(sys, "stderr", self.stderr)
            try:
                return function()
            except SystemExit as ended:
                return ended.code

    def linfkit(self, *words) -> int | str | None:
        return self.call(main, *words)


@pytest.fixture(params=["ascii", "cp1252", "latin-1"])
def console(request):
    return Console(request.param)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a finished run."""
    recipe = lk.load_recipe("digits-small").replace(
        epochs=1, width=8, train_images=100, test_images=50
    )
    return lk.fit(recipe, out=tmp_path_factory.mktemp("run"), progress=False).folder


@pytest.fixture(scope="module")
def benchmark():
    return bench.run(measured=[Case(p=8, batch=2, in_features=4, out_features=3)], rounds=1)


@pytest.mark.parametrize("command", ["", *get_command(app).commands])
def test_every_help_is_printed(command, console):
    assert console.linfkit(*command.split(), "--help") == 0
    assert "Usage:" in console.shown


@pytest.mark.parametrize(
    "words",
    [
        f"train digits-small --out out {TINY}",
        f"ensemble digits-small --out out --set seeds=[0,1] {TINY}",
        "report RUN --out report.html",
        "recipes",
        "recipes digits-small",
        "reproduce --list",
        "doctor",
    ],
)
def test_every_command_prints(words, console, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert console.linfkit(*words.replace("RUN", str(run)).split()) == 0, console.shown
    assert console.shown


@pytest.mark.parametrize("words", ["train digits-ε", "certify ∞", "recipes ε"])
def test_every_error_is_printed(words, console):
    assert console.linfkit(*words.split()) == 2
    assert "error: " in console.shown


def test_certify_writes_and_prints(console, run, tmp_path):
    assert console.linfkit("certify", run, "--figure", tmp_path / "c.html") == 0, console.shown
    assert "What is proved" in (tmp_path / "c.html").read_text("utf-8")
    assert "digits-small on digits, ? = 0.1" in console.shown


def test_bench_writes_and_prints(console, benchmark, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "run", lambda *_: benchmark)
    assert console.linfkit("bench", "--figure", tmp_path / "b.html") == 0, console.shown
    assert "torch.cdist" in (tmp_path / "b.html").read_text("utf-8")
    assert "linfkit" in console.shown


def test_what_was_found_is_printed_even_where_a_file_cannot_be_written(run, tmp_path):
    (tmp_path / "taken").touch()
    console = Console("utf-8")
    assert console.linfkit("certify", run, "--figure", tmp_path / "taken" / "c.html") == 2
    assert "digits-small on digits, ε = 0.1" in console.shown
    assert "error: " in console.shown


def test_a_notebook_s_error_of_any_characters_ends_no_batch(console, tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", "no-such-browser")
    write_notebook(tmp_path / "mine", "01_ε", PARAMETERS, "raise ValueError('ε must be small')")
    write_notebook(tmp_path / "mine", "02_ends", PARAMETERS, "'ε'")
    words = ("--notebooks", tmp_path / "mine", "--out", tmp_path / "out", "--workers", 1)
    assert console.linfkit("reproduce", *words) == 1, console.shown
    assert "ValueError: ? must be small" in console.shown
    assert "ε must be small" in (tmp_path / "out" / "results.json").read_text("utf-8")
    assert (tmp_path / "out" / "records" / "02_ends.json").is_file()


def test_the_library_s_own_lines_are_printed_by_programs_that_are_not_ours(console, monkeypatch):
    monkeypatch.setattr(Exercise, "verdict", lambda *_: "ε is half the margin")

    def program():
        say("ε ≥ 0")
        claims = lk.Claims("01")
        claims.check("a", "ε is small", 0.5, at_most=1)
        claims.table()
        claims.verdicts()
        exercises.check("00-radius", ...)

    console.call(program)
    assert console.shown.splitlines() == [
        "? ? 0",
        "a: ? is small: 0.5 (? 1): held",
        "a: held",
        "00-radius: ? is half the margin",
    ]
    assert console.stdout.errors == "strict"  # a library leaves the streams as they are


def test_pages_print_the_names_of_files(console, tmp_path, monkeypatch):
    page = tmp_path / "ε.html"
    monkeypatch.setattr("linfkit.pages.export.export", lambda *_: [page])
    assert console.linfkit("pages") == 0
    assert "1 pages; open " in console.shown
    assert console.stdout.errors == console.stderr.errors == "replace"


@pytest.mark.parametrize(
    "surroundings", [{"PYTHONIOENCODING": "cp1252"}, {"LC_ALL": "C"}], ids=["cp1252", "C"]
)
def test_a_console_that_is_not_utf_8(surroundings, run, tmp_path):
    ran = start("linfkit", "certify", run, "--figure", "c.html", cwd=tmp_path, **surroundings)
    assert ran.returncode == 0, ran.stderr
    assert b"digits-small on digits, ? = 0.1" in ran.stdout
    assert (tmp_path / "c.html").is_file()


def start(module: str, *words: object, cwd: Path, **surroundings: str):
    root = str(ROOT)
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, words)],
        env=os.environ | {"PYTHONUTF8": "0", "PYTHONPATH": root} | surroundings,
        cwd=cwd,
        capture_output=True,
    )
