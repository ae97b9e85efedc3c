"""Paths that come in: ~ is a home folder at every door of the library and of the command line."""

import sys
from pathlib import Path

import nbformat
import pytest
import torch

import linfkit as lk
from linfkit._util.files import cache_folder, data_folder, expand_user
from linfkit.cli.app import main
from linfkit.nn.checkpoints import save_model
from linfkit.pages.export import export
from linfkit.pages.run import write_report
from linfkit.reproduce import publish_notebooks
from linfkit.reproduce.reproduction import reproduce
from linfkit.reproduce.results import Results
from linfkit.training.saved import SavedNet, saved_nets
from tests.helpers.small_notebooks import write_notebook

TINY = lk.load_recipe("digits-small").replace(
    epochs=1, width=8, train_images=100, test_images=50, seeds=[0, 1]
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The home folder; the working folder, beside it, must stay empty."""
    folder, here = tmp_path / "home", tmp_path / "here"
    folder.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    monkeypatch.chdir(here)
    yield folder
    assert [*here.iterdir()] == []


@pytest.mark.parametrize("name", ["runs/~old", "a~b", "~no-such-user/x", "/tmp/~"])
def test_any_other_tilde_is_part_of_a_name(name):
    assert expand_user(name) == Path(name)
    assert expand_user(Path(name)) == Path(name)


def test_runs(home):
    run = lk.fit(TINY, out="~/run", progress=False)
    assert run.folder == home / "run"
    again = lk.fit(TINY, out=Path("~/run"), progress=False)
    assert again.results == run.results
    both = lk.fit_ensemble(TINY, out="~/both", progress=False)
    assert both.folder == home / "both"
    assert (home / "both" / "seed-1" / "model.safetensors").is_file()
    for read in (lk.load_model, SavedNet.read, saved_nets):
        assert read("~/run")
    assert write_report("~/run", "~/page.html") == home / "page.html"
    assert write_report("~/run") == home / "run" / "report.html"
    assert lk.load_recipe("~/run/recipe.toml").width == 8


def test_nets(home):
    net = lk.LpDistNet(4, 8, 2, 3).eval()
    save_model("~/net.safetensors", net, {})
    assert (home / "net.safetensors").is_file()
    assert lk.load_model("~/net.safetensors").p == net.p
    theirs = {"fc_dist.0.weight": torch.rand(3, 4), "fc_dist.0.bias": torch.zeros(3)}
    torch.save({**theirs, "scalar": torch.ones(1)}, home / "theirs.pth")
    assert lk.load_original("~/theirs.pth", rho=0)(torch.rand(5, 4)).shape == (5, 3)


def test_folders_of_the_environment_and_data(home, monkeypatch):
    monkeypatch.setenv("LINFKIT_CACHE", "~/cache")
    monkeypatch.setenv("LINFKIT_DATA", "~/data")
    assert (cache_folder(), data_folder()) == (home / "cache", home / "data")
    with pytest.raises(FileNotFoundError, match=f"root is {home / 'mine'}"):
        lk.load_dataset("mnist", root="~/mine")


def test_notebooks(home, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", "no-such-browser")
    write_notebook(home / "mine", "01_no_claims", "1")
    results = reproduce(out="~/out", notebooks="~/mine", workers=1)
    assert not results.success
    assert (home / "out" / "results.json").is_file()
    assert Results.load("~/out").planned == ["01_no_claims"]
    with pytest.raises(ValueError, match="is not a run to publish"):
        publish_notebooks.publish(Path("~/out"))
    nbformat.write(nbformat.v4.new_notebook(), home / "mine" / "01_no_claims.ipynb")
    with pytest.raises(ValueError, match="01_no_claims has no outputs"):
        export(Path("~/mine"), Path("~/site"))


def test_the_command_line_expands_what_a_shell_leaves(home, monkeypatch):
    def linfkit(words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["linfkit", *words.split()])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code

    settings = "--set epochs=1 --set width=8 --set train_images=100 --set test_images=50"
    assert linfkit(f"train digits-small --out=~/run {settings}") == 0
    assert (home / "run" / "model.safetensors").is_file()
    assert linfkit("certify ~/run --figure=~/c.html") == 0
    assert linfkit("report ~/run --out=~/page.html") == 0
    assert {"c.html", "page.html"} <= {path.name for path in home.iterdir()}
    assert linfkit("train ~/none.toml") == 2
