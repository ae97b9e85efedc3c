"""Formulas as MathML, which browsers draw themselves."""

from __future__ import annotations

from xml.etree import ElementTree

from latex2mathml.converter import convert


def formula(latex: str, display: str = "inline") -> str:
    r"""A formula as MathML, `"inline"` or as a `"block"`.

    Raises:
        ValueError: it has a command or an environment that is not known.

    >>> formula(r"d^{1/p}").startswith("<math")
    True
    >>> formula(r"\thete")
    Traceback (most recent call last):
    ValueError: the formula \thete cannot be written as MathML
    """
    try:
        mathml = convert(latex, display=display)
        understood = "\\" not in "".join(ElementTree.fromstring(mathml).itertext())
    except Exception:  # the converter has a dozen kinds of its own, for malformed LaTeX
        understood = False
    if not understood:
        raise ValueError(f"the formula {latex.strip()} cannot be written as MathML")
    return mathml
