"""JavaScript modules joined to one, for pages and widgets that can import none from a file."""

from __future__ import annotations

import re
from importlib import resources


def joined(*names: str) -> str:
    """The code of several modules of this folder, each after those that it imports.

    >>> "import " in joined("parts.js", "explorer.js")
    False
    """
    files = [resources.files(__package__) / name for name in names]
    modules = "\n".join(file.read_text("utf-8") for file in files)
    return re.sub(r"^import .*;\n", "", modules, flags=re.MULTILINE)
