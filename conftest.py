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
    if any(type(item).__name__ == "IPyNbCell" for item in items):
        # imported late: with `-n`, the process that only hands out tests needs none of linfkit
        from linfkit.reproduce import validation

        validation.pytest_collection_modifyitems(items)
