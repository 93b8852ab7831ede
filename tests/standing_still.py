"""Stops one process after the other, each for a moment: `python -m tests.standing_still`, beside the runs of tests/repeat.py.

A broker, one of pytest's processes or a worker of a fault run stands still between any two of its lines, as on a machine that gives its
time to others. Only what the same run has started is stopped, and only on Linux.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Shorter than what the tests let pass for dead: sessions of three seconds, three heartbeats of two.
SHORTEST, LONGEST = 0.2, 2.0
# Between the end of one stop and the next, in the mean.
PAUSE = 0.5
# What is that young may not be what it will be: a child before its exec.
YOUNGEST = 0.5
# What keeps order among the processes of a run, and does not belong to what it tests.
SPARED = ("guardian.py", "tests.repeat", "tests.standing_still", "resource_tracker", "epmd")


def descendants(root: int) -> list[int]:
    """The processes that `root` has started, and theirs, without itself."""
    children: dict[int, list[int]] = {}
    for pid in _processes():
        with suppress(OSError, IndexError):
            children.setdefault(int(_stat(pid)[1]), []).append(pid)
    found, waiting = list[int](), [root]
    while waiting:
        its = children.get(waiting.pop(), [])
        found += its
        waiting += its
    return found


def may_stop(pid: int) -> bool:
    """Whether it may be stopped: not what keeps order, nor what somebody has stopped already."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        state, _, *rest = _stat(pid)
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        age = uptime - int(rest[17]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError):
        return False
    return state not in "TtZX" and age > YOUNGEST and not any(word in command for word in SPARED)


def stop_for(pid: int, seconds: float) -> None:
    """Let the process stand still for so long; it goes on whatever happens here, also between the stop and the wait."""
    with suppress(ProcessLookupError):
        try:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)


def _processes() -> Iterator[int]:
    return (int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit())


def _stat(pid: int) -> list[str]:
    """State, parent and what follows; the name before them may have blanks and brackets in it."""
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()


def main() -> None:
    """Until SIGTERM, or until the run that it is beside is gone."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    root = os.getppid()
    while os.getppid() == root:
        time.sleep(random.expovariate(1 / PAUSE))
        victims = [pid for pid in descendants(root) if may_stop(pid)]
        if victims:
            stop_for(random.choice(victims), random.uniform(SHORTEST, LONGEST))


if __name__ == "__main__":
    main()
