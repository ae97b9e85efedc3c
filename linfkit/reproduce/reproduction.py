"""Run a profile's notebooks, and write their figures and results."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
import torch

from linfkit._util.checks import check_count
from linfkit._util.environment import source_hash
from linfkit._util.files import expand_user, folder_lock, write_atomically
from linfkit._util.literals import as_python
from linfkit._util.progress import note, progress_bar
from linfkit._util.workers import run_tasks, shown_in
from linfkit.reproduce import sweeps
from linfkit.reproduce.execution import Executed, execute, on_lost_worker
from linfkit.reproduce.outputs import add_svgs, figures_in
from linfkit.reproduce.parameters import check_parameters, read_parameters
from linfkit.reproduce.pictures import PictureWriter, write_page
from linfkit.reproduce.profiles import Profile, Row, load_profile
from linfkit.reproduce.results import NotebookResult, Results
from linfkit.reproduce.tasks import Task, data_hash

IN_USE = "is being written by another run; wait for it, or choose another --out"


def reproduce(
    profile: str | Profile = "quick",
    out: str | Path | None = None,
    *,
    only: Collection[str] = (),
    parameters: Mapping[str, Any] | None = None,
    sweep: Mapping[str, Sequence[Any]] | None = None,
    notebooks: str | Path | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    force: bool = False,
) -> Results:
    """Run a profile's notebooks and write what they found under `out`.

    There will be `notebooks/`, executed, `figures/`, as HTML and PNG, a record of each notebook in
    `records/`, and `results.json`. Each is written when its notebook has ended, the record last, so
    that a crash loses only the notebooks then running, and the same call does what is left.

    Args:
        profile: a profile, or its name.
        out: the folder to write into; `runs/PROFILE` if not given.
        only: beginnings of the names of the notebooks to run, such as `["02", "03"]`.
        parameters: values that come before the profile's, for every notebook that knows them; ∞ is
            one of numbers, NaN is none.
        sweep: for some parameters several values; each notebook that knows them all runs with every
            combination, and what it claims is gathered in `sweep.csv` and a figure.
        notebooks: a folder of notebooks to run instead of linfkit's own, all of them, each with
            the profile's row of its name where there is one.
        workers: how many notebooks run side by side; as many as there are GPUs, or else cores, if
            not given. With 1, they run in this process.
        scheduler: address of a Dask cluster to run on, such as `tcp://host:8786`.
        force: run everything, also what an earlier run into `out` has finished.

    Raises:
        ValueError: an unknown profile, notebook or parameter, a value of the wrong type, or a
            notebook that wants a GPU where there is none.
        FileNotFoundError: a notebook or a data set is missing.
        BlockingIOError: another run is writing into `out`.
        ConnectionError: no scheduler answers. In all cases nothing has run.
    """
    workers = None if workers is None else check_count("workers", workers)
    profile = load_profile(profile) if isinstance(profile, str) else profile
    out = expand_user(out or Path("runs") / profile.name)
    notebooks = None if notebooks is None else expand_user(notebooks)
    rows = _rows(profile, notebooks, only)
    folder = notebooks or notebook_folder()
    # read before anything runs, so that what is missing is missed now
    data = {name: data_hash(name) for name in {row.dataset for row in rows.values()} if name}
    parameters, sweep = as_python(parameters or {}), as_python(sweep or {})
    tasks = _plan(rows, folder, parameters, sweep, data)
    results = Results(profile=profile.name, planned=[task.name for task in tasks])
    for task in [] if force else tasks:
        if finished := NotebookResult.finished(out, task):
            results.add(finished)
    if results.notebooks:
        names = ", ".join(result.name for result in results.notebooks)
        note(f"kept, since nothing they depend on has changed: {names}")
    if _is_written(results, out, sweep):
        return results
    wanting = [name for name, row in rows.items() if row.gpu]
    if wanting and scheduler is None and not torch.cuda.is_available():
        raise ValueError(
            f"{', '.join(wanting)} would take days without a GPU, and there is none here; choose "
            "another --profile, or a --scheduler whose workers have one"
        )
    with folder_lock(out, wait=False, otherwise=IN_USE):
        _carry_out(tasks, results, out, workers, scheduler)
        if sweep:
            _write_sweep(results, sweep, out)
    return results


def _carry_out(
    tasks: Sequence[Task], results: Results, out: Path, workers: int | None, scheduler: str | None
) -> None:
    """Run the tasks that have no results yet, and add theirs."""
    finished = [result.name for result in results.notebooks]
    left = [task for task in tasks if task.name not in finished]
    left.sort(key=lambda task: -(task.minutes or 0))  # a long one that starts last runs alone
    results.save(out)  # in the place of an earlier run's, which is no more
    for task in left:
        NotebookResult.forget(out, task)
    with (
        PictureWriter(on_error=note) as pictures,
        progress_bar(
            desc=results.profile, total=len(tasks), initial=len(finished), unit="notebook"
        ) as bar,
    ):
        for task, executed in run_tasks(
            left,
            execute,
            on_lost_worker,
            workers=workers,
            scheduler=scheduler,
            on_progress=shown_in(bar, "cell"),
        ):
            result = _write_files(executed, out, pictures)
            result.save(out)
            results.add(result)
            results.save(out)
            bar.update()
            if result.status != "ok":
                note(f"{task.name}: {result.status}: {result.error}")


def _is_written(results: Results, out: Path, sweep: Mapping[str, Sequence[Any]] | None) -> bool:
    """True if a folder holds it all, so that nothing is to be run or written, nor locked for it."""
    try:
        written = Results.load(out)
    except (FileNotFoundError, ValueError):
        return False
    found = {"profile", "planned", "notebooks"}
    return (
        results.success
        and results.model_dump(include=found) == written.model_dump(include=found)
        and (not sweep or (out / "sweep.csv").is_file())
    )


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


def _rows(profile: Profile, notebooks: Path | None, only: Collection[str]) -> dict[str, Row]:
    """The profile's rows, or those of a folder's notebooks; of them, the ones that are wanted."""
    rows = profile.rows
    if notebooks is not None:
        if not notebooks.is_dir():
            raise FileNotFoundError(f"notebooks must be a folder; there is no {notebooks}")
        names = sorted(file.stem for file in notebooks.glob("*.ipynb"))
        if not names:
            raise FileNotFoundError(
                f"notebooks must hold .ipynb files; there is none in {notebooks}"
            )
        rows = {name: profile.rows.get(name, Row()) for name in names}
    for beginning in only:
        if not any(name.startswith(beginning) for name in rows):
            raise ValueError(f"only must be beginnings of {', '.join(rows)}; got {beginning!r}")
    return {name: row for name, row in rows.items() if not only or name.startswith(tuple(only))}


def _plan(
    rows: dict[str, Row],
    folder: Path,
    parameters: Mapping[str, Any],
    sweep: Mapping[str, Sequence[Any]],
    data: Mapping[str, str],
) -> list[Task]:
    """The tasks, with every parameter checked against the notebook that is to take it."""
    known = {name: read_parameters(folder / f"{name}.ipynb") for name in rows}
    if "profile" in {**parameters, **sweep}:  # it would replace the others
        raise ValueError("profile must be the run's (--profile), not a notebook's parameter")
    to_any = {key for defaults in known.values() for key in defaults}
    unknown = {key: value for key, value in {**parameters, **sweep}.items() if key not in to_any}
    check_parameters(" or ".join(rows), dict.fromkeys(to_any), unknown)
    for key, values in sweep.items():
        if not values:
            raise ValueError(f"{key} must have at least one value to sweep")
    tasks = []
    for name, row in rows.items():
        if not known[name].keys() >= sweep.keys():
            continue
        ours = {key: value for key, value in parameters.items() if key in known[name]}
        for point in sweeps.points(sweep):
            overrides = row.parameters | ours | point
            check_parameters(name, known[name], overrides)
            tasks.append(
                Task(
                    name=sweeps.named(name, point),
                    notebook=(folder / f"{name}.ipynb").read_text("utf-8-sig"),
                    defaults=known[name],
                    overrides=overrides,
                    timeout=row.timeout,
                    library=source_hash(),
                    dataset=row.dataset,
                    data=data.get(row.dataset or ""),
                    minutes=row.minutes,
                )
            )
    if not tasks:
        names = ", ".join(sweep)
        raise ValueError(f"sweep must name parameters of one notebook; none has all of {names}")
    return tasks


def _write_files(executed: Executed, out: Path, pictures: PictureWriter) -> NotebookResult:
    """Write the notebook and its figures; the result names their files, relative to `out`."""
    notebook, result = executed
    add_svgs(notebook, lambda figure: pictures.draw(figure, format="svg"))
    path = out / "notebooks" / f"{result.name}.ipynb"
    write_atomically(path, nbformat.writes(notebook).encode())
    written = []
    for name, figure in figures_in(notebook).items():
        page = Path("figures", f"{result.name}-{name}.html")
        write_page(figure, out / page)
        written.append(page)
        picture = page.with_name(f"{result.name}-{name}.png")
        if pictures.write(figure, out / picture):
            written.append(picture)
    return result.model_copy(update={"figures": [path.as_posix() for path in written]})


def _write_sweep(results: Results, sweep: Mapping[str, Sequence[Any]], out: Path) -> None:
    """Gather what was claimed at each point: a table, and a figure against the first parameter."""
    from linfkit.course.figures import claims_against

    rows = sweeps.claims_by_point(results, sweep)
    write_atomically(out / "sweep.csv", sweeps.as_csv(rows).encode())
    if rows:
        figure = claims_against(next(iter(sweep)), rows)
        write_page(figure.to_dict(), out / "sweep.html")
