"""The kit for the cases of a fleet's log: a case, the bed on which it runs, and the reader that drives one log in place of a guard.

`LogCase` is one promise of the `FleetLog` port, with the function that checks it. `LogBed` is what the tests of a log provide: a fresh log
on a server, and ways to disturb it. `LogReader` stands in for the guard's reader task: it reads one log, keeps what comes, and checks at
every read what always holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from holdgate.errors import FleetLogError
from holdgate.ports import FleetLog, LogEntry
from holdgate.testing.conformance.kit import expect, expect_equal

LogCheck = Callable[["LogBed"], Awaitable[None]]

# Seconds between two tries of what a server refuses while it comes back.
_TRY_AGAIN_AFTER = 0.1

# past: the log can get a record that is too old for a newcomer (`store_old`).
# absent: a log that nobody has made can be named (`stranger`).
# permission: there is a user who may read and not write (`read_only`).
# wipe: the log can be deleted and made anew while it is open (`wipe`).
# restart: the server can be ended and started again with its data (`restart`).
# freeze: the server can be stopped with its connections open, and go on (`freeze`, `thaw`).
LogCapability = Literal["past", "absent", "permission", "wipe", "restart", "freeze"]


@dataclass(frozen=True, slots=True)
class LogCase:
    """One promise. Await it with a fresh bed. `requires` is what the server of the bed must be able to do.

    Raises AssertionError if the promise is broken, and ValueError on a bed without the capability.
    """

    name: str
    check: LogCheck
    requires: frozenset[LogCapability]

    async def __call__(self, bed: LogBed) -> None:
        """Run the case."""
        if not self.requires <= bed.capabilities:
            raise ValueError(f"{self.name} needs a bed with the capabilities {', '.join(sorted(self.requires - bed.capabilities))}")
        await self.check(bed)

    def __str__(self) -> str:
        return self.name


def log_case(check: LogCheck, *requires: LogCapability) -> LogCase:
    """Return the case of a function, under its name."""
    return LogCase(check.__name__, check, frozenset(requires))


class LogBed(Protocol):
    """Where one case runs: a fresh log that nothing else uses, empty at first, and ways to disturb it.

    A method of a capability that the bed does not have is never called.
    """

    @property
    def capabilities(self) -> frozenset[LogCapability]:
        """What this server can do. It decides which cases apply."""
        ...

    @property
    def patience(self) -> float:
        """How many seconds to wait for what must happen. Only a failing case waits so long."""
        ...

    @property
    def quiet(self) -> float:
        """After how many seconds without a record none will come: several round trips."""
        ...

    def log(self) -> FleetLog:
        """Return a new `FleetLog` of the bed's log, not opened."""
        ...

    async def store_old(self, record: bytes) -> None:
        """Put a record into the log that is older than what a newcomer gets. It may wait until it is."""
        ...

    def stranger(self) -> FleetLog:
        """Return a `FleetLog` of a log that does not exist, not opened."""
        ...

    def read_only(self) -> FleetLog:
        """Return a `FleetLog` of the bed's log for a user who may not write to it, not opened."""
        ...

    async def wipe(self) -> None:
        """Delete the log, and make it anew. Return when it can be used."""
        ...

    async def restart(self) -> None:
        """End the server and start it again, with its data. Return when it is up."""
        ...

    async def freeze(self) -> None:
        """Stop the server as SIGSTOP does: its connections stay open, and nobody answers."""
        ...

    async def thaw(self) -> None:
        """Let it go on."""
        ...


