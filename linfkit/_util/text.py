"""Text on a console, and ε as it is written: a number of pixels in [0, 1], often so many 255ths."""

from __future__ import annotations

import difflib
import io
import sys
from collections.abc import Iterable
from typing import TextIO


def nearest(word: object, known: Iterable[str]) -> str:
    """Known word that is most like one that is not known.

    >>> nearest("Cifar-10", ["mnist", "cifar10"])
    'cifar10'
    """
    return difflib.get_close_matches(str(word).lower(), known, n=1, cutoff=0)[0]


def format_eps(eps: float) -> str:
    """A short decimal where the number is one; else so many 255ths where it is that.

    >>> [format_eps(eps) for eps in (0.1, 0.2, 8 / 255, 1 / 7)]
    ['0.1', '0.2', '8/255', '0.1429']
    """
    if float(f"{eps:.3g}") == eps:
        return f"{eps:.3g}"
    levels = 255 * eps
    return f"{levels:.0f}/255" if abs(levels - round(levels)) < 1e-6 else f"{eps:.4g}"


def replace_unprintable() -> None:
    """Let standard output and error replace what they cannot encode, for the whole program.

    For commands; a library leaves the streams as they are, and prints by `say`.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def say(text: str, stream: TextIO | None = None) -> None:
    """Print a line of any characters, above progress bars if there are some; by default on stdout.

    >>> say("ε")
    ε
    """
    from tqdm.auto import tqdm

    stream = stream or sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    tqdm.write(text.encode(encoding, "replace").decode(encoding), file=stream)
