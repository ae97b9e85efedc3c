"""Tested: where the dots of a chart's lines are, and what a chart shows beside them.
Not tested: how it looks."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from linfkit.cli.charts import DOTS, LineChart, braille

SIZES = st.integers(1, 12)
VALUES = st.lists(st.floats(-3, 5) | st.sampled_from([math.nan, math.inf, -math.inf]), max_size=40)


def dots(rows):
    """Places (x, y) of all dots, from the upper left."""
    return {
        (2 * column + across, 4 * row + down)
        for row, characters in enumerate(rows)
        for column, character in enumerate(characters)
        for down, bits in enumerate(DOTS)
        for across, bit in enumerate(bits)
        if (ord(character) - 0x2800) & bit
    }


def printed(chart, width):
    console = Console(width=width)
    with console.capture() as capture:
        console.print(chart)
    return capture.get()


@given(values=VALUES, columns=SIZES, rows=SIZES)
def test_every_finite_value_has_its_dot_and_the_others_none(values, columns, rows):
    length = max(len(values), 1)
    drawn = braille(values, columns, rows, low=-3, high=5, length=length)
    assert [len(row) for row in drawn] == [columns] * rows
    assert all(0x2800 <= ord(character) <= 0x28FF for row in drawn for character in row)
    found = dots(drawn)
    finite = {place: value for place, value in enumerate(values) if math.isfinite(value)}
    for place, value in finite.items():
        x = round((2 * columns - 1) * place / max(length - 1, 1))
        assert (x, round((4 * rows - 1) * (5 - value) / 8)) in found
    assert bool(found) == bool(finite)


@given(values=st.lists(st.floats(0, 1), min_size=2, max_size=40), columns=SIZES, rows=SIZES)
def test_a_line_has_no_gap(values, columns, rows):
    found = dots(braille(values, columns, rows, low=0, high=1, length=len(values)))
    assert {x for x, _ in found} == set(range(2 * columns))
    reached, todo = set(), [min(found)]
    while todo:
        x, y = todo.pop()
        if (x, y) in found - reached:
            reached.add((x, y))
            todo += [(x + across, y + down) for across in (-1, 0, 1) for down in (-1, 0, 1)]
    assert reached == found


def test_a_line_is_broken_where_a_value_is_not_finite():
    whole, broken = (
        dots(braille([0, 0, between, 0, 0], columns=10, rows=1, low=0, high=1, length=5))
        for between in (0, math.nan)
    )
    assert broken < whole
    assert {x for x, _ in whole - broken} == set(range(6, 14))


def test_the_axis_has_room_for_the_epochs_to_come():
    found = dots(braille([1, 1], columns=10, rows=1, low=0, high=1, length=20))
    assert max(x for x, _ in found) == 1


@pytest.mark.parametrize("width", [20, 40, 200])
def test_a_chart_is_as_wide_as_it_may_be(width):
    text = printed(LineChart("loss", {"mixed": [1.0, 0.25]}, epochs=30), width)
    *_, axis = lines = text.splitlines()
    assert len(lines) == 10
    assert max(map(len, lines)) == len(axis) == width
    assert axis.endswith("30")
    assert "― mixed 0.250" in text


def test_the_axis_spans_from_zero_to_the_largest_value():
    text = printed(LineChart("share", {"a": [0.5, 0.75], "b": [math.inf, 0.25]}, 2), 40)
    assert "0.75 ┤" in text
    assert "   0 ┤" in text


@pytest.mark.parametrize("values", [[], [0.0], [0.0, 0.0], [math.nan]])
def test_a_chart_of_nothing_has_an_axis_all_the_same(values):
    assert "1 ┤" in printed(LineChart("loss", {"mixed": values}, epochs=1), 30)


def test_lines_are_told_apart_by_their_colours():
    chart = LineChart("two", {"low": [0.0, 0.0], "high": [1.0, 1.0]}, epochs=2)
    console = Console(width=40, force_terminal=True, color_system="standard")
    with console.capture() as capture:
        console.print(chart)
    lines = capture.get().splitlines()
    assert "\x1b[36m⣀" in lines[-2]
    assert "\x1b[35m⠉" in lines[2]
