"""Training in the plane watched at nine moments, for both losses: kept in `plane.npz`.

`python -m linfkit.course.measured plane` trains the nets and writes the file anew.
"""

from __future__ import annotations

import io
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch

from linfkit._util.files import write_atomically
from linfkit.course.studies.neurons import spirals
from linfkit.course.studies.plane import PlaneMoment, watch_plane
from linfkit.recipes.recipe import Recipe, load_recipe

#: Epochs at whose ends the net is looked at; p rises from 8 to ∞ on the way.
EPOCHS = (1, 6, 8, 12, 16, 24, 36, 52, 80)
LOSSES = ("hinge", "mixed")
#: Training points that are kept, and points of the grid each way.
POINTS, SIDE = 120, 40
FILE = Path(str(resources.files(__package__) / "plane.npz"))


def base() -> Recipe:
    """Recipe that both runs have in common, but for the loss.

    A wide net that is asked for no more than is certified, since those starve most.

    >>> base().theta
    0.08
    """
    sizes = dict(width=128, epochs=80, batch_size=64)
    return load_recipe("digits-small").replace(dataset="spirals", eps=0.04, eps_train=0.04, **sizes)


def plane_in_training() -> dict[str, list[PlaneMoment]]:
    """Moments of both runs by loss, read from the file.

    >>> moments = plane_in_training()["hinge"]
    >>> moments[0].p, moments[-1].p, int(moments[-1].starved.sum())
    (8.0, inf, 0)
    """
    with np.load(FILE) as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files}
    same = arrays["points"], arrays["labels"]
    return {
        loss: [
            PlaneMoment(p, classes, *same, satisfied, certified)
            for p, classes, satisfied, certified in zip(
                arrays[f"{loss}_p"].tolist(),
                *(arrays[f"{loss}_{name}"] for name in ("classes", "satisfied", "certified")),
                strict=True,
            )
        ]
        for loss in LOSSES
    }


def measure() -> None:
    """Train both nets and write the file."""
    data = spirals(600, 60)
    arrays: dict[str, Any] = {}
    for loss in LOSSES:
        moments = watch_plane(base().replace(loss=loss), data, EPOCHS, POINTS, SIDE)
        classes = torch.stack([moment.classes for moment in moments])
        arrays |= {
            "points": moments[0].points.numpy(),
            "labels": moments[0].labels.numpy(),
            f"{loss}_p": np.array([moment.p for moment in moments]),
            f"{loss}_classes": classes.to(torch.uint8).numpy(),
            f"{loss}_satisfied": torch.stack([moment.satisfied for moment in moments]).numpy(),
            f"{loss}_certified": torch.stack([moment.certified for moment in moments]).numpy(),
        }
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    write_atomically(FILE, packed.getvalue())
