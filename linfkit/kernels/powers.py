"""Large real powers of numbers up to 1, as polynomials squared twice: 10 operations each.

A polynomial of degree 8 stands for r^(e/4), and is fitted anew to each exponent e. Powers below
2^−27 are taken for 0, so that it need not hold for all r but only from r₀ = 2^(−27/e) to 1. There
it is found by interpolation, in the variable u = (r − 1)/(1 − r₀), which runs from −1 to 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from linfkit.kernels.vectors import WORD, Floats, Truths, constant, load_everywhere, polynomial

DEGREE = 8
SQUARINGS = 2
OCTAVES = 27.0

# Radau's points: Chebyshev's, but that 0 is one of them, where the largest powers are. There the
# polynomial is 1, as the power is, and only the others remain to be met.
_NODES = (np.cos(np.pi * np.arange(1, DEGREE + 1) / (DEGREE + 0.5)) - 1) / 2
_COEFFICIENTS_FROM_SLOPES = np.linalg.inv(np.vander(_NODES, increasing=True))


@lru_cache
def fitted_power(exponent: float) -> NDArray[np.float32]:
    """The numbers that `Power` needs to compute r^e, for one e from 7 up.

    Args:
        exponent: e. Below 7 the errors grow: r^(e/4) is no polynomial near 0.

    Returns:
        1/(1 − r₀) and the coefficients of u, u², …, u⁸; that of u⁰ is 1. What comes of them is
        within 2·10⁻⁵·(r^e)^0.7 of r^e.

    >>> scale, *coefficients = fitted_power(20.5)
    >>> u = (0.9 - 1) * scale
    >>> power = np.polyval([*reversed(coefficients), 1], u) ** 4
    >>> bool(abs(power / 0.9**20.5 - 1) < 1e-6)
    True
    """
    width = -np.expm1(-OCTAVES * np.log(2) / exponent)
    rises = np.expm1(exponent / 2**SQUARINGS * np.log1p(width * _NODES))
    scale = min(1 / width, 2.0**127)
    fit = np.array([scale, *_COEFFICIENTS_FROM_SLOPES @ (rises / _NODES)], np.float32)
    fit.setflags(write=False)  # it is kept
    return fit


@dataclass(frozen=True)
class Power:
    """The e-th power in generated code.

    Attributes:
        scale: 1/(1 − r₀).
        coefficients: of u, u², and so on.
    """

    scale: Floats
    coefficients: list[Floats]

    @classmethod
    def load(cls, builder: ir.IRBuilder, fit: ir.Value) -> Self:
        """From the numbers of `fitted_power`, given where they are."""
        scale, *coefficients = (load_everywhere(builder, WORD(k), fit) for k in range(1 + DEGREE))
        return cls(scale, coefficients)

    def scale_over(self, largest: Floats) -> Floats:
        """1/(1 − r₀)/largest; finite."""
        return (self.scale / largest).smaller(2.0**127)

    def floor(self) -> Floats:
        """r₀, and below 1 as floats go."""
        one = constant(self.scale.builder, 1.0)
        return (one - one / self.scale).smaller(1 - 2.0**-23)

    def at(self, u: Floats, near: Truths) -> Floats:
        """r^e at the u that are near, 0 elsewhere."""
        power = polynomial(u, [1.0, *self.coefficients])
        for _ in range(SQUARINGS):
            power = power * power
        return power.where(near, 0.0)
