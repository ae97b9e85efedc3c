"""The batch runner on small notebooks, good and bad; and what it refuses before it runs any.

Each notebook here runs once, in a real kernel, for all tests (`run`). That the figures look right
is not tested.
"""

import asyncio
import base64
import json
import math
import os
import re
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import plotly.graph_objects as go
import psutil
import pytest
import torch
from choreographer.browsers.chromium import Chromium
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell, new_notebook, new_output

from linfkit._util.literals import parse_value
from linfkit.course.explorer import Explorer
from linfkit.reproduce import outputs, reproduction
from linfkit.reproduce import pictures as batch_pictures
from linfkit.reproduce.parameters import check_parameters, read_parameters
from linfkit.reproduce.pictures import PictureWriter
from linfkit.reproduce.profiles import Profile, Row, load_profiles
from linfkit.reproduce.reproduction import reproduce
from linfkit.reproduce.results import Results
from tests.helpers.small_notebooks import (
    CLAIMS,
    PARAMETERS,
    result_of,
    write_good_notebook,
    write_notebook,
)

CHROMIUM = Chromium.find_browser(skip_local=False)


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebooks")
    write_good_notebook(folder, "01_good")
    write_notebook(folder, "02_raises", PARAMETERS, "1 / 0", "print('never')")
    write_notebook(folder, "03_dies", PARAMETERS, "import os\nos._exit(1)", "print('never')")
    write_notebook(folder, "04_slow", PARAMETERS, "import time\ntime.sleep(30)")
    unheld = CLAIMS.format(name="05_unheld", needed=30)
    write_notebook(folder, "05_unheld", PARAMETERS, "# a comment", unheld)
    write_notebook(folder, "06_silent", "print('no parameters, no claims')")
    return folder


@pytest.fixture(scope="module")
def run(notebooks, tmp_path_factory):
    """The folder of a run of them all, where a `python3` of someone else's is registered."""
    out = tmp_path_factory.mktemp("run")
    spec = out / "jupyter" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["false"], "display_name": "?", "language": "python"}))
    rows = {"04_slow": Row(timeout=4), "05_unheld": Row(parameters={"top": 20, "epochs": 1})}
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("JUPYTER_PATH", str(out / "jupyter"))
        reproduce(Profile(name="small", rows=rows), out, notebooks=notebooks)
    return out


@pytest.fixture
def results(run):
    return json.loads((run / "results.json").read_text())


def test_every_notebook_is_run_whatever_became_of_the_one_before(results):
    assert {notebook["name"]: notebook["status"] for notebook in results["notebooks"]} == {
        "01_good": "ok",
        "02_raises": "failed",
        "03_dies": "dead kernel",
        "04_slow": "timed out",
        "05_unheld": "ok",
        "06_silent": "failed",
    }


def test_what_died_is_reported_with_its_cell(results):
    died = {notebook["name"]: notebook for notebook in results["notebooks"] if notebook["cell"]}
    assert {name: notebook["cell"] for name, notebook in died.items()} == {
        "02_raises": {"index": 1, "line": "1 / 0"},
        "03_dies": {"index": 1, "line": "import os"},
        "04_slow": {"index": 1, "line": "import time"},
    }
    assert died["02_raises"]["error"] == "ZeroDivisionError: division by zero"
    assert died["04_slow"]["error"] == "not done after 4 s"


def test_a_notebook_that_shows_no_claims_has_failed(results):
    silent = results["notebooks"][-1]
    assert "without showing a table of claims" in silent["error"]


def test_claims_are_read_from_the_notebooks(results):
    claim = {"id": "top-suffices", "text": "the top is high enough"}
    assert results["claims"] == [
        claim | {"notebook": "01_good", "value": 2.0, "needed": "≥ 1", "holds": True},
        claim | {"notebook": "05_unheld", "value": 20.0, "needed": "≥ 30", "holds": False},
    ]


def test_a_notebook_runs_with_its_own_parameters_but_for_the_profiles(results):
    ran_with = {notebook["name"]: notebook["parameters"] for notebook in results["notebooks"]}
    assert ran_with["01_good"] == {"top": 2.0, "epochs": 3}
    assert ran_with["05_unheld"] == {"top": 20, "epochs": 1}
    assert ran_with["06_silent"] == {}


