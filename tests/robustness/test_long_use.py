"""Long use: memory and pace after 10,000 moves of sliders in one kernel, and 200 fits in a process.

Sliders are moved as a browser moves them, by messages to a kernel; that each move is drawn is seen
in its answers. Pace is in seconds of the processor, in which other programs do not count. What a
page keeps in a browser is not tested. `pytest -m long -s tests/robustness/test_long_use.py` shows
what was measured.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
from ast import literal_eval
from collections.abc import Iterator
from queue import Empty

import pytest
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

pytestmark = pytest.mark.long

GROWTH, DRIFT = 1.05, 1.20

WARM_UP, MOVES, A_READING = 500, 10_000, 100
FITS, FITS_TO_WARM_UP = 200, 20

#: The explorers of notebook 04 that train nothing, and how the kernel tells of itself.
EXPLORERS = """
import time
import psutil  # comes with ipykernel
from linfkit.course import figures
from linfkit.course.explorer import Explorer

weights, thetas = [0.1, 0.03, 0.01, 0.003, 0.001], [0.2, 0.4, 0.6, 0.8]
explorers = [
    Explorer(lambda lam, theta: figures.loss_curves(lam, theta, 5.0), lam=weights, theta=thetas),
    Explorer(
        lambda loss, lam, theta: figures.loss_surface(loss, lam, theta, 5.0),
        loss=["hinge", "clipped hinge", "mixed"], lam=weights, theta=thetas,
    ),
]
for explorer in explorers:
    explorer._repr_mimebundle_()  # as when it is shown: every position is drawn once

sliders = [
    (explorer.model_id, which, len(choices))
    for explorer in explorers for which, choices in enumerate(explorer._choices.values())
]
"""

#: So many fits, each with another seed; after each its seconds and the bytes that are held.
FITTING = """
import sys, time
from pathlib import Path
import psutil
import linfkit as lk

fits, folder = int(sys.argv[1]), sys.argv[2]
recipe = lk.load_recipe("digits-small").replace(width=8, epochs=1)
for seed in range(fits):
    out = Path(folder, str(seed)) if folder else None
    before = time.process_time()
    lk.fit(recipe, out=out, seed=seed, device="cpu", progress=False)
    print(time.process_time() - before, psutil.Process().memory_info().rss)
"""


class ThisPython(KernelManager):
    """Starts kernels of the running Python, whatever else is registered as `python3`."""

    kernel_spec = KernelSpec(**get_kernel_dict())


@pytest.fixture
def kernel() -> Iterator[BlockingKernelClient]:
    manager = ThisPython()
    manager.start_kernel()
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def told(kernel: BlockingKernelClient, **expressions: str) -> dict:
    """What the kernel says of itself: each expression's value, read from its JSON."""
    asked = {name: f"__import__('json').dumps({value})" for name, value in expressions.items()}
    kernel.execute("", silent=True, user_expressions=asked)
    answers = kernel.get_shell_msg(timeout=60)["content"]["user_expressions"]
    return {name: json.loads(literal_eval(answers[name]["data"]["text/plain"])) for name in asked}


def move(kernel: BlockingKernelClient, explorer: str, position: list[int]) -> None:
    """Move a slider as a browser does, and wait until the kernel has heard of it."""
    update = {"method": "update", "state": {"position": position}, "buffer_paths": []}
    content = {"comm_id": explorer, "data": update}
    kernel.shell_channel.send(kernel.session.msg("comm_msg", content))
    while True:
        message = kernel.get_iopub_msg(timeout=60)
        if message["content"].get("execution_state") == "idle":
            return


def drain(kernel: BlockingKernelClient) -> None:
    """Read what is left of the kernel's messages."""
    try:
        while True:
            kernel.get_iopub_msg(timeout=0.5)
    except Empty:
        pass


def test_ten_thousand_moves_of_sliders_leave_a_kernel_as_it_was(kernel, record_property):
    answer = kernel.execute_interactive(EXPLORERS, timeout=120)
    assert answer["content"]["status"] == "ok", answer["content"]["evalue"]
    sliders = told(kernel, sliders="sliders")["sliders"]
    drain(kernel)
    places = {
        explorer: [0] * sum(each == explorer for each, *_ in sliders) for explorer, *_ in sliders
    }
    in_turn = itertools.cycle(range(len(sliders)))

    def moved(times: int) -> tuple[float, int]:
        """Seconds of the processor a move, and the bytes that the kernel holds after the last."""
        before = told(kernel, seconds="time.process_time()")
        for which in itertools.islice(in_turn, times):
            explorer, slider, options = sliders[which]
            places[explorer][slider] = (places[explorer][slider] + 1) % options
            move(kernel, explorer, places[explorer])
        after = told(
            kernel, seconds="time.process_time()", memory="psutil.Process().memory_info().rss"
        )
        return (after["seconds"] - before["seconds"]) / times, after["memory"]

    _, start = moved(WARM_UP)
    readings = [moved(A_READING) for _ in range(MOVES // A_READING)]
    positions = told(kernel, at="{e.model_id: e.position for e in explorers}")["at"]
    assert positions == places
    require_steady([seconds for seconds, _ in readings], start, readings[-1][1], record_property)


@pytest.mark.parametrize("in_a_folder", [False, True], ids=["in the cache", "in folders"])
def test_two_hundred_fits_leave_a_process_as_it_was(in_a_folder, tmp_path, record_property):
    out = str(tmp_path / "runs") if in_a_folder else ""
    ran = subprocess.run(
        [sys.executable, "-c", FITTING, str(FITS_TO_WARM_UP + FITS), out],
        env=os.environ | {"LINFKIT_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=True,
    )
    readings = [line.split() for line in ran.stdout.splitlines()]
    seconds = [float(seconds) for seconds, _ in readings[FITS_TO_WARM_UP:]]
    memory = [int(memory) for _, memory in readings[FITS_TO_WARM_UP - 1 :]]
    require_steady(seconds, memory[0], memory[-1], record_property)


def require_steady(seconds: list[float], start: int, end: int, record_property) -> None:
    """Memory has not grown, and the last tenth of the readings is as quick as the first."""
    tenth = len(seconds) // 10
    first, last = statistics.median(seconds[:tenth]), statistics.median(seconds[-tenth:])
    growth, drift = end / start, last / first
    record_property("memory", f"{start / 2**20:.1f} to {end / 2**20:.1f} MiB")
    record_property("milliseconds", f"{1000 * first:.2f} to {1000 * last:.2f}")
    print(
        f"\nmemory {start / 2**20:.1f} to {end / 2**20:.1f} MiB, {growth - 1:+.1%}; "
        f"each {1000 * first:.2f} to {1000 * last:.2f} ms of the processor, {drift - 1:+.1%}"
    )
    assert growth < GROWTH
    assert drift < DRIFT
