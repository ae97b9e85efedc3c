"""Every notebook in JupyterLab: its cells run, its sliders move by keyboard, its figures follow."""

import os
from pathlib import Path

import pytest

from tests.helpers import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

#: seconds for a notebook whose nets have to be trained
PATIENCE = 600

RUN_ALL = """async () => {
  const app = window.jupyterapp, notebook = app.shell.currentWidget;
  await notebook.context.ready;
  await notebook.sessionContext.ready;
  app.shell.collapseLeft();
  // The widget manager first asks the kernel for widgets of before, and then must not find ours.
  const manager = await managerOf(notebook.content.rendermime);
  await (manager.restoredStatus || new Promise(resolve => manager.restored.connect(resolve)));
  await app.commands.execute('notebook:run-all-cells');
  const cells = notebook.content.widgets.filter(cell => cell.model.type === 'code');
  return cells.map(cell => ({
    run: cell.model.executionCount,
    errors: cell.outputArea.model.toJSON().filter(output => output.output_type === 'error'),
  }));

  async function managerOf(rendermime) {
    for (;;) {  // until there is one, to which new renderers are given
      const renderer = rendermime.createRenderer('application/vnd.jupyter.widget-view+json');
      const tick = new Promise(resolve => requestAnimationFrame(() => resolve(null)));
      const manager = await Promise.race([renderer._manager.promise, tick]);
      if (manager) return manager;
    }
  }
}"""

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


DRAWN = """count => [...document.querySelectorAll('.widget-vbox .js-plotly-plot')]
    .filter(plot => plot.data?.length).length >= count"""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_slider_is_followed(path, lab, visit, record_property):
    page = visit.page
    page.set_default_timeout(60_000)
    page.goto(f"{lab.url}/lab/tree/notebooks/{path.name}?token={lab.token}&reset")
    page.wait_for_function("window.jupyterapp?.shell.currentWidget?.sessionContext")
    cells = page.evaluate(f"""() => Promise.race([
        ({RUN_ALL})(),
        new Promise((_, reject) => setTimeout(() => reject('not done'), {PATIENCE * 1000})),
    ])""")
    assert not [cell for cell in cells if cell["errors"] or not cell["run"]]

    explorers = path.read_text().count("= Explorer(")
    page.wait_for_function(DRAWN, arg=explorers)
    plots = page.locator(".jp-OutputArea .widget-vbox .js-plotly-plot")
    assert plots.count() == explorers
    redraws: list[float] = []
    record_property(path.stem, redraws)
    for which in range(explorers):
        plot = plots.nth(which)
        plot.scroll_into_view_if_needed()
        plot.evaluate(FOLLOW)
        explorer = plot.locator("xpath=ancestor::*[contains(@class,'widget-vbox')][1]")
        handles = explorer.locator(".noUi-handle")
        assert handles.count()
        for handle in handles.all():
            redraws += _from_end_to_end(page, plot, handle)
        assert explorer.get_by_role("status").count() == 0, "an error, or still drawing"
        assert explorer.locator("p").inner_text().strip(), "no description"
        _take_pictures(page, explorer, f"{path.stem}-{which + 1}")
    visit.require_quiet()


def _from_end_to_end(page, plot, handle) -> list[float]:
    """Move a slider to its end, one step at a time, and back; how long each redraw took, in ms."""
    steps = round(float(handle.get_attribute("aria-valuemax")))
    handle.focus()
    milliseconds = []
    for key in ["ArrowRight"] * steps + ["ArrowLeft"] * steps:
        plot.evaluate("plot => plot.watch()")
        page.keyboard.press(key)
        redrawn = plot.evaluate("plot => plot.redrawn")
        assert redrawn is not None, f"{handle.get_attribute('aria-valuetext')}: not within 2 s"
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