def test_figures_are_written_under_their_names(run, results):
    good = results["notebooks"][0]
    kinds = [".html", ".png"] if CHROMIUM else [".html"]
    names = [f"figures/01_good-{name}{kind}" for name in ("figure-1", "bars") for kind in kinds]
    assert good["figures"] == names
    page = (run / "figures" / "01_good-bars.html").read_text()
    assert "plotly.js v" in page
    assert 'src="http' not in page
    if CHROMIUM:
        picture = (run / "figures" / "01_good-bars.png").read_bytes()
        width, height = (int.from_bytes(picture[start : start + 4], "big") for start in (16, 20))
        assert (width, height) == (600, 400)


def test_executed_notebooks_hold_no_widgets_and_no_paths(run, notebooks):
    text = (run / "notebooks" / "01_good.ipynb").read_text()
    assert "widget" not in text.replace("ipywidgets", "")
    assert str(notebooks) not in text
    assert str(run) not in text


def test_the_record_tells_the_machine_and_not_whose_it_is(results):
    assert {"linfkit", "python", "torch"} <= results["versions"].keys()
    assert results["machine"]["processor"]
    assert results["machine"]["cores"] >= 1
    everything = json.dumps(results)
    assert os.uname().nodename not in everything
    assert str(Path.home()) not in everything
    assert results["profile"] == "small"
    assert results["seconds"] > 0


def test_infinity_comes_through_and_what_is_written_stays_json(tmp_path):
    write_notebook(
        tmp_path / "notebooks", "01_any", PARAMETERS, CLAIMS.format(name="any", needed=1)
    )
    sweep = {"top": np.array([2, math.inf]), "epochs": range(1, 2)}
    reproduce(out=tmp_path / "run", notebooks=tmp_path / "notebooks", sweep=sweep, workers=1)
    for path in (tmp_path / "run").rglob("*"):
        if path.suffix in (".json", ".ipynb"):
            json.loads(path.read_text(), parse_constant=pytest.fail)
    executed = nbformat.read(tmp_path / "run" / "notebooks" / "01_any@top=inf@epochs=1.ipynb", 4)
    assert "float('inf')" in executed.cells[1].source
    assert executed.metadata["papermill"]["parameters"] == {"top": "inf", "epochs": 1}
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert [each["parameters"]["top"] for each in results["notebooks"]] == [2.0, "inf"]
    assert [claim["value"] for claim in results["claims"]] == [2.0, None]
    assert "any@top" not in (tmp_path / "run" / "sweep.csv").read_text()
    assert (tmp_path / "run" / "sweep.csv").read_text().splitlines()[1:] == [
        "any,2.0,1,top-suffices,2.0,≥ 1,held",
        "any,inf,1,top-suffices,,≥ 1,NOT held",
    ]


def test_a_run_with_failures_is_no_success(run):
    assert not Results.load(run).success


def test_an_interrupt_keeps_what_was_finished(notebooks, tmp_path, monkeypatch):
    write_earlier = Results(profile="small", planned=["an earlier run's"])
    write_earlier.save(tmp_path)
    seen_before_each = []

    def execute(task, on_progress):
        seen_before_each.append([n.name for n in Results.load(tmp_path).notebooks])
        if task.name == "02_raises":
            raise KeyboardInterrupt
        return nbformat.reads(task.notebook, 4), result_of(task)

    monkeypatch.setattr(reproduction, "execute", execute)
    with pytest.raises(KeyboardInterrupt):
        reproduce("quick", tmp_path, notebooks=notebooks, workers=1)
    results = Results.load(tmp_path)
    assert [notebook.name for notebook in results.notebooks] == ["01_good"]
    assert seen_before_each == [[], ["01_good"]]
    assert not results.success


def test_the_longest_notebooks_start_first(notebooks, tmp_path, monkeypatch):
    started = []

    def execute(task, on_progress):
        started.append(task.name)
        return nbformat.reads(task.notebook, 4), result_of(task)

    monkeypatch.setattr(reproduction, "execute", execute)
    rows = {"01_good": Row(minutes=1), "05_unheld": Row(minutes=0.5), "04_slow": Row(minutes=2)}
    results = reproduce(
        Profile(name="small", rows=rows), tmp_path, notebooks=notebooks, only=list(rows), workers=1
    )
    assert started == ["04_slow", "01_good", "05_unheld"]
    assert [notebook.name for notebook in results.notebooks] == results.planned


