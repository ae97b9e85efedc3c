"""Plotly figures as files: a page that is alive without a network, and a picture."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from linfkit._util.files import write_atomically


def write_page(figure: dict[str, Any], path: Path) -> None:
    """Write a figure as one HTML page that needs nothing else."""
    import plotly.io

    page = plotly.io.to_html(figure, include_plotlyjs=True, validate=False)
    write_atomically(path, page.encode())


class PictureWriter:
    """Draws figures as pictures through one Chromium, started for the first and kept until the end.

    Where no Chromium can be had, `on_error` gets one message, and nothing is written from then on.
    """

    def __init__(self, on_error: Callable[[str], None]) -> None:
        self._on_error = on_error
        self._possible = True
        self._loop = asyncio.Runner()
        self._browser: Any = None

    def __enter__(self) -> Self:
        return self

    def write(self, figure: dict[str, Any], path: Path) -> bool:
        """Write a figure as PNG, at twice its size; tells whether there is a picture now."""
        picture = self.draw(figure, format="png", scale=2)
        if picture is not None:
            write_atomically(path, picture)
        return picture is not None

    def draw(self, figure: dict[str, Any], **options: Any) -> bytes | None:
        """A figure as a picture, with kaleido's options; None where none can be had."""
        if not self._possible:
            return None
        try:
            if self._browser is None:
                self._browser = self._loop.run(_start_browser())
            picture: bytes = self._loop.run(self._browser.calc_fig(figure, opts=options))
        # whatever fails in a browser, pages alone are still a success; one that dies cancels what
        # it was asked for
        except (Exception, asyncio.CancelledError) as error:
            self._possible = False
            self._on_error(f"no pictures, HTML pages alone: {_reason(error)}")
            return None
        return picture

    def __exit__(self, *error: object) -> None:
        with self._loop, suppress(Exception, asyncio.CancelledError):  # it may have died
            if self._browser is not None:
                self._loop.run(self._browser.close())


async def _start_browser() -> Any:
    import kaleido

    browser = kaleido.Kaleido(n=1, mathjax=False)  # MathJax would be fetched from the network
    await browser.open()
    return browser


def _reason(error: BaseException) -> str:
    from choreographer.errors import ChromeNotFoundError

    if isinstance(error, ChromeNotFoundError):
        return "no Chromium or Chrome found (install one, or set BROWSER_PATH to it)"
    return f"the browser failed: {type(error).__name__}: {error}".splitlines()[0]
