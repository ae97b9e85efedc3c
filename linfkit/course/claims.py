"""Claims of a notebook: each has a measured value, a bound that it must keep, and a verdict.

A claim may be made on some data sets only. On others its value is a finding: shown, not judged.

A notebook states its claims through one `Claims`; `verdicts` prints them in lines that a test
compares as they stand, and `table` shows the values. The table's output also carries the claims
as data, so that the batch runner can read them from the notebook itself.
"""

from __future__ import annotations

import html
import math
import operator
import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from typing import SupportsFloat

from linfkit._util.text import say

CLAIMS_MIME = "application/vnd.linfkit.claims+json"
"""The kind of output that carries a notebook's claims, as a list of records."""

_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_COMPARISONS = {"≥": operator.ge, "≤": operator.le, ">": operator.gt, "<": operator.lt}


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
        dataset: the name of the data set that it measures on, for claims made on some only.

    >>> claims = Claims("03_lipschitz_blowup")
    >>> claims.check("blowup-measured", "at p=8 the net measures at least 2", 2.4, at_least=2)
    True
    >>> claims.verdicts()
    blowup-measured: held
    """

    def __init__(self, notebook: str, dataset: str | None = None) -> None:
        self.notebook = notebook
        self.dataset = dataset
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
        at_least: float | None = None,
        at_most: float | None = None,
        above: float | None = None,
        below: float | None = None,
        on: Collection[str] | None = None,
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
            on: names of the data sets on which the claim is made; on all if not given.

        Returns:
            Whether the claim holds; None where it is not made on this data set, so that its value
            is a finding.

        Raises:
            ValueError: the id is malformed, or taken by another claim; no bound is given, or one
                that is NaN; `on` is given, and these Claims have no data set.
            TypeError: the value is not one number.

        >>> claims = Claims("03_lipschitz_blowup", dataset="cifar10")
        >>> claims.check("margins-shrink", "p=∞ over p=8", 0.77, below=0.75, on=("digits", "mnist"))
        >>> claims.verdicts()
        margins-shrink: found
        """
        if not _ID.fullmatch(id):
            raise ValueError(f"id must be lower-case words joined by hyphens; got {id!r}")
        if id in self._claims and self._claims[id].text != text:
            raise ValueError(f"id must be new; got {id!r}: {self._claims[id].text!r}")
        bounds = zip(_COMPARISONS, (at_least, at_most, above, below), strict=True)
        needs = [(sign, float(bound)) for sign, bound in bounds if bound is not None]
        if not needs:
            raise ValueError(f"{id} must have a bound: at_least, at_most, above or below")
        if any(math.isnan(bound) for _, bound in needs):
            raise ValueError(f"{id} must have bounds that are numbers; got NaN")
        if on is not None and self.dataset is None:
            raise ValueError(f"dataset must be given to Claims, since {id} is claimed on some only")

        try:
            measured = float(value)
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(f"value must be one number; got {type(value).__name__}") from None
        finite = math.isfinite(measured)
        needed = " and ".join(f"{sign} {bound:.10g}" for sign, bound in needs)
        holds: bool | None = finite and all(
            _COMPARISONS[sign](measured, bound) for sign, bound in needs
        )
        if on is not None and self.dataset not in on:
            needed += f" on {', '.join(on)}"
            holds = None if finite else False
        shown = measured if finite else None
        self._claims[id] = Claim(id, self.notebook, text, shown, needed, holds)
        return holds

    def verdicts(self) -> None:
        """Prints each claim's name and verdict and nothing that differs between processors."""
        say("\n".join(f"{claim.id}: {claim.verdict}" for claim in self._claims.values()))

    def table(self) -> None:
        """Shows claims, values and verdicts: a table in a notebook, plain lines elsewhere."""
        lines = "\n".join(
            f"{claim.id}: {claim.text}: {claim.shown_value} ({claim.needed}): {claim.verdict}"
            for claim in self._claims.values()
        )
        # Only a running IPython shell can show a table, and importing it costs half a second.
        ipython = sys.modules.get("IPython")
        if ipython is None or ipython.get_ipython() is None:
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
        head = "".join(f"<th>{title}</th>" for title in ("claim", "value", "needed", "verdict"))
        rows = "".join(
            f"<tr><td><b>{claim.id}</b><br>{html.escape(claim.text)}</td>"
            f"<td>{claim.shown_value}</td><td>{html.escape(claim.needed)}</td>"
            f"<td>{claim.verdict}</td></tr>"
            for claim in self._claims.values()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