def test_results_are_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    Results(profile="small", planned=["the earlier"]).save(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        Results(profile="small", planned=["the later"]).save(tmp_path)
    assert Results.load(tmp_path).planned == ["the earlier"]
    assert os.listdir(tmp_path) == ["results.json"]  # noqa: PTH208


def test_without_a_browser_there_are_pages_alone_and_one_message(tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "no-such-browser"))
    told = []
    with PictureWriter(on_error=told.append) as pictures:
        assert not pictures.write({"data": [], "layout": {}}, tmp_path / "a.png")
        assert not pictures.write({"data": [], "layout": {}}, tmp_path / "b.png")
    assert len(told) == 1
    assert "no Chromium" in told[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [asyncio.CancelledError, RuntimeError])
def test_whatever_a_browser_that_dies_raises_ends_no_batch(error, tmp_path, monkeypatch):
    async def fail(*_, **__):
        raise error("the browser died")

    async def start():
        return SimpleNamespace(calc_fig=fail, close=fail)

    monkeypatch.setattr(batch_pictures, "_start_browser", start)
    told: list[str] = []
    with PictureWriter(on_error=told.append) as pictures:
        assert not pictures.write({"data": [], "layout": {}}, tmp_path / "a.png")
    assert told == [
        f"no pictures, HTML pages alone: the browser failed: {error.__name__}: the browser died"
    ]


@pytest.mark.skipif(CHROMIUM is None or os.name == "nt", reason="no Chromium here to be killed")
def test_a_browser_that_dies_ends_no_batch(tmp_path):
    bars = {"data": [{"type": "bar", "y": [1, 2]}], "layout": {"width": 200, "height": 100}}
    told: list[str] = []
    with PictureWriter(on_error=told.append) as pictures:
        assert pictures.write(bars, tmp_path / "a.png")
        for process in psutil.Process().children(recursive=True):
            process.kill()
        assert not pictures.write(bars, tmp_path / "b.png")
    assert (tmp_path / "a.png").is_file()
    assert len(told) == 1
    assert told[0].startswith("no pictures, HTML pages alone: the browser failed")


def test_figures_of_one_name_are_kept_apart():
    figure = {"data": [], "layout": {"meta": {"name": "p / margin"}}}
    display = nbformat.v4.new_output("display_data", {outputs.PLOTLY_MIME: figure})
    cell = nbformat.v4.new_code_cell(outputs=[display, display, display])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    assert list(outputs.figures_in(notebook)) == ["p---margin", "p---margin-2", "p---margin-3"]


def test_what_an_explorer_leaves_is_kept_without_its_widget_and_is_no_figure_of_its_own():
    still = {"data": [], "layout": {"meta": {"name": "bars"}, "sliders": [{"steps": []}]}}
    widget = {outputs.WIDGET_MIME: {"model_id": "0"}, "text/plain": "Bars"}
    cell = nbformat.v4.new_code_cell(
        outputs=[
            nbformat.v4.new_output("display_data", widget | {outputs.PLOTLY_MIME: still}),
            nbformat.v4.new_output("display_data", widget),
        ]
    )
    notebook = outputs.without_widgets(nbformat.v4.new_notebook(cells=[cell]))
    (kept,) = notebook.cells[0].outputs
    assert kept.data == {outputs.PLOTLY_MIME: still, "text/plain": "Bars"}
    assert outputs.figures_in(notebook) == {}


def test_every_figure_is_in_what_nbconvert_makes_of_a_notebook():
    still = Explorer(lambda p: go.Figure(go.Bar(y=[p])), p=[1, 2])._repr_mimebundle_()[0]
    plain = {outputs.PLOTLY_MIME: go.Figure(go.Bar(y=[3])).to_plotly_json()}
    shown = [new_output("display_data", data) for data in (still, plain)]
    notebook = new_notebook(cells=[new_code_cell("…", outputs=shown)])
    drawn = []

    def draw(figure):
        drawn.append(figure)
        return f"<svg>{len(drawn)}</svg>".encode()

    outputs.add_svgs(outputs.without_widgets(notebook), draw)
    page, _ = HTMLExporter().from_notebook_node(notebook)
    pictures = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    assert [*map(base64.b64decode, pictures)] == [b"<svg>1</svg>", b"<svg>2</svg>"]
    assert drawn[0]["layout"]["height"] == 450
    assert not drawn[0].get("frames")
    assert not outputs.has_sliders(drawn[0])


