"""For every test, example and notebook: a cache of its own, and what of a notebook is compared."""

from collections.abc import Iterator

import pytest

from linfkit.batch.outputs import PLOTLY_MIME, WIDGET_MIME
from linfkit.claims import CLAIMS_MIME

UNCOMPARED = {
    CLAIMS_MIME,  # measured values; their verdicts are printed, and compared
    PLOTLY_MIME,  # the same, drawn
    WIDGET_MIME,  # sliders and progress bars, which a committed notebook does not keep
}


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests and examples train their own nets; only notebooks share the user's cache."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LINFKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
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
    return [output for output in outputs if not UNCOMPARED & output.get("data", {}).keys()]
