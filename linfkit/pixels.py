"""ε as it is written: a number of pixels in [0, 1], often so many 255ths."""

from __future__ import annotations

from fractions import Fraction

__all__ = ["from_text", "in_text"]


def from_text(text: str) -> float:
    """The number that a fraction or a decimal stands for.

    Raises:
        ValueError: the text is neither, or its number is not in [0, 1].

    >>> from_text("8/255") == 8 / 255, from_text("0.1")
    (True, 0.1)
    """
    try:
        eps = float(Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        eps = float("nan")
    if not 0 <= eps <= 1:
        raise ValueError(
            f'eps: {text!r} came; a number of pixels from 0 to 1, like 0.1 or "8/255", is wanted'
        )
    return eps


def in_text(eps: float) -> str:
    """A short decimal where the number is one; else so many 255ths where it is that.

    >>> [in_text(eps) for eps in (0.1, 0.2, 8 / 255, 1 / 7)]
    ['0.1', '0.2', '8/255', '0.1429']
    """
    if float(f"{eps:.3g}") == eps:
        return f"{eps:.3g}"
    levels = 255 * eps
    return f"{levels:.0f}/255" if abs(levels - round(levels)) < 1e-6 else f"{eps:.4g}"
