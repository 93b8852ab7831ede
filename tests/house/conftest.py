"""A source tree that a test writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.house.tree import SourceTree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def written(tmp_path: Path) -> Callable[[dict[str, str]], SourceTree]:
    """Writes files below `src` and reads them as a tree: `written({"shop/till.py": "import shop"})`."""

    def write(files: dict[str, str]) -> SourceTree:
        for name, text in files.items():
            path = tmp_path / "src" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return SourceTree(tmp_path / "src")

    return write
