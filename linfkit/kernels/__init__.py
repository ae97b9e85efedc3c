"""The kernels behind `linfkit.functional`: one operator, several implementations.

Every module here offers `lp_dist`, `lp_dist_backward`, `linf_interval` and `linf_interval_backward`
with the same signatures, and checks nothing: `linfkit.functional` has done so.

- `reference`: plain PyTorch, any dtype and device; the definition. It alone has `lp_dist_jvp` and
  what else forward mode and second derivatives take, for all of them.
- `cpu`: Numba, float32. It takes `sorted_dist` and `sorted_dist_backward` from `sorting`; of the
  others only `reference` has them, and computes them for all.
- `cuda`: Triton, float32, on NVIDIA's GPUs from capability 7.5, behind `self_check`: a kind of p
  that a GPU computes wrongly is left to the reference.

In the environment, `LINFKIT_KERNELS=reference` forces the reference everywhere, and
`LINFKIT_KERNELS=triton` skips the check.
"""

from __future__ import annotations

import os
import warnings
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from linfkit.kernels import reference

CHOICES = ("reference", "triton")
LEAST_CAPABILITY = (7, 5)  # of NVIDIA's GPUs, that Triton compiles for


def kernel_for(tensor: Tensor) -> Any:
    """The kernels to compute with, for inputs of this tensor's dtype and device.

    Raises:
        ValueError: `LINFKIT_KERNELS` is neither "reference" nor "triton".
    """
    asked_for = os.environ.get("LINFKIT_KERNELS", "")
    if asked_for and asked_for not in CHOICES:
        raise ValueError(f"LINFKIT_KERNELS must be one of {', '.join(CHOICES)}; got {asked_for!r}")
    if asked_for == "reference" or tensor.dtype != torch.float32:
        return reference
    if tensor.device.type == "cpu":
        return _cpu()
    if tensor.device.type == "cuda":
        return _cuda() if asked_for else _checked(tensor.device.index)
    return _none(tensor.device.type) if tensor.device.type in ("mps", "xpu") else reference


def description(device: str | torch.device) -> str:
    """The kernels that compute on a device in float32, in words.

    >>> description("cpu") in ("Numba", "plain PyTorch")
    True
    """
    chosen = kernel_for(torch.zeros(1, device=device))
    if chosen is reference:
        return "plain PyTorch"
    if torch.device(device).type == "cpu":
        return "Numba"
    if not hasattr(chosen, "outcome"):
        return "Triton, unchecked"
    failed = [f"plain PyTorch for {kind} ({error})" for kind, error in chosen.failed.items()]
    return ", ".join(["Triton", *failed, f"checked {chosen.outcome.checked:%d %B %Y, %H:%M} UTC"])


def check_again() -> None:
    """Check the GPU kernels anew, on each of this machine's GPUs."""
    _checked.cache_clear()
    for index in range(torch.cuda.device_count()):
        _checked(index, again=True)
    _checked.cache_clear()


@cache
def _cpu() -> ModuleType:
    """The Numba kernels, imported on first use; the reference, with one warning, without Numba."""
    try:
        from linfkit.kernels import cpu
    except ImportError as error:
        return _reference(
            f"on the CPU without Numba, far more slowly: {error}. Where it is missing, "
            "`pip install numba` brings the fast kernels."
        )
    return cpu


@cache
def _checked(index: int | None, again: bool = False) -> Any:
    """The Triton kernels behind their check on one GPU."""
    device = torch.device("cuda", torch.cuda.current_device() if index is None else index)
    capability = torch.cuda.get_device_capability(device)
    if torch.version.hip is None and capability < LEAST_CAPABILITY:
        return _none(f"capability {capability[0]}.{capability[1]}")
    if _cuda() is reference:
        return reference
    from linfkit.kernels.first_results import Checked
    from linfkit.kernels.self_check import outcome

    return Checked(_cuda(), outcome(device, again))


@cache
def _none(device: str) -> Any:
    """The reference, for GPUs that have no kernels; one warning for each kind of them."""
    return _reference(
        "on this GPU by plain PyTorch, far more slowly: there are kernels for NVIDIA's from "
        f"capability 7.5, and it is of {device}"
    )


@cache
def _cuda() -> ModuleType:
    """The Triton kernels, likewise."""
    try:
        if torch.version.hip is not None:
            raise ImportError("the GPU kernels are for NVIDIA's")
        from linfkit.kernels import cuda
    except ImportError as error:
        return _reference(
            f"on the GPU without Triton, far more slowly: {error}. PyTorch's CUDA builds for Linux "
            "bring Triton; elsewhere `pip install triton`, or triton-windows, of the version that "
            "fits PyTorch's."
        )
    return cuda


def _reference(how: str) -> ModuleType:
    """The reference, with a warning of how it computes."""
    warnings.warn(f"linfkit computes {how}", RuntimeWarning, stacklevel=3)
    return reference
