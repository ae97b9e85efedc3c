"""Progress bars and notes on stderr, in a notebook as widgets; a command may hide them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from linfkit._util.text import in_notebook, say

if TYPE_CHECKING:
    from tqdm.auto import tqdm

_HIDDEN = {"bars": False, "notes": False}


def progress_bar(*args: Any, progress: bool = True, **options: Any) -> tqdm:
    """Make tqdm's bar, invisible if `progress` is false or bars are hidden.

    >>> list(progress_bar(range(3), progress=False))
    [0, 1, 2]
    """
    from tqdm.auto import tqdm

    return tqdm(*args, disable=_HIDDEN["bars"] or not progress, **options)


def note(text: str) -> None:
    """Print a line about the work, not its result, on stderr, unless notes are hidden."""
    if not _HIDDEN["notes"]:
        say(text, sys.stderr)


def leave_line(text: str) -> None:
    """Print a line in a notebook, where a bar leaves nothing behind; elsewhere print nothing."""
    if in_notebook() and not _HIDDEN["notes"]:
        say(text)


@contextmanager
def hidden(*, bars: bool, notes: bool) -> Iterator[None]:
    """Hide bars or notes meanwhile, in the whole process.

    >>> with hidden(bars=True, notes=False):
    ...     progress_bar(range(3)).disable
    True
    """
    before = dict(_HIDDEN)
    _HIDDEN.update(bars=bars, notes=notes)
    try:
        yield
    finally:
        _HIDDEN.update(before)
