"""The files that the rules of the house are about, parsed once, and the names that their imports lead to."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class SourceFile:
    """One Python file below a source folder, with the name by which it is imported."""

    path: Path
    root: Path

    @cached_property
    def name(self) -> str:
        """`holdgate.core.circuit`; a package has the name of its folder."""
        parts = self.path.relative_to(self.root).with_suffix("").parts
        return ".".join(parts[:-1] if self.is_package else parts)

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def package(self) -> str:
        """The package that the file stands in; that of an `__init__` is itself."""
        return self.name if self.is_package else self.name.rpartition(".")[0]

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    def classes(self) -> list[ast.ClassDef]:
        """Return every class of the file, also those inside another class or a function."""
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef)]


class SourceTree:
    """Every Python file below a source folder (`src`), or below one package in it, by its import name."""

    def __init__(self, root: Path, package: str = "") -> None:
        self.root = root
        found = [SourceFile(path, root) for path in sorted((root / package).rglob("*.py"))]
        self.files = {file.name: file for file in found}

    def __iter__(self) -> Iterator[SourceFile]:
        return iter(self.files.values())

    def shown(self, file: SourceFile) -> str:
        """Return the path as the lists and messages write it: `src/holdgate/core/circuit.py`."""
        return str(file.path.relative_to(self.root.parent))

    def target(self, module: str, name: str | None = None) -> str | None:
        """Find the file that `import module`, or `from module import name`, leads to. None means that it is not in this tree.

        `from holdgate import http` leads to `holdgate.http` and not to `holdgate/__init__.py`: the package is only the way to it.
        """
        if name is not None and f"{module}.{name}" in self.files:
            return f"{module}.{name}"
        return module if module in self.files else None
