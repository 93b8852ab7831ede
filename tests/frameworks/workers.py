"""Processes of other frameworks: a worker with all that it starts, and programs that run once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 90.0  # only a failing test waits so long
# What an outage may cost a guarded worker: calls into it, and the share of a processor while it holds.
MOST_CALLS = 26
MOST_CPU = 0.02
TICKS = os.sysconf("SC_CLK_TCK")


class FrameworkWorker:
    """A worker under way, in a process group of its own; `log` grows by what it writes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log = ""
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.log += line.decode()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for `condition`; fails with the log when the worker ends before, or does not come to it."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    assert self.process.returncode is None, f"it ended with {self.process.returncode}:\n{self.log}"
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"it does not come to that:\n{self.log}") from None

    def cpu(self) -> float:
        """The seconds of processor time that the worker and its children have taken so far."""
        return sum((int(fields[11]) + int(fields[12])) / TICKS for fields in self._group().values())

    def left(self) -> set[int]:
        """The processes of the worker and its children that live."""
        return {pid for pid, fields in self._group().items() if fields[0] not in "ZX"}

    def _group(self) -> dict[int, list[str]]:
        """What Linux says of each process in the worker's process group, behind its name."""
        found: dict[int, list[str]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[2]) == self.process.pid:
                    found[int(stat.parent.name)] = fields
        return found

    async def cpu_share(self, seconds: float) -> float:
        """Wait so long, and return the share of one processor that it has taken meanwhile."""
        loop = asyncio.get_running_loop()
        before, began = self.cpu(), loop.time()
        await asyncio.sleep(seconds)
        return (self.cpu() - before) / (loop.time() - began)

    async def rest(self, seconds: float, share: float) -> float:
        """Look at stretches of so many seconds until one took less than this share of a processor. Returns its share.

        A worker that works again and again never has one. What it has still to do when a hold begins lasts longer on a busy machine.
        """
        give_up = asyncio.get_running_loop().time() + PATIENCE
        while (taken := await self.cpu_share(seconds)) >= share:
            assert asyncio.get_running_loop().time() < give_up, f"it never rests: {taken:.2%} of a processor\n{self.log}"
        return taken

    async def terminate(self) -> int:
        """Send SIGTERM to the worker, as Kubernetes does, and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for its end and return its exit code."""
        async with asyncio.timeout(PATIENCE):
            code = await self.process.wait()
            await self._reading
        return code

    def interrupt(self) -> None:
        """Send SIGINT to all of it, as a terminal does for Ctrl-C."""
        os.killpg(self.process.pid, signal.SIGINT)

    def kill(self) -> None:
        """End all of it, now."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


async def _start(python: Path, arguments: tuple[str, ...], environment: dict[str, str], folder: Path = ROOT) -> asyncio.subprocess.Process:
    path = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
    return await asyncio.create_subprocess_exec(
        str(python),
        *arguments,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )


@asynccontextmanager
async def worker(python: Path, *arguments: str, folder: Path = ROOT, **environment: str) -> AsyncIterator[FrameworkWorker]:
    """Start `python ARGUMENTS` in a folder, and end it with all that it has started."""
    running = FrameworkWorker(await _start(python, arguments, environment, folder))
    try:
        yield running
    finally:
        running.kill()
        await running.ended()


async def run(python: Path, code: str, **environment: str) -> None:
    """Run a program to its end. Fails with what it wrote if that is no good one."""
    process = await _start(python, ("-c", code), environment)
    async with asyncio.timeout(PATIENCE):
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
