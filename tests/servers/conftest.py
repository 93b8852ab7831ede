"""A machine without programs, for the tests of what brings a server here."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with nothing on its PATH but what a test puts there, and an empty cache."""
    commands = tmp_path / "bin"
    commands.mkdir()
    monkeypatch.setenv("PATH", str(commands))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return commands


def program(path: Path, script: str) -> None:
    """Put a shell script where a program would be."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
