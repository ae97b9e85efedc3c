"""Running a profile: its notebooks in order, each with its figures, and one record of them all."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from linfkit.batch.execution import Execution, Task, execute
from linfkit.batch.outputs import claims_in, figures_in
from linfkit.batch.parameters import check_parameters, read_parameters
from linfkit.batch.pictures import PictureWriter, write_page
from linfkit.batch.profiles import Profile, Row, load_profile
from linfkit.batch.results import NotebookResult, Results
from linfkit.claims import Claim


def reproduce(
    profile: str | Profile = "quick",
    out: Path | None = None,
    *,
    only: Collection[str] = (),
    parameters: Mapping[str, Any] | None = None,
    notebooks: Path | None = None,
) -> Results:
    """Run a profile's notebooks and write what they found under `out`.

    There will be `notebooks/`, executed, `figures/`, as HTML and PNG, and `results.json`, which is
    written anew after each notebook, so that a crash loses only the notebook then running.

    Args:
        profile: a profile, or its name.
        out: the folder to write into; `runs/PROFILE` if not given.
        only: beginnings of the names of the notebooks to run, such as `["02", "03"]`.
        parameters: values that come before the profile's, for every notebook that knows them.
        notebooks: a folder of notebooks to run instead of linfkit's own, all of them, each with
            the profile's row of its name where there is one.

    Raises:
        ValueError: an unknown profile, notebook or parameter, or a value of the wrong type.
        FileNotFoundError: a notebook or a data set is missing. In either case nothing has run.
    """
    profile = load_profile(profile) if isinstance(profile, str) else profile
    out = out or Path("runs") / profile.name
    rows = _chosen(_rows(profile, notebooks), only)
    tasks = _plan(rows, notebooks or notebook_folder(), parameters or {})
    _require_data(row.dataset for row in rows.values() if row.dataset)

    results = Results(profile=profile.name, planned=list(rows))
    results.save(out)  # in the place of an earlier run's, which is no more
    with PictureWriter(tell=tqdm.write) as pictures:
        for task in tqdm(tasks, desc=profile.name, unit="notebook"):
            execution = execute(task, out / "notebooks" / f"{task.name}.ipynb")
            figures = _write_figures(task.name, execution, out, pictures)
            result, claims = _judged(task, execution, figures)
            results.add(result, claims)
            results.save(out)
            if result.status != "ok":
                tqdm.write(f"{task.name}: {result.status}: {result.error}")
    return results


def notebook_folder() -> Path:
    """The folder of linfkit's notebooks: in the package, or beside it in a checkout.

    Raises:
        FileNotFoundError: there is neither.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError("linfkit's notebooks are not installed; name their folder: --notebooks")


def _rows(profile: Profile, notebooks: Path | None) -> dict[str, Row]:
    if notebooks is None:
        return profile.rows
    if not notebooks.is_dir():
        raise FileNotFoundError(f"notebooks: there is no folder {notebooks}")
    names = sorted(file.stem for file in notebooks.glob("*.ipynb"))
    if not names:
        raise FileNotFoundError(f"notebooks: there is no .ipynb file in {notebooks}")
    return {name: profile.rows.get(name, Row()) for name in names}


def _chosen(rows: dict[str, Row], only: Collection[str]) -> dict[str, Row]:
    for beginning in only:
        if not any(name.startswith(beginning) for name in rows):
            names = ", ".join(rows)
            raise ValueError(f"only: no notebook begins with {beginning!r}; there are {names}")
    return {name: row for name, row in rows.items() if not only or name.startswith(tuple(only))}


def _plan(rows: dict[str, Row], folder: Path, parameters: Mapping[str, Any]) -> list[Task]:
    """The tasks, with every parameter checked against the notebook that is to take it."""
    tasks: list[Task] = []
    known_to_any: dict[str, Any] = {}
    for name, row in rows.items():
        source = folder / f"{name}.ipynb"
        if not source.is_file():
            raise FileNotFoundError(f"there is no notebook {source.name} in {folder}")
        known = read_parameters(source)
        ours = {key: value for key, value in parameters.items() if key in known}
        check_parameters(name, known, row.parameters | ours)
        tasks.append(Task(name, source, known, row.parameters | ours, row.timeout))
        known_to_any |= known
    unknown = {key: value for key, value in parameters.items() if key not in known_to_any}
    check_parameters(" or ".join(rows), known_to_any, unknown)
    return tasks


def _require_data(names: Iterable[str]) -> None:
    """Read each data set once, so that what is missing is missed before anything runs."""
    from linfkit.data import load_dataset

    for name in dict.fromkeys(names):
        load_dataset(name)


def _write_figures(
    notebook: str, execution: Execution, out: Path, pictures: PictureWriter
) -> list[str]:
    """Write a notebook's figures; the answer is their files, relative to `out`."""
    written = []
    for name, figure in figures_in(execution.notebook).items():
        page = Path("figures", f"{notebook}-{name}.html")
        write_page(figure, out / page)
        written.append(page)
        if pictures.write(figure, out / page.with_suffix(".png")):
            written.append(page.with_suffix(".png"))
    return [path.as_posix() for path in written]


def _judged(
    task: Task, execution: Execution, figures: list[str]
) -> tuple[NotebookResult, list[Claim]]:
    """A notebook's result and its claims; one that ends without a claim has failed."""
    claims = claims_in(execution.notebook)
    status, error = execution.status, execution.error
    if status == "ok" and not claims:
        status, error = "failed", "it ran to its end without showing a table of claims"
    result = NotebookResult(
        name=task.name,
        status=status,
        cell=execution.cell,
        error=error,
        seconds=execution.seconds,
        parameters=task.parameters,
        figures=figures,
    )
    return result, claims
