"""Work shared among threads that sleep while they wait.

OpenMP's threads spin, and keep those of PyTorch, which has a pool of its own, from the cores.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch


def in_parallel(task: Callable[[int, int], object], work: int, worth_a_thread: int) -> None:
    """Call task(part, parts) for every part, on torch's number of threads if the work is worth it.

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
def _pool(size: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(size, thread_name_prefix="linfkit")


# A forked child inherits the pools but not their threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
