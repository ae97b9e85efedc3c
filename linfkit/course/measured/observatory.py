"""Training watched at ten moments, for both losses and five margins θ: kept in `observatory.csv`.

`python -m linfkit.course.measured observatory` trains the nets and writes the file anew.
"""

from __future__ import annotations

import csv
from importlib import resources
from pathlib import Path

from linfkit._util.files import write_atomically
from linfkit.course.studies.observatory import Moment, watch
from linfkit.data.loading import load_dataset
from linfkit.recipes.recipe import Recipe, load_recipe

#: Moments of a run by loss and θ in pixels, in the order of the file.
Observations = dict[tuple[str, float], list[Moment]]

#: Epochs at whose ends the net is looked at; p rises from 8 to ∞ on the way.
EPOCHS = (2, 4, 6, 9, 12, 16, 20, 28, 36, 45)
#: θ as multiples of ε.
THETAS = (2, 3, 4, 6, 8)
COLUMNS = ("loss", "theta", "p", "bound", "measured", "starved", "certified", "counts")
FILE = Path(str(resources.files(__package__) / "observatory.csv"))


def base() -> Recipe:
    """Recipe that all runs have in common, but for loss and θ.

    >>> base().eps
    0.1
    """
    return load_recipe("digits-noisy").replace(epochs=45)


def observations() -> Observations:
    """Moments of all runs, read from the file.

    >>> moments = observations()["mixed", 0.2]
    >>> moments[0].p, moments[-1].p
    (8.0, inf)
    """
    runs: Observations = {}
    for row in csv.DictReader(FILE.read_text("utf-8").splitlines()):
        counts = tuple(map(int, row["counts"].split()))
        p, *others = (float(row[name]) for name in COLUMNS[2:-1])
        key = row["loss"], float(row["theta"])
        runs.setdefault(key, []).append(Moment(p, counts, *others))
    return runs


def measure() -> None:
    """Train every net, one seed each, and write the file."""
    recipe = base()
    data = load_dataset(recipe.dataset)
    lines: list[tuple[str, ...]] = [COLUMNS]
    for loss in ("hinge", "mixed"):
        for multiple in THETAS:
            own = recipe.replace(loss=loss, eps_train=multiple * recipe.eps / 2)
            for moment in watch(own, data, EPOCHS):
                numbers = (own.theta, *(getattr(moment, name) for name in COLUMNS[2:-1]))
                shown = (f"{number:.4g}" for number in numbers)
                lines.append((loss, *shown, " ".join(map(str, moment.counts))))
    write_atomically(FILE, "".join(",".join(line) + "\n" for line in lines).encode())
