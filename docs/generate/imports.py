"""What `holdgate import` makes of a file of examples."""

from __future__ import annotations

from pathlib import Path

from holdgate.cli.importing.instances import application
from holdgate.cli.importing.properties import read_documents
from holdgate.cli.importing.resilience4j import Imported, imported
from holdgate.cli.importing.toml_text import report, written

_ROOT = Path(__file__).parents[2]


def source(path: str) -> str:
    """Return a YAML file as a fenced block."""
    return f"```yaml\n{(_ROOT / path).read_text().rstrip()}\n```"


def settings(path: str) -> str:
    """Return the settings file that it becomes, as a fenced block."""
    return f"```toml\n{written(_imported(path), Path(path).name).rstrip()}\n```"


def said(path: str) -> str:
    """Return what is said of each line, as a fenced block. Paths are as of who stands in the folder of the file."""
    return f"```\n{report(_imported(path), Path(path).name).rstrip()}\n```"


def _imported(path: str) -> Imported:
    return imported(application(read_documents(_ROOT / path)))
