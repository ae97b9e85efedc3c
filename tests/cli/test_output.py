"""Output for a person, a pipe and a program: real processes, and a terminal where there can be."""

import json
import os
import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import linfkit as lk
from linfkit.cli.app import app
from linfkit.recipes.recipe import Recipe, load_recipe, recipe_names
from tests.helpers import ROOT

SETTINGS = ("epochs=1", "width=8", "train_images=100", "test_images=50")
TINY = [word for setting in SETTINGS for word in ("--set", setting)]
FRAMES = set("│╭╮╰╯━─┃")
BAR = "%|"


def command(words):
    return [sys.executable, "-m", "linfkit", *map(str, words)]


def surroundings(**variables):
    return os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"} | variables


def piped(*words, **variables):
    """A command's exit code, standard output and standard error, in UTF-8 if not told otherwise."""
    env = surroundings(PYTHONIOENCODING="utf-8") | variables
    ran = subprocess.run(command(words), capture_output=True, env=env)
    return ran.returncode, ran.stdout.decode(), ran.stderr.decode()


def at_a_terminal(*words):
    """Whatever a command shows at a terminal of 80 columns."""
    pty = pytest.importorskip("pty", reason="this system has no terminals to pretend")
    termios = pytest.importorskip("termios")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (24, 80))
    env = surroundings(PYTHONIOENCODING="utf-8", TERM="dumb")
    with subprocess.Popen(command(words), stdin=theirs, stdout=theirs, stderr=theirs, env=env):
        os.close(theirs)
        shown = b""
        try:
            while came := os.read(ours, 4096):
                shown += came
        except OSError:  # Linux's way to say that the other end is closed
            pass
        os.close(ours)
    return shown.decode()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run's folder, and what `train --json` printed of it."""
    out = tmp_path_factory.mktemp("piped") / "net"
    code, result, progress = piped("train", "digits-small", *TINY, "--out", out, "--json")
    assert code == 0, progress
    return out, result, progress


def test_piped_recipes_are_whole_records_one_a_line():
    code, shown, _ = piped("recipes")
    head, *lines = shown.splitlines()
    assert code == 0
    assert head.split("\t")[:3] == ["recipe", "data", "net"]
    assert {line.count("\t") for line in lines} == {head.count("\t")}
    assert [line.split("\t")[0] for line in lines] == list(recipe_names())
    assert not FRAMES & set(shown)
    (mnist,) = (line for line in lines if line.startswith("iclr2022-mnist-0.3\t"))
    assert {"mnist", "mlp 5120 × 5", "0.3"} <= set(mnist.split("\t"))


def test_a_reader_that_has_read_enough_is_no_error():
    ran = subprocess.Popen(
        command(["recipes"]), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=surroundings()
    )
    ran.stdout.close()
    assert ran.stderr.read() == b""
    assert ran.wait() == 1


def test_at_a_terminal_recipes_are_a_table_as_wide_as_it():
    shown = at_a_terminal("recipes", "mnist")
    assert FRAMES & set(shown)
    assert "\t" not in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_train_prints_one_document_and_nothing_else(trained):
    out, result, progress = trained
    found = json.loads(result)
    assert found["folder"] == str(out)
    assert found["results"] == lk.fit(load_recipe(out / "recipe.toml"), out=out).results
    assert Recipe(**found["recipe"] | {"p_end": float(found["recipe"]["p_end"])}).width == 8
    assert "nets, history and recipe are in" in progress
    assert BAR not in progress


def test_at_a_terminal_a_bar_shows_progress_unless_it_is_to_be_quiet(tmp_path):
    loud = at_a_terminal("train", "digits-small", *TINY, "--out", tmp_path / "loud")
    assert BAR in loud
    assert "nets, history and recipe are in" in loud
    quiet = at_a_terminal("train", "-q", "digits-small", *TINY, "--out", tmp_path / "quiet")
    names = [line.partition(": ")[0] for line in quiet.splitlines()]
    assert names == list(lk.fit(tmp_path / "quiet" / "recipe.toml", out=tmp_path / "quiet").results)


def test_certify_prints_json_that_any_console_can_show(trained):
    out, *_ = trained
    code, shown, _ = piped("certify", out, "--json", PYTHONIOENCODING="ascii")
    assert code == 0
    assert json.loads(shown)["p"] == "Infinity"
    assert json.loads(shown)["net"] == "digits-small"


def test_piped_accuracies_are_a_line_of_names_and_a_line_of_numbers(trained):
    out, *_ = trained
    code, shown, progress = piped("certify", out, "--quiet")
    heading, names, numbers, *explanation = shown.splitlines()
    assert (code, progress) == (0, "")
    assert heading == "digits-small on digits, ε = 0.1"
    accuracies = dict(zip(names.split("\t"), map(float, numbers.split("\t")), strict=True))
    assert accuracies["certified, either"] <= accuracies["clean"]
    assert any(len(line) > 80 for line in explanation)


def test_doctor_prints_json():
    code, shown, _ = piped("doctor", "--json")
    found = json.loads(shown)
    assert code == 0
    assert found["versions"]["linfkit"] == lk.__version__
    assert "digits" in found["data"]
    assert found["verdict"].startswith("linfkit ")


def test_recipes_print_json():
    every, one = (json.loads(piped("recipes", *name, "--json")[1]) for name in ([], ["mnist-tiny"]))
    assert [recipe["name"] for recipe in every] == list(recipe_names())
    assert one in every
    assert one["width"] == load_recipe("mnist-tiny").width


@pytest.mark.parametrize("words", ["train no-such", "certify no-such", "recipes no-such"])
def test_an_error_leaves_standard_output_empty(words):
    code, shown, error = piped(*words.split(), "--json")
    assert (code, shown) == (2, "")
    assert error.startswith("error: ")


@pytest.mark.parametrize("name", ["", *get_command(app).commands])
def test_help_is_wrapped_at_words(name):
    ran = CliRunner(env={"COLUMNS": "80"}).invoke(app, [*name.split(), "--help"])
    shown = ran.stdout
    assert ran.exit_code == 0
    assert not FRAMES & set(shown)
    assert max(map(len, shown.splitlines())) <= 80
    described = get_command(app).commands[name] if name else get_command(app)
    assert " ".join(described.help.split()) in " ".join(shown.split())
    first_lines = [each.help.partition("\n")[0] for each in get_command(app).commands.values()]
    assert name or all(line in " ".join(shown.split()) for line in first_lines)
