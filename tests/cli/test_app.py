"""The command line: exit codes, and errors of one line. What commands do is tested elsewhere."""

import json
import tomllib

import pytest
from typer.testing import CliRunner

import linfkit as lk
from linfkit.cli.app import app
from linfkit.recipes.recipe import Recipe, load_recipe
from tests.helpers.small_notebooks import write_good_notebook, write_notebook


def linfkit(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_run_with_every_claim_held_is_0_even_without_a_browser(tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "no-such-browser"))
    write_good_notebook(tmp_path / "notebooks", needed=3)
    out = tmp_path / "out"
    words = ("reproduce", "--notebooks", tmp_path / "notebooks", "--out", out)
    ran = linfkit(*words, "-p", "top", "3.5", "-p", "epochs=7")
    assert ran.exit_code == 0, ran.output
    assert ran.output.count("no pictures") == 1
    for word in ("top-suffices", "3.5", "≥ 3", "held", "1 of 1 notebooks", "1 of 1 claims"):
        assert word in ran.output
    assert {file.suffix for file in (out / "figures").iterdir()} == {".html"}
    (notebook,) = json.loads((out / "results.json").read_text())["notebooks"]
    assert notebook["parameters"] == {"top": 3.5, "epochs": 7}


def test_a_run_that_finds_what_is_claimed_elsewhere_is_0(tmp_path):
    write_notebook(
        tmp_path,
        "02_finds",
        'from linfkit.course.claims import Claims\nclaims = Claims("02_finds", "cifar10")\n'
        'claims.check("shrinks", "by how much", 0.77, below={"digits": 0.75})\nclaims.table()',
    )
    ran = linfkit("reproduce", "--notebooks", tmp_path, "--out", tmp_path / "out")
    assert ran.exit_code == 0, ran.output
    for word in ("0.77", "< 0.75 on digits", "found", "0 of 0 claims held, 1 found where no claim"):
        assert word in ran.output
    (claim,) = json.loads((tmp_path / "out" / "results.json").read_text())["claims"]
    assert (claim["value"], claim["holds"]) == (0.77, None)


def test_a_run_with_a_failure_is_1(tmp_path):
    write_notebook(tmp_path, "02_raises", "raise RuntimeError('[no] /markup')")
    ran = linfkit("reproduce", "--notebooks", tmp_path, "--out", tmp_path / "out")
    assert ran.exit_code == 1
    assert "RuntimeError: [no] /markup" in ran.output
    assert "0 of 1 notebooks" in ran.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reproduce", "--profile", "quikc"], "error: profile must be one of quick"),
        (["reproduce", "--notebooks", "no-such-folder"], "error: notebooks must be a folder"),
        (["reproduce", "-p", "epochs"], "error: a setting must be NAME=VALUE; got 'epochs'"),
        (["train", "no-such-recipe"], "error: recipe must be the name"),
        (["train", "digits-small", "--set", "epoch=3"], "did you mean 'epochs'?"),
        (["certify", "no-such-net"], "error: no checkpoint at no-such-net"),
        (["ensemble", "digits-small", "--joint", "--workers", "2"], "error: workers and scheduler"),
        (
            ["ensemble", "digits-ema", "--joint", "--set", "seeds=[1]"],
            "error: recipe must have two",
        ),
        (["certify", "no-such-net", "--figure", "a.gif"], "error: figure must be a file"),
        (["recipes", "digits-smal"], "did you mean 'digits-small'?"),
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
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("linfkit.reproduce.reproduction.reproduce", interrupted)
    ran = linfkit("reproduce")
    assert ran.exit_code == 130
    assert "interrupted" in ran.output


def test_list_shows_every_profile_and_runs_nothing():
    ran = linfkit("reproduce", "--list")
    assert ran.exit_code == 0
    assert "quick" in ran.output


