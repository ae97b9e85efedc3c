"""`python -m linfkit.reproduce.moving_picture`: the observatory as the README shows it, moving."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

from PIL import Image

from linfkit._util.files import write_atomically
from linfkit.course.figures import observatory
from linfkit.course.measured.observatory import base, observations
from linfkit.reproduce.pictures import PictureWriter

FILE = Path("figures/observatory.gif")
#: Milliseconds that a picture stands, and the last of each loss.
BEAT, REST = 500, 2000


def main() -> None:
    """Draw both losses from p=8 to ∞ at θ = 2 ε, and write the file."""
    runs, eps = observations(), base().eps
    pictures, beats = [], []
    with PictureWriter(on_error=sys.exit) as writer:
        for loss in ("hinge", "mixed"):
            for moment in runs[loss, 2 * eps]:
                figure = observatory(runs, moment.p, 2 * eps, loss, eps)
                drawn = writer.draw(json.loads(figure.to_json()), format="png", scale=1)
                assert drawn is not None
                pictures.append(Image.open(io.BytesIO(drawn)).convert("P", colors=32))
                beats.append(BEAT)
            beats[-1] = REST
    moving = io.BytesIO()
    first, *others = pictures
    first.save(moving, "GIF", save_all=True, append_images=others, duration=beats, loop=0)
    write_atomically(FILE, moving.getvalue())
    print(f"{FILE} is written")


if __name__ == "__main__":
    main()
