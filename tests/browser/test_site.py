"""Every exported page, from its file: figures, sliders and mathematics, with no network."""

import json
import re

import pytest
from nbconvert import HTMLExporter

from linfkit.course.playground import PLAYGROUND_MIME
from tests.browser.conftest import notebooks
from tests.helpers import ROOT

NAMES = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))

SHOWS = """plot => JSON.stringify([plot.data, plot.layout.title, plot.layout.shapes,
                                   plot.layout.annotations])"""


@pytest.mark.parametrize("name", notebooks("00", "01", "04"))
def test_a_page_is_alive_without_a_kernel(name, site, visit):
    page = visit.page
    page.goto((site / f"{name}.html").as_uri())
    figures = page.locator("figure.plot")
    assert figures.count()
    for figure in figures.all():
        figure.scroll_into_view_if_needed()
        plot = figure.locator(".js-plotly-plot")
        plot.wait_for()
        assert plot.get_attribute("role") == "figure"
        assert len(plot.get_attribute("aria-label")) > 10
        for slider in figure.get_by_role("slider").all():
            _move_from_end_to_end(page, plot, slider)
    assert "$$" not in page.inner_text("main")
    if "$" in _prose(name):
        assert page.locator("math").count()
    assert (site / f"{name}.html").stat().st_size < 6e6
    visit.require_quiet()


@pytest.mark.parametrize("name", ["index", *NAMES])
def test_a_page_fits_a_phone(name, site, visit):
    visit.page.set_viewport_size({"width": 390, "height": 800})
    visit.page.goto((site / f"{name}.html").as_uri())
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
    visit.require_quiet()


@pytest.mark.parametrize("name", ["index", *NAMES])
def test_links_and_pictures_lead_somewhere(name, site):
    html = (site / f"{name}.html").read_text("utf-8")
    for target in re.findall(r'(?:href|src)="(?!https?:|data:|#)([^"#]+)', html):
        assert (site / target).is_file(), target


@pytest.mark.parametrize("name", notebooks("00"))
def test_what_nbconvert_makes_shows_every_figure(name, visit, tmp_path):
    notebook = ROOT / "notebooks" / f"{name}.ipynb"
    html, _ = HTMLExporter().from_filename(str(notebook))
    (tmp_path / "page.html").write_text(html, "utf-8")
    visit.page.goto((tmp_path / "page.html").as_uri(), wait_until="domcontentloaded")
    outputs = [
        output["data"]
        for cell in json.loads(notebook.read_text("utf-8"))["cells"]
        for output in cell.get("outputs", [])
        if "data" in output
    ]
    pictures = visit.page.locator("img[src^='data:image/svg']")
    assert pictures.count() == sum("image/svg+xml" in data for data in outputs)
    assert all(picture.bounding_box()["width"] > 300 for picture in pictures.all())
    playgrounds = sum(PLAYGROUND_MIME in data for data in outputs)
    assert visit.page.locator(".linfkit-playground canvas.paper").count() == playgrounds


def _move_from_end_to_end(page, plot, slider) -> None:
    slider.focus()
    for key in ["ArrowRight", "ArrowLeft"]:
        for _ in range(int(slider.get_attribute("max"))):
            before = plot.evaluate(SHOWS)
            page.keyboard.press(key)
            page.wait_for_function(
                f"([plot, before]) => ({SHOWS})(plot) !== before",
                arg=[plot.element_handle(), before],
                timeout=5000,
            )


def _prose(name: str) -> str:
    import nbformat

    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
