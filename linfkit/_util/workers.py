"""Tasks run here, one after the other, or side by side on Dask's workers.

A task is anything that can be pickled, has a `name` and can say where it must not run: a notebook,
a net to train. It takes along what it needs and its result comes back with it, so that workers and
this process need no folder in common.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import spawn
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import uuid4

import torch
from tqdm.auto import tqdm

from linfkit._util.extras import require

if TYPE_CHECKING:
    from distributed import Client

ProgressCallback = Callable[[str, int, int], None]
"""Told of progress: a task's name, how many of its steps are done, and how many there are."""

SECONDS_TO_CONNECT = 10
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Task(Protocol):
    """Something to carry out, under a name that no other of its kind has."""

    @property
    def name(self) -> str:
        """Name that its progress is shown under."""

    def check_here(self) -> None:
        """Refuse a worker where its result would not be the one that is asked for.

        Raises:
            WorkerError: linfkit, or the data, is another here than where the task was made.
        """


class WorkerError(OSError):
    """A worker was lost with its task, or is not one that may carry it out."""


T = TypeVar("T", bound=Task)
R = TypeVar("R")


def run_tasks(
    tasks: Sequence[T],
    execute: Callable[[T, ProgressCallback], R],
    on_lost_worker: Callable[[T, BaseException], R],
    *,
    workers: int | None,
    scheduler: str | None,
    on_progress: ProgressCallback,
) -> Iterator[tuple[T, R]]:
    """Carry tasks out, each of which comes back with its result as soon as it has one.

    A task whose worker dies is given to another; after the fourth death it is lost.

    Args:
        tasks: in the order in which they begin.
        execute: carries one out, and may tell of its progress; a function of a module, since
            workers import it.
        on_lost_worker: gives the result of a task that raised an error on a worker, or was lost
            with it, a `WorkerError`; it may raise it again. In this process errors are raised.
        workers: how many processes share the tasks; as many as there are GPUs, or else cores, if
            None. With 1, they are carried out in this process.
        scheduler: address of a Dask cluster to send them to instead.
        on_progress: is told of their progress.

    Raises:
        ConnectionError: no scheduler answers.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Count:
    ...     name: str
    ...     def check_here(self):
    ...         "It counts alike everywhere."
    >>> here = run_tasks(
    ...     [Count("words")], lambda task, on_progress: len(task.name), lambda task, error: 0,
    ...     workers=1, scheduler=None, on_progress=print,
    ... )
    >>> [length for _, length in here]
    [5]
    """
    workers = min(workers or torch.cuda.device_count() or torch.get_num_threads(), len(tasks))
    if workers == 0 or (workers == 1 and scheduler is None):
        for task in tasks:
            yield task, execute(task, on_progress)
        return
    with local_cluster(workers) if scheduler is None else cluster_at(scheduler) as client:
        from distributed import CancelledError, KilledWorker, as_completed

        topic = f"linfkit-{uuid4()}"  # others may use the cluster too
        client.subscribe_topic(topic, lambda event: on_progress(*event[1]))
        of_task = {
            client.submit(_execute_and_report, execute, task, topic, pure=False): task
            for task in tasks
        }
        for future in as_completed(of_task):
            task = of_task.pop(future)
            try:
                result = future.result()
            except (KilledWorker, CancelledError) as error:
                lost = WorkerError(f"{task.name} was lost with its worker: {error}")
                result = on_lost_worker(task, lost)
            except Exception as error:
                result = on_lost_worker(task, error)
            yield task, result
            future.release()


def shown_in(bar: tqdm, step: str) -> ProgressCallback:
    """Shows, beside a bar, which step each task is in; of its name, what is before a `_`.

    >>> with tqdm(total=8, disable=True) as bar:
    ...     shown_in(bar, "cell")("04_hinge_vs_mixed", 4, 20)
    """
    running: dict[str, str] = {}

    def on_progress(name: str, done: int, steps: int) -> None:
        running.pop(name, None)
        if done < steps:
            running[name] = f"{name.partition('_')[0]} {step} {done + 1}/{steps}"
        bar.set_postfix_str(", ".join(running.values()))

    return on_progress


@contextmanager
def local_cluster(workers: int) -> Iterator[Client]:
    """A cluster of worker processes on this machine; the cores are shared out, and so are the GPUs.

    Args:
        workers: how many; more than there are GPUs share them in turn.
    """
    require("distributed", "cluster")
    from distributed import Client, Nanny, Scheduler, SpecCluster

    here = {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0", "dashboard": False}
    with TemporaryDirectory(prefix="linfkit-workers-") as scratch:
        quiet = {"silence_logs": logging.CRITICAL}
        alike = {"nthreads": 1, "memory_limit": 0, "local_directory": scratch, "host": "127.0.0.1"}
        nannies = {
            number: {"cls": Nanny, "options": {**alike, **quiet, "env": _gpu_of(number)}}
            for number in range(workers)
        }
        with (
            _starting_workers(workers),
            SpecCluster(nannies, {"cls": Scheduler, "options": here}, **quiet) as cluster,
            Client(cluster) as client,
        ):
            yield client


@contextmanager
def cluster_at(address: str) -> Iterator[Client]:
    """The cluster whose scheduler listens at an address, such as `tcp://host:8786`.

    Raises:
        ConnectionError: nothing answers there.
    """
    require("distributed", "cluster")
    from distributed import Client

    try:
        client = Client(address, timeout=SECONDS_TO_CONNECT)
    except (OSError, ValueError) as error:
        wanted = "scheduler must be the address of a running Dask scheduler"
        raise ConnectionError(f"{wanted}; got {address}") from error
    with client:
        yield client


def _execute_and_report(execute: Callable[[T, ProgressCallback], R], task: T, topic: str) -> R:
    """Carry a task out in a worker, if it may be; the worker tells the cluster of its progress."""
    from distributed import get_worker

    task.check_here()
    worker = get_worker()
    return execute(task, lambda *progress: worker.log_event(topic, progress))


@contextmanager
def _starting_workers(workers: int) -> Iterator[None]:
    """Within the block, processes that are started keep to their part of the cores.

    Nor do they import the program that starts them: tasks are linfkit's, or pickled whole, so that
    workers need nothing of it; and each would run a script to the very call that starts them, where
    that is not under ``if __name__ == "__main__"``.
    """
    prepared, threads = spawn.get_preparation_data, max(1, torch.get_num_threads() // workers)
    before = {name: os.environ[name] for name in THREADS if name in os.environ}

    def without_the_program(name: str) -> dict[str, Any]:
        told = prepared(name)
        return {key: value for key, value in told.items() if not key.startswith("init_main")}

    # libraries read these as they are imported, so that they must be there before a worker is
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    spawn.get_preparation_data = without_the_program
    try:
        yield
    finally:
        spawn.get_preparation_data = prepared
        for name in THREADS:
            os.environ.pop(name, None)
        os.environ.update(before)


def _gpu_of(number: int) -> dict[str, str]:
    """The environment in which a worker sees one GPU of those that this process sees."""
    gpus = torch.cuda.device_count()
    if not gpus:
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(gpus)))
    return {"CUDA_VISIBLE_DEVICES": visible.split(",")[number % gpus]}
