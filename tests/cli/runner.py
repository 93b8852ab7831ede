"""A command run in this process, its two streams apart."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from unittest.mock import patch

from click.testing import CliRunner, Result
from tests import canary

from holdgate.cli import commands
from holdgate.cli.app import app

# click 8.1 mixes them unless told not to, and 8.2 took the word for it away.
_APART = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
_PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def promised() -> Mapping[str, EntryPoint]:
    """The commands that this tree's own pyproject.toml announces: an environment that was made before may know others."""
    entries = tomllib.loads(_PROJECT.read_text(encoding="utf-8"))["project"]["entry-points"][commands.GROUP]
    return {name: EntryPoint(name, value, commands.GROUP) for name, value in entries.items()}


def invoke(*args: str) -> Result:
    """Run `holdgate` with these arguments."""
    with patch.object(commands, "announced", promised):
        result = CliRunner(**_APART).invoke(app, list(args))
    canary.look(f"what holdgate {' '.join(args[:1])} prints", result.output + result.stderr)
    return result
