"""Tested: without an extra, a command that needs it is one line that says what to install, and all
others work."""

import os
import subprocess
import sys

import pytest

from tests.helpers import ROOT

NOTEBOOKS = ["IPython", "jinja2", "nbformat", "papermill", "plotly"]

HIDING = """
import runpy, sys
for name in {hidden}:
    sys.modules[name] = None
sys.argv = {words}
runpy.run_module("linfkit", {{}}, "__main__")
"""

TINY = "--set epochs=1 --set width=8 --set train_images=100 --set test_images=50"


def without(hidden, words, folder):
    """What linfkit's command prints, and its exit code, where some packages are missing."""
    ran = subprocess.run(
        [sys.executable, "-c", HIDING.format(hidden=hidden, words=["linfkit", *words.split()])],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    return ran.returncode, ran.stdout + ran.stderr


def test_the_library_trains_and_certifies_without_any_extra(tmp_path):
    hidden = [*NOTEBOOKS, "distributed", "tensorboard"]
    for words in (f"train digits-small {TINY}", "certify runs/digits-small", "recipes", "doctor"):
        code, shown = without(hidden, words, tmp_path)
        assert code == 0, shown


@pytest.mark.parametrize(
    ("words", "missing", "extra"),
    [
        ("reproduce", "papermill", "notebooks"),
        ("report runs/none", "plotly", "notebooks"),
        ("pages", "sphinx", "docs"),
        ("bench --quick --figure a.html", "plotly", "notebooks"),
        (f"ensemble digits-small --workers 2 {TINY}", "distributed", "cluster"),
        (f"train digits-small --tensorboard {TINY}", "tensorboard", "tensorboard"),
    ],
)
def test_a_command_says_which_extra_it_needs(words, missing, extra, tmp_path):
    code, shown = without([missing], words, tmp_path)
    assert code == 2
    assert f'{missing} is not installed: pip install "linfkit[{extra}]"' in shown
    assert "Traceback" not in shown
