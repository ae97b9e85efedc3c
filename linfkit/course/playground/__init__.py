"""Playgrounds in the browser: a digit to change by hand under two nets, a point to drag in a plane.

The nets are computed by JavaScript (`net.js`), so that a playground needs no kernel and no network.
"""

from __future__ import annotations

import base64
import json
from typing import Any, ClassVar

import safetensors.torch
from torch import Tensor

from linfkit.course.scripts import joined
from linfkit.nn.nets import LpDistNet
from linfkit.training.pretrained import pretrained_file

#: Key by which JupyterLab's extension knows a playground, and its kind; the rest is in the HTML.
PLAYGROUND_MIME = "application/vnd.linfkit.playground+json"


class Playground:
    """Something to play with in the browser, from files that its JavaScript reads.

    Attributes:
        kind: name of its script.
        text: that stands where no script runs.
    """

    kind: ClassVar[str]
    text: ClassVar[str]

    def __init__(self, **files: bytes) -> None:
        self._data = {name: base64.b64encode(file).decode() for name, file in files.items()}

    def _repr_html_(self) -> str:
        script = joined("playground/net.js", "parts.js", f"playground/{self.kind}.js")
        return (
            f'<div class="linfkit-{self.kind}"><script type="application/json">'
            f"{json.dumps(self._data)}</script>{self.text}</div>\n"
            f'<script type="module">\n{script}\n{_START % self.kind}\n</script>'
        )

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """HTML for any browser, and a mark for JupyterLab's extension, which trusts no scripts."""
        html, mark = self._repr_html_(), {"kind": self.kind}
        return {"text/plain": self.text, "text/html": html, PLAYGROUND_MIME: mark}


class DigitPlayground(Playground):
    """A digit to change within ε, under `mnist-tiny` and `mnist-tiny-ordinary`.

    Pixels are painted by mouse, finger or keys, or by projected gradient descent; beside the image
    stand both nets' logits, their margins, and the certified radius. Digits can be drawn as well.

    >>> html = DigitPlayground()._repr_html_()
    >>> html.startswith('<div class="linfkit-digits">'), "import " in html
    (True, False)
    """

    kind = "digits"
    text = "A playground for a web browser: change a digit by hand under two nets."

    def __init__(self) -> None:
        names = {"certified": "mnist-tiny", "ordinary": "mnist-tiny-ordinary"}
        files = names | {"samples": "mnist-samples"}
        super().__init__(**{name: pretrained_file(of).read_bytes() for name, of in files.items()})


class PlanePlayground(Playground):
    """A point to drag through a net's regions in the plane, at p from 8 to ∞.

    Around it stand the square of half its margin and, below p=∞, the smaller one that the Lipschitz
    bound leaves; beside it, the two largest logits along a direction, inside their cones.

    Args:
        net: takes points (B, 2) of the unit square, trained; the means are taken anew at each p.
        train: points to take the means of, (N, 2).
        test: points to show, (M, 2).
        labels: of those, (M,).

    >>> import torch
    >>> points = torch.rand(4, 2)
    >>> plane = PlanePlayground(LpDistNet(2, 8, 2, 3), points, points, torch.tensor([0, 1, 2, 0]))
    >>> sorted(plane._repr_mimebundle_())
    ['application/vnd.linfkit.playground+json', 'text/html', 'text/plain']
    """

    kind = "plane"
    text = "A playground for a web browser: drag a point through the regions of a net."

    def __init__(self, net: LpDistNet, train: Tensor, test: Tensor, labels: Tensor) -> None:
        points = {"train": train.flatten(1), "test": test.flatten(1), "labels": labels}
        super().__init__(net=_as_file(net.state_dict()), points=_as_file(points))


def _as_file(tensors: dict[str, Tensor]) -> bytes:
    # copies, since several may share their memory; float32 is enough to draw by
    own = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    own = {name: each.float() if each.is_floating_point() else each for name, each in own.items()}
    return safetensors.torch.save(own)


_START = """for (const element of document.querySelectorAll(".linfkit-%s")) {
  const data = element.querySelector(":scope > script");
  if (data) play(element, JSON.parse(data.textContent));
}"""
