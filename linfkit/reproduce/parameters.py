"""A notebook's parameters: the names and values in its cell tagged `parameters`."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from linfkit._util.literals import NO_LITERAL, value_of
from linfkit._util.text import nearest

#: Types of values that may replace a default, where they are not the default's alone.
ALIKE = {float: (float, int), list: (list, tuple), tuple: (list, tuple)}


def read_parameters(notebook: Path) -> dict[str, Any]:
    """Names and default values, in the cell's order; none where no cell is tagged.

    Raises:
        ValueError: the file is no notebook, or a line of the cell is something else than a name and
            a literal: a quotient such as 8 / 255, and ∞, as ``math.inf``, are some too.
    """
    cells = read_notebook(notebook).cells
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    return _literals(tagged[0].source, notebook.name) if tagged else {}


def check_parameters(notebook: str, known: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse parameters that a notebook does not have, and values of another type than its own.

    Args:
        notebook: the notebook's name, for the message.
        known: its parameters with their defaults.
        given: the values to run it with.

    Raises:
        ValueError: a name that the notebook does not know, a value of another type, or NaN.

    >>> check_parameters("03_lipschitz_blowup", {"epochs": 40}, {"epoch": 3})
    Traceback (most recent call last):
    ValueError: 03_lipschitz_blowup has no parameter 'epoch'; did you mean 'epochs'?
    """
    for name, value in given.items():
        if not known:
            raise ValueError(f"{notebook} has no cell tagged 'parameters', so none called {name!r}")
        if name not in known:
            near = nearest(name, known)
            raise ValueError(f"{notebook} has no parameter {name!r}; did you mean {near!r}?")
        if not _may_replace(known[name], value):
            wanted, came = type(known[name]).__name__, type(value).__name__
            raise ValueError(f"{notebook}: {name} must be {wanted}; got {came} {value!r}")
        _refuse_nan(f"{notebook}: {name}", value)


def in_json(value: Any) -> Any:
    """Value for JSON, which knows no ∞: there it is the word "inf".

    >>> in_json({"p": math.inf, "sizes": (0.1, -math.inf)})
    {'p': 'inf', 'sizes': [0.1, '-inf']}
    """
    if isinstance(value, dict):
        return {key: in_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [in_json(item) for item in value]
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def read_notebook(path: Path) -> NotebookNode:
    """The notebook in a file, with or without a byte-order mark.

    Raises:
        ValueError: the file is no notebook.
        OSError: it cannot be read.
    """
    content = path.read_bytes()
    try:
        notebook = nbformat.reads(content.decode("utf-8-sig"), as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # a file of anything else can make the reader fail in any way
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path.name} is no notebook: {reason[:200]}") from error
    return notebook


def is_injected(cell: NotebookNode) -> bool:
    """True if papermill put this cell in, to override parameters."""
    return "injected-parameters" in cell.metadata.get("tags", [])


def _literals(source: str, notebook: str) -> dict[str, Any]:
    try:
        statements = ast.parse(source).body
    except NO_LITERAL as error:
        why = error.msg if isinstance(error, SyntaxError) else error
        raise ValueError(f"{notebook}: the parameters cell is not Python: {why}") from None
    values = {}
    for statement in statements:
        try:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    values[name] = value_of(value)
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    values[name] = value_of(value)
                case ast.Expr(ast.Constant(str())):  # a docstring
                    pass
                case _:
                    raise ValueError
        except NO_LITERAL:
            line = ast.unparse(statement)
            raise ValueError(
                f"{notebook}: the parameters cell must have a name and a literal on each line; "
                f"got {line!r}"
            ) from None
        _refuse_nan(f"{notebook}: the parameters cell", values)
    return values


def _refuse_nan(name: str, value: Any) -> None:
    items = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list | tuple):
        for item in items:
            _refuse_nan(name, item)
    elif isinstance(value, float) and math.isnan(value):
        raise ValueError(f"{name} must hold no NaN, which nothing equals; got nan")


def _may_replace(default: Any, value: Any) -> bool:
    """True if a value can replace that default; a whole number is a real one too."""
    if default is None or value is None:
        return True
    if isinstance(value, bool):  # to Python a whole number
        return isinstance(default, bool)
    return isinstance(value, ALIKE.get(type(default), type(default)))
