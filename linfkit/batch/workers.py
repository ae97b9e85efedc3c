"""Where notebooks run: here, one after the other, or side by side on Dask's workers.

Each task carries its notebook's text and brings its outputs back, so that workers and this process
need no folder in common.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch

from linfkit.batch.execution import Execution, execute, lost
from linfkit.batch.tasks import Task

if TYPE_CHECKING:
    from distributed import Client

Tell = Callable[[str, int, int], None]
"""Told of progress: a task's name, how many of its cells are done, and how many there are."""

TOPIC = "linfkit"
"""Under which workers tell of their progress."""

SECONDS_TO_CONNECT = 10
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def one_after_another(tasks: Iterable[Task], tell: Tell) -> Iterator[tuple[Task, Execution]]:
    """Run the tasks in this process, in order."""
    for task in tasks:
        yield task, execute(task, tell)


def side_by_side(
    tasks: Iterable[Task], client: Client, tell: Tell
) -> Iterator[tuple[Task, Execution]]:
    """Run the tasks on a cluster; they come back in the order in which they end.

    A task whose worker dies is run again on another; after the third death it is given up.
    """
    from distributed import as_completed

    client.subscribe_topic(TOPIC, lambda event: tell(*event[1]))
    of_task = {client.submit(_execute_and_tell, task, pure=False): task for task in tasks}
    for future in as_completed(of_task):
        task = of_task.pop(future)
        error = future.exception()
        yield task, future.result() if error is None else lost(task, error)
        future.release()


def default_workers() -> int:
    """One worker for each GPU, or where there is none, for each core that PyTorch would use.

    >>> default_workers() >= 1
    True
    """
    return torch.cuda.device_count() or torch.get_num_threads()


@contextmanager
def local_cluster(workers: int) -> Iterator[Client]:
    """A cluster of worker processes on this machine; the cores are shared out, and so are the GPUs.

    Args:
        workers: how many; more than there are GPUs share them in turn.
    """
    import dask
    from distributed import Client, Nanny, Scheduler, SpecCluster

    here = {"host": "127.0.0.1", "port": 0, "dashboard_address": None, "dashboard": False}
    with TemporaryDirectory(prefix="linfkit-workers-") as scratch:
        alike = {"nthreads": 1, "memory_limit": 0, "local_directory": scratch, "host": "127.0.0.1"}
        nannies = {
            number: {"cls": Nanny, "options": alike | {"env": _gpu_of(number)}}
            for number in range(workers)
        }
        # what a worker's libraries read when they are imported has to be set before it starts
        with (
            dask.config.set({"distributed.nanny.pre-spawn-environ": _share_of_cores(workers)}),
            SpecCluster(
                workers=nannies,
                scheduler={"cls": Scheduler, "options": here},
                silence_logs=logging.CRITICAL,
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client


@contextmanager
def cluster_at(address: str) -> Iterator[Client]:
    """The cluster whose scheduler listens at an address, such as `tcp://host:8786`.

    Raises:
        ConnectionError: nothing answers there.
    """
    from distributed import Client

    try:
        client = Client(address, timeout=SECONDS_TO_CONNECT)
    except (OSError, ValueError) as error:
        raise ConnectionError(f"scheduler: no Dask scheduler answers at {address}") from error
    with client:
        yield client


def _execute_and_tell(task: Task) -> Execution:
    """Run a task in a worker, which tells the cluster of its progress."""
    from distributed import get_worker

    worker = get_worker()
    return execute(task, lambda *progress: worker.log_event(TOPIC, progress))


def _share_of_cores(workers: int) -> dict[str, str]:
    """The environment of a worker that keeps to its part of the cores, and to itself."""
    threads = max(1, torch.get_num_threads() // workers)
    return dict.fromkeys(THREADS, str(threads)) | {"DASK_LOGGING__DISTRIBUTED": "critical"}


def _gpu_of(number: int) -> dict[str, str]:
    """The environment in which a worker sees one GPU of those that this process sees."""
    gpus = torch.cuda.device_count()
    if not gpus:
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(gpus)))
    return {"CUDA_VISIBLE_DEVICES": visible.split(",")[number % gpus]}
