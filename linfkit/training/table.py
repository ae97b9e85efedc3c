"""An evaluation as text for the terminal, in the columns of the papers' tables."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table

from linfkit._util.text import format_eps
from linfkit.training.record import Record


def heading(record: Record) -> str:
    """Which net, on which data, at which ε."""
    return f"{record.net} on {record.data.name}, ε = {format_eps(record.eps)}"


def accuracies_table(record: Record) -> Table:
    """One line: clean, attacked and certified accuracy, in percent."""
    columns = {"clean": record.clean}
    if record.attack is not None and record.attacked is not None:
        columns[f"attacked,\nPGD-{record.attack.steps}"] = record.attacked
    columns |= {f"certified,\n{proof}": share for proof, share in record.certified.items()}
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for title in columns:
        table.add_column(title, justify="right", no_wrap=True)
    table.add_row(*(f"{100 * share:.2f}" for share in columns.values()))
    return table


def explanation(record: Record) -> str:
    """What the columns mean, and of what they are."""
    lines = [
        f"Percent of {record.images:,} test images at p=∞, ε in pixels of [0, 1]. At ε, robust "
        "accuracy is at least what is certified.",
    ]
    if record.attack is not None:
        starts = record.attack.restarts
        lines.append(
            f"It is at most what is left by the attack, from {starts} random "
            f"start{'s' if starts > 1 else ''}; certified images were not attacked, but for a few."
        )
    if "either" in record.certified:
        lines.append("Either: by the margin or by intervals, whichever proves more of an image.")
    if "own" in record.certified:
        lines.append("Own: by the bounds that the net brings itself.")
    if record.on_other_data:
        origin = record.trained_on.shown if record.trained_on else "data that its file leaves open"
        lines.append(f"Trained on {origin}; certified on {record.data.shown}.")
    lines.append(f"SHA-256 of the net's file: {record.sha256}")
    return "\n".join(lines)
