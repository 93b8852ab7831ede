"""A command run in this process, its two streams apart."""

from __future__ import annotations

import inspect

from click.testing import CliRunner, Result

from holdgate.cli.app import app

# click 8.1 mixes them unless told not to, and 8.2 took the word for it away.
_APART = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}


def invoke(*args: str) -> Result:
    """Run `holdgate` with these arguments."""
    return CliRunner(**_APART).invoke(app, list(args))
