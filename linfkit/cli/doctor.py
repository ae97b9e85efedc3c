"""What linfkit finds on this machine, for `linfkit doctor`."""

from __future__ import annotations

import torch

from linfkit._util import environment
from linfkit._util.files import cache_folder, data_folder
from linfkit.data.standard_files import STANDARD_FILES
from linfkit.kernels import kernel_for, reference


def findings() -> dict[str, str]:
    """One line each on versions, processor, threads, kernels, cache and data sets.

    >>> sorted(findings())
    ['cache', 'data', 'hardware', 'kernels', 'threads', 'versions']
    """
    hardware = environment.hardware()
    cores = "one core" if hardware["cores"] == 1 else f"{hardware['cores']} cores"
    return {
        "versions": ", ".join(
            f"{name} {version}" for name, version in environment.versions().items()
        ),
        "hardware": f"{environment.operating_system()}, {hardware['processor']}, "
        f"{cores}, {hardware.get('gpu', 'no CUDA device')}",
        "threads": str(torch.get_num_threads()),
        "kernels": f"{_kernels()} on the CPU",
        "cache": str(cache_folder()),
        "data": "digits" + "".join(f", {name}" for name in _found_data()),
    }


def verdict() -> str:
    """In one line, whether linfkit computes here as it should: it tries its operator.

    >>> verdict()
    'linfkit is ready'
    """
    from linfkit import lp_dist

    distance = lp_dist(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]), 2).item()
    if abs(distance - 5) > 1e-5:
        return f"linfkit computes wrongly here: the distance of (0, 0) and (3, 4) is not {distance}"
    if _kernels() == "reference":
        return "linfkit works, but slowly: without its Numba kernels"
    return "linfkit is ready"


def _kernels() -> str:
    return "reference" if kernel_for(torch.zeros(1)) is reference else "Numba"


def _found_data() -> list[str]:
    folder = data_folder() or cache_folder() / "data"
    return [name for name, files in STANDARD_FILES.items() if not files.missing(folder)]
