"""Paths that come in; where files of data are looked for, and where downloaded ones are kept."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """A path that came in, with `~` and `~somebody` at its beginning for a home folder.

    As in a shell, a name that begins so where nobody is called so stays as it is.

    Example:
        >>> assert expanded("~/runs") == Path.home() / "runs"
        >>> assert expanded("runs/~old") == Path("runs/~old")
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111 - that of pathlib refuses such names


def cache_folder() -> Path:
    """Where linfkit keeps what can be made again: `$LINFKIT_CACHE`, else the platform's place.

    The folder need not exist yet.

    Example:
        >>> assert cache_folder().is_absolute()
    """
    if chosen := os.environ.get("LINFKIT_CACHE"):
        return expanded(chosen).absolute()
    from platformdirs import user_cache_path

    return user_cache_path("linfkit", appauthor=False)


def data_folder() -> Path | None:
    """The folder the user keeps data in, `$LINFKIT_DATA`; None where that is not set."""
    chosen = os.environ.get("LINFKIT_DATA")
    return expanded(chosen).absolute() if chosen else None
