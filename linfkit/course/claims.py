"""Claims of a notebook: each has a measured value, a bound that it must keep, and a verdict.

A claim may be made on some data sets only. On others its value is a finding: shown, not judged.

Texts and bounds of the course's claims stand in claims.toml. A notebook computes their values and
passes them to `Claims.judge`; `verdicts` prints them in lines that a test compares as they stand,
and `table` shows the values. The table's output also carries the claims as data, so that the batch
runner can read them from the notebook itself.
"""

from __future__ import annotations

import html
import math
import operator
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any, SupportsFloat

from linfkit._util.text import in_notebook, say

CLAIMS_MIME = "application/vnd.linfkit.claims+json"
"""The kind of output that carries a notebook's claims, as a list of records."""

_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_COMPARISONS = {"≥": operator.ge, "≤": operator.le, ">": operator.gt, "<": operator.lt}

Bound = float | Mapping[str, float]
"""A number, or one for each of the data sets and recipes on which the claim is made."""


@dataclass(frozen=True)
class Claim:
    """One claim of one notebook, measured; a finding where it is not made on the notebook's data.

    Attributes:
        id: a short name in lower case and hyphens, unique in its notebook.
        notebook: the notebook's name.
        text: the claim in words.
        value: what was measured, or None where that was not a finite number.
        needed: what the value has to be, such as `"≥ 2"`; of a finding, what it has to be where the
            claim is made, such as `"≥ 2 on digits, mnist"`.
        holds: whether it is so, or None of a finding; a value that is not finite never holds, nor
            is it a finding.
    """

    id: str
    notebook: str
    text: str
    value: float | None
    needed: str
    holds: bool | None

    @property
    def verdict(self) -> str:
        """`"held"`, `"NOT held"`, or of a finding `"found"`."""
        return "found" if self.holds is None else "held" if self.holds else "NOT held"

    @property
    def shown_value(self) -> str:
        """The value as a table shows it."""
        return "not finite" if self.value is None else f"{self.value:.4g}"