def test_a_joint_ensemble_is_one_net_of_as_many_members_as_seeds(tmp_path):
    settings = [f"--set={key}" for key in ("epochs=1", "width=8", "seeds=[3,4]")]
    out = tmp_path / "joint"
    ran = linfkit("ensemble", "digits-small", "--joint", "--out", out, *settings)
    assert ran.exit_code == 0, ran.output
    assert "ema_certified" in ran.output
    net = lk.load_model(out)
    assert isinstance(net, lk.Ensemble)
    recipe = lk.load_recipe(out / "recipe.toml")
    assert (recipe.name, recipe.members, recipe.seeds) == ("digits-small-joint", 2, (3,))
    assert len(net.models) == 2


def test_ensemble_trains_a_net_a_seed_and_keeps_their_mean(tmp_path):
    shortened = ("epochs=1", "width=8", "train_images=100", "test_images=50", "seeds=[0, 1]")
    settings = [word for setting in shortened for word in ("--set", setting)]
    ran = linfkit("ensemble", "digits-small", "--out", tmp_path / "both", *settings)
    assert ran.exit_code == 0, ran.output
    for word in ("seed 0:", "seed 1:", "together:"):
        assert word in ran.output
    assert (tmp_path / "both" / "seed-1" / "model.safetensors").is_file()
    certified = linfkit("certify", tmp_path / "both")
    assert certified.exit_code == 0, certified.output


def test_train_writes_a_net(tmp_path):
    settings = ("--set", "epochs=1", "--set", "width=8", "--seed", "1")
    ran = linfkit("train", "digits-small", "--out", tmp_path / "net", *settings)
    assert ran.exit_code == 0, ran.output
    assert (tmp_path / "net" / "model.safetensors").is_file()
    assert "certified" in ran.output


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    folder = tmp_path_factory.mktemp("net")
    settings = ("--set", "epochs=1", "--set", "width=8")
    assert linfkit("train", "digits-small", "--out", folder, *settings).exit_code == 0
    return folder


def test_certify_tells_what_is_proved_and_what_an_attack_left(net, tmp_path):
    attack = ("--attack", "--steps", "5", "--restarts", "2")
    words = ("certify", net, "--eps", "8/255", *attack)
    ran = linfkit(*words, "--figure", tmp_path / "found.html")
    assert ran.exit_code == 0, ran.output
    for word in ("digits-small", "8/255", "clean", "PGD-5", "margin", "intervals", "either"):
        assert word in ran.output
    found = json.loads(linfkit(*words, "--json").stdout)
    assert found["eps"] == 8 / 255
    assert found["images"] == 360
    assert found["attack"] == {"steps": 5, "restarts": 2, "seed": 0}
    assert found["certified"]["either"] <= found["attacked"] <= found["clean"]
    assert "What is proved" in (tmp_path / "found.html").read_text()


def test_certify_takes_eps_and_data_from_the_recipe(net):
    words = ("certify", net / "model.safetensors")
    found = json.loads(linfkit(*words, "--json").stdout)
    assert (found["eps"], found["data"]["name"]) == (0.1, "digits")
    assert found["attack"] is None
    assert "PGD" not in linfkit(*words).output


def test_certify_takes_other_data_only_by_name(tmp_path):
    settings = ("--set", "epochs=1", "--set", "width=8", "--set", "train_images=200")
    linfkit("train", "digits-small", "--out", tmp_path, *settings)
    assert "Trained on" not in linfkit("certify", tmp_path).output
    assert "Trained on digits (" in linfkit("certify", tmp_path, "--dataset", "digits").output


def test_recipes_are_listed():
    ran = linfkit("recipes")
    assert ran.exit_code == 0, ran.output
    for word in ("digits-small", "mlp 256 × 3", "8/255", "40.06 %"):
        assert word in ran.output


def test_a_recipe_is_printed_as_toml_with_its_description():
    ran = linfkit("recipes", "digits-small")
    assert ran.exit_code == 0, ran.output
    assert Recipe(**tomllib.loads(ran.output)) == load_recipe("digits-small")
    assert 'description = "Digits: three layers' in ran.output


def test_doctor_ends_in_a_verdict():
    ran = linfkit("doctor")
    assert ran.exit_code == 0
    assert ran.output.splitlines()[-1].startswith("linfkit ")
