"""Run an example as its reader does: `python examples/NAME.py` in a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0  # only a failing test waits so long


class Running:
    """An example under way; `log` grows by what it writes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log = ""
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.log += line.decode()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for `condition`; fails with the log when the example ends before, or does not come to it."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    assert self.process.returncode is None, f"it ended with {self.process.returncode}:\n{self.log}"
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"it does not come to that:\n{self.log}") from None

    async def ended(self) -> int:
        """Wait for its end and return its exit code."""
        async with asyncio.timeout(PATIENCE):
            code = await self.process.wait()
            await self._reading
        return code

    async def terminate(self) -> int:
        """Send SIGTERM, as Kubernetes does, and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await self.ended()


@asynccontextmanager
async def example(name: str | Path, *arguments: str, **environment: str) -> AsyncIterator[Running]:
    """Start `examples/NAME.py`, or the file at a path; at the end Ctrl-C, so that it leaves its group for the next test's."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        name if isinstance(name, Path) else f"examples/{name}.py",
        *arguments,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    running = Running(process)
    try:
        yield running
    finally:
        try:
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
            await running.ended()
        finally:
            if process.returncode is None:
                process.kill()
