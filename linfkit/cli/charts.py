"""Line charts for the terminal, in Braille characters: two by four dots each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

__all__ = ["LineChart", "braille"]

#: The bit of each dot of a Braille character, by row and column (Unicode, U+2800 onwards).
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
BLANK = 0x2800
ACROSS, DOWN = 2, 4

#: Colours of the lines, in their order; any terminal has them.
COLOURS = ("cyan", "magenta", "yellow", "green")


@dataclass(frozen=True)
class LineChart:
    """A chart of one or more lines, as wide as the terminal lets it be; rich prints it.

    Attributes:
        title: what is drawn.
        lines: values by name, epoch by epoch; those that are not finite are left out.
        epochs: how many the horizontal axis has room for.
        rows: of characters, title and axis not counted.
    """

    title: str
    lines: Mapping[str, Sequence[float]]
    epochs: int
    rows: int = 7

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Any width that holds an axis and a few characters of lines."""
        return Measurement(20, options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Title and legend, the lines beside their axis, the epochs below."""
        low, high = self._range()
        labels = [f"{high:.3g}", *[""] * (self.rows - 2), f"{low:.3g}"]
        margin = max(map(len, labels))
        columns = max(options.max_width - margin - 2, 4)
        drawn = {
            colour: braille(values, columns, self.rows, low, high, self.epochs)
            for colour, values in zip(COLOURS, self.lines.values(), strict=False)
        }
        yield Text(self.title, style="bold", no_wrap=True, overflow="ellipsis")
        yield self._legend()
        for row, label in enumerate(labels):
            yield Text.assemble((f"{label:>{margin}} ┤", "dim"), _overlaid(drawn, row))
        yield Text(f"{'':{margin}} └1{f'{self.epochs}':─>{columns - 1}}", "dim")

    def _range(self) -> tuple[float, float]:
        """From 0, or from what lies below it, to the largest value."""
        values = [value for line in self.lines.values() for value in line if math.isfinite(value)]
        low, high = min(values, default=0.0), max(values, default=1.0)
        low = min(low, 0.0)
        return low, high if high > low else low + 1

    def _legend(self) -> Text:
        named = [
            Text(f"― {name} {_last(values)}", colour)
            for (name, values), colour in zip(self.lines.items(), COLOURS, strict=False)
        ]
        return Text("  ", no_wrap=True, overflow="ellipsis").join(named)


def braille(
    values: Sequence[float], columns: int, rows: int, low: float, high: float, length: int
) -> list[str]:
    """A line through the values, as rows of Braille characters from the top.

    Args:
        values: one for each place; a line is broken where one is not finite.
        columns: characters across; each is two dots wide.
        rows: characters down; each is four dots high.
        low: the value of the lowest dots.
        high: that of the highest ones.
        length: places that the axis has; the values fill the first of them.

    >>> braille([0, 1, 2, 3], columns=2, rows=1, low=0, high=3, length=4)
    ['⡠⠊']
    >>> braille([0, 1], columns=2, rows=1, low=0, high=3, length=4)
    ['⡠⠀']
    """
    width, height = ACROSS * columns - 1, DOWN * rows - 1
    cells = [[BLANK] * columns for _ in range(rows)]
    points = [
        (width * place / max(length - 1, 1), height * (high - value) / (high - low))
        if math.isfinite(value)
        else None
        for place, value in enumerate(values)
    ]
    for before, after in zip([None, *points], points, strict=False):
        if after is not None:
            for x, y in _dots_between(before or after, after):
                cells[y // DOWN][x // ACROSS] |= DOTS[y % DOWN][x % ACROSS]
    return ["".join(map(chr, row)) for row in cells]


def _dots_between(
    start: tuple[float, float], end: tuple[float, float]
) -> Iterator[tuple[int, int]]:
    """The dots of a straight line, both ends included, without a gap."""
    across, down = end[0] - start[0], end[1] - start[1]
    steps = max(math.ceil(abs(across)), math.ceil(abs(down)), 1)
    for step in range(steps + 1):
        share = step / steps
        yield round(start[0] + share * across), round(start[1] + share * down)


def _overlaid(drawn: Mapping[str, Sequence[str]], row: int) -> Text:
    """One row of all lines: dots of all, in the colour of the last that has any there."""
    text = Text()
    for characters in zip(*(rows[row] for rows in drawn.values()), strict=True):
        dots = BLANK
        colour = ""
        for own_colour, character in zip(drawn, characters, strict=True):
            if ord(character) != BLANK:
                dots, colour = dots | ord(character), own_colour
        text.append(chr(dots), colour)
    return text


def _last(values: Sequence[float]) -> str:
    """The newest value, in three digits; nothing where there is none."""
    return f"{values[-1]:#.3g}" if values else ""
