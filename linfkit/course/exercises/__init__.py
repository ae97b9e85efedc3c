"""Exercises of the notebooks that check themselves, without giving the answer away.

Those whose answer is a number stand in numbers.toml, the others in functions.py; second_hints.toml
helps whoever was wrong twice.
"""

from __future__ import annotations

import difflib
import tomllib
from collections import Counter
from importlib import resources
from typing import Any

from linfkit._util.text import say
from linfkit.course.exercises.exercise import Exercise, number_exercises
from linfkit.course.exercises.functions import EXERCISES

#: Names of the exercises answered right in this kernel.
_ANSWERED: set[str] = set()

#: How many wrong answers each exercise was given in this kernel.
_WRONG: Counter[str] = Counter()


def all_exercises() -> dict[str, Exercise]:
    """Every exercise of every notebook, by name."""
    return dict(sorted((number_exercises() | EXERCISES).items()))


def second_hints() -> dict[str, str]:
    """The stronger hint of every exercise, by name."""
    return tomllib.loads((resources.files(__package__) / "second_hints.toml").read_text("utf-8"))


def check(name: str, answer: Any) -> None:
    """Print that an answer is right, or a hint; from the second wrong one on, a stronger one too.

    Args:
        name: the exercise's, as its notebook gives it.
        answer: yours; `...` is none yet.

    Raises:
        ValueError: there is no exercise of this name.
    """
    say(f"{name}: {_verdict(name, answer)}")


def progress() -> None:
    """Print how many exercises of each notebook were answered right since the kernel started.

    >>> progress()
    00: ... of 5
    ...
    """
    counts = Counter(name[:2] for name in all_exercises())
    answered = Counter(name[:2] for name in _ANSWERED)
    for notebook, count in counts.items():
        say(f"{notebook}: {answered[notebook]} of {count}")


def yours(name: str, answer: Any, otherwise: Any) -> Any:
    """The answer where it is right, else linfkit's own, so that a notebook can go on.

    Args:
        name: the exercise's, as its notebook gives it.
        answer: yours; `...` is none yet.
        otherwise: what stands in for it.

    Raises:
        ValueError: there is no exercise of this name.

    >>> yours("00-radius", ..., otherwise=0.11)
    00-radius: no answer yet; linfkit's own stands in
    0.11
    """
    verdict = _verdict(name, answer)
    if verdict == "right":
        say(f"{name}: right; yours is used")
        return answer
    say(f"{name}: {verdict}; linfkit's own stands in")
    return otherwise


def _verdict(name: str, answer: Any) -> str:
    """Verdict on an answer; right and wrong ones are counted."""
    verdict = _named(name).verdict(answer)
    if verdict == "right":
        _ANSWERED.add(name)
    elif answer is not ...:
        _WRONG[name] += 1
        if _WRONG[name] > 1:
            verdict += f". Second hint: {second_hints()[name]}"
    return verdict


def _named(name: str) -> Exercise:
    exercises = all_exercises()
    if name not in exercises:
        near = difflib.get_close_matches(name, exercises, n=1)
        raise ValueError(
            f"name must be an exercise; got {name!r}"
            + (f": did you mean {near[0]!r}?" if near else f"; there are {', '.join(exercises)}")
        )
    return exercises[name]
