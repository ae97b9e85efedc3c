"""Exercises of the notebooks that check themselves, without giving the answer away.

Those whose answer is a number stand in numbers.toml, the others in a module for each notebook.
"""

from __future__ import annotations

import difflib
from typing import Any

from linfkit._util.text import say
from linfkit.course.exercises import (
    blowup,
    certificates,
    ema,
    ensembles,
    losses,
    neurons,
    start_here,
    tables,
    theory,
)
from linfkit.course.exercises.exercise import Exercise, number_exercises

#: the modules, one for each notebook, in its order
NOTEBOOKS = (
    start_here,
    neurons,
    blowup,
    losses,
    ema,
    ensembles,
    certificates,
    tables,
    theory,
)


def all_exercises() -> dict[str, Exercise]:
    """Every exercise of every notebook, by name."""
    written = [exercise for module in NOTEBOOKS for exercise in module.EXERCISES]
    exercises = sorted([*number_exercises(), *written], key=lambda exercise: exercise.name)
    return {exercise.name: exercise for exercise in exercises}


def check(name: str, answer: Any) -> None:
    """Print that an answer is right, or a hint.

    Args:
        name: the exercise's, as its notebook gives it.
        answer: yours; `...` is none yet.

    Raises:
        ValueError: there is no exercise of this name.

    """
    exercises = all_exercises()
    if name not in exercises:
        near = difflib.get_close_matches(name, exercises, n=1)
        raise ValueError(
            f"name must be an exercise; got {name!r}"
            + (f": did you mean {near[0]!r}?" if near else f"; there are {', '.join(exercises)}")
        )
    say(f"{name}: {exercises[name].verdict(answer)}")
