"""What the last runs found, kept in results.json file by file, and why some survivors are no gap in the tests, from argued.toml."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
ARGUED = HERE / "argued.toml"

# Where an argument stands that is about a kind of change, wherever it is, and what stands in its name for any text.
ANY_FILE = "any file"
ANY_TEXT = "…"


@dataclass(frozen=True, slots=True)
class FileResult:
    """The mutants of one file: how many there are, and the names of those that no test noticed. `digest`: of the file, as it was then."""

    digest: str
    mutants: int
    survivors: list[str] = field(default_factory=list)


def digest(path: Path) -> str:
    """Tells one state of a file from another."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def load(path: Path = RESULTS) -> dict[str, FileResult]:
    """What is kept, by file; nothing before the first run."""
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return {file: FileResult(**it) for file, it in kept.items()}


def keep(results: Mapping[str, FileResult], path: Path = RESULTS) -> None:
    """Write them down."""
    path.write_text(json.dumps({file: asdict(it) for file, it in sorted(results.items())}, indent=1, ensure_ascii=False) + "\n")


@dataclass(frozen=True, slots=True)
class Argument:
    """Why survivors whose names begin like this are none that a test should notice. `file` may be `ANY_FILE`."""

    mutant: str
    why: str
    file: str

    def speaks_for(self, file: str, name: str) -> bool:
        """Whether it is about this survivor."""
        begin = ".*".join(re.escape(part) for part in self.mutant.split(ANY_TEXT))
        return self.file in {file, ANY_FILE} and re.match(begin, name) is not None


def arguments(path: Path = ARGUED) -> list[Argument]:
    """All of argued.toml."""
    return [Argument(file=file, **it) for file, found in tomllib.loads(path.read_text()).items() for it in found]


def argued(file: str, name: str, known: list[Argument]) -> Argument | None:
    """The argument for one survivor, or None: then a test is missing."""
    return next((it for it in known if it.speaks_for(file, name)), None)
