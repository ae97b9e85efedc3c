"""Optional packages: one line that says what to install."""

from __future__ import annotations

from importlib.util import find_spec


def require(package: str, extra: str) -> None:
    """Check that an optional package is installed.

    Args:
        package: name to import.
        extra: of linfkit, which brings it.

    Raises:
        ImportError: it is not installed; the message says what to install.

    >>> require("numpy", "notebooks")
    >>> require("no_such_package", "notebooks")
    Traceback (most recent call last):
    ImportError: no_such_package is not installed: pip install "linfkit[notebooks]"
    """
    if find_spec(package) is None:
        raise ImportError(f'{package} is not installed: pip install "linfkit[{extra}]"')
