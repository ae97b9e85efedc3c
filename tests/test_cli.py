"""The command line: exit codes, and errors of one line. What commands do is tested elsewhere."""

import json

import pytest
from typer.testing import CliRunner

from linfkit.cli import app
from tests.small_notebooks import write_good_notebook, write_notebook


def linfkit(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_run_with_every_claim_held_is_0_even_without_a_browser(tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "no-such-browser"))
    write_good_notebook(tmp_path / "notebooks", needed=3)
    out = tmp_path / "out"
    words = ("reproduce", "--notebooks", tmp_path / "notebooks", "--out", out)
    ran = linfkit(*words, "-p", "top", "3.5", "-p", "epochs=7")
    assert ran.exit_code == 0, ran.output
    assert ran.output.count("no PNG pictures") == 1
    for word in ("top-suffices", "3.5", "≥ 3", "held", "1 of 1 notebooks", "1 of 1 claims"):
        assert word in ran.output
    assert {file.suffix for file in (out / "figures").iterdir()} == {".html"}
    (notebook,) = json.loads((out / "results.json").read_text())["notebooks"]
    assert notebook["parameters"] == {"top": 3.5, "epochs": 7}


def test_a_run_with_a_failure_is_1(tmp_path):
    write_notebook(tmp_path, "02_raises", "raise RuntimeError('[no] /markup')")
    ran = linfkit("reproduce", "--notebooks", tmp_path, "--out", tmp_path / "out")
    assert ran.exit_code == 1
    assert "RuntimeError: [no] /markup" in ran.output
    assert "0 of 1 notebooks" in ran.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reproduce", "--profile", "quikc"], "error: profile: 'quikc'"),
        (["reproduce", "--notebooks", "no-such-folder"], "error: notebooks: there is no folder"),
        (["reproduce", "-p", "epochs"], "error: wanted a name and a value, got 'epochs' alone"),
        (["train", "no-such-recipe"], "error: recipe: 'no-such-recipe'"),
        (["train", "digits-small", "--set", "epoch=3"], "did you mean 'epochs'?"),
    ],
)
def test_what_cannot_be_run_is_2_and_one_line(words, message):
    ran = linfkit(*words)
    assert ran.exit_code == 2
    assert message in ran.output
    assert "Traceback" not in ran.output


def test_debug_shows_the_error_itself():
    ran = linfkit("--debug", "reproduce", "--profile", "quikc")
    assert isinstance(ran.exception, ValueError)


def test_an_interrupt_is_130(monkeypatch):
    from linfkit import batch

    def reproduce(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(batch, "reproduce", reproduce)
    ran = linfkit("reproduce")
    assert ran.exit_code == 130
    assert "interrupted" in ran.output


def test_list_shows_every_profile_and_runs_nothing():
    ran = linfkit("reproduce", "--list")
    assert ran.exit_code == 0
    assert "quick" in ran.output


def test_train_writes_a_net(tmp_path):
    settings = ("--set", "epochs=1", "--set", "width=8", "--seed", "1")
    ran = linfkit("train", "digits-small", "--out", tmp_path / "net", *settings)
    assert ran.exit_code == 0, ran.output
    assert (tmp_path / "net" / "model.safetensors").is_file()
    assert "certified" in ran.output


def test_doctor_ends_in_a_verdict():
    ran = linfkit("doctor")
    assert ran.exit_code == 0
    assert ran.output.splitlines()[-1].startswith("linfkit ")
