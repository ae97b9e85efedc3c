"""Compiling kernels with Numba; their machine code is kept on disk where it can be.

Kept code saves the half minute that compiling takes, and nothing else depends on it: whatever is
wrong with the files, their folder or their disk, a kernel is compiled anew.
"""

# mypy: disable-error-code="attr-defined"
# (Numba's types leave out its settings, and where a compiled function keeps its cache.)

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps, loads

from linfkit._util.files import cache_folder, write_atomically

if numba.config.DISABLE_JIT:
    raise ImportError("NUMBA_DISABLE_JIT is set")  # as good as no Numba: the reference serves


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function of a module in this folder, when it is called with arguments of new types.

    Its machine code is kept on disk for as long as no module in this folder changes.
    """
    dispatcher = numba.njit(nogil=True)(function)
    dispatcher._cache = _MachineCode(function)
    return dispatcher


class _MachineCode(NullCache):
    """Files with a function's machine code, one for each signature and kind of processor.

    In place of Numba's own cache, which wants a folder that it can write, raises an error at every
    call if a file is damaged, and does not notice when the modules that a kernel is made of change.
    """

    fails = False  # in this process: then nobody tries again

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = f"{function.__module__}.{function.__qualname__}"

    def load_overload(self, sig: Any, target_context: Any) -> CompileResult | None:
        """Read the code for a signature; None where there is none that is whole and current."""
        target_context.refresh()
        name = self._file(sig, target_context.codegen())
        for folder in _folders():
            try:
                content = _read_own(folder / name)
                code = content[hashlib.sha256().digest_size :]
                if content == _checked(code):
                    return CompileResult._rebuild(target_context, *loads(code))
            except Exception:  # not there, unreadable, or another Numba's: all are compiled anew
                continue
        return None

    def save_overload(self, sig: Any, data: CompileResult) -> None:
        """Write the code for a signature into the first folder that takes it."""
        if _MachineCode.fails:
            return
        try:
            _write(self._file(sig, data.codegen), _checked(dumps(data._reduce())))
        except Exception as error:
            _MachineCode.fails = True
            warnings.warn(
                "linfkit compiles its CPU kernels in every process, since their machine code "
                f"cannot be kept: {error}. LINFKIT_CACHE names a folder for it",
                RuntimeWarning,
                stacklevel=2,
            )

    def _file(self, sig: Any, codegen: Any) -> str:
        """The name of a signature's file; code of another processor or version has another."""
        made_for = repr((sig, codegen.magic_tuple(), numba.__version__))
        digest = hashlib.sha256(made_for.encode()).hexdigest()
        return f"{self._name}.{sys.implementation.cache_tag}-{digest[:24]}.nbc"


def _folders() -> Iterator[Path]:
    """Folders for machine code: Numba's own, else beside the sources, else linfkit's cache."""
    if numba.config.CACHE_DIR:
        yield Path(numba.config.CACHE_DIR, "linfkit")
    yield Path(__file__).with_name("__pycache__")
    yield cache_folder() / "kernels"


def _read_own(path: Path) -> bytes:
    """A file's content; another user's is refused, since code would run that is theirs."""
    with path.open("rb") as file:
        if hasattr(os, "geteuid") and os.fstat(file.fileno()).st_uid not in (0, os.geteuid()):
            raise PermissionError(f"{path} is another user's")
        return file.read()


def _write(name: str, content: bytes) -> None:
    """Write a file whole into the first folder that takes it; the last folder's error is raised."""
    for folder in _folders():
        try:
            return write_atomically(folder / name, content)
        except OSError as error:
            fault = error
    raise fault


def _checked(code: bytes) -> bytes:
    """Code behind a checksum of it and of the sources that it was made of."""
    return hashlib.sha256(_sources() + code).digest() + code


@cache
def _sources() -> bytes:
    """The content of all modules in this folder, some of which write code into others' kernels."""
    return b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
