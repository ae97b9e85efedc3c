"""Work shared among threads that sleep while they wait.

OpenMP's threads spin, and keep those of PyTorch, which has a pool of its own, from the cores.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Timer
from typing import Any

import torch
from torch import Tensor

from linfkit._util.progress import note

PAIRS_WORTH_A_THREAD = 2**19  # of coordinates to subtract and to add to a sum

_COMPILING = "linfkit is compiling its CPU kernels …"


def run(function: Any, pairs: int, *arguments: Any) -> None:
    """Call a compiled function(*arguments, part, parts) for every part; tensors go in as arrays.

    It takes torch's number of threads if there are pairs enough. Its result must not depend on
    `parts`. When compiling it takes long, that is said.
    """
    arguments = tuple(
        each.detach().numpy() if isinstance(each, Tensor) else each for each in arguments
    )
    if function.overloads:
        _in_parallel(lambda part, parts: function(*arguments, part, parts), pairs)
        return
    notice = Timer(2.0, note, [_COMPILING])
    notice.start()
    try:
        function(*arguments, 0, 1)
    finally:
        notice.cancel()


def _in_parallel(task: Callable[[int, int], object], pairs: int) -> None:
    parts = max(1, min(torch.get_num_threads(), pairs // PAIRS_WORTH_A_THREAD))
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
