"""Executed notebooks run anew by nbval, their printed output compared with what they hold.

As a plugin of pytest (`-p linfkit.reproduce.validation`) it tells nbval what counts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from linfkit._util.extras import require
from linfkit._util.files import expand_user
from linfkit.course.claims import CLAIMS_MIME
from linfkit.reproduce.outputs import PLOTLY_MIME, WIDGET_MIME
from linfkit.reproduce.results import Results

UNCOMPARED = {
    CLAIMS_MIME,  # measured values; their verdicts are printed, and compared
    PLOTLY_MIME,  # the same, drawn
    WIDGET_MIME,  # sliders and progress bars, which an executed notebook does not keep
}


def validate(run: str | Path) -> bool:
    """Run a finished run's notebooks anew, and say which cells print something else.

    Args:
        run: the folder that `reproduce` wrote into.

    Returns:
        Whether every cell prints what it printed.

    Raises:
        FileNotFoundError: the folder holds no results.
        ImportError: nbval is not installed.
    """
    require("nbval", "dev")
    run = expand_user(run)
    names = [result.name for result in Results.load(run).notebooks]
    command = [
        *(sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env"),
        *("--nbval-cell-timeout=600", "-p", "linfkit.reproduce.validation", "-c", os.devnull),
        *("--rootdir", str(run), "-p", "no:cacheprovider", "-q", "--tb=short"),
    ]
    notebooks = [str(run / "notebooks" / f"{name}.ipynb") for name in names]
    return subprocess.run([*command, *notebooks]).returncode == 0


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Have nbval compare what is printed, and neither figures nor widgets nor stderr."""
    for item in items:
        if type(item).__name__ == "IPyNbCell":
            _compare_what_is_printed(item)


def _compare_what_is_printed(cell: Any) -> None:
    cell.parent.skip_compare = (*cell.parent.skip_compare, "stderr")
    compare = cell.compare_outputs
    cell.compare_outputs = lambda test, reference: compare(
        _comparable(test), _comparable(reference)
    )


def _comparable(outputs: list[Any]) -> list[Any]:
    return [output for output in outputs if not UNCOMPARED & output.get("data", {}).keys()]