# What is refused, before anything runs


@pytest.fixture
def nothing_runs(monkeypatch):
    def execute(task, on_progress):
        raise AssertionError(f"{task.name} ran")

    monkeypatch.setattr(reproduction, "execute", execute)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)


@pytest.mark.usefixtures("nothing_runs")
class TestRefused:
    def test_a_parameter_that_no_notebook_knows(self, notebooks, tmp_path):
        with pytest.raises(ValueError, match=r"no parameter 'epoch'; did you mean 'epochs'\?"):
            reproduce(out=tmp_path, notebooks=notebooks, parameters={"epoch": 3})
        assert not list(tmp_path.iterdir())

    def test_a_parameter_of_the_profile_that_its_notebook_does_not_know(self, notebooks, tmp_path):
        profile = Profile(name="small", rows={"01_good": Row(parameters={"tops": 3})})
        with pytest.raises(ValueError, match=r"01_good has no parameter 'tops'.* 'top'\?"):
            reproduce(profile, tmp_path, notebooks=notebooks)

    def test_a_parameter_for_a_notebook_that_has_none(self, notebooks, tmp_path):
        profile = Profile(name="small", rows={"06_silent": Row(parameters={"top": 3})})
        with pytest.raises(ValueError, match="06_silent has no cell tagged 'parameters'"):
            reproduce(profile, tmp_path, notebooks=notebooks, only=["06"])

    def test_a_profile_as_a_parameter_which_would_replace_the_others(self, notebooks, tmp_path):
        with pytest.raises(ValueError, match=r"profile must be the run's \(--profile\)"):
            reproduce(out=tmp_path, notebooks=notebooks, parameters={"profile": "mnist"})

    def test_a_value_of_another_type(self, notebooks, tmp_path):
        with pytest.raises(ValueError, match="epochs must be int; got float"):
            reproduce(out=tmp_path, notebooks=notebooks, parameters={"epochs": 2.5})

    @pytest.mark.parametrize(
        "value", [math.nan, [2.0, math.nan], {"top": math.nan}, np.float32("nan")]
    )
    def test_a_value_that_is_nan(self, value, notebooks, tmp_path):
        profile = Profile(name="small", rows={"01_good": Row()})
        with pytest.raises(ValueError, match=r"01_good: top must (hold no NaN|be float)"):
            reproduce(
                profile, tmp_path, notebooks=notebooks, only=["01"], parameters={"top": value}
            )
        with pytest.raises(ValueError, match=r"01_good: top must (hold no NaN|be float)"):
            reproduce(profile, tmp_path, notebooks=notebooks, only=["01"], sweep={"top": [value]})

    def test_a_number_of_workers_that_is_none(self, notebooks, tmp_path):
        with pytest.raises(ValueError, match=r"^workers must be at least 1; got 0"):
            reproduce(out=tmp_path, notebooks=notebooks, workers=0)

    def test_an_unknown_profile(self):
        with pytest.raises(ValueError, match=r"profile must be one of quick, mnist.*; got 'quikc'"):
            reproduce("quikc")

    def test_an_unknown_notebook(self, notebooks, tmp_path):
        with pytest.raises(ValueError, match=r"only must be beginnings of 01_good.*; got '07'"):
            reproduce(out=tmp_path, notebooks=notebooks, only=["01", "07"])

    def test_a_missing_data_set(self, notebooks, tmp_path, monkeypatch):
        monkeypatch.setenv("LINFKIT_DATA", str(tmp_path))
        profile = Profile(name="small", rows={"01_good": Row(dataset="mnist")})
        with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
            reproduce(profile, tmp_path, notebooks=notebooks, only=["01"])

    def test_a_folder_without_notebooks(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"must hold \.ipynb files"):
            reproduce(out=tmp_path, notebooks=tmp_path)
        with pytest.raises(FileNotFoundError, match="must be a folder"):
            reproduce(out=tmp_path, notebooks=tmp_path / "none")


