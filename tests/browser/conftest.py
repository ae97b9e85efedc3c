"""One Chromium and one JupyterLab for each process of tests, shut off from the network."""

import json
import os
import re
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from choreographer.browsers.chromium import Chromium

from linfkit.pages.export import export
from tests.helpers import ROOT

# Notebooks use the user's cache of trained nets, as under nbval; tests are given one of their own.
ENVIRONMENT = dict(os.environ)

OFFLINE = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]

SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell is drawn
    "docmanager-extension/plugin": {"autosave": False},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}

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


def run_all(page, address: str) -> None:
    """Open a notebook in JupyterLab and run its cells, none of which may fail."""
    page.goto(address)
    page.wait_for_function("window.jupyterapp?.shell.currentWidget?.sessionContext")
    cells = page.evaluate(f"""() => Promise.race([
        ({RUN_ALL})(),
        new Promise((_, reject) => setTimeout(() => reject('not done'), {PATIENCE * 1000})),
    ])""")
    assert not [cell for cell in cells if cell["errors"] or not cell["run"]]


def keys_to_both_ends(slider) -> list[str]:
    """Arrow keys that move a slider to its end, to its beginning, and back to where it is."""
    start, last = int(slider.input_value()), int(slider.get_attribute("max"))
    return ["ArrowRight"] * (last - start) + ["ArrowLeft"] * last + ["ArrowRight"] * start


def notebooks(*every_day: str) -> list[object]:
    """Names of all notebooks, to run tests with; each day with those of these numbers only."""
    return [
        pytest.param(path.stem, marks=[] if path.stem[:2] in every_day else pytest.mark.long)
        for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
    ]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("browser")


@dataclass
class Visit:
    """A browser's page, and what it asked for and complained of."""

    page: object
    outside: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def require_quiet(self) -> None:
        """No request left this machine, and the console shows no error."""
        assert not self.outside, "requests to elsewhere"
        assert not self.complaints, "errors in the browser's console"


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.fail("no playwright: pip install playwright (it is among linfkit[dev])", False)
    chromium = Chromium.find_browser(skip_local=False)
    if chromium is None:
        pytest.fail("no Chromium: install one (apt install chromium), or set BROWSER_PATH", False)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=OFFLINE)
        yield started
        started.close()


@pytest.fixture
def visit(browser) -> Iterator[Visit]:
    with visiting(browser) as visit:
        yield visit


@contextmanager
def visiting(browser) -> Iterator[Visit]:
    """A fresh page, 1300 pixels wide, that keeps account of what goes on in it."""
    context = browser.new_context(viewport={"width": 1300, "height": 1400})
    visit = Visit(context.new_page())
    visit.page.on("console", lambda message: _note(visit, message))
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    visit.page.on("request", lambda request: _watch(visit, request.url))
    visit.page.on("websocket", lambda socket: _watch(visit, socket.url))
    yield visit
    context.close()


def _note(visit: Visit, message) -> None:
    if message.type == "error":
        visit.complaints.append(f"{message.text} ({message.location.get('url')})")


def _watch(visit: Visit, url: str) -> None:
    if re.match(r"(http|ws)s?://(?!127\.0\.0\.1[:/])", url):
        visit.outside.append(url)


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab, with voilà, on a copy of the notebooks."""

    url: str
    token: str
    folder: Path

    def address(self, notebook: str) -> str:
        """Where a notebook of the folder is opened, in an empty workspace."""
        return f"{self.url}/lab/tree/{notebook}?token={self.token}&reset"


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", folder / "work" / "notebooks")
    if (ROOT / "figures").is_dir():  # to which the notebooks link
        shutil.copytree(ROOT / "figures", folder / "work" / "figures")
    for name, setting in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(setting))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lab = Lab(f"http://127.0.0.1:{port}", secrets.token_hex(16), folder / "work")
    command = [
        *(sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"),
        *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
        *(f"--IdentityProvider.token={lab.token}", f"--ServerApp.root_dir={folder / 'work'}"),
        *("--expose-app-in-browser", f"--LabApp.user_settings_dir={folder / 'settings'}"),
        *(f"--LabApp.workspaces_dir={folder / 'workspaces'}", "--LabApp.news_url=None"),
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    own = {
        "JUPYTER_CONFIG_DIR": folder / "config",
        "JUPYTER_DATA_DIR": _our_labextension(folder / "data"),
        "JUPYTER_RUNTIME_DIR": folder / "runtime",
        "IPYTHONDIR": folder / "ipython",
    }
    environment = ENVIRONMENT | {name: str(path) for name, path in own.items()}
    log = folder / "server.log"
    with log.open("w") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        try:
            _wait_for(lab, server, log)
            yield lab
        finally:
            server.terminate()
            server.wait(30)


def _our_labextension(data: Path) -> Path:
    """A data folder with the extension as it is here, since an editable install keeps copies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    shared = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    for source, target in shared.items():
        path = data / Path(target).relative_to("share/jupyter")
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / source, path)
    return data


def _wait_for(lab: Lab, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(f"{lab.url}/api?token={lab.token}", timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()}", False)


@pytest.fixture(
    scope="session", autouse=True, params=["idle", pytest.param("busy", marks=pytest.mark.long)]
)
def cores(request: pytest.FixtureRequest) -> Iterator[str]:
    """All tests are run twice: with cores that are idle, and with each one burning."""
    burning = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(os.cpu_count() or 1 if request.param == "busy" else 0)
    ]
    yield request.param
    for process in burning:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation."""
    folder = tmp_path_factory.mktemp("site")
    export(ROOT / "notebooks", folder, ROOT / "README.md")
    return folder


def pytest_terminal_summary(terminalreporter) -> None:
    """Print the milliseconds from a key to the redrawn figure, which tests' reports bring."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    redraws = {name: times for report in reports for name, times in report.user_properties if times}
    for notebook, milliseconds in sorted(redraws.items()):
        terminalreporter.line(
            f"{notebook}: {statistics.median(milliseconds):.0f} ms from key to redrawn figure "
            f"(median of {len(milliseconds)}; the longest {max(milliseconds):.0f} ms)"
        )
    if "LINFKIT_SCREENSHOTS" in os.environ:
        path = Path(os.environ["LINFKIT_SCREENSHOTS"], "redraws.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(redraws))
