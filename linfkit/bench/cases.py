"""What is measured: an operator, its p, forward alone or with backward, and the sizes."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from pydantic import BaseModel
from torch import Tensor

# At standard deviation 1, the 100.5th powers of contenders that do not scale would overflow.
DEVIATION = 0.25


class Case(BaseModel, frozen=True, ser_json_inf_nan="strings"):
    """One thing to measure.

    Attributes:
        p: of `lp_dist`; None stands for `linf_interval`.
        backward: whether the gradients in x and w are part of it.
        batch: B.
        in_features: I.
        out_features: O.

    >>> case = Case(p=math.inf)
    >>> case.name, case.shape, case.pairs
    ('p=∞ forward', '256 × 1024 × 1024', 268435456)
    """

    p: float | None
    backward: bool = False
    batch: int = 256
    in_features: int = 1024
    out_features: int = 1024

    @property
    def name(self) -> str:
        """The operator, in words."""
        if self.p is None:
            return "intervals forward"
        p = "∞" if math.isinf(self.p) else f"{self.p:g}"
        return f"p={p} forward{' + backward' if self.backward else ''}"

    @property
    def shape(self) -> str:
        """B × I × O."""
        return f"{self.batch} × {self.in_features} × {self.out_features}"

    @property
    def pairs(self) -> int:
        """How many coordinates of x meet a weight."""
        return self.batch * self.in_features * self.out_features

    @property
    def operations(self) -> int | None:
        """The fewest vector operations a pair; None where that is no fixed number.

        At p=∞ subtract, absolute value and maximum; at p=8 subtract, two squarings, and a third
        that adds.
        """
        return None if self.backward or self.p is None else {math.inf: 3, 8.0: 4}.get(self.p)


class Inputs(NamedTuple):
    """The tensors of a case: x or the boxes' lower corners, their upper corners, w, and ∂/∂out."""

    x: Tensor
    upper: Tensor
    w: Tensor
    grad: Tensor


def inputs(case: Case, device: str = "cpu") -> Inputs:
    """Normal numbers, the same on every machine.

    >>> [tuple(tensor.shape) for tensor in inputs(Case(p=8, batch=2, in_features=3))]
    [(2, 3), (2, 3), (1024, 3), (2, 1024)]
    """
    generator = torch.Generator().manual_seed(0)

    def normal(rows: int, columns: int) -> Tensor:
        return (DEVIATION * torch.randn(rows, columns, generator=generator)).to(device)

    x = normal(case.batch, case.in_features)
    w = normal(case.out_features, case.in_features)
    return Inputs(x, x + DEVIATION / 10, w, normal(case.batch, case.out_features))


#: The rows that tell most.
MAIN = (
    *(Case(p=p, backward=backward) for backward in (False, True) for p in (math.inf, 8, 100.5)),
    Case(p=None),
)

#: These on a quarter of the batch, since what they are set beside takes long.
QUICK = tuple(case.model_copy(update={"batch": 64}) for case in MAIN)

#: The main rows; a p that calls for every coordinate's power; few neurons; no multiples of a tile;
#: and one input against weights that no cache holds.
FULL = (
    *MAIN,
    *(Case(p=20.5, backward=backward) for backward in (False, True)),
    *(Case(p=p, out_features=10) for p in (math.inf, 8, 100.5)),
    *(
        Case(p=p, batch=257, in_features=1023, out_features=1025)
        for p in (math.inf, 8, 100.5, None)
    ),
    *(Case(p=p, batch=1, out_features=16384) for p in (math.inf, 8)),
)
