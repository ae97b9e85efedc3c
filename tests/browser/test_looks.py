"""Explorers and playgrounds on the pages: nothing cut or covered, for all eyes and none."""

import os
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.conftest import notebooks

PARTS = ".linfkit-figure:has(input), .linfkit-playground"

# What is outside the page or the plot, or on top of something else, among one part's elements.
FAULTS = """part => {
  const SLACK = 2; // pixels by which a font's box is larger than its letters
  const SHOWN = { opacityProperty: true, visibilityProperty: true };
  const box = element => element.getBoundingClientRect();
  const name = element => (element.ariaLabel ?? element.textContent).trim() || element.tagName;
  const meet = (one, other) =>
    Math.min(one.right, other.right) - Math.max(one.left, other.left) > SLACK
    && Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top) > SLACK;
  const within = (one, room) => one.left > room.left - SLACK && one.right < room.right + SLACK
    && one.top > room.top - SLACK && one.bottom < room.bottom + SLACK;
  const seen = selector => [...part.querySelectorAll(selector)]
    .filter(element => element.checkVisibility(SHOWN) && box(element).width);
  const faults = (elements, room) => elements.flatMap((element, k) => [
    ...(within(box(element), room(element)) ? [] : [`${name(element)} is cut`]),
    ...elements.slice(k + 1)
      .filter(other => !element.contains(other) && meet(box(element), box(other)))
      .map(other => `${name(element)} lies on ${name(other)}`),
  ]);
  const { clientWidth } = document.documentElement;
  const page = { left: 0, right: clientWidth, top: -Infinity, bottom: Infinity };
  const controls = seen('input, button, output, label, .control > span, canvas, p, .bars, .canvas');
  const words = seen('svg text').filter(text => text.textContent.trim());
  return [...faults(controls.filter(each => !each.closest('button') || each.tagName === 'BUTTON'),
    () => page), ...faults(words, text => box(text.closest('.js-plotly-plot')))];
}"""


@pytest.fixture(params=["light", "dark"])
def scheme(request, visit):
    visit.page.emulate_media(color_scheme=request.param)
    return request.param


DRAWN = """() => [...document.querySelectorAll('.linfkit-figure .canvas')]
    .every(plot => plot._fullLayout?.width === plot.clientWidth)"""


def opened(page, site, name):
    """The explorers and playgrounds of a notebook's page, once they are drawn."""
    page.goto((site / "notebooks" / f"{name}.html").as_uri())
    page.wait_for_function(DRAWN)
    return page.locator(PARTS)


@pytest.mark.parametrize("name", notebooks("00", "01", "04"))
def test_nothing_is_cut_or_covered(name, visit, site, scheme):
    parts = opened(visit.page, site, name).all()
    assert parts
    for width in (1300, 800, 390):
        visit.page.set_viewport_size({"width": width, "height": 1400})
        visit.page.wait_for_function(DRAWN)
        if "LINFKIT_SCREENSHOTS" in os.environ:
            for which, part in enumerate(parts):
                file = f"{name}-{which}-{width}-{scheme}.png"
                part.screenshot(path=Path(os.environ["LINFKIT_SCREENSHOTS"], file))
        assert [fault for part in parts for fault in part.evaluate(FAULTS)] == [], width


@pytest.mark.parametrize("name", notebooks("00", "01", "04"))
def test_axe_finds_nothing_serious_in_them(name, visit, site, scheme):
    opened(visit.page, site, name)
    found = Axe().run(visit.page, PARTS).response["violations"]
    assert not [each for each in found if each["impact"] in ("serious", "critical")]
