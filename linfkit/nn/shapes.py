"""Nets of shape alone: built as any other, but without memory for their weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["ShapesAlone"]

#: What layers make their weights, means and indices by.
MAKING = {torch.arange, torch.empty, torch.randn, torch.zeros}


class ShapesAlone(TorchFunctionMode):
    """Within the block, new tensors have a shape but no values, so any net is built at once.

    Args:
        at_most: so many tensors may be made; beyond, a ValueError is raised.

    >>> with ShapesAlone():
    ...     weight = torch.randn(10**9, 10**6)
    >>> weight.shape, weight.device
    (torch.Size([1000000000, 1000000]), device(type='meta'))
    """

    def __init__(self, at_most: float = math.inf) -> None:
        super().__init__()
        self.left = at_most

    def __torch_function__(
        self,
        function: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if function not in MAKING:
            return function(*args, **(kwargs or {}))
        self.left -= function is not torch.arange  # which makes indices, not weights
        if self.left < 0:
            raise ValueError("it has more layers than there are tensors for them")
        return function(*args, **{**(kwargs or {}), "device": "meta"})
