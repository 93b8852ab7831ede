"""Clean environments for what is built from this tree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).parent / "uv"
# A clean machine's index answers in seconds; a dead one should not keep CI for ever.
WITHIN = 300


class Environment:
    """An environment with the wheel and nothing else of ours: no repository on its path, no test tools."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self._folder = folder
        self._wheel = wheel
        run([UV, "venv", "--quiet", "--python", sys.executable, folder])

    @property
    def interpreter(self) -> Path:
        """Its Python."""
        return self._folder / "bin/python"

    def install(self, extras: str = "", *others: str) -> None:
        """Have these extras ("[cli]"), these other packages, and nothing more."""
        wanted = f"{self._wheel}{extras}"
        run([UV, "pip", "install", "--quiet", "--python", self._folder, wanted, *others])

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        """Run `code` with its Python."""
        return self._run(self.interpreter, "-c", code)

    def pytest(self, project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the tests of a project with its pytest, and with every plugin that is installed."""
        return self.run_python("-m", "pytest", "-p", "no:cacheprovider", *arguments, folder=project)

    def run_python(self, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run its Python in another folder."""
        return self._run(self.interpreter, *arguments, folder=folder)

    def holdgate(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run its `holdgate` command."""
        return self._run(self._folder / "bin/holdgate", *arguments)

    def _run(self, *command: str | Path, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=folder or self._folder,  # not the repository: Python would import holdgate from there
            env={"PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=WITHIN,
            check=False,
        )


def run(command: Sequence[str | Path]) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WITHIN, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
