from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.ledger.nursery import Forked, Nursery

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Only a failing test waits so long.
PATIENCE = 60.0
# Says what it is, and ends as it is told.
WORKER = """
import atexit, json, os, random, sys, threading, time
IMPORTED_BY = os.getpid()

if __name__ == "__main__":
    atexit.register(print, "the end")
    threading.Timer(0.1, print, ["a thread"]).start()
    about = [os.getpid() == os.getsid(0), sys.argv[1:], os.environ.get("WORD"), random.random(), sys.stdin.read(), __file__, sys.path[0]]
    print(json.dumps(about))
    how = sys.argv[1]
    if how == "sleep":
        time.sleep(600)
    if how == "raise":
        raise ValueError("what went wrong")
    sys.exit(int(how))
"""


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    nursery = Nursery(script, {**os.environ, "PYTHONUNBUFFERED": "1"})
    yield nursery
    nursery.close()


def ended(worker: Forked) -> int:
    until = time.monotonic() + PATIENCE
    while worker.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.02)
    assert worker.returncode is not None
    return worker.returncode


def test_a_worker_is_a_program_of_its_own(nursery: Nursery, tmp_path: Path) -> None:
    """Its session, arguments, environment, chance, input and output; and its end is that of any program, threads and all."""
    outputs = [tmp_path / "one", tmp_path / "two"]
    workers = [nursery.start(["0", output.name], {"WORD": output.name}, output) for output in outputs]
    assert [ended(worker) for worker in workers] == [0, 0]
    said = [output.read_text().splitlines() for output in outputs]
    one, two = (json.loads(lines[0]) for lines in said)
    script = str(tmp_path / "worker.py")
    assert one[:3] == [True, ["0", "one"], "one"]
    assert two[:3] == [True, ["0", "two"], "two"]
    assert one[3] != two[3]
    assert one[4:] == ["", script, str(tmp_path)]
    assert [lines[1:] for lines in said] == [["a thread", "the end"]] * 2


@pytest.mark.parametrize(("how", "code", "word"), [("7", 7, "the end"), ("raise", 1, "ValueError: what went wrong")])
def test_how_a_worker_ends_is_seen(nursery: Nursery, tmp_path: Path, how: str, code: int, word: str) -> None:
    """Its exit code, and its traceback in its output."""
    worker = nursery.start([how], os.environ, tmp_path / "output")
    assert ended(worker) == code
    assert word in (tmp_path / "output").read_text()


def test_it_ends_with_the_process_that_asks(nursery: Nursery, tmp_path: Path) -> None:
    """Its questions end, also where that process was killed; a worker goes on, and whoever watches it ends it."""
    worker = nursery.start(["sleep"], os.environ, tmp_path / "output")
    nursery.close()
    assert nursery._process.returncode == 0
    os.kill(worker.pid, signal.SIGKILL)


def test_a_worker_is_killed_alone(nursery: Nursery, tmp_path: Path) -> None:
    """The code is that of the signal, the next worker starts, and a signal to one that has ended goes nowhere."""
    worker = nursery.start(["sleep"], os.environ, tmp_path / "output")
    assert worker.poll() is None
    worker.kill()
    assert ended(worker) == -signal.SIGKILL
    worker.kill()
    assert ended(nursery.start(["0"], os.environ, tmp_path / "next")) == 0
