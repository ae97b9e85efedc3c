"""One process at a time in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["held"]


@contextmanager
def held(folder: Path, wait: bool, otherwise: str) -> Iterator[None]:
    """Hold a folder for this process; the system lets go of it when the process ends.

    Args:
        folder: made if it is not there.
        wait: whether to wait for another process that holds it.
        otherwise: what to say to the user where we do not wait.

    Raises:
        BlockingIOError: another process holds it, and we are not to wait.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as name, held(Path(name), wait=False, otherwise="is taken"):
    ...     with held(Path(name), wait=False, otherwise="is taken"):
    ...         pass
    Traceback (most recent call last):
    BlockingIOError: ... is taken
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        raise BlockingIOError(f"{folder} {otherwise}") from None
    try:
        yield
    finally:
        lock.release()
