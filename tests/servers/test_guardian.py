from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

# A run that starts a child and a folder, tells both, and waits to be killed.
RUN = """
import pathlib, subprocess, sys, time
from tests.servers.guardian import guardian
folder = pathlib.Path(sys.argv[1])
folder.mkdir()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
guardian.watch_process(child.pid)
guardian.watch_folder(folder)
print(child.pid, flush=True)
time.sleep(60)
"""


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_killed_run_leaves_nothing_behind(tmp_path) -> None:
    """After kill -9 of the run, its server process ends and its folder goes."""
    folder = tmp_path / "data"
    with subprocess.Popen([sys.executable, "-c", RUN, str(folder)], stdout=subprocess.PIPE, text=True) as run:
        child = int(run.stdout.readline())
        assert is_alive(child)
        run.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while (is_alive(child) or folder.exists()) and time.monotonic() < deadline:
        os.sched_yield()
    assert not is_alive(child)
    assert not folder.exists()
