"""Ctrl-C between two steps of training, never within one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["held_back_interrupts"]


@contextmanager
def held_back_interrupts() -> Iterator[Callable[[], bool]]:
    """Within the block, Ctrl-C and a polite kill wait to be asked for; a second one does not.

    Gives a function that tells whether one has come. Only the main thread can hold them back; in
    others nothing changes.

    >>> with held_back_interrupts() as came:
    ...     signal.raise_signal(signal.SIGINT)
    ...     came()
    True
    """
    arrived = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield arrived.is_set
        return

    def hold_back(number: int, frame: FrameType | None) -> None:
        if arrived.is_set():
            raise KeyboardInterrupt
        arrived.set()

    earlier = {
        number: signal.signal(number, hold_back) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield arrived.is_set
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
