"""Where files of data are looked for, and where downloaded ones are kept."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Where linfkit keeps what can be made again: `$LINFKIT_CACHE`, else the platform's place.

    The folder need not exist yet.

    Example:
        >>> assert cache_folder().is_absolute()
    """
    if chosen := os.environ.get("LINFKIT_CACHE"):
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("linfkit", appauthor=False)


def data_folder() -> Path | None:
    """The folder the user keeps data in, `$LINFKIT_DATA`; None where that is not set."""
    chosen = os.environ.get("LINFKIT_DATA")
    return Path(chosen).expanduser().absolute() if chosen else None
