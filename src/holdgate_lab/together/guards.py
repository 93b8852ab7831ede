"""Whole guards that share a log: the workers of the simulator, with everything that is checked there, as one fleet.

The model of a worker (worker.py) is quick, and is looked into. This is the real thing, tasks and time limits of the link included. The log
and its faults are the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random

from holdgate.errors import FleetLogError
from holdgate.ports import FleetLog, LogEntry
from holdgate_lab.fleet.clock import Process
from holdgate_lab.fleet.environment import Environment
from holdgate_lab.fleet.strategy import Strategy
from holdgate_lab.fleet.worker import FleetWorker
from holdgate_lab.together.log import Link, SharedLog
from holdgate_lab.together.scenario import LogFault


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
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._link.send(records, lambda good: _set(done, good))
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


class GuardedTogether:
    """Makes the workers of a world that share one log: `World(scenario, strategy, seed, worker=GuardedTogether())`.

    `faults`: what is wrong with the log, and with the links of workers, by their numbers. `log` is there from the first worker on.
    """

    def __init__(self, faults: Sequence[LogFault] = ()) -> None:
        self.log: SharedLog | None = None
        self._faults = faults

    def __call__(self, environment: Environment, number: int, strategy: Strategy, life: int) -> FleetWorker:
        if self.log is None:
            self.log = SharedLog(environment.schedule, self._faults)
        return _Worker(self.log, environment, number, strategy, life)


class _Worker(FleetWorker):
    def __init__(self, log: SharedLog, environment: Environment, number: int, strategy: Strategy, life: int) -> None:
        self._log = log
        super().__init__(environment, number, strategy, life)

    def fleet(self) -> tuple[FleetLog, Callable[[], float]]:
        process = self.process
        fleet, link = (Random(f"{self.environment.seed}/{process.name}/{what}") for what in ("fleet", "link"))
        return ProcessLog(self._log, self.number, process, link), fleet.random


def _set(done: asyncio.Future[bool], good: bool) -> None:
    if not done.done():
        done.set_result(good)
