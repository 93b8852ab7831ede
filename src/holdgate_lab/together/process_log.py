"""The shared log as a real guard reads it: the port of a fleet's log, in the event loop of one simulated process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random

from holdgate.errors import FleetLogError
from holdgate.ports import LogEntry
from holdgate_lab.fleet.clock import Process
from holdgate_lab.together.log import Link, SharedLog


class ProcessLog:
    """The log for worker `number`, whose process is `process`; implements `holdgate.ports.FleetLog`."""

    def __init__(self, log: SharedLog, number: int, process: Process, chance: Random) -> None:
        self._process = process
        self._faults = [fault for fault in log.faults if fault.kind == "refuse"]
        self._number = number
        self._link = Link(log, number, chance, self._has_read)
        self._read: list[LogEntry] = []
        self._position = 0
        self._news = asyncio.Event()
        for fault in self._faults:
            log.schedule.at(fault.at, self._ring)  # a read that waits is told

    @property
    def place(self) -> str:
        return "the simulated log"

    async def open(self) -> None:
        """Read from so far back on. A log that is cut off waits."""
        self._check()
        while not self._link.is_open:
            self._link.open()
            await asyncio.sleep(0 if self._link.is_open else 1.0)
            self._check()

    async def append(self, records: Sequence[bytes]) -> None:
        """Return when they are in the log. Raises FleetLogError."""
        done = asyncio.get_running_loop().create_future()
        self._link.send(records, lambda good: done.done() or done.set_result(good))
        if not await done:
            raise FleetLogError("the simulated log has not taken it")

    async def read(self) -> Sequence[LogEntry]:
        """Wait for what comes next."""
        while not self._read:
            self._check()
            self._news.clear()
            await self._news.wait()
        read, self._read = self._read, []
        return read

    async def close(self) -> None:
        """End."""
        self._link.close()

    def _check(self) -> None:
        if any(fault.hits(self._number, self._process.now()) for fault in self._faults):
            raise FleetLogError("the simulated log refuses")

    def _has_read(self, records: list[bytes]) -> None:
        for data in records:
            self._read.append(LogEntry(self._position, data))
            self._position += 1
        self._ring()

    def _ring(self) -> None:
        if self._process.is_alive:
            self._news.set()
