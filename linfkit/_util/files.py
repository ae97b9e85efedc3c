"""Paths, folders and whole files: home folders expanded, atomic writes, one process a folder."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def expand_user(path: str | Path) -> Path:
    """A path that came in, with `~` and `~somebody` at its beginning for a home folder.

    As in a shell, a name that begins so where no user is called so stays as it is.

    Example:
        >>> assert expand_user("~/runs") == Path.home() / "runs"
        >>> assert expand_user("runs/~old") == Path("runs/~old")
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111 - that of pathlib refuses such names


def cache_folder() -> Path:
    """Folder of linfkit's cache: `$LINFKIT_CACHE`, else the platform's place for caches.

    The folder need not exist yet.

    Example:
        >>> assert cache_folder().is_absolute()
    """
    if chosen := os.environ.get("LINFKIT_CACHE"):
        return expand_user(chosen).absolute()
    from platformdirs import user_cache_path

    return user_cache_path("linfkit", appauthor=False)


def data_folder() -> Path | None:
    """The folder the user keeps data in, `$LINFKIT_DATA`; None where that is not set."""
    chosen = os.environ.get("LINFKIT_DATA")
    return expand_user(chosen).absolute() if chosen else None


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file beside its place, then rename: readers see the old file or the new one, whole.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_atomically(Path(folder, "a.txt"), b"whole")
    ...     Path(folder, "a.txt").read_text(), len(os.listdir(folder))
    ('whole', 1)
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


@contextmanager
def folder_lock(folder: Path, wait: bool, otherwise: str) -> Iterator[None]:
    """Hold a folder for this process; the system lets go of it when the process ends.

    Args:
        folder: made if it is not there.
        wait: whether to wait for another process that holds it.
        otherwise: what to say to the user where we do not wait.

    Raises:
        BlockingIOError: another process holds it, and we are not to wait.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as name:
    ...     with folder_lock(Path(name), wait=False, otherwise="is taken"):
    ...         with folder_lock(Path(name), wait=False, otherwise="is taken"):
    ...             pass
    Traceback (most recent call last):
    BlockingIOError: ... is taken
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / ".lock").acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise BlockingIOError(f"{folder} {otherwise}") from None
    with lock:
        yield
