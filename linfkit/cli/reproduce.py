"""`linfkit reproduce`, with its tables of claims, notebooks and profiles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from linfkit.cli.common import (
    Quiet,
    Scheduler,
    Workers,
    settings_of,
    show,
    show_table,
    working,
)

if TYPE_CHECKING:
    from linfkit.course.claims import Claim
    from linfkit.reproduce.profiles import Profile
    from linfkit.reproduce.results import NotebookResult, Results


def reproduce(
    profile: Annotated[str, typer.Option(help="What to run; --list shows the choice.")] = "quick",
    out: Annotated[
        Path | None, typer.Option(help="Folder for what is found.", show_default="runs/PROFILE")
    ] = None,
    only: Annotated[str, typer.Option(help="Beginnings of notebooks' names: 02,03.")] = "",
    parameters: Annotated[
        list[str] | None,
        typer.Option("-p", metavar="NAME VALUE", help="Override a notebook's parameter."),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=V1,V2,…", help="Run with each of several values."),
    ] = None,
    notebooks: Annotated[
        Path | None, typer.Option(help="A folder of notebooks of your own to run instead.")
    ] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    force: Annotated[
        bool, typer.Option("--force", help="Run also what is finished and has not changed.")
    ] = False,
    validate: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Run a finished run's notebooks anew and compare."),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show the profiles; run nothing.")] = False,
    quiet: Quiet = False,
) -> None:
    """Run the notebooks, keep their figures, and judge every claim.

    What an earlier run into the same folder has finished is kept, unless something that it depends
    on has changed. The exit code is 0 if every notebook ran and every claim that is made on its
    data holds, and 1 if not; it is 2 if nothing was run, because an argument is wrong or a data set
    missing.
    """
    from linfkit.reproduce import reproduction
    from linfkit.reproduce.profiles import load_profile, load_profiles

    if list_:
        profiles = load_profiles().values()
        records = chain.from_iterable(map(profile_records, profiles))
        show_table(profiles_table(profiles), records)
        return
    if validate is not None:
        from linfkit.reproduce.validation import validate as same_as_before

        raise typer.Exit(0 if same_as_before(validate) else 1)
    chosen = load_profile(profile)
    out = out or Path("runs") / chosen.name
    with working(quiet, f"the same command does what is left in {out}"):
        results = reproduction.reproduce(
            chosen,
            out,
            only=[name.strip() for name in only.split(",") if name.strip()],
            parameters=settings_of(parameters),
            sweep=settings_of(sweep, values=True),
            notebooks=notebooks,
            workers=workers,
            scheduler=scheduler,
            force=force,
        )
    show_table(claims_table(results.claims), map(claim_record, results.claims))
    show_table(notebooks_table(results.notebooks), map(notebook_record, results.notebooks))
    show(f"{summary(results)}; see {out}")
    raise typer.Exit(0 if results.success else 1)


def claims_table(claims: Iterable[Claim]) -> Table:
    """Table of claims and findings: value, what was needed, verdict."""
    table = Table("notebook", "claim", "value", "needed", "verdict", title="Claims")
    for claim in claims:
        notebook, name, text, value, needed, verdict = claim_record(claim).values()
        if claim.holds is not None:
            verdict = _coloured(verdict, claim.holds)
        table.add_row(notebook, f"[bold]{name}[/]\n{escape(text)}", value, needed, verdict)
    return table


def claim_record(claim: Claim) -> dict[str, str]:
    """Fields of a claim, in words."""
    return {
        "notebook": claim.notebook,
        "claim": claim.id,
        "text": claim.text,
        "value": claim.shown_value,
        "needed": claim.needed,
        "verdict": claim.verdict,
    }


def notebooks_table(notebooks: Iterable[NotebookResult]) -> Table:
    """Table of notebooks: status, the cell of an error, seconds, memory."""
    table = Table("notebook", "status", "seconds", "peak MB", "figures", title="Notebooks")
    for notebook in notebooks:
        name, status, *numbers, cell, error = notebook_record(notebook).values()
        details = [escape(line) for line in (cell, error) if line]
        status = _coloured(status, notebook.status == "ok")
        table.add_row(name, "\n".join([status, *details]), *numbers)
    return table


def notebook_record(notebook: NotebookResult) -> dict[str, str]:
    """Fields of a notebook's result, in words."""
    cell, memory = notebook.cell, notebook.peak_memory
    return {
        "notebook": notebook.name,
        "status": notebook.status,
        "seconds": f"{notebook.seconds:.0f}",
        "peak MB": "" if memory is None else f"{memory / 1e6:.0f}",
        "figures": str(sum(figure.endswith(".html") for figure in notebook.figures)),
        "cell": f"cell {cell.index}: {cell.line}" if cell else "",
        "error": notebook.error or "",
    }


def profiles_table(profiles: Iterable[Profile]) -> Table:
    """Every profile's notebooks, with their data and expected minutes."""
    table = Table("profile", "notebook", "data", "GPU", "minutes", "gives up after")
    for profile in profiles:
        for record in profile_records(profile):
            table.add_row(*record.values())
        table.add_section()
    return table


def profile_records(profile: Profile) -> Iterator[dict[str, str]]:
    """Fields of each of a profile's notebooks, in words."""
    for name, row in profile.rows.items():
        yield {
            "profile": profile.name,
            "notebook": name,
            "data": row.dataset or "",
            "GPU": "needed" if row.gpu else "",
            "minutes": "" if row.minutes is None else f"{row.minutes:g}",
            "gives up after": f"{row.timeout / 60:g} min",
        }


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


def _coloured(word: str, good: bool) -> str:
    return f"[{'green' if good else 'bold red'}]{word}[/]"
