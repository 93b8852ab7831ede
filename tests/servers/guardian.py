"""A small process that outlives a killed test run, to end the servers and remove the folders the run left behind.

It reads lines on its standard input, which closes when the run ends, however it ends:
`process 123`, `folder /tmp/...` to watch; `ended 123` when the run has seen to it itself.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path


class Guardian:
    """The run's side of it: started with the first thing to watch."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def watch_process(self, pid: int) -> None:
        """End this process when the run dies."""
        self._say(f"process {pid}")

    def process_ended(self, pid: int) -> None:
        """It has been waited for: its id may belong to somebody else from now on."""
        self._say(f"ended {pid}")

    def watch_folder(self, folder: Path) -> None:
        """Remove this folder when the run dies."""
        self._say(f"folder {folder}")

    def _say(self, line: str) -> None:
        if self._process is None:
            # A session of its own: Ctrl-C in the terminal goes to the run, which ends things in order.
            self._process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, text=True, start_new_session=True)
            atexit.register(self._close)
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _close(self) -> None:
        if self._process is not None:
            self._process.communicate()


def watch() -> None:
    """The process's side: read until the run is gone, then clean up."""
    pids: set[int] = set()
    folders: list[Path] = []
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if word == "process":
            pids.add(int(rest))
        elif word == "ended":
            pids.discard(int(rest))
        else:
            folders.append(Path(rest))
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


guardian = Guardian()

if __name__ == "__main__":
    watch()
