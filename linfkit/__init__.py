"""Certified ℓ∞ robustness that you can see: ℓp-distance nets, their training, their certificates.

>>> import linfkit as lk
>>> run = lk.fit(lk.load_recipe("digits-small").replace(width=16, epochs=2), progress=False)
>>> digits = lk.load_dataset("digits")
>>> certificates = lk.certify(run.ema_model, digits.test_x / 255, digits.test_y)
>>> 0 <= certificates.accuracy(eps=0.1) <= certificates.clean_accuracy <= 1
True
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

#: Modules of the public names, which `__init__.pyi` declares for type checkers as well.
_MODULES = {
    alias.name: str(node.module)
    for node in ast.parse(Path(__file__).with_suffix(".pyi").read_text("utf-8")).body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}
__all__ = sorted(["__version__", *_MODULES])


def __getattr__(name: str) -> Any:
    """Import a public name at its first use (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module 'linfkit' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
