"""For tests, examples and notebooks: their threads, their cache, and what of a notebook counts."""

import os
from collections.abc import Iterator

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Processes that share the cores (`-n`) have one thread each, and so has what they start."""
    if config.getoption("numprocesses", None):
        for threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ.setdefault(threads, "1")


# Of a module, not of the session, in which notebooks take their turn.
@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests and examples train their own nets; only notebooks share the user's cache."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LINFKIT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if type(item).__name__ == "IPyNbCell":
            _compare_what_is_printed(item)


def _compare_what_is_printed(cell) -> None:
    cell.parent.skip_compare = (*cell.parent.skip_compare, "stderr")
    compare = cell.compare_outputs
    cell.compare_outputs = lambda test, reference: compare(
        _comparable(test), _comparable(reference)
    )


def _comparable(outputs: list) -> list:
    # imported late: with `-n`, the process that only hands out tests needs none of linfkit
    from linfkit.course.claims import CLAIMS_MIME
    from linfkit.reproduce.outputs import PLOTLY_MIME, WIDGET_MIME

    uncompared = {
        CLAIMS_MIME,  # measured values; their verdicts are printed, and compared
        PLOTLY_MIME,  # the same, drawn
        WIDGET_MIME,  # sliders and progress bars, which a committed notebook does not keep
    }
    return [output for output in outputs if not uncompared & output.get("data", {}).keys()]
