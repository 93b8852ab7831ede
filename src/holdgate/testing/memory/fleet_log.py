"""The log of a fleet in memory: one server, any number of logs that read and write it, and the troubles that a test makes.

Time is the loop's, so that a test on virtual time waits for nothing. The server has a trouble that everybody meets, and each log has its
own: so a worker, or half of a fleet, can be cut off while the others go on.

A record is on the wire from `append` until the server has it. A cancelled append does not call it back, as with a real server: what was
sent to one that is frozen is stored when that goes on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from holdgate.errors import FleetLogError
from holdgate.ports import LOOK_BACK, LogEntry, check_records
from holdgate.testing.memory.broker import Bell

# Seconds for which the server keeps a record: longer than any hang that a test makes, short enough for hours with a fleet of twenty.
_KEPT = 600.0
# So many records that are too old are dropped in one step: one by one each would move all others.
_DROPPED_AT_ONCE = 1000
# A loop calls a timer up to its clock's resolution too early.
_EARLY = 1e-6


@dataclass(frozen=True, slots=True)
class LogTrouble:
    """What is wrong with a server, or with one log's way to it. The default is nothing.

    - `delay`: seconds that a record needs to the server, and again from the server to each reader.
    - `hung`: connected and silent. Every call waits, and what is on the wire arrives afterwards.
    - `error`: every call raises FleetLogError with this text. None means that none does.
    - `read_only`: this user may read, and not write.
    """

    delay: float = 0.0
    hung: bool = False
    error: str | None = None
    read_only: bool = False


NO_TROUBLE = LogTrouble()


@dataclass(frozen=True, slots=True)
class _Stored:
    at: float
    entry: LogEntry


@dataclass(frozen=True, slots=True)
class _Sent:
    due: float
    records: tuple[bytes, ...]
    confirmed: asyncio.Future[None]

    def fail(self, error: FleetLogError) -> None:
        if not self.confirmed.done():
            self.confirmed.set_exception(error)

    def confirm(self) -> None:
        if not self.confirmed.done():
            self.confirmed.set_result(None)


class MemoryLogServer:
    """The server of a fleet's log, in this process and in one event loop. Give it to each `MemoryFleetLog`.

    - `exists`: whether the log is there from the beginning. `create` makes it.
    """

    def __init__(self, *, exists: bool = True) -> None:
        self.exists = exists
        self.generation = 0  # raised when the log is emptied
        self._stored: list[_Stored] = []
        self._next = 0
        self._trouble = NO_TROUBLE
        self._logs: list[MemoryFleetLog] = []

    @property
    def trouble(self) -> LogTrouble:
        """What is wrong for everybody. Set it to change it. Everything that waits meets the change immediately."""
        return self._trouble

    @trouble.setter
    def trouble(self, trouble: LogTrouble) -> None:
        self._trouble = trouble
        self._changed()

    @property
    def end(self) -> int:
        """The position of the next record."""
        return self._next

    def create(self) -> None:
        """Make the log. One that is there stays as it is."""
        self.exists = True
        self._changed()

    def delete(self) -> None:
        """Remove the log with all its records. Every call raises until `create`."""
        self.exists = False
        self.wipe()

    def wipe(self) -> None:
        """Remove all records, as if the log had been deleted and made anew: positions begin with 0 again."""
        self.generation += 1
        self._stored.clear()
        self._next = 0
        self._changed()

    def store(self, records: Sequence[bytes]) -> None:
        """Take records now, in this order."""
        now = asyncio.get_running_loop().time()
        for data in records:
            self._stored.append(_Stored(now, LogEntry(self._next, data)))
            self._next += 1
        if len(self._stored) > _DROPPED_AT_ONCE and self._stored[_DROPPED_AT_ONCE].at < now - _KEPT:
            del self._stored[:_DROPPED_AT_ONCE]
        for log in self._logs:
            log.ring()

    def first_since(self, at: float) -> int:
        """Return the position of the first record that was stored at this second of the loop or later."""
        return next((stored.entry.position for stored in self._stored if stored.at >= at), self._next)

    def after(self, position: int) -> Sequence[tuple[float, LogEntry]]:
        """Return what is stored from this position on, each with the second at which it was stored."""
        first = self._stored[0].entry.position if self._stored else self._next
        return [(stored.at, stored.entry) for stored in self._stored[max(0, position - first) :]]

    def serve(self, log: MemoryFleetLog) -> None:
        """Let this log know of every change."""
        self._logs.append(log)

    def _changed(self) -> None:
        for log in self._logs:
            log.changed()


class MemoryFleetLog:
    """One worker's view of a log in memory; implements `holdgate.ports.FleetLog`.

    - `server`: what all workers of the fleet share.
    """

    def __init__(self, server: MemoryLogServer) -> None:
        self._server = server
        self._trouble = NO_TROUBLE
        self._bell = Bell()
        self._wire: deque[_Sent] = deque()
        self._is_open = False
        self._generation = 0
        self._next = 0
        server.serve(self)

    @property
    def place(self) -> str:
        return "the log in memory"

    @property
    def trouble(self) -> LogTrouble:
        """What is wrong between this worker and the server. Set it to change it. Everything that waits meets the change immediately."""
        return self._trouble

    @trouble.setter
    def trouble(self, trouble: LogTrouble) -> None:
        self._trouble = trouble
        self.changed()

    async def open(self) -> None:
        """Find the beginning of the last 30 seconds. Raises FleetLogError for a log that does not exist, and by `trouble`."""
        while self._is_hung:
            await self._bell.wait()
        self._check_reach()
        self._generation = self._server.generation
        self._next = self._server.first_since(asyncio.get_running_loop().time() - LOOK_BACK)
        self._is_open = True

    async def append(self, records: Sequence[bytes]) -> None:
        """Store records. Raises FleetLogError by `trouble`, for one of more than 1024 bytes, and for a log that is not open."""
        self._check_open()
        check_records(records)
        loop = asyncio.get_running_loop()
        sent = _Sent(loop.time() + self._delay, tuple(records), loop.create_future())
        self._wire.append(sent)
        if self._delay:
            loop.call_at(sent.due, self._deliver)
        self._deliver()
        await sent.confirmed

    async def read(self) -> Sequence[LogEntry]:
        """Return what comes next, as soon as there is something. Raises FleetLogError by `trouble`, and for a log that is not open."""
        while True:
            self._check_open()
            wait = None
            if not self._is_hung:
                self._check_reach()
                ready, wait = self._ready()
                if ready:
                    self._next = ready[-1].position + 1
                    return ready
            await self._bell.wait(wait)

    async def close(self) -> None:
        """End. A call that waits raises FleetLogError; what is on the wire arrives."""
        self._is_open = False
        for sent in self._wire:
            sent.fail(_closed())
        self.ring()

    def changed(self) -> None:
        """Look again at everything that waits. The server calls it."""
        self._deliver()
        self.ring()

    def ring(self) -> None:
        """Look again at what can be read. The server calls it."""
        self._bell.ring()

    @property
    def _is_hung(self) -> bool:
        return self._trouble.hung or self._server.trouble.hung

    @property
    def _delay(self) -> float:
        return self._trouble.delay + self._server.trouble.delay

    def _check_open(self) -> None:
        if not self._is_open:
            raise _closed()

    def _check_reach(self, *, to_write: bool = False) -> None:
        for trouble in (self._trouble, self._server.trouble):
            if trouble.error is not None:
                raise FleetLogError(trouble.error)
            if to_write and trouble.read_only:
                raise FleetLogError("this user may not write to the log in memory: set trouble without read_only")
        if not self._server.exists:
            raise FleetLogError("there is no log in memory: MemoryLogServer.create() makes it, as `holdgate fleet create` makes a real one")

    def _deliver(self) -> None:
        while self._wire and not self._is_hung and _is_over(self._wire[0].due):
            sent = self._wire.popleft()
            try:
                self._check_reach(to_write=True)
            except FleetLogError as error:
                sent.fail(error)
            else:
                sent.confirm()
                self._server.store(sent.records)

    def _ready(self) -> tuple[Sequence[LogEntry], float | None]:
        """Return the records that have come here, and otherwise the seconds until the next one does. None means that none is under way."""
        if self._generation != self._server.generation:
            self._generation, self._next = self._server.generation, 0
        waiting = self._server.after(self._next)
        ready = [entry for at, entry in waiting if _is_over(at + self._delay)]
        if ready or not waiting:
            return ready, None
        return ready, waiting[0][0] + self._delay - asyncio.get_running_loop().time()


def _is_over(second: float) -> bool:
    return second <= asyncio.get_running_loop().time() + _EARLY


def _closed() -> FleetLogError:
    return FleetLogError("the log in memory is not open: open() comes first, and close() ends it")
