"""Printing where a console may lack characters: ? stands for each that it cannot show."""

from __future__ import annotations

import io
import sys

from tqdm.auto import tqdm

__all__ = ["replace_unprintable", "say"]


def replace_unprintable() -> None:
    """Let standard output and error replace what they cannot encode, for the whole program.

    For commands; a library leaves the streams as they are, and prints by `say`.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def say(text: str) -> None:
    """Print a line of any characters, above progress bars if there are some.

    >>> say("ε")
    ε
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    tqdm.write(text.encode(encoding, "replace").decode(encoding))
