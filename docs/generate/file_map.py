"""The map of the package: each file with the first line of its own docstring."""

from __future__ import annotations

import ast
from pathlib import Path

from docs.generate.tables import table

_PACKAGE = Path(__file__).parents[2] / "src" / "holdgate"


def files(*paths: str) -> str:
    """Return a row for each of these files of `src/holdgate`, in this order. Raises ValueError for a file that is not there or has no
    docstring."""
    return table(["file", "what it is for"], [[f"[{path}](../../src/holdgate/{path})", _first_line(path)] for path in paths])


def _first_line(path: str) -> str:
    file = _PACKAGE / path
    if not file.exists():
        raise ValueError(f"the map of docs/explanation/architecture.md names {path}, which does not exist: name the file that has its code")
    text = ast.get_docstring(ast.parse(file.read_text()))
    if text is None:
        raise ValueError(f"{path} has no docstring: its first line is what the map says of it")
    return text.splitlines()[0]
