"""Schedules, as pure functions of progress: the share of the run that lies behind, from 0 to 1."""

from __future__ import annotations

import math

__all__ = ["constant_rate", "cosine_rate", "geometric", "p_at", "ramp"]


def ramp(progress: float, start: float, end: float) -> float:
    """How far a ramp has come: ρ = clip((t − t₀) / (t₁ − t₀), 0, 1).

    A ramp from 1 to 1 never begins within a run, so what it drives stays constant.

    >>> [ramp(t, 0.25, 0.75) for t in (0.0, 0.5, 1.0)]
    [0.0, 0.5, 1.0]
    """
    if not 0 <= start <= end <= 1:
        raise ValueError(
            f"start and end must be shares of the run, in order; got {start} and {end}"
        )
    if progress < end:
        return max(0.0, (progress - start) / (end - start)) if end > start else 0.0
    return 1.0


def geometric(ratio: float, start: float, end: float) -> float:
    """From start to end by equal factors: start · (end / start)^ρ; for λ and, below its end, p.

    >>> geometric(0.5, 1.0, 100.0)
    10.0
    """
    return start * (end / start) ** ratio


def p_at(ratio: float, start: float, end: float) -> float:
    """The exponent along its ramp: p₀ (p₁ / p₀)^ρ, and p=∞ once ρ = 1.

    >>> [round(p_at(ratio, 8, 1000), 2) for ratio in (0.0, 0.5, 1.0)]
    [8.0, 89.44, inf]
    """
    return math.inf if ratio >= 1 else geometric(ratio, start, end)


def cosine_rate(progress: float) -> float:
    """Factor of the learning rate that falls from 1 to 0 along half a cosine (ICLR 2022).

    >>> [round(cosine_rate(t), 2) for t in (0.0, 0.5, 1.0)]
    [1.0, 0.5, 0.0]
    """
    return (1 + math.cos(math.pi * progress)) / 2


def constant_rate(progress: float) -> float:
    """Factor of a learning rate that stays as it is.

    >>> constant_rate(0.9)
    1.0
    """
    return 1.0
