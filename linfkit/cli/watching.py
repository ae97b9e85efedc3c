"""A training run in the terminal: how far it has come, and its curves, drawn anew as it goes on."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from linfkit._util.text import format_eps
from linfkit.cli.catalogue import duration, net_in_words
from linfkit.cli.charts import LineChart
from linfkit.cli.progress import Progress
from linfkit.course.figures.template import as_text

__all__ = ["View", "show", "watch"]

#: Columns of characters that three charts need to stand side by side.
WIDE = 100
#: Rows of characters of a chart, where the terminal is high enough for them.
ROWS = 7


class View:
    """What a run's folder shows at one moment; rich prints it.

    >>> from linfkit import load_recipe
    >>> console = Console(width=80)
    >>> recipe = load_recipe("digits-small").replace(epochs=9)
    >>> with console.capture() as capture:
    ...     console.print(View(Progress(recipe, history=[], finished=False)))
    >>> "epoch 0 of 9" in capture.get()
    True
    """

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The recipe and how far it has come, then the charts, side by side if there is room."""
        recipe = self.progress.recipe
        yield f"[bold]{recipe.name}[/]  {recipe.dataset}, {net_in_words(recipe)}"
        bar = ProgressBar(total=recipe.epochs, completed=self.progress.epochs, width=20)
        heading = Table.grid(padding=(0, 2, 0, 0))
        heading.add_row(bar, Text(self._how_far(), no_wrap=True, overflow="ellipsis"))
        yield heading
        yield ""
        if options.max_width >= WIDE:
            yield _beside(self._charts(ROWS))
        else:
            yield Group(*self._charts(rows=_rows_of_three(console.height)))

    def _how_far(self) -> str:
        progress = self.progress
        parts = [f"epoch {progress.epochs} of {progress.recipe.epochs}"]
        if progress.history:
            parts.append(f"p = {as_text(progress.column('p')[-1])}")
        if progress.finished:
            parts.append("finished")
        elif progress.seems_stopped:
            parts.append(f"nothing new for {duration(progress.silence)}: has it been stopped?")
        elif progress.history and progress.seconds_left:
            parts.append(f"about {duration(progress.seconds_left)} left")
        return ", ".join(parts)

    def _charts(self, rows: int) -> list[LineChart]:
        recipe, column = self.progress.recipe, self.progress.column
        certified = f"certified accuracy, ε = {format_eps(recipe.eps)}, p = ∞"
        return [
            LineChart(
                certified,
                {"raw": column("certified"), "averaged": column("ema_certified")},
                recipe.epochs,
                rows,
            ),
            LineChart("loss", {recipe.loss.replace("_", "-"): column("loss")}, recipe.epochs, rows),
            LineChart(
                "share of training samples",
                {"zero hinge": column("zero_hinge"), "starved": column("starved")},
                recipe.epochs,
                rows,
            ),
        ]


def show(folder: str | Path, console: Console | None = None) -> Progress:
    """Print a run as its folder shows it now.

    Args:
        folder: that `fit` or ``linfkit train`` writes into.
        console: where to; by default the terminal.

    Returns:
        What was shown.

    Raises:
        FileNotFoundError, ValueError: the folder holds no run, or one that cannot be read.
    """
    progress = Progress.read(folder)
    (console or Console()).print(View(progress))
    return progress


def watch(folder: str | Path, console: Console | None = None, every: float = 1.0) -> Progress:
    """Show a run, and draw it anew as it goes on, until it is finished.

    Where there is no terminal to draw in, it is shown once.

    Args:
        folder: that `fit` or ``linfkit train`` writes into.
        console: where to; by default the terminal.
        every: seconds between two looks into the folder.

    Returns:
        What was shown last.

    Raises:
        FileNotFoundError, ValueError: the folder holds no run, or one that cannot be read.
    """
    console = console or Console()
    if not console.is_terminal:
        return show(folder, console)
    progress = Progress.read(folder)
    with Live(View(progress), console=console, auto_refresh=False) as live:
        while not progress.finished:
            time.sleep(every)
            progress = Progress.read(folder)
            live.update(View(progress), refresh=True)
    return progress


def _beside(charts: list[LineChart]) -> Table:
    grid = Table.grid(expand=True, padding=(0, 2, 0, 0))
    for _ in charts:
        grid.add_column(ratio=1)
    grid.add_row(*charts)
    return grid


def _rows_of_three(height: int) -> int:
    """How many rows each of three charts may have, one above the other in a terminal that high.

    >>> [_rows_of_three(height) for height in (10, 24, 60)]
    [2, 3, 7]
    """
    return min(max((height - 4) // 3 - 3, 2), ROWS)
