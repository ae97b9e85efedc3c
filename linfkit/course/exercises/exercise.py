"""Exercises: a question, the right answer, and hints for wrong ones."""

from __future__ import annotations

import math
import tomllib
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Exercise:
    """Question of a notebook that can tell a right answer from a wrong one.

    Attributes:
        look_again: hint for a wrong answer, None for the right one. It never gives the answer away.
            A TypeError or ValueError that it raises says what kind of answer is wanted.
        of_function: whether the answer is a function.

    >>> def fingers_of_a_hand(answer):
    ...     return None if one_number(answer) == 5 else "count once more"
    >>> [Exercise(fingers_of_a_hand).verdict(answer) for answer in (5, 4, ...)]
    ['right', 'not yet: count once more', 'no answer yet']
    """

    look_again: Callable[[Any], str | None]
    of_function: bool = False

    def verdict(self, answer: Any) -> str:
        """`"right"`, or a hint; an answer of `...` is none yet."""
        if answer is ...:
            return "no answer yet"
        try:
            if self.of_function and not callable(answer):
                raise TypeError(f"a function is wanted; a {type(answer).__name__} came")
            hint = self.look_again(answer)
        except Exception as error:
            hint = _raised_by(answer, error)
        return "right" if hint is None else f"not yet: {hint}"


def number_exercises() -> dict[str, Exercise]:
    """Exercises of numbers.toml, each of which asks for a number, by name."""
    rows = tomllib.loads((resources.files(__package__) / "numbers.toml").read_text("utf-8"))
    return {name: Exercise(partial(_look_at_number, row)) for name, row in rows.items()}


def _look_at_number(row: Mapping[str, Any], answer: Any) -> str | None:
    """Hint for a wrong number, None for the right one."""
    number, tolerance = one_number(answer), row.get("tolerance", 0.01)
    if within(number, row["right"], tolerance):
        return None
    for wrong in row["hints"]:
        if (
            number < wrong.get("below", -math.inf)
            or number > wrong.get("above", math.inf)
            or ("wrong" in wrong and within(number, wrong["wrong"], tolerance))
        ):
            return str(wrong["hint"])
    return str(row["otherwise"])


def one_number(answer: Any) -> float:
    """The answer as one finite number.

    Raises:
        TypeError, ValueError: it is none.
    """
    if isinstance(answer, bool):
        raise TypeError("one number is wanted; a bool came")
    try:
        number = float(answer)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"one number is wanted; a {type(answer).__name__} came") from None
    if not math.isfinite(number):
        raise ValueError("a finite number is wanted")
    return number


def _raised_by(answer: Any, error: Exception) -> str:
    """Words for an error: its own, or the student's line and what it raised there."""
    file = getattr(getattr(answer, "__code__", None), "co_filename", None)
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if own:
        return f"your line `{own[-1].line}` raised {type(error).__name__}: {error}"
    if isinstance(error, TypeError | ValueError):
        return str(error)
    raise error


def within(answer: float, right: float, tolerance: float = 0.01) -> bool:
    """True if two numbers are the same to a share of the right one, 1 % by default.

    >>> within(2.83, 2.828), within(2.9, 2.828)
    (True, False)
    """
    return abs(answer - right) <= tolerance * abs(right)
