"""Notebooks in JupyterLab: their cells run, sliders move by keyboard, figures follow.

Each day in one that trains nothing; in all the others in `make test-long`.
"""

import os
from pathlib import Path
from statistics import median

import pytest

from tests.browser.conftest import keys_to_both_ends, notebooks, run_all
from tests.helpers import ROOT

# What a plot shows, and the time from a key to the picture that followed it.
FOLLOW = """plot => {
  const shows = () => JSON.stringify([plot.data, plot.layout.title, plot.layout.shapes,
                                      plot.layout.annotations]);
  plot.watch = () => {
    plot.before = shows();
    plot.redrawn = new Promise((resolve, reject) => {
      let pressed;
      const press = () => { pressed = performance.now(); };
      document.addEventListener('keydown', press, {capture: true, once: true});
      const drawn = () => requestAnimationFrame(() => {
        if (shows() !== plot.before) {
          plot.removeListener('plotly_afterplot', drawn);
          clearTimeout(limit);
          resolve(performance.now() - pressed);
        }
      });
      plot.on('plotly_afterplot', drawn);
      const limit = setTimeout(() => resolve(null), 2000);
    });
  };
}"""


DRAWN = """count => [...document.querySelectorAll('.linfkit-figure:has(input) .js-plotly-plot')]
    .filter(plot => plot.data?.length).length >= count"""


#: ms from a key to the picture, at most: at once for the eye, or before the reader has to be told
AT_ONCE = {"idle": 60, "busy": 300}


@pytest.mark.parametrize("name", notebooks("00"))
def test_every_slider_is_followed(name, lab, visit, record_property):
    page = visit.page
    page.set_default_timeout(60_000)
    run_all(page, lab.address(f"notebooks/{name}.ipynb"))

    explorers = (ROOT / "notebooks" / f"{name}.ipynb").read_text().count("= Explorer(")
    page.wait_for_function(DRAWN, arg=explorers)
    figures = page.locator(".jp-OutputArea .linfkit-figure:has(input)")
    assert figures.count() == explorers
    redraws: list[float] = []
    record_property(name, redraws)
    for which in range(explorers):
        explorer = figures.nth(which)
        explorer.scroll_into_view_if_needed()
        plot = explorer.locator(".js-plotly-plot")
        plot.evaluate(FOLLOW)
        sliders = explorer.get_by_role("slider")
        assert sliders.count()
        for slider in sliders.all():
            redraws += _from_end_to_end(page, plot, slider)
        assert not explorer.locator("p[role=status]").inner_text(), "an error, or still drawing"
        assert len(plot.get_attribute("aria-label")) > 10, "no description"
        _take_pictures(page, explorer, f"{name}-{which + 1}")
    visit.require_quiet()


@pytest.mark.long
def test_a_figure_follows_a_key_at_once(lab, visit, cores):
    visit.page.set_default_timeout(60_000)
    run_all(visit.page, lab.address("notebooks/00_start_here.ipynb"))
    visit.page.wait_for_function(DRAWN, arg=1)
    explorer = visit.page.locator(".jp-OutputArea .linfkit-figure:has(input)").first
    plot = explorer.locator(".js-plotly-plot")
    plot.evaluate(FOLLOW)
    sliders = explorer.get_by_role("slider").all()
    redraws = [each for slider in sliders for each in _from_end_to_end(visit.page, plot, slider)]
    assert median(redraws) <= AT_ONCE[cores]


def _from_end_to_end(page, plot, slider) -> list[float]:
    """Move a slider to both ends, one step at a time; how long each redraw took, in ms."""
    slider.focus()
    milliseconds = []
    for key in keys_to_both_ends(slider):
        plot.evaluate("plot => plot.watch()")
        page.keyboard.press(key)
        redrawn = plot.evaluate("plot => plot.redrawn")
        assert redrawn is not None, f"{slider.get_attribute('aria-valuetext')}: not within 2 s"
        milliseconds.append(redrawn)
    return milliseconds


def _take_pictures(page, explorer, name: str) -> None:
    if "LINFKIT_SCREENSHOTS" not in os.environ:
        return
    folder = Path(os.environ["LINFKIT_SCREENSHOTS"])
    for width in (800, 1300):
        page.set_viewport_size({"width": width, "height": 1400})
        page.wait_for_timeout(300)
        explorer.screenshot(path=folder / f"{name}-{width}.png")
