"""How much memory a call takes at its peak, beyond what was in use before it.

On a GPU PyTorch counts its own allocations. On the CPU nobody counts those of every library, so the
system is asked: Linux keeps the high-water mark of the memory that a process has resident, and lets
it be reset. The C library first gives back what it holds in reserve; otherwise the call could take
from there unseen. The figure is right to about a megabyte.
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

_PROCESS = Path("/proc/self")
_RESET_HIGH_WATER_MARK = "5"


class PeakMemory:
    """Watches the memory of what runs inside it.

    Attributes:
        extra_bytes: after leaving, the peak less the start; None where this machine cannot tell.

    >>> with PeakMemory("cpu") as memory:
    ...     tensor = torch.ones(2**24)
    >>> memory.extra_bytes is None or 60e6 < memory.extra_bytes < 75e6
    True
    """

    extra_bytes: int | None = None

    def __init__(self, device: str) -> None:
        self._device = device

    def __enter__(self) -> Self:
        if self._device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self._start: int | None = torch.cuda.memory_allocated()
        else:
            self._start = _resident("VmRSS") if _forget_peak() else None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._start is not None:
            peak = (
                torch.cuda.max_memory_allocated() if self._device == "cuda" else _resident("VmHWM")
            )
            self.extra_bytes = max(0, peak - self._start)


def _forget_peak() -> bool:
    """Start a new high-water mark; tells whether that could be done."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        (_PROCESS / "clear_refs").write_text(_RESET_HIGH_WATER_MARK, "utf-8")
    except (OSError, AttributeError, TypeError):  # no Linux, no GNU C library, or not allowed
        return False
    return True


def _resident(key: str) -> int:
    found = re.search(
        rf"^{key}:\s+(\d+) kB", (_PROCESS / "status").read_text("utf-8", "replace"), re.MULTILINE
    )
    assert found, f"Linux tells {key} of every process"
    return 1024 * int(found[1])
