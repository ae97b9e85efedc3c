"""A finished run as one HTML page, which needs nothing beside it and no network."""

from __future__ import annotations

import json
from pathlib import Path

import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from linfkit._util.files import expand_user, write_atomically
from linfkit._util.text import format_eps
from linfkit.certification.evaluation import evaluate
from linfkit.certification.margins import Certificates
from linfkit.course.figures.certified import certified_accuracy
from linfkit.course.figures.lipschitz import constant_in_training
from linfkit.course.figures.table import Table
from linfkit.course.figures.training import (
    accuracy_in_training,
    loss_in_training,
    schedules_in_training,
)
from linfkit.data.loading import is_at_hand
from linfkit.pages.templates import figure_html, part, render, script
from linfkit.training.saved import SavedNet, saved_nets


def write_report(folder: str | Path, out: str | Path | None = None) -> Path:
    """Write a page about a run: its results, its curves, and how it was made.

    Args:
        folder: of a finished run, as `fit` or ``linfkit train`` leaves it.
        out: the file to write; by default ``report.html`` in the folder.

    Returns:
        The file.

    Raises:
        FileNotFoundError: there is no such folder, or the run in it is not finished.
        ValueError: its files are damaged.
    """
    path = expand_user(out) if out is not None else expand_user(folder) / "report.html"
    write_atomically(path, report_html(saved_nets(folder)).encode())
    return path


def report_html(nets: dict[str, SavedNet]) -> str:
    """Text of the page about a run's nets.

    Certified accuracy against ε takes the nets and the test images; without them, a sentence says
    so in its place.
    """
    run = nets["raw weights"]
    assert run.recipe is not None
    try:
        against_eps, left_out = [certified_accuracy(certificates(nets), run.eps)], ""
    except LookupError as error:
        against_eps, left_out = [], str(error)
    along = [
        accuracy_in_training(run.recipe, run.history),
        loss_in_training(run.history),
        constant_in_training(run.history),
        schedules_in_training(run.history),
    ]
    drawn = [_drawn(figure, number) for number, figure in enumerate([*against_eps, *along], 1)]
    return render(
        "run.html.j2",
        run=run,
        nets=nets.values(),
        took=format_duration(sum(row["seconds"] for row in run.history)),
        results=Markup(results_table(run)._repr_html_()),
        against_eps=drawn[: len(against_eps)],
        left_out=left_out,
        along=drawn[len(against_eps) :],
        style=Markup(part("style.css")),
        script=script(),
        plotly=Markup(get_plotlyjs()),
    )


def certificates(nets: dict[str, SavedNet]) -> dict[str, Certificates]:
    """Certificates of a run's nets, by their weights, on all test images; the best proof of each.

    Raises:
        LookupError: nets or test images are not available here; the message says why.
    """
    run = nets["raw weights"]
    assert run.recipe is not None
    name = run.recipe.dataset
    if not is_at_hand(name):
        raise LookupError(f"the data set {name} is not on this machine")
    try:
        models = {weights: net.model for weights, net in nets.items()}
    except ValueError:
        raise LookupError("the net is of a class that is not linfkit's") from None
    try:
        data = run.load_data()
    except ValueError:
        raise LookupError(f"{name} on this machine is not what it was trained on") from None
    evaluated = {
        weights: evaluate(model, data, run.eps, progress=False) for weights, model in models.items()
    }
    return {weights: found.strongest for weights, found in evaluated.items()}


def results_table(run: SavedNet) -> Table:
    """Clean and certified accuracy of raw and averaged weights, and what was published."""
    assert run.recipe is not None
    results, published = run.results, run.recipe.published
    rows = []
    for weights, prefix in [("raw weights", ""), ("moving average", "ema_")]:
        names = ("accuracy", "certified_by_margin", "certified")
        shares = [results.get(f"{prefix}{name}") for name in names]
        rows.append([weights, *("" if share is None else _percent(share) for share in shares)])
    if published is not None:
        rows.append(["published", "", "", _percent(published / 100)])
    return Table(
        "Accuracy on all test images, at p=∞.",
        ["", "clean", "by margin", f"certified at ε = {format_eps(run.recipe.eps)}"],
        rows,
    )


def format_duration(seconds: float) -> str:
    """Time in a fitting unit.

    >>> [format_duration(seconds) for seconds in (0.2, 45, 600, 4 * 3600, 30 * 86400)]
    ['< 1 s', '45 s', '10 min', '4 h', '30 d']
    """
    if seconds < 1:
        return "< 1 s"
    for unit, length, up_to in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 48)):
        if seconds < up_to * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def _drawn(figure: go.Figure, number: int) -> Markup:
    return figure_html(json.loads(figure.to_json()), number)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
