"""Explorers in JupyterLab: after reload, restart and reopening, in the dark, on narrow pages."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests.browser.conftest import run_all

CELLS = [
    """import time
import plotly.graph_objects as go
from linfkit.course.explorer import Explorer
from linfkit.course.figures.template import add_line, new_figure

def draw(p, theta=1):
    figure = new_figure("ema-gain", title_text=f"p={p}, θ={theta}")
    return add_line(figure, [0, 1, 2], [p, 2 * p, theta], "line")

def slow(a, b):
    if a and b:
        time.sleep(0.5)
    if a == 20 and b == 20:
        raise ValueError("no such figure")
    return draw(a, b)
""",
    "one = Explorer(draw, p=[8, 16, 32, float('inf')])\none",
    "two = Explorer(draw, p=[8, 16, 32], theta=[1, 2, 3])\ntwo",
    "many = Explorer(slow, a=list(range(21)), b=list(range(21)))\nmany",
    "draw(3)",
    "go.Figure(go.Bar(y=[1, 2]), dict(title_text='of somebody else'))",
]

SHOWN = """() => [...document.querySelectorAll('.linfkit-figure .js-plotly-plot')]
    .map(plot => plot.layout?.title?.text)"""

THEME = "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})"

COMMAND = "command => window.jupyterapp.commands.execute(command)"


@pytest.fixture
def page(lab, visit):
    """JupyterLab with the notebook above, run."""
    notebook = new_notebook(cells=[new_code_cell(source) for source in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, lab.folder / "explorers.ipynb")
    visit.page.set_default_timeout(30_000)
    run_all(visit.page, lab.address("explorers.ipynb"))
    wait_for(visit.page, ["p=8, θ=1", "p=8, θ=1", "p=0, θ=0", "p=3, θ=1"])
    return visit.page


def wait_for(page, titles):
    page.wait_for_function(f"titles => JSON.stringify(({SHOWN})()) === titles", arg=as_json(titles))


def as_json(titles):
    return "[" + ",".join(f'"{title}"' for title in titles) + "]"


def press(page, figure, slider, *keys):
    handle = page.locator(".linfkit-figure").nth(figure).get_by_role("slider").nth(slider)
    handle.focus()
    for key in keys:
        page.keyboard.press(key)


def run(page, code):
    """Run code in the notebook's kernel; what it prints."""
    return page.evaluate(
        """async code => {
          const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
          let printed = '';
          const future = kernel.requestExecute({ code });
          future.onIOPub = message => { printed += message.content.text ?? ''; };
          const reply = await future.done;
          return reply.content.status === 'ok' ? printed : reply.content.evalue;
        }""",
        code,
    )


def test_a_reload_finds_every_figure_where_its_slider_is(page, visit):
    press(page, 0, 0, "ArrowRight", "ArrowRight")
    press(page, 1, 1, "ArrowRight")
    moved = ["p=32, θ=1", "p=8, θ=2", "p=0, θ=0", "p=3, θ=1"]
    wait_for(page, moved)
    page.evaluate(COMMAND, "docmanager:save")
    page.reload()
    wait_for(page, moved)
    slider = page.locator(".linfkit-figure").first.get_by_role("slider")
    assert slider.get_attribute("aria-valuetext") == "p = 32"
    press(page, 0, 0, "ArrowRight")
    wait_for(page, ["p=inf, θ=1", *moved[1:]])
    visit.require_quiet()


def test_python_reads_and_moves_sliders(page, visit):
    press(page, 1, 0, "ArrowRight", "ArrowRight")
    page.wait_for_timeout(200)
    assert run(page, "print(two.values)").strip() == "{'p': 32, 'theta': 1}"
    run(page, "two.move(theta=3)")
    wait_for(page, ["p=8, θ=1", "p=32, θ=3", "p=0, θ=0", "p=3, θ=1"])
    visit.require_quiet()


def test_what_is_not_computed_yet_is_asked_for_and_errors_are_told(page, visit):
    press(page, 2, 0, "ArrowRight")
    press(page, 2, 1, "ArrowRight")
    status = page.locator(".linfkit-figure").nth(2).locator("p[role=status]")
    status.get_by_text("drawing").wait_for()
    wait_for(page, ["p=8, θ=1", "p=8, θ=1", "p=1, θ=1", "p=3, θ=1"])
    assert not status.inner_text()
    press(page, 2, 0, "End")
    press(page, 2, 1, "End")
    status.get_by_text("ValueError: no such figure").wait_for()
    visit.require_quiet()


def test_after_a_restart_the_figures_still_move(page):
    page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"
    )
    press(page, 0, 0, "ArrowRight")
    press(page, 1, 0, "ArrowRight")
    wait_for(page, ["p=16, θ=1", "p=16, θ=1", "p=0, θ=0", "p=3, θ=1"])


def test_reopened_without_a_kernel_the_figures_are_there_and_move(page, lab):
    page.evaluate(COMMAND, "docmanager:save")
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.goto("about:blank")
    saved = (lab.folder / "explorers.ipynb").read_text()
    assert "widget-state" not in saved
    page.goto(lab.address("explorers.ipynb"))
    wait_for(page, ["p=8, θ=1", "p=8, θ=1", "p=0, θ=0", "p=3, θ=1"])
    press(page, 0, 0, "End")
    press(page, 1, 1, "ArrowRight")
    wait_for(page, ["p=inf, θ=1", "p=8, θ=2", "p=0, θ=0", "p=3, θ=1"])
    assert "Error displaying widget" not in page.inner_text("body")


def test_figures_follow_a_dark_theme(page, visit):
    paper = (
        "() => document.querySelector('.linfkit-figure .js-plotly-plot')._fullLayout.paper_bgcolor"
    )
    assert page.evaluate(paper) == "white"
    page.evaluate(THEME, "JupyterLab Dark")
    page.wait_for_function(f"() => ({paper})() === '#1b1b1b'")
    visit.require_quiet()
    page.evaluate(THEME, "JupyterLab Light")
    page.wait_for_function(f"() => ({paper})() === 'white'")


def test_plays_to_its_end(page):
    page.locator(".linfkit-figure").first.get_by_role("button", name="Play p").click()
    wait_for(page, ["p=inf, θ=1", "p=8, θ=1", "p=0, θ=0", "p=3, θ=1"])


def test_the_figure_of_another_library_is_plotly_s_own(page):
    plot = page.locator(".jp-RenderedPlotly .js-plotly-plot, .jp-RenderedPlotly.js-plotly-plot")
    assert plot.evaluate("plot => plot.layout.title.text") == "of somebody else"
