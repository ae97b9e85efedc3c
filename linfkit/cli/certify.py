"""`linfkit certify`, with its table of accuracies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from linfkit._util.literals import parse_value
from linfkit._util.text import format_eps
from linfkit.cli.common import (
    PLAIN,
    Json,
    Picture,
    Quiet,
    check_picture,
    show,
    show_json,
    show_table,
    working,
    write_figure,
)

if TYPE_CHECKING:
    from linfkit.cli.record import Record


def certify(
    checkpoint: Annotated[
        Path, typer.Argument(help="A net's .safetensors file, or the folder of its run.")
    ],
    dataset: Annotated[
        str | None,
        typer.Option(help="Whose test images to take.", show_default="what it was trained on"),
    ] = None,
    eps: Annotated[
        str | None,
        typer.Option(
            metavar="8/255",
            help="Size of the perturbations, in pixels.",
            show_default="the recipe's",
        ),
    ] = None,
    attack: Annotated[
        bool, typer.Option("--attack", help="Attack, by PGD, the images that are not certified.")
    ] = False,
    restarts: Annotated[int, typer.Option(min=1, help="Random starts of the attack.")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the attack from each start.")] = 100,
    images: Annotated[
        int | None, typer.Option(min=1, help="The first so many images.", show_default="all")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to compute: cpu or cuda.")] = "cpu",
    figure: Picture = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Certify a trained net on its data's test images, as the papers' tables do."""
    from linfkit import PGD, evaluate, load_dataset
    from linfkit._util.checks import check_eps
    from linfkit._util.devices import usable_device
    from linfkit.cli.record import Record
    from linfkit.training.saved import SavedNet

    check_picture(figure)
    where = usable_device(device)
    trained = SavedNet.read(checkpoint)
    size = trained.eps if eps is None else check_eps(parse_value(eps))
    with working(quiet, "nothing was written"):
        data = trained.load_data() if dataset is None else load_dataset(dataset)
        found = evaluate(
            trained.model.to(where),
            data,
            size,
            attack=PGD(steps, restarts) if attack else None,
            images=images,
        )
    record = Record.of(trained, data, found)
    if as_json:
        show_json(record)
    else:
        show(heading(record))
        show_table(accuracies_table(record), [accuracies_record(record)])
        show(explanation(record))
    if figure:
        write_figure(figure, lambda figures: figures.accuracy_against_eps(found))


def heading(record: Record) -> str:
    """Net, data and ε of an evaluation."""
    return f"{record.net} on {record.data.name}, ε = {format_eps(record.eps)}"


def accuracies_record(record: Record) -> dict[str, str]:
    """Clean, attacked and certified accuracy, in percent, and the last one's standard error."""
    shares = {"clean": record.clean}
    if record.attack is not None and record.attacked is not None:
        shares[f"attacked, PGD-{record.attack.steps}"] = record.attacked
    shares |= {f"certified, {proof}": share for proof, share in record.certified.items()}
    return {name: f"{100 * share:.2f}" for name, share in (shares | {"±": record.spread}).items()}


def accuracies_table(record: Record) -> Table:
    """Line of accuracies, as in the papers' tables."""
    table = Table(**PLAIN)
    *titles, _ = columns = accuracies_record(record)
    for title in titles:
        table.add_column(title.replace(" ", "\n"), justify="right", no_wrap=True)
    *others, strongest, spread = columns.values()
    table.add_row(*others, f"{strongest} ± {spread}")
    return table


def explanation(record: Record) -> str:
    """Meaning of the columns, and the net and data that they are of."""
    lines = [
        f"Percent of {record.images:,} test images at p=∞, ε in pixels of [0, 1]; ± is a standard "
        "error, from their number. At ε, robust accuracy is at least what is certified.",
    ]
    if record.attack is not None:
        starts = record.attack.restarts
        lines.append(
            f"It is at most what is left by the attack, from {starts} random "
            f"start{'s' if starts > 1 else ''}; certified images were not attacked, but for a few."
        )
    if "either" in record.certified:
        lines.append("Either: by the margin or by intervals, whichever proves more of an image.")
    if "features" in record.certified:
        lines.append("Features: by the bounds of a hybrid's MLP around its features.")
    if "own" in record.certified:
        lines.append("Own: by the bounds that the net brings itself.")
    if record.on_other_data:
        origin = record.trained_on.shown if record.trained_on else "data that its file leaves open"
        lines.append(f"Trained on {origin}; certified on {record.data.shown}.")
    lines.append(f"SHA-256 of the net's file: {record.sha256}")
    return "\n".join(lines)
