"""A page that voilà serves: every explorer on it moves, and plotly comes once."""

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

EXPLORERS = 4
CODE = """
from linfkit.course.explorer import Explorer
from linfkit.course.figures.template import add_line, new_figure

def draw(p):
    return add_line(new_figure("ema-gain", title_text=f"p={p}"), [0, 1], [p, 2 * p], "line")
"""

TITLES = """() => [...document.querySelectorAll('.linfkit-figure .js-plotly-plot')]
    .map(plot => plot.layout?.title?.text).join(' ')"""


def test_all_explorers_of_a_page_move(lab, visit):
    cells = [new_code_cell(CODE)]
    cells += [new_code_cell("Explorer(draw, p=[8, 16, 32])") for _ in range(EXPLORERS)]
    notebook = new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, lab.folder / "four.ipynb")
    page, received = visit.page, []
    page.on(
        "websocket", lambda socket: socket.on("framereceived", lambda frame: received.append(frame))
    )
    page.goto(f"{lab.url}/voila/render/four.ipynb?token={lab.token}", timeout=120_000)
    page.wait_for_function(f"() => ({TITLES})() === 'p=8 p=8 p=8 p=8'", timeout=120_000)
    sliders = page.get_by_role("slider", name="p")
    assert sliders.count() == EXPLORERS
    for slider in sliders.all():
        slider.focus()
        page.keyboard.press("End")
        page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"() => ({TITLES})() === 'p=16 p=16 p=16 p=16'")
    assert sum(map(len, received)) < 6e6
