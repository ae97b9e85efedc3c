"""What an exercise is: a question with a name, and a way to look at an answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Exercise", "one_number", "within"]


@dataclass(frozen=True)
class Exercise:
    """A question of a notebook that can tell whether an answer to it is right.

    Attributes:
        name: the notebook's number and a word or two, such as `"02-bound"`.
        question: what is asked, in a sentence.
        look_again: given an answer, what to look at again; None if the answer is right. It never
            gives the answer away. A TypeError or ValueError that it raises says what kind of answer
            is wanted.

    >>> def of_five(answer):
    ...     return None if one_number(answer) == 5 else "count once more"
    >>> fingers = Exercise("00-fingers", "How many fingers has a hand?", of_five)
    >>> [fingers.verdict(answer) for answer in (5, 4, ...)]
    ['right', 'not yet: count once more', 'no answer yet']
    """

    name: str
    question: str
    look_again: Callable[[Any], str | None]

    def verdict(self, answer: Any) -> str:
        """`"right"`, or what is missing; an answer of `...` is none yet."""
        if answer is ...:
            return "no answer yet"
        try:
            hint = self.look_again(answer)
        except (TypeError, ValueError) as error:
            hint = str(error)
        return "right" if hint is None else f"not yet: {hint}"


def one_number(answer: Any) -> float:
    """The answer as one finite number.

    Raises:
        TypeError, ValueError: it is none.
    """
    try:
        number = float(answer)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"one number is wanted; a {type(answer).__name__} came") from None
    if not math.isfinite(number):
        raise ValueError("a finite number is wanted")
    return number


def within(answer: float, right: float, tolerance: float = 0.01) -> bool:
    """Whether two numbers are the same to a share of the right one, 1 % by default.

    >>> within(2.83, 2.828), within(2.9, 2.828)
    (True, False)
    """
    return abs(answer - right) <= tolerance * abs(right)
