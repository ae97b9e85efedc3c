"""Log a run's history as scalars for TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from linfkit._util.extras import require
from linfkit._util.files import expand_user


@contextmanager
def logging_scalars(folder: str | Path) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """Open a log, as a function of one row of a history; `fit` calls it `after_epoch`.

    Each column becomes a scalar of its name, at the step that is the row's epoch, and is in the
    folder at once. A run that goes on logs into the same folder, beside what is there.

    Args:
        folder: for TensorBoard's event files; made if need be.

    Raises:
        ImportError: the package tensorboard is not installed; linfkit asks for it as an extra.
    """
    require("tensorboard", "tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(expand_user(folder))) as writer:

        def log(row: Mapping[str, float]) -> None:
            for name, value in row.items():
                if name != "epoch":
                    writer.add_scalar(name, value, int(row["epoch"]))
            writer.flush()

        yield log
