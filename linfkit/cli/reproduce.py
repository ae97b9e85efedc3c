"""`linfkit reproduce`, with its tables of claims, notebooks and profiles."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from linfkit.cli.common import Scheduler, Workers, interruptible, settings_of

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
) -> None:
    """Run the notebooks, keep their figures, and judge every claim.

    What an earlier run into the same folder has finished is kept, unless something that it depends
    on has changed. The exit code is 0 if every notebook ran and every claim that is made on its
    data holds, and 1 if not; it is 2 if nothing was run, because an argument is wrong or a data set
    missing.
    """
    from linfkit.reproduce import reproduction
    from linfkit.reproduce.profiles import load_profile, load_profiles

    console = Console()
    if list_:
        console.print(profiles_table(load_profiles().values()))
        return
    if validate is not None:
        from linfkit.reproduce.validation import validate as same_as_before

        raise typer.Exit(0 if same_as_before(validate) else 1)
    chosen = load_profile(profile)
    out = out or Path("runs") / chosen.name
    with interruptible(f"the same command does what is left in {out}"):
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
    console.print(claims_table(results.claims))
    console.print(notebooks_table(results.notebooks))
    console.print(f"{summary(results)}; see {out}")
    raise typer.Exit(0 if results.success else 1)


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
    """Table of notebooks: status, the cell of an error, seconds, memory."""
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
