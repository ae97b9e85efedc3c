"""Playground in the browser: change a digit by hand, or draw one, and watch two nets."""

from __future__ import annotations

import base64
import json
from importlib import resources
from typing import Any

from linfkit.training.pretrained import pretrained_file

#: Key by which JupyterLab's extension knows a playground; the rest of it is in its HTML.
PLAYGROUND_MIME = "application/vnd.linfkit.playground+json"

_TEXT = "A playground for a web browser: change a digit by hand under two nets."


class Playground:
    """A digit to change within ε, under `mnist-tiny` and `mnist-tiny-ordinary`, in the browser.

    Pixels are painted by mouse, finger or keys, or by projected gradient descent; beside the image
    stand both nets' logits, their margins, and the certified radius. Digits can be drawn as well.
    The nets are computed by JavaScript, so that it needs no kernel and no network.

    >>> html = Playground()._repr_html_()
    >>> html.startswith('<div class="linfkit-playground">'), "import " in html
    (True, False)
    """

    def _repr_html_(self) -> str:
        parts = ("mnist-tiny", "mnist-tiny-ordinary", "mnist-samples")
        names = ("certified", "ordinary", "samples")
        data = {
            name: base64.b64encode(pretrained_file(part).read_bytes()).decode()
            for name, part in zip(names, parts, strict=True)
        }
        return (
            f'<div class="linfkit-playground"><script type="application/json">{json.dumps(data)}'
            f'</script>{_TEXT}</div>\n<script type="module">\n{_script()}\nplay_all();\n</script>'
        )

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """HTML for any browser, and a mark for JupyterLab's extension, which trusts no scripts."""
        return {"text/plain": _TEXT, "text/html": self._repr_html_(), PLAYGROUND_MIME: {}}


def _script() -> str:
    """The two modules as one, since a page can import none from a file."""
    net, play = (
        (resources.files(__package__) / name).read_text("utf-8")
        for name in ("net.js", "playground.js")
    )
    return net + play.split('from "./net.js";\n')[1]