class Claims:
    """The claims of one notebook, in the order in which they were checked.

    Args:
        notebook: the notebook's name.
        measured_on: names of recipe and data set that it measures on, for claims made on some
            only; a bound is that of the first name for which there is one.

    >>> claims = Claims("03_lipschitz_blowup")
    >>> claims.check("blowup-measured", "at p=8 the net measures at least 2", 2.4, at_least=2)
    True
    >>> claims.verdicts()
    blowup-measured: held
    """

    def __init__(self, notebook: str, *measured_on: str) -> None:
        self.notebook = notebook
        self.measured_on = measured_on
        self._claims: dict[str, Claim] = {}

    def __iter__(self) -> Iterator[Claim]:
        return iter(self._claims.values())

    def __len__(self) -> int:
        return len(self._claims)

    def check(
        self,
        id: str,
        text: str,
        value: SupportsFloat,
        *,
        at_least: Bound | None = None,
        at_most: Bound | None = None,
        above: Bound | None = None,
        below: Bound | None = None,
    ) -> bool | None:
        """Records a claim and tells whether it holds; one that does not stops nothing.

        Checking the same claim again, as when a cell is run a second time, replaces its value.

        Args:
            id: a short name in lower case and hyphens.
            text: the claim in words.
            value: what was measured: one number, or a tensor of one element.
            at_least: the value must be this or more.
            at_most: the value must be this or less.
            above: the value must be more than this.
            below: the value must be less than this.

        Returns:
            Whether the claim holds; None where it is not made on this data set, so that its value
            is a finding.

        Raises:
            ValueError: the id is malformed, or taken by another claim; no bound is given, or one
                that is NaN; a bound is one for each data set, and these Claims have none.
            TypeError: the value is not one number.

        >>> claims = Claims("03_lipschitz_blowup", "cifar10")
        >>> claims.check("margins-shrink", "p=∞ over p=8", 0.77, below={"digits": 0.75})
        >>> claims.verdicts()
        margins-shrink: found
        """
        if not _ID.fullmatch(id):
            raise ValueError(f"id must be lower-case words joined by hyphens; got {id!r}")
        if id in self._claims and self._claims[id].text != text:
            raise ValueError(f"id must be new; got {id!r}: {self._claims[id].text!r}")
        given = zip(_COMPARISONS, (at_least, at_most, above, below), strict=True)
        bounds = {sign: bound for sign, bound in given if bound is not None}
        if not bounds:
            raise ValueError(f"{id} must have a bound: at_least, at_most, above or below")
        if any(math.isnan(number) for bound in bounds.values() for number in _numbers(bound)):
            raise ValueError(f"{id} must have bounds that are numbers; got NaN")
        here = {sign: self._here(id, bound) for sign, bound in bounds.items()}

        try:
            measured = float(value)
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(f"value must be one number; got {type(value).__name__}") from None
        finite = math.isfinite(measured)
        needed = " and ".join(
            _in_words(sign, bounds[sign] if number is None else number)
            for sign, number in here.items()
        )
        holds: bool | None = finite and all(
            number is None or _COMPARISONS[sign](measured, number) for sign, number in here.items()
        )
        if None in here.values():
            holds = None if finite else False
        shown = measured if finite else None
        self._claims[id] = Claim(id, self.notebook, text, shown, needed, holds)
        return holds

    def judge(self, values: Mapping[str, SupportsFloat], **words: object) -> None:
        """Check this notebook's claims of claims.toml by their values, and show the table.

        Args:
            values: what was measured, by the claim's id.
            words: what stands in braces in the claims' texts.

        Raises:
            ValueError: this notebook has no claim of such an id; and what `check` raises.
            KeyError: a word is missing.

        >>> claims = Claims("05_ema", "digits")
        >>> claims.judge({"ema-no-harm": 0.004})
        ema-no-harm: cosine rate: the same at the end, ...: 0.004 (≤ 0.01): held
        """
        rows = _all_claims().get(self.notebook, {})
        for id, value in values.items():
            if id not in rows:
                raise ValueError(f"{self.notebook} has no claim {id!r}; it has {', '.join(rows)}")
            bounds = dict(rows[id])
            self.check(id, bounds.pop("text").format(**words), value, **bounds)
        self.table()

    def _here(self, id: str, bound: Bound) -> float | None:
        """Bound on what these claims are measured on; None where there is none."""
        if not isinstance(bound, Mapping):
            return float(bound)
        if not self.measured_on:
            raise ValueError(f"measured_on must be given, since {id} is claimed on some data only")
        return next((float(bound[name]) for name in self.measured_on if name in bound), None)

    def verdicts(self) -> None:
        """Prints each claim's name and verdict and nothing that differs between processors."""
        say("\n".join(f"{claim.id}: {claim.verdict}" for claim in self._claims.values()))

    def table(self) -> None:
        """Shows claims, values and verdicts: a table in a notebook, plain lines elsewhere."""
        lines = "\n".join(
            f"{claim.id}: {claim.text}: {claim.shown_value} ({claim.needed}): {claim.verdict}"
            for claim in self._claims.values()
        )
        if not in_notebook():
            say(lines)
            return
        from IPython.display import display

        display(
            {
                "text/plain": lines,
                "text/html": self._html(),
                CLAIMS_MIME: [asdict(claim) for claim in self._claims.values()],
            },
            raw=True,
        )

    def _html(self) -> str:
        left = 'style="text-align: left"'  # Jupyter's own is right, of prose too
        head = "".join(
            f"<th {left}>{title}</th>" for title in ("claim", "value", "needed", "verdict")
        )
        rows = "".join(
            f"<tr><td {left}><b>{claim.id}</b><br>{html.escape(claim.text)}</td>"
            f"<td>{claim.shown_value}</td><td {left}>{html.escape(claim.needed)}</td>"
            f"<td {left}>{claim.verdict}</td></tr>"
            for claim in self._claims.values()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


@cache
def _all_claims() -> dict[str, dict[str, dict[str, Any]]]:
    """Texts and bounds by notebook and id."""
    return tomllib.loads((resources.files(__package__) / "claims.toml").read_text("utf-8"))


def _numbers(bound: Bound) -> list[float]:
    return list(bound.values()) if isinstance(bound, Mapping) else [bound]


def _in_words(sign: str, bound: Bound) -> str:
    """Bound as a table shows it.

    >>> _in_words("≥", 2), _in_words("≥", {"digits": 2, "mnist": 2, "cifar10": 1})
    ('≥ 2', '≥ 2 on digits, mnist; ≥ 1 on cifar10')
    """
    if not isinstance(bound, Mapping):
        return f"{sign} {bound:.10g}"
    names = {number: [n for n, of in bound.items() if of == number] for number in bound.values()}
    return "; ".join(f"{sign} {number:.10g} on {', '.join(of)}" for number, of in names.items())