class LogReader:
    """Reads one open log, and checks at every read what always holds.

    `is_wiped` allows positions to go back: the log was made anew.
    """

    def __init__(self, bed: LogBed, log: FleetLog) -> None:
        self.log = log
        self.entries: list[LogEntry] = []
        self.is_wiped = False
        self._bed = bed

    @property
    def data(self) -> list[bytes]:
        """What has come, in order."""
        return [entry.data for entry in self.entries]

    async def read(self) -> Sequence[LogEntry]:
        """Call `read` of the log once. May be cancelled."""
        entries = await self.log.read()
        expect(entries, "read waits for the next record, and is never empty")
        self.entries += entries
        expect_equal(len(set(self.data)), len(self.data), f"no record is given twice, got {self.data}")
        positions = [entry.position for entry in self.entries]
        expect(self.is_wiped or positions == sorted(set(positions)), f"positions rise along the log, got {positions}")
        return entries

    async def read_for(self, seconds: float) -> None:
        """Read for so long, and cancel what waits then."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await self.read()
        except TimeoutError:
            pass

    async def until(self, *wanted: bytes) -> list[bytes]:
        """Read until all of these have come. Returns what has come in all. Raises AssertionError if they do not within the patience."""
        try:
            async with asyncio.timeout(self._bed.patience):
                while not set(wanted) <= set(self.data):
                    await self.read()
        except TimeoutError:
            missing = [each for each in wanted if each not in self.data]
            raise AssertionError(f"these records must be read within {self._bed.patience} s: {missing}; got {self.data}") from None
        return self.data

    async def until_at_last(self, *wanted: bytes) -> list[bytes]:
        """Read as `until`, and go on where a read raises FleetLogError: the server comes back."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._bed.patience
        while True:
            try:
                return await self.until(*wanted)
            except FleetLogError as error:
                if loop.time() >= give_up:
                    raise AssertionError(f"a read must work again within {self._bed.patience} s, but raised {error!r}") from error
                await asyncio.sleep(_TRY_AGAIN_AFTER)


async def append_at_last(bed: LogBed, log: FleetLog, name: bytes) -> bytes:
    """Append a record until the log has it, under another name at each try: one that failed may be in the log. Returns the last name."""
    loop = asyncio.get_running_loop()
    give_up, tries = loop.time() + bed.patience, 0
    while True:
        record = name + b" %d" % (tries := tries + 1)
        try:
            async with asyncio.timeout(bed.patience):
                await log.append([record])
            return record
        except (FleetLogError, TimeoutError) as error:
            if loop.time() >= give_up:
                raise AssertionError(f"an append must work again within {bed.patience} s, but raised {error!r}") from error
            await asyncio.sleep(_TRY_AGAIN_AFTER)


async def _open_at_last(bed: LogBed, log: FleetLog) -> None:
    """Open a log as a worker does: again where it raises FleetLogError, since a loaded server may answer only after the log's patience."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + bed.patience
    while True:
        try:
            async with asyncio.timeout(bed.patience):
                return await log.open()
        except (FleetLogError, TimeoutError) as error:
            if loop.time() >= give_up:
                raise AssertionError(f"open must return within {bed.patience} s, but raised {error!r}") from error
            await asyncio.sleep(_TRY_AGAIN_AFTER)


@asynccontextmanager
async def opened(bed: LogBed, *logs: FleetLog) -> AsyncGenerator[list[LogReader]]:
    """Open these logs one after the other, yield a reader of each, and close them at the end."""
    try:
        for log in logs:
            await _open_at_last(bed, log)
        yield [LogReader(bed, log) for log in logs]
    finally:
        for log in logs:
            await within(bed, log.close(), "close returns")


async def within(bed: LogBed, work: Awaitable[None], promise: str) -> None:
    """Wait for this. Raises AssertionError with the promise if it raises, or does not end within the bed's patience."""
    try:
        async with asyncio.timeout(bed.patience):
            await work
    except TimeoutError:
        raise AssertionError(f"{promise}: it did not within {bed.patience} s") from None
    except FleetLogError as error:
        raise AssertionError(f"{promise}: it raised {error!r}") from error


async def expect_error(bed: LogBed, work: Awaitable[object], what: str) -> FleetLogError:
    """Return the FleetLogError that this raises. Raises AssertionError if it does not raise one within the bed's patience."""
    try:
        async with asyncio.timeout(bed.patience):
            await work
    except FleetLogError as error:
        return error
    except TimeoutError:
        raise AssertionError(f"{what} must raise FleetLogError, but waited for {bed.patience} s") from None
    raise AssertionError(f"{what} must raise FleetLogError, but returned")
