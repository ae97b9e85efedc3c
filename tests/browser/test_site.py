"""Every page of the documentation, from its file: figures, sliders and mathematics, no network."""

import json

import pytest
from nbconvert import HTMLExporter

from linfkit.course.playground import PLAYGROUND_MIME
from tests.browser.conftest import keys_to_both_ends, notebooks
from tests.helpers import ROOT
from tests.helpers.links import broken_links_of

NAMES = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))

SHOWS = """plot => JSON.stringify([plot.data, plot.layout.title, plot.layout.shapes,
                                   plot.layout.annotations])"""


@pytest.mark.parametrize("name", notebooks("00", "01", "04"))
def test_a_page_is_alive_without_a_kernel(name, site, visit):
    page = visit.page
    page.goto((site / "notebooks" / f"{name}.html").as_uri())
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
    assert "$$" not in page.inner_text("article")
    if "$" in _prose(name):
        assert page.locator("math").count()
    assert (site / "notebooks" / f"{name}.html").stat().st_size < 6e6
    visit.require_quiet()


PAPER = "place => getComputedStyle(document.querySelector(place)).backgroundColor"
PAGES = ["index", "docs/glossary", "reference/nn", *(f"notebooks/{name}" for name in NAMES)]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_a_phone(name, site, visit):
    visit.page.set_viewport_size({"width": 390, "height": 800})
    visit.page.goto((site / f"{name}.html").as_uri())
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
    visit.require_quiet()


def test_figures_follow_the_readers_theme_and_the_pages_button(site, visit):
    page = visit.page
    page.emulate_media(color_scheme="dark")
    page.goto((site / "notebooks/00_start_here.html").as_uri())
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    papers = set()
    for _ in range(3):  # dark or light by the reader's system, then each by choice
        page.wait_for_function(f"({PAPER})('.js-plotly-plot .main-svg') === ({PAPER})('body')")
        papers.add(page.evaluate(f"({PAPER})('body')"))
        page.locator("button.theme-toggle:visible").first.click()
    assert papers == {"rgb(27, 27, 27)", "rgb(255, 255, 255)"}
    visit.require_quiet()


def test_search_finds_a_public_name(site, visit):
    page = visit.page
    page.goto((site / "search.html").as_uri() + "?q=certified_radius")
    page.locator("#search-results li a").first.wait_for()
    assert page.locator("#search-results a[href*='reference/certification']").count()
    visit.require_quiet()


def test_every_link_and_picture_leads_somewhere(site):
    assert broken_links_of(site) == []


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
    for key in keys_to_both_ends(slider):
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
