"""The kernels behind `linfkit.functional`: one operator, several implementations.

Every module here offers `lp_dist`, `lp_dist_backward`, `linf_interval` and `linf_interval_backward`
with the same signatures, and checks nothing: `linfkit.functional` has done so.

- `reference`: plain PyTorch, any dtype and device; the definition. It alone has `lp_dist_jvp` and
  what else forward mode and second derivatives take, for all of them.
- `cpu`: Numba, float32. It takes `sorted_dist` and `sorted_dist_backward` from `sorting`; of the
  others only `reference` has them, and computes them for all.
- `cuda`: Triton, float32, on NVIDIA's GPUs. Checked in Triton's interpreter and as machine code,
  but not yet on a GPU, so that it has to be asked for.

`LINFKIT_KERNELS=triton` in the environment asks for it; `LINFKIT_KERNELS=reference` forces the
reference everywhere.
"""

from __future__ import annotations

import os
import warnings
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from linfkit.kernels import reference


def kernel_for(tensor: Tensor) -> ModuleType:
    """The module to compute with, for inputs of this tensor's dtype and device."""
    asked_for = os.environ.get("LINFKIT_KERNELS")
    if asked_for == "reference":
        return reference
    if tensor.dtype == torch.float32:
        if tensor.device.type == "cpu":
            return _cpu()
        if tensor.device.type == "cuda" and asked_for == "triton":
            return _cuda()
    return reference


@cache
def _cpu() -> ModuleType:
    """The Numba kernels, imported on first use; the reference, with one warning, without Numba."""
    try:
        from linfkit.kernels import cpu
    except ImportError as error:
        warnings.warn(
            f"linfkit computes on the CPU without Numba, far more slowly: {error}. "
            "Where it is missing, `pip install numba` brings the fast kernels.",
            RuntimeWarning,
            stacklevel=2,
        )
        return reference
    return cpu


@cache
def _cuda() -> ModuleType:
    """The Triton kernels, likewise."""
    try:
        if torch.version.hip is not None:
            raise ImportError("the GPU kernels are for NVIDIA's")
        from linfkit.kernels import cuda
    except ImportError as error:
        warnings.warn(
            f"linfkit computes on the GPU without Triton, far more slowly: {error}. "
            "PyTorch's CUDA builds for Linux bring Triton; elsewhere `pip install triton`, or "
            "triton-windows, of the version that fits PyTorch's.",
            RuntimeWarning,
            stacklevel=2,
        )
        return reference
    return cuda
