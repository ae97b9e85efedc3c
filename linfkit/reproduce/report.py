"""Tables for the terminal: what a run found, and what there is to run."""

from __future__ import annotations

from collections.abc import Iterable

from rich.markup import escape
from rich.table import Table

from linfkit.course.claims import Claim
from linfkit.reproduce.profiles import Profile
from linfkit.reproduce.results import NotebookResult, Results


def claims_table(claims: Iterable[Claim]) -> Table:
    """Table of claims and findings: value, what was needed, verdict."""
    table = Table("notebook", "claim", "value", "needed", "verdict", title="Claims")
    for claim in claims:
        table.add_row(
            claim.notebook,
            f"[bold]{claim.id}[/]\n{escape(claim.text)}",
            claim.shown_value,
            claim.needed,
            claim.verdict if claim.holds is None else _coloured(claim.verdict, claim.holds),
        )
    return table


def notebooks_table(notebooks: Iterable[NotebookResult]) -> Table:
    """How each notebook ended, where if early, and after how long."""
    table = Table("notebook", "status", "seconds", "peak MB", "figures", title="Notebooks")
    for notebook in notebooks:
        table.add_row(
            notebook.name,
            _coloured(notebook.status, notebook.status == "ok") + _details(notebook),
            f"{notebook.seconds:.0f}",
            "" if notebook.peak_memory is None else f"{notebook.peak_memory / 1e6:.0f}",
            str(sum(figure.endswith(".html") for figure in notebook.figures)),
        )
    return table


def profiles_table(profiles: Iterable[Profile]) -> Table:
    """Every profile's notebooks, with their data and expected minutes."""
    table = Table("profile", "notebook", "data", "GPU", "minutes", "gives up after")
    for profile in profiles:
        for name, row in profile.rows.items():
            table.add_row(
                profile.name,
                name,
                row.dataset or "",
                "needed" if row.gpu else "",
                "" if row.minutes is None else f"{row.minutes:g}",
                f"{row.timeout / 60:g} min",
            )
        table.add_section()
    return table


def summary(results: Results) -> str:
    """The run in one sentence."""
    ran = sum(notebook.status == "ok" for notebook in results.notebooks)
    judged = [claim.holds for claim in results.claims if claim.holds is not None]
    findings = len(results.claims) - len(judged)
    return (
        f"{ran} of {len(results.notebooks)} notebooks ran to their end, "
        f"{sum(judged)} of {len(judged)} claims held, "
        + (f"{findings} found where no claim is made, " if findings else "")
        + f"in {results.seconds:.0f} s"
    )


def _details(notebook: NotebookResult) -> str:
    place = f"\ncell {notebook.cell.index}: {escape(notebook.cell.line)}" if notebook.cell else ""
    return place + (f"\n{escape(notebook.error)}" if notebook.error else "")


def _coloured(word: str, good: bool) -> str:
    return f"[{'green' if good else 'bold red'}]{word}[/]"
