"""A notebook's parameters: the names and values in its cell tagged `parameters`."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

#: What Python may raise of a text that is no literal.
NO_LITERAL = (ValueError, TypeError, SyntaxError, MemoryError, RecursionError)


def read_parameters(notebook: Path) -> dict[str, Any]:
    """Names and default values, in the cell's order; none where no cell is tagged.

    Raises:
        ValueError: the file is no notebook, or a line of the cell is something else than a name and
            a literal.
    """
    cells = _read(notebook).cells
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    return _literals(tagged[0].source, notebook.name) if tagged else {}


def check_parameters(notebook: str, known: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse parameters that a notebook does not have, and values of another type than its own.

    Args:
        notebook: the notebook's name, for the message.
        known: its parameters with their defaults.
        given: the values to run it with.

    Raises:
        ValueError: a name that the notebook does not know, or a value of another type.

    >>> check_parameters("02_lipschitz_blowup", {"epochs": 40}, {"epoch": 3})
    Traceback (most recent call last):
    ValueError: 02_lipschitz_blowup has no parameter 'epoch'; did you mean 'epochs'?
    """
    for name, value in given.items():
        if not known:
            raise ValueError(f"{notebook} has no cell tagged 'parameters', so none called {name!r}")
        if name not in known:
            nearest = difflib.get_close_matches(name, known, 1, cutoff=0)[0]
            raise ValueError(f"{notebook} has no parameter {name!r}; did you mean {nearest!r}?")
        if not _may_replace(known[name], value):
            wanted, came = type(known[name]).__name__, type(value).__name__
            raise ValueError(f"{notebook}: {name} wants {wanted}, got {came} {value!r}")


def parse_value(text: str) -> Any:
    """The value that a word of the command line stands for: a literal, else the word itself.

    >>> [parse_value(word) for word in ("3", "0.1", "[8, 1000]", "true", "digits-small")]
    [3, 0.1, [8, 1000], True, 'digits-small']
    """
    try:
        return ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
    except NO_LITERAL:
        return text


def parse_values(text: str) -> list[Any]:
    """The values that a word of the command line lists, separated by commas.

    >>> parse_values("8,1e3"), parse_values("hinge,mixed"), parse_values("[1, 2],[3]")
    ([8, 1000.0], ['hinge', 'mixed'], [[1, 2], [3]])
    """
    try:
        return list(ast.literal_eval(f"({text},)"))
    except NO_LITERAL:
        return [parse_value(word) for word in text.split(",")]


def _read(path: Path) -> NotebookNode:
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except OSError:
        raise
    except Exception as error:  # a file of anything else can make the reader fail in any way
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path.name} is no notebook: {reason[:200]}") from error
    return notebook


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
                    values[name] = ast.literal_eval(value)
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    values[name] = ast.literal_eval(value)
                case _:
                    raise ValueError
        except NO_LITERAL:
            line = ast.unparse(statement)
            raise ValueError(
                f"{notebook}: the parameters cell wants a name and a literal on each line, "
                f"got {line!r}"
            ) from None
    return values


def _may_replace(default: Any, value: Any) -> bool:
    """Whether a value can stand where that default stood; a whole number is a real one too."""
    if default is None or value is None:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, float | int)
    if isinstance(default, list | tuple):
        return isinstance(value, list | tuple)
    return isinstance(value, type(default))
