"""Tested: what `check` prints of an answer, and that it knows its exercises' names.
Not tested: each exercise's answers and hints, which are in test_exercises_*.py."""

import pytest

from linfkit.course import exercises


def test_an_exercise_is_checked_by_its_name(capsys):
    exercises.check("00-grey-steps", 1.6)
    exercises.check("00-grey-steps", ...)
    right, none_yet = capsys.readouterr().out.splitlines()
    verdict = exercises.all_exercises()["00-grey-steps"].verdict
    assert right == f"00-grey-steps: {verdict(1.6)}"
    assert none_yet == f"00-grey-steps: {verdict(...)}"
    assert right != none_yet


def test_a_name_that_is_nearly_right_is_guessed():
    with pytest.raises(ValueError, match=r"no exercise '00-gray-steps'; .* '00-grey-steps'\?$"):
        exercises.check("00-gray-steps", 1.6)


def test_of_another_name_all_are_told():
    with pytest.raises(ValueError, match=r"no exercise '\?'; there are .*00-grey-steps, ") as told:
        exercises.check("?", 1.6)
    assert all(name in str(told.value) for name in exercises.all_exercises())
