"""`linfkit doctor`, and its findings on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from linfkit._util.files import cache_folder, data_folder


def doctor(
    check: Annotated[
        bool, typer.Option("--check", help="Check the GPU kernels again, up to three minutes.")
    ] = False,
) -> None:
    """Show the versions, hardware and data sets that linfkit finds on this machine."""
    if check:
        import torch

        from linfkit.kernels import check_again

        if not torch.cuda.is_available():
            raise typer.BadParameter("--check must have a CUDA device to check; there is none")
        check_again()
    for name, finding in findings().items():
        typer.echo(f"{name:9} {finding}")
    typer.echo(verdict())


def findings() -> dict[str, str]:
    """One line each on versions, processor, threads, kernels, cache and data sets.

    >>> sorted(findings())
    ['cache', 'data', 'hardware', 'kernels', 'threads', 'versions']
    """
    import torch

    from linfkit._util import environment
    from linfkit.data.standard_files import STANDARD_FILES
    from linfkit.kernels import description

    folder = data_folder() or cache_folder() / "data"
    found = [name for name, files in STANDARD_FILES.items() if not files.missing(folder)]
    hardware = environment.hardware()
    computing = f"{description('cpu')} on the CPU"
    if torch.cuda.is_available():
        computing += f"; {description('cuda')}, on the GPU"
    cores = "one core" if hardware["cores"] == 1 else f"{hardware['cores']} cores"
    return {
        "versions": ", ".join(
            f"{name} {version}" for name, version in environment.versions().items()
        ),
        "hardware": f"{environment.operating_system()}, {hardware['processor']}, "
        f"{cores}, {hardware.get('gpu', 'no CUDA device')}",
        "threads": str(torch.get_num_threads()),
        "kernels": computing,
        "cache": str(cache_folder()),
        "data": ", ".join(["digits", *found]),
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
