"""`linfkit doctor`, and its findings on this machine."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from linfkit._util.files import cache_folder
from linfkit.cli.common import Json, show_json

#: Said until one has.
UNPROVEN = "no GPU has run the Triton kernels in linfkit's own tests yet"


def doctor(
    check: Annotated[
        bool, typer.Option("--check", help="Check the GPU kernels again, up to three minutes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the versions, hardware and data sets that linfkit finds on this machine."""
    if check:
        import torch

        from linfkit.kernels import check_again

        if not torch.cuda.is_available():
            raise typer.BadParameter("--check must have a CUDA device to check; there is none")
        check_again()
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
    from linfkit.data.loading import dataset_names, is_at_hand
    from linfkit.kernels import description

    kernels = {"CPU": description("cpu")}
    if torch.cuda.is_available():
        kernels["GPU"] = description("cuda")
    return {
        "versions": environment.versions(),
        "platform": environment.operating_system(),
        "machine": environment.hardware(),
        "threads": torch.get_num_threads(),
        "kernels": kernels,
        "cache": str(cache_folder()),
        "data": [name for name in dataset_names() if is_at_hand(name)],
    }


def in_words(found: dict[str, Any]) -> dict[str, str]:
    """Findings in a line each.

    >>> sorted(in_words(findings()))
    ['cache', 'data', 'hardware', 'kernels', 'threads', 'versions']
    """
    machine = found["machine"]
    cores = "one core" if machine["cores"] == 1 else f"{machine['cores']} cores"
    gpu = machine.get("gpu", "no CUDA device")
    kernels = [f"{names} on the {on}" for on, names in found["kernels"].items()]
    return {
        "versions": ", ".join(f"{name} {version}" for name, version in found["versions"].items()),
        "hardware": f"{found['platform']}, {machine['processor']}, {cores}, {gpu}",
        "threads": str(found["threads"]),
        "kernels": "; ".join([*kernels, UNPROVEN]),
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
    from linfkit.kernels import description

    distance = lp_dist(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]), 2).item()
    if abs(distance - 5) > 1e-5:
        return f"linfkit computes wrongly here: the distance of (0, 0) and (3, 4) is not {distance}"
    if description("cpu") == "plain PyTorch":
        return "linfkit works, but slowly: without its Numba kernels"
    return "linfkit is ready"