# Parameters


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("eps: float = 8 / levels", "must have a name and a literal on each line; got 'eps"),
        ("eps = 8 / 0", "must have a name and a literal on each line; got 'eps"),
        ("seeds = {**{1: 2}}", "must have a name and a literal on each line; got 'seeds"),
        ("p = math.nan", "the parameters cell must hold no NaN"),
        ("f'no docstring'", "must have a name and a literal on each line"),
        ("import math", "must have a name and a literal on each line; got 'import math'"),
        ("eps = = 1", "is not Python"),
    ],
)
def test_parameters_are_literals(tmp_path, source, message):
    with pytest.raises(ValueError, match=message):
        read_parameters(_with_parameters(tmp_path, source))


def test_parameters_may_be_quotients_and_infinite_and_have_a_docstring(tmp_path):
    source = """
'What this notebook is run with.'
eps: float = 8 / 255
sizes = [1 / 255, -1/4, 0.1]
p = math.inf
ends = (-np.inf, float("inf"))
overrides = {"eps": 2/255, "p_start": torch.inf}
"""
    read = read_parameters(_with_parameters(tmp_path, source))
    assert read == {
        "eps": 8 / 255,
        "sizes": [1 / 255, -1 / 4, 0.1],
        "p": math.inf,
        "ends": (-math.inf, math.inf),
        "overrides": {"eps": 2 / 255, "p_start": math.inf},
    }


def test_a_notebook_with_a_byte_order_mark_is_read(tmp_path):
    path = _with_parameters(tmp_path, "eps = 0.1")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_parameters(path) == {"eps": 0.1}
    (task,) = reproduction._plan({"parameters": Row()}, tmp_path, {}, {}, {})
    assert json.loads(task.notebook)["cells"]


def test_results_with_a_byte_order_mark_are_read(tmp_path):
    Results(profile="small", planned=["one"]).save(tmp_path)
    path = tmp_path / "results.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert Results.load(tmp_path).planned == ["one"]


def test_parameters_are_read_as_they_stand(tmp_path):
    source = 'recipes = ["a", "b"]\neps: float = 0.1  # ε\nlow = -1\nseeds = None'
    assert read_parameters(_with_parameters(tmp_path, source)) == {
        "recipes": ["a", "b"],
        "eps": 0.1,
        "low": -1,
        "seeds": None,
    }


def _with_parameters(folder, source):
    path = write_notebook(folder, "parameters", source)
    notebook = nbformat.read(path, 4)
    notebook.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, path)
    return path


@pytest.mark.parametrize(
    ("default", "value", "fits"),
    [
        (1.0, 2, True),
        (1, 2.0, False),
        (1, True, False),
        (True, 1, False),
        ("a", "b", True),
        ("a", 1, False),
        ([1], (2, 3), True),
        ([1], 2, False),
        (None, 2, True),
        (1, None, True),
    ],
)
def test_a_value_fits_where_its_kind_stood(default, value, fits):
    if fits:
        check_parameters("a", {"name": default}, {"name": value})
    else:
        with pytest.raises(ValueError, match="a: name must be"):
            check_parameters("a", {"name": default}, {"name": value})


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1e-3", 1e-3),
        ("-2", -2),
        ("None", None),
        ("False", False),
        ("a b", "a b"),
        ("'3'", "3"),
        ("8/255", 8 / 255),
        ("-1 / 4", -0.25),
        ("1e999", math.inf),
        ("inf", math.inf),
        ("-inf", -math.inf),
        ("math.inf", math.inf),
        ('float("inf")', math.inf),
        ("[8/255, inf]", [8 / 255, math.inf]),
        ("{'eps': 8/255}", {"eps": 8 / 255}),
        ("1/0", "1/0"),
        ("runs/mine", "runs/mine"),
        ("'a'/2", "'a'/2"),
        ("infinite", "infinite"),
        ("open('f')", "open('f')"),
    ],
)
def test_a_word_of_the_command_line_is_a_literal_or_itself(word, value):
    assert parse_value(word) == value


def test_every_profile_fits_its_notebooks():
    for profile in load_profiles().values():
        reproduction._plan(profile.rows, reproduction.notebook_folder(), {}, {}, {})
