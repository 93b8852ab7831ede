"""What lets processes stand still beside the runs of make test-repeat."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.standing_still import descendants, may_stop

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")

PATIENCE = 60.0
# Starts a child, and the stopper beside it as tests/repeat.py does; ends it after a line.
RUN = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
stopper = subprocess.Popen([sys.executable, "-m", "tests.standing_still"])
print(child.pid, flush=True)
sys.stdin.readline()
stopper.terminate()
stopper.wait()
print("ended", flush=True)
sys.stdin.readline()
child.kill()
child.wait()
"""


def state(pid: int) -> str:
    """R, S or T, as the system tells it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_a_process_of_the_run_stands_still_and_goes_on() -> None:
    """Again and again; ended in the middle of it, the stopper leaves nothing stopped behind."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", RUN], stdin=pipe, stdout=pipe, text=True, cwd=Path(__file__).parents[1]) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        child = int(run.stdout.readline())
        assert child in descendants(os.getpid())
        for _ in range(2):
            until(lambda: state(child) == "T")
            assert not may_stop(child), "somebody has stopped it"
            until(lambda: state(child) == "S")
        until(lambda: state(child) == "T")
        run.stdin.write("end\n")
        run.stdin.flush()
        assert run.stdout.readline() == "ended\n"
        until(lambda: state(child) == "S")  # nobody else lets it go on; it may run for a moment before it sleeps
        run.stdin.write("end\n")
        run.stdin.flush()


def test_what_keeps_order_is_spared() -> None:
    """A guardian that stood still would not hear of the end of its run."""
    guardian = Path(__file__).parent / "servers" / "guardian.py"
    with subprocess.Popen([sys.executable, str(guardian)], stdin=subprocess.PIPE) as process:
        other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        until(lambda: may_stop(other.pid))
        assert not may_stop(process.pid)
        other.kill()
        other.wait()
    assert not may_stop(other.pid), "it is gone"
