"""Python values of literals as people write them, and of other libraries' numbers and arrays."""

from __future__ import annotations

import ast
import operator
from collections.abc import Mapping
from numbers import Real
from typing import Any

#: Errors that Python may raise for a text that is no literal.
NO_LITERAL = (
    ArithmeticError, ValueError, TypeError, SyntaxError, MemoryError, RecursionError,
)  # fmt: skip

#: Ways to write a number that has no literal: of each, in what stands before a dot, and alone.
WAYS = ("{}", "math.{}", "np.{}", "numpy.{}", "torch.{}", "float('{}')")
NO_FINITE = {way.format(name): float(name) for name in ("inf", "nan") for way in WAYS}


def parse_value(text: str) -> Any:
    """Value that a word of the command line stands for: a literal, else the word itself.

    >>> [parse_value(word) for word in ("3", "1/8", "[8, inf]", "true", "digits-small")]
    [3, 0.125, [8, inf], True, 'digits-small']
    """
    try:
        return evaluate({"true": "True", "false": "False"}.get(text, text))
    except NO_LITERAL:
        return text


def parse_values(text: str) -> list[Any]:
    """Values that a word of the command line lists, separated by commas.

    >>> parse_values("8,1e3,inf"), parse_values("hinge,mixed"), parse_values("[1, 2],[3]")
    ([8, 1000.0, inf], ['hinge', 'mixed'], [[1, 2], [3]])
    """
    try:
        return list(evaluate(f"({text},)"))
    except NO_LITERAL:
        return [parse_value(word) for word in text.split(",")]


def evaluate(text: str) -> Any:
    """Value of a literal's text."""
    return value_of(ast.parse(text.strip(), mode="eval").body)


def value_of(node: ast.expr) -> Any:
    """Value of an expression: a literal, a quotient, ∞ or NaN, or a list or dict of them."""
    match node:
        case ast.List(items):
            return [value_of(item) for item in items]
        case ast.Tuple(items):
            return tuple(value_of(item) for item in items)
        case ast.Dict(keys, items):
            pairs = zip(keys, items, strict=True)  # a ** has no key, and is no literal
            return {ast.literal_eval(key or node): value_of(item) for key, item in pairs}
        case ast.UnaryOp(ast.USub(), operand):
            return -value_of(operand)
        case ast.BinOp(left, ast.Div(), right):
            return value_of(left) / value_of(right)
    text = ast.unparse(node)
    return NO_FINITE[text] if text in NO_FINITE else ast.literal_eval(node)


def as_python(value: Any) -> Any:
    """Python numbers and lists for those of NumPy and PyTorch, for ranges, tuples and fractions.

    >>> from fractions import Fraction
    >>> as_python(Fraction(1, 4)), as_python(range(2)), as_python("8/255")
    (0.25, [0, 1], '8/255')
    """
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list | tuple | range):
        return [as_python(item) for item in value]
    if isinstance(value, Mapping):
        return {key: as_python(item) for key, item in value.items()}
    if isinstance(value, Real) and not isinstance(value, int):
        return operator.index(value) if hasattr(value, "__index__") else float(value)
    return value
