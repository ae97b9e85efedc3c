"""Versions and hardware of a run, and nothing that identifies the machine's owner."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from pydantic import BaseModel, Field

from linfkit import __version__


def versions() -> dict[str, str]:
    """Versions of what decides a result.

    >>> sorted(versions())
    ['linfkit', 'numba', 'numpy', 'python', 'torch']
    """
    import numpy
    import torch

    return {
        "linfkit": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        # not imported: it may not fit the others, and do without
        "numba": metadata.version("numba") if find_spec("numba") else "none",
    }


def hardware() -> dict[str, str | int]:
    """The processor's name, how many cores this process may use, and the GPU's name if any.

    >>> hardware()["cores"] >= 1
    True
    """
    import torch

    # on Linux a container may grant fewer than there are
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found: dict[str, str | int] = {"processor": _processor(), "cores": cores or 1}
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def operating_system() -> str:
    """Its name and the kind of processor, such as `Linux x86_64`."""
    return f"{platform.system()} {platform.machine()}"


@cache
def source_hash(*parts: str) -> str:
    """SHA-256 of linfkit's version and sources: of the whole package, or of some parts of it.

    Args:
        parts: files or folders of the package.

    >>> len(source_hash()), source_hash("nn", "functional.py") == source_hash("nn")
    (64, False)
    """
    package = Path(__file__).parents[1]
    roots = [package / part for part in parts] or [package]
    found = {path for root in roots for path in (root, *root.rglob("*")) if path.is_file()}
    digest = hashlib.sha256(__version__.encode())
    for source in sorted(path for path in found if path.suffix in (".py", ".toml")):
        digest.update(source.relative_to(package).as_posix().encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()


class Surroundings(BaseModel):
    """Record of what a result was found with: the software and the machine.

    Attributes:
        versions: of linfkit, Python and what else decides a result.
        platform: operating system and kind of processor.
        machine: the processor's name, its cores, the GPU if any.
    """

    versions: dict[str, str] = Field(default_factory=versions)
    platform: str = Field(default_factory=operating_system)
    machine: dict[str, str | int] = Field(default_factory=hardware)


def now() -> datetime:
    """The time, in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def _processor() -> str:
    """The processor's own name; Python knows only its kind on Linux and macOS."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return platform.processor() or platform.machine()
