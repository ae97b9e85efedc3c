"""The table of what certificates take off for rounding."""

from __future__ import annotations

from torch import Tensor

from linfkit.course.figures.table import Table
from linfkit.course.studies.rounding import Rounding

__all__ = ["rounding_table"]


def rounding_table(measured: Rounding, eps: float) -> Table:
    """Table of the rounding of logits: seen, allowed for, and its cost at eps.

    >>> import torch
    >>> one = torch.ones(1)
    >>> print(rounding_table(Rounding(0.2 * one, 0.1 * one, 4e-6 * one, 1e-7 * one), eps=0.1))
    Rounding, over 1 image; 1 certified at ε=0.1 by half the margin, of which rounding costs 1.
    in pixels                  mean     largest
    error of a logit, seen     1.0e-07  1.0e-07
    error of a logit, allowed  2.0e-06  2.0e-06
    taken off the radius       4.0e-06  4.0e-06
    """
    count = len(measured.radius)
    certified = int((measured.half_margin > eps).sum())
    return Table(
        f"Rounding, over {count} image{'s' * (count > 1)}; {certified} certified at ε={eps:g} by "
        f"half the margin, of which rounding costs {measured.lost(eps)}.",
        ["in pixels", "mean", "largest"],
        [
            _row("error of a logit, seen", measured.seen),
            _row("error of a logit, allowed", measured.allowed),
            _row("taken off the radius", measured.taken_off),
        ],
    )


def _row(name: str, sizes: Tensor) -> list[str]:
    return [name, f"{sizes.mean().item():.1e}", f"{sizes.max().item():.1e}"]
