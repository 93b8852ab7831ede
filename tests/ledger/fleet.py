"""Worker processes for fault runs: started from one script, signalled as an operator or a crash would, and collected."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests import canary
from tests.ledger.ledger import Ledger
from tests.ledger.nursery import Nursery
from tests.servers.guardian import guardian

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.ledger.ledger import Entry
    from tests.ledger.nursery import Forked

# A drain may take 25 s; beyond this a worker hangs.
END_TIMEOUT = 60.0
BETWEEN_LOOKS = 0.05
# A look at a long ledger takes a good part of a second: at most a twentieth of a core goes into looking, which the workers need themselves.
LOOKS_IN_A_WAIT = 19


class Worker:
    """One process; `name` is what it was told to write into the ledger as `who`."""

    def __init__(self, name: str, script: Path, arguments: Sequence[str], errors: Path) -> None:
        self.name = name
        self._errors = errors
        self._process = _start(script, arguments, errors)
        guardian.watch_process(self._process.pid)

    @property
    def is_running(self) -> bool:
        """Whether the process runs; a frozen one does."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; -9 after a kill."""
        return self._process.poll()

    @property
    def output(self) -> str:
        """What it has printed until now, standard error included."""
        return self._errors.read_text(errors="replace")

    def terminate(self) -> None:
        """SIGTERM, as Kubernetes and systemd send it: the worker drains."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: a crash."""
        self._process.kill()

    def freeze(self) -> None:
        """SIGSTOP: alive for its broker's connections, doing nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on where it was, not knowing what has passed."""
        self._process.send_signal(signal.SIGCONT)

    def hang_up(self) -> None:
        """Send SIGHUP, which reads a settings file again."""
        self._process.send_signal(signal.SIGHUP)

    def block(self) -> None:
        """SIGUSR1: a worker that listens for it blocks its event loop for a while, as a handler with a slow plain call would."""
        self._process.send_signal(signal.SIGUSR1)

    async def ended(self, timeout: float = END_TIMEOUT) -> int:
        """Wait for its end and return the exit code, -9 after a kill. Raises TimeoutError with its output."""
        try:
            async with asyncio.timeout(timeout):
                while self._process.poll() is None:
                    await asyncio.sleep(BETWEEN_LOOKS)
        except TimeoutError:
            raise TimeoutError(f"{self.name} did not end within {timeout} s; it printed:\n{self.output[-3000:]}") from None
        guardian.process_ended(self._process.pid)
        assert self._process.returncode is not None
        return self._process.returncode


class Fleet:
    """Workers that run `script` with `arguments`, each followed by `--ledger FOLDER --name NAME`; their ledger is `ledger`.

    `async with` ends those that still run, by kill -9. `folder` must exist; it keeps the ledger's files and the workers' output.
    """

    def __init__(self, script: Path, folder: Path, *arguments: str) -> None:
        self.ledger = Ledger(folder)
        self.workers: list[Worker] = []
        self._script = script
        self._arguments = arguments

    def start(self, count: int = 1, *more: str) -> list[Worker]:
        """Start so many workers, with `more` arguments for these; returns them."""
        new = [self._start_one(*more) for _ in range(count)]
        self.workers.extend(new)
        return new

    async def until(self, condition: Callable[[list[Entry]], bool], timeout: float = END_TIMEOUT) -> list[Entry]:
        """Wait until the ledger's entries satisfy the condition, and return them.

        Raises AssertionError when a worker fails meanwhile, and TimeoutError; both with what the workers printed.
        """
        try:
            async with asyncio.timeout(timeout):
                began = time.perf_counter()
                while not condition(entries := self.ledger.entries()):
                    self._check_alive()
                    await asyncio.sleep(max(BETWEEN_LOOKS, LOOKS_IN_A_WAIT * (time.perf_counter() - began)))
                    began = time.perf_counter()
                return entries
        except TimeoutError:
            raise TimeoutError(f"not within {timeout} s; the workers printed:\n{self._outputs()}") from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.kill()
        for worker in self.workers:
            await worker.ended()
            canary.look(f"what {worker.name} has printed", worker.output)

    def _start_one(self, *more: str) -> Worker:
        # The number of those that were started before, of this fleet: a name is never used twice.
        name = f"worker-{len(list(self.ledger.folder.glob('worker-*.txt'))) + 1}"
        arguments = [*self._arguments, *more, "--ledger", str(self.ledger.folder), "--name", name]
        return Worker(name, self._script, arguments, self.ledger.folder / f"{name}.txt")

    def _check_alive(self) -> None:
        for worker in self.workers:
            code = worker.exit_code
            # A signal (below zero) is what the test did to it; an error of its own is not.
            assert code is None or code <= 0, f"{worker.name} ended with {code}; it printed:\n{worker.output[-3000:]}"

    def _outputs(self) -> str:
        return "\n".join(f"--- {worker.name}\n{worker.output[-1500:]}" for worker in self.workers)


def _start(script: Path, arguments: Sequence[str], output: Path) -> Forked | subprocess.Popen[bytes]:
    """HOLDGATE_TEST_SLOW=4: every worker has a quarter of its time, to see which tests count on quick ones."""
    times = os.environ.get("HOLDGATE_TEST_SLOW")
    if not times:
        return _nursery(script).start(arguments, _environment(), output)
    command = [sys.executable, "-m", "tests.ledger.slow", times, str(script), *arguments]
    with output.open("wb") as file:
        # A session of its own: Ctrl-C in the terminal goes to the test, which then ends its workers.
        return subprocess.Popen(command, env=_environment(), stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)


@functools.cache
def _nursery(script: Path) -> Nursery:
    """One for each script, for as long as this process lives."""
    return Nursery(script, _environment())


def _environment() -> dict[str, str]:
    # A worker imports this package's ledger, from wherever its script lies; and holdgate from where the tests have it.
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
