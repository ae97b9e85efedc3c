"""Work shared among a few threads, without an OpenMP pool whose waiting threads would keep PyTorch's from the cores."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch


def in_parallel(task: Callable[[int, int], object], work: int, worth_a_thread: int) -> None:
    """Calls task(part, parts) for every part, on as many threads as torch uses and the amount of work is worth.

    The task must let go of the interpreter's lock, and its result must not depend on `parts`.
    """
    parts = max(1, min(torch.get_num_threads(), work // worth_a_thread))
    others = [_pool(parts - 1).submit(task, part, parts) for part in range(1, parts)]
    try:
        task(0, parts)
    finally:
        for other in others:
            other.result()


@cache
def _pool(size: int) -> ThreadPoolExecutor | None:
    return ThreadPoolExecutor(size, thread_name_prefix="linfkit")


# A forked child inherits the pools but not their threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
