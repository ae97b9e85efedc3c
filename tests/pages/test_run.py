"""Tested: what a page about a run holds, what it leaves out and why, and that it asks no server.
Not tested: how it looks; figures that were there before (test_figures.py)."""

import json
import math
import re
from html import unescape

import pytest
from plotly.offline import get_plotlyjs
from typer.testing import CliRunner

import linfkit as lk
from linfkit.cli.app import app
from linfkit.course import figures
from linfkit.nn.checkpoints import read_tensors, save_model, write_tensors
from linfkit.pages.run import certificates, report_html, results_table, write_report
from linfkit.training import saved
from linfkit.training.saved import saved_nets

RECIPE = lk.load_recipe("digits-small").replace(
    name="tiny", epochs=2, width=8, train_images=200, published=33.3, source="A & <B>"
)
HISTORY = [
    {
        "epoch": epoch,
        "loss": 1.0 / epoch,
        "zero_hinge": 0.5,
        "starved": 0.25,
        "p": p,
        "lam": 0.1,
        "learning_rate": 0.01,
        "accuracy_linf": 0.75,
        "certified": 0.5,
        "ema_accuracy_linf": 0.875,
        "ema_certified": 0.625,
    }
    for epoch, p in enumerate([8.0, 80.0, math.inf], start=1)
]
FIGURES = {
    "accuracy-in-training": lambda: figures.accuracy_in_training(RECIPE, HISTORY),
    "loss-in-training": lambda: figures.loss_in_training(HISTORY),
    "schedules-in-training": lambda: figures.schedules_in_training(HISTORY),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return lk.fit(RECIPE, out=tmp_path_factory.mktemp("run"), progress=False)


@pytest.fixture
def nets(trained):
    return saved_nets(trained.folder)


@pytest.fixture
def run(nets):
    return nets["raw weights"]


@pytest.fixture(scope="module")
def page(trained):
    return report_html(saved_nets(trained.folder))


def drawn(page):
    """The figures of a page, by their names."""
    found = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    read = [json.loads(figure) for figure in found]
    return {figure["layout"]["meta"]["name"]: figure for figure in read}


def rewritten(trained, folder, **changed):
    """A copy of the run whose files say something else."""
    for name in ("model.safetensors", "ema_model.safetensors"):
        tensors, header = read_tensors(trained.folder / name)
        write_tensors(folder / name, tensors, header | changed)
    return saved_nets(folder)


class TestFinishedRuns:
    def test_it_is_the_run_that_was_trained(self, trained, run):
        assert run.recipe == trained.recipe
        assert (run.seed, run.results, run.history) == (0, trained.results, trained.history)
        assert run.trained_on.name == "digits"

    def test_its_certificates_agree_with_its_results(self, nets, run):
        found = certificates(nets)
        for weights, prefix in {"raw weights": "", "moving average": "ema_"}.items():
            certified = found[weights]
            assert certified.accuracy(RECIPE.eps) == run.results[f"{prefix}certified"]
            assert certified.clean_accuracy == run.results[f"{prefix}accuracy"]

    @pytest.mark.parametrize("missing", ["model.safetensors", "ema_model.safetensors"])
    def test_a_run_under_way_is_refused(self, trained, tmp_path, missing):
        rewritten(trained, tmp_path)
        (tmp_path / missing).unlink()
        with pytest.raises(
            FileNotFoundError, match=rf"must be a finished run; .* has no {missing}$"
        ):
            saved_nets(tmp_path)

    def test_no_folder_is_an_error(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"^run must be the folder of a finished run"):
            saved_nets(tmp_path / "none")

    def test_a_net_without_a_history_is_refused(self, trained, tmp_path):
        rewritten(trained, tmp_path)
        save_model(tmp_path / "model.safetensors", trained.model, header={})
        with pytest.raises(ValueError, match=r"must be one run; .* a net without a history"):
            saved_nets(tmp_path)

    def test_a_damaged_file_is_an_error(self, trained, tmp_path):
        rewritten(trained, tmp_path)
        (tmp_path / "model.safetensors").write_bytes(b"damaged")
        with pytest.raises(ValueError, match="damaged"):
            saved_nets(tmp_path)


class TestPages:
    def test_the_results_stand_beside_what_was_published(self, run, page):
        table = results_table(run)
        assert table.columns[-1] == "certified at ε = 0.1"
        raw, averaged, published = table.rows
        names = ("accuracy", "certified_by_margin", "certified")
        assert raw[1:] == [f"{100 * run.results[name]:.2f} %" for name in names]
        assert averaged[1:] == [f"{100 * run.results[f'ema_{name}']:.2f} %" for name in names]
        assert published == ["published", "", "", "33.30 %"]
        assert all(f"<td>{cell}</td>" in page for row in table.rows for cell in row)

    def test_nothing_is_published_of_a_recipe_of_ones_own(self, trained, tmp_path):
        own = RECIPE.replace(published=None)
        nets = rewritten(trained, tmp_path, recipe=own.to_toml())
        assert len(results_table(nets["raw weights"]).rows) == 2
        assert "published" not in drawn(report_html(nets))["accuracy-in-training"]["layout"]

    def test_it_has_every_figure(self, page):
        assert list(drawn(page)) == [
            "certified-accuracy",
            "accuracy-in-training",
            "loss-in-training",
            "constant-in-training",
            "schedules-in-training",
        ]

    def test_it_says_how_the_run_was_made(self, nets, run, page):
        text = unescape(re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL))
        assert RECIPE.to_toml() in text
        assert run.trained_on.fingerprint in text
        assert all(net.sha256 in text for net in nets.values())
        assert f"linfkit {lk.__version__}" in text
        assert str(run.path.parent) not in text

    def test_the_machine_is_named(self, trained, tmp_path):
        run = rewritten(trained, tmp_path, machine={"processor": "Abacus & Co", "cores": 4})
        assert "processor: Abacus &amp; Co, cores: 4" in report_html(run)

    def test_what_a_recipe_says_is_no_html(self, page):
        assert "After A &amp; &lt;B&gt;." in page
        assert "<B>" not in page.replace(get_plotlyjs(), "")

    def test_it_asks_no_server(self, page):
        assert page.count(get_plotlyjs()) == 1
        beside = page.replace(get_plotlyjs(), "")
        assert not re.search(r"https?:|@import|url\(", beside)
        assert set(re.findall(r'(?:href|src)="([^"]*)"', beside)) == {"data:,"}
        assert "default-src 'none'" in page

    @pytest.mark.parametrize(
        ("recipe", "reason"),
        [
            (RECIPE.replace(dataset="mine"), "the data set mine is not on this machine"),
            (RECIPE.replace(train_images=100), "digits on this machine is not what it was"),
        ],
    )
    def test_without_its_data_one_figure_is_left_out(self, trained, tmp_path, recipe, reason):
        page = report_html(rewritten(trained, tmp_path, recipe=recipe.to_toml()))
        assert f"against ε is left out: {reason}" in page
        assert "certified-accuracy" not in drawn(page)
        assert len(drawn(page)) == 4

    def test_nothing_is_downloaded_for_it(self, trained, tmp_path, monkeypatch):
        monkeypatch.delenv("LINFKIT_DATA", raising=False)
        monkeypatch.setattr(saved, "load_model", lambda file: pytest.fail("looked for data"))
        recipe = RECIPE.replace(dataset="cifar10")
        page = report_html(rewritten(trained, tmp_path, recipe=recipe.to_toml()))
        assert "the data set cifar10 is not on this machine" in page

    def test_a_net_of_ones_own_class_is_not_certified(self, trained, tmp_path):
        run = rewritten(trained, tmp_path, model={"class": "Mine", "arguments": None})
        assert "left out: the net is of a class that is not linfkit&#39;s" in report_html(run)


