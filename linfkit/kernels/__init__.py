"""The kernels behind `linfkit.functional`: one operator, several implementations.

Every module here offers `lp_dist`, `lp_dist_backward`, `linf_interval` and `linf_interval_backward`
with the same signatures, and checks nothing: `linfkit.functional` has done so.

- `reference`: plain PyTorch, any dtype and device; the definition.
- `cpu`: Numba, float32.

`LINFKIT_KERNELS=reference` in the environment forces the reference.
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
    if os.environ.get("LINFKIT_KERNELS") == "reference":
        return reference
    if tensor.device.type == "cpu" and tensor.dtype == torch.float32:
        return _cpu()
    return reference


@cache
def _cpu() -> ModuleType:
    """The Numba kernels, imported on first use; the reference, with one warning, without Numba."""
    try:
        from linfkit.kernels import cpu
    except ImportError as error:
        warnings.warn(
            f"linfkit computes on the CPU without Numba, far more slowly: {error}. "
            "`pip install numba` brings the fast kernels.",
            RuntimeWarning,
            stacklevel=2,
        )
        return reference
    return cpu
