"""`linfkit doctor`, and its findings on this machine."""

from __future__ import annotations

from typing import Any

import typer

from linfkit._util.files import cache_folder, data_folder
from linfkit.cli.common import Json, show_json


def doctor(as_json: Json = False) -> None:
    """Show the versions, hardware and data sets that linfkit finds on this machine."""
    found = findings()
    if as_json:
        show_json(found | {"verdict": verdict()})
        return
    for name, finding in in_words(found).items():
        typer.echo(f"{name:9} {finding}")
    typer.echo(verdict())


def findings() -> dict[str, Any]:
    """Versions, system, processor, threads, kernels, cache and data sets.

    >>> sorted(findings())
    ['cache', 'data', 'kernels', 'machine', 'platform', 'threads', 'versions']
    """
    import torch

    from linfkit._util import environment
    from linfkit.data.standard_files import STANDARD_FILES

    folder = data_folder() or cache_folder() / "data"
    found = [name for name, files in STANDARD_FILES.items() if not files.missing(folder)]
    return {
        "versions": environment.versions(),
        "platform": environment.operating_system(),
        "machine": environment.hardware(),
        "threads": torch.get_num_threads(),
        "kernels": _kernels(),
        "cache": str(cache_folder()),
        "data": ["digits", *found],
    }


def in_words(found: dict[str, Any]) -> dict[str, str]:
    """Findings in a line each.

    >>> sorted(in_words(findings()))
    ['cache', 'data', 'hardware', 'kernels', 'threads', 'versions']
    """
    machine = found["machine"]
    cores = "one core" if machine["cores"] == 1 else f"{machine['cores']} cores"
    gpu = machine.get("gpu", "no CUDA device")
    return {
        "versions": ", ".join(f"{name} {version}" for name, version in found["versions"].items()),
        "hardware": f"{found['platform']}, {machine['processor']}, {cores}, {gpu}",
        "threads": str(found["threads"]),
        "kernels": f"{found['kernels']} on the CPU",
        "cache": found["cache"],
        "data": ", ".join(found["data"]),
    }


def verdict() -> str:
    """Try the operator, and say in one line if it computes here as it should.

    >>> verdict()
    'linfkit is ready'
    """
    import torch

    from linfkit import lp_dist

    distance = lp_dist(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]), 2).item()
    if abs(distance - 5) > 1e-5:
        return f"linfkit computes wrongly here: the distance of (0, 0) and (3, 4) is not {distance}"
    if _kernels() == "reference":
        return "linfkit works, but slowly: without its Numba kernels"
    return "linfkit is ready"


def _kernels() -> str:
    import torch

    from linfkit.kernels import kernel_for, reference

    return "reference" if kernel_for(torch.zeros(1)) is reference else "Numba"