class TestFigures:
    def test_the_published_figure_is_a_line_across(self):
        line = figures.accuracy_in_training(RECIPE, HISTORY).layout.shapes[0]
        assert (line.y0, line.y1) == pytest.approx((0.333, 0.333))

    def test_lines_are_the_columns_of_the_history(self):
        *_, certified, averaged = figures.accuracy_in_training(RECIPE, HISTORY).data
        assert (certified.y, averaged.y) == ((0.5,) * 3, (0.625,) * 3)
        loss, hinge, starved = figures.loss_in_training(HISTORY).data
        assert (loss.y, hinge.y, starved.y) == ((1, 1 / 2, 1 / 3), (0.5,) * 3, (0.25,) * 3)

    def test_infinity_is_named_where_its_line_has_ended(self):
        p, *_ = figures.schedules_in_training(HISTORY).data
        assert p.text == ("8", "80", "∞")


class TestCommand:
    def test_it_writes_into_the_folder_or_where_it_is_told(self, trained, tmp_path):
        for options, path in [
            ([], trained.folder / "report.html"),
            (["--out", str(tmp_path / "sub" / "page.html")], tmp_path / "sub" / "page.html"),
        ]:
            ran = CliRunner().invoke(app, ["report", str(trained.folder), *options])
            assert ran.exit_code == 0, ran.output
            assert ran.output.replace("\n", "") == f"wrote {path}"
            assert path.read_text("utf-8").startswith("<!doctype html>")

    def test_a_run_under_way_is_one_line(self, tmp_path):
        ran = CliRunner().invoke(app, ["report", str(tmp_path)])
        assert ran.exit_code == 2
        assert "must be a finished run" in ran.output
        assert not list(tmp_path.iterdir())

    def test_an_earlier_page_stays_whole_if_a_new_one_fails(self, trained, tmp_path):
        (tmp_path / "page.html").write_text("earlier")
        with pytest.raises(FileNotFoundError):
            write_report(tmp_path, tmp_path / "page.html")
        assert (tmp_path / "page.html").read_text() == "earlier"
