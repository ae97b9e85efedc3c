"""A benchmark as text for the terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table

from linfkit.bench.results import Results, Row, Timing


def heading(results: Results) -> str:
    """On what was measured, with what, and when."""
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    return (
        f"{results.processor} ({results.platform}); {versions}; "
        f"{results.started:%d %B %Y, %H:%M} UTC"
    )


def timings_table(results: Results) -> Table:
    """A section for each case, a line for each contender."""
    table = Table("case", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("contender", no_wrap=True)
    for column in ("ms", "Gpair/s", "time, ×", "of peak", "MiB", "turns"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in results.rows:
        labels = [f"[bold]{row.case.name}[/]", row.case.shape]
        labels += [""] * (len(row.timings) - len(labels))
        for label, timing in zip(labels, row.timings, strict=True):
            table.add_row(label, *_numbers(row, timing))
        table.add_section()
    return table


def explanation(results: Results) -> str:
    """What the columns mean, the machine's peaks, and what was left out."""
    lines = [
        "Gpair/s: 10⁹ pairs of an x-coordinate and a weight a second; forward + backward counts "
        "each once.",
        "time, ×: how many times as long as linfkit. MiB: peak memory of a call beyond what was "
        "in use, outputs included.",
        "turns: how often each was measured; times are medians. All results agreed with the "
        "float64 reference before.",
    ]
    if results.arithmetic is not None:
        lines.append(
            f"of peak: pairs × least vector operations a pair (3 at p=∞, 4 at p=8), of the "
            f"{results.arithmetic / 1e9:.0f} Gop/s of a loop of multiply-adds between registers; "
            "over 100% where the processor has further units for other operations."
        )
    if results.reading is not None:
        lines.append(
            f"of peak at batch 1: bytes of the weights, of the {results.reading / 1e9:.0f} GB/s "
            "at which they can be read."
        )
    return "\n".join([*lines, *results.notes])


def _numbers(row: Row, timing: Timing) -> list[str]:
    ours = timing is row.timings[0]
    return [
        timing.contender,
        _short(timing.seconds * 1e3),
        _short(row.rate(timing) / 1e9),
        "" if ours else _short(timing.seconds / row.timings[0].seconds),
        _share(row) if ours else "",
        "?" if timing.extra_bytes is None else f"{timing.extra_bytes / 2**20:.0f}",
        str(timing.turns),
    ]


def _share(row: Row) -> str:
    shares = [row.share_of_arithmetic, row.share_of_reading]
    return " ".join(f"{share:.0%}" for share in shares if share is not None)


def _short(number: float) -> str:
    """Three digits.

    >>> [_short(number) for number in (0.01234, 1.234, 12.34, 1234.5)]
    ['0.012', '1.23', '12.3', '1234']
    """
    digits = 3 if number < 0.1 else 2 if number < 10 else 1 if number < 100 else 0
    return f"{number:.{digits}f}"
