"""A grid of parameter values: the points of a sweep, and what was claimed at each."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from itertools import product
from typing import Any

from linfkit.reproduce.outputs import as_file_name
from linfkit.reproduce.results import Results

CLAIM_COLUMNS = ["claim", "value", "needed", "verdict"]


def points(sweep: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of values; of no values at all, the one that overrides nothing.

    >>> points({"p": [8, 16], "seed": [0]})
    [{'p': 8, 'seed': 0}, {'p': 16, 'seed': 0}]
    >>> points({})
    [{}]
    """
    return [dict(zip(sweep, values, strict=True)) for values in product(*sweep.values())]


def named(notebook: str, point: Mapping[str, Any]) -> str:
    """Name of a notebook's results at a point.

    >>> named("03_losses", {"margins": [1.5], "loss": "hinge"})
    '03_losses@margins=1.5@loss=hinge'
    """
    for name, value in point.items():
        text = "-".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        notebook += f"@{name}={as_file_name(text)}"
    return notebook


def claims_by_point(results: Results, sweep: Collection[str]) -> list[dict[str, Any]]:
    """A row for each claim at each point: the swept parameters, then the claim.

    Args:
        results: of a run with a sweep.
        sweep: the names of the swept parameters.
    """
    return [
        {
            "notebook": claim.notebook,
            **{name: result.parameters[name] for name in sweep},
            "claim": claim.id,
            "value": claim.value,
            "needed": claim.needed,
            "verdict": claim.verdict,
        }
        for result in results.notebooks
        for claim in result.claims
    ]


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of one kind as a CSV text.

    >>> print(as_csv([{"p": 8, "value": 0.5}]))
    p,value
    8,0.5
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else CLAIM_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
