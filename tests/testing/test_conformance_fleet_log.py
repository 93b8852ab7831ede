"""The log in memory passes the same cases as the real ones, and each case sees the mistake that it is there for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from holdgate.errors import FleetLogError
from holdgate.ports import LogEntry
from holdgate.testing import NO_TROUBLE, LogTrouble, MemoryFleetLog, MemoryLogServer, run_virtual
from holdgate.testing.conformance import FLEET_LOG_CASES, LogCapability, LogCase, log_cases_for

CAPABILITIES: frozenset[LogCapability] = frozenset({"past", "absent", "permission", "wipe", "restart", "freeze"})


class MemoryBed:
    """A log in memory."""

    capabilities = CAPABILITIES
    patience = 60.0  # virtual seconds
    quiet = 2.0

    def __init__(self, made: Callable[[MemoryLogServer], MemoryFleetLog] = MemoryFleetLog) -> None:
        self.server = MemoryLogServer()
        self._made = made

    def log(self) -> MemoryFleetLog:
        return self._made(self.server)

    async def store_old(self, record: bytes) -> None:
        self.server.store([record])
        await asyncio.sleep(60)

    def stranger(self) -> MemoryFleetLog:
        return self._made(MemoryLogServer(exists=False))

    def read_only(self) -> MemoryFleetLog:
        log = self.log()
        log.trouble = LogTrouble(read_only=True)
        return log

    async def wipe(self) -> None:
        self.server.delete()
        await asyncio.sleep(1)
        self.server.create()

    async def restart(self) -> None:
        self.server.trouble = LogTrouble(error="the server is away")
        await asyncio.sleep(5)
        self.server.trouble = NO_TROUBLE

    async def freeze(self) -> None:
        self.server.trouble = LogTrouble(hung=True)

    async def thaw(self) -> None:
        self.server.trouble = NO_TROUBLE


class SlowBed(MemoryBed):
    """A log in memory that is a tenth of a second away."""

    def log(self) -> MemoryFleetLog:
        log = super().log()
        log.trouble = LogTrouble(delay=0.1)
        return log


@pytest.mark.parametrize("bed", [MemoryBed, SlowBed])
@pytest.mark.parametrize("case", log_cases_for(CAPABILITIES), ids=str)
def test_memory(case: LogCase, bed: Callable[[], MemoryBed]) -> None:
    """Each case on a fresh server, near and far."""

    async def run() -> None:
        await case(bed())

    run_virtual(run())


class AnswersLate(MemoryFleetLog):
    """Its server is loaded when the case begins, and answers a second later."""

    _late = True

    async def open(self) -> None:
        if self._late:
            await asyncio.sleep(1)
            self._late = False
            raise FleetLogError("no answer")
        await super().open()


class NeverAnswers(MemoryFleetLog):
    async def open(self) -> None:
        raise FleetLogError("no answer")


def test_a_log_whose_first_open_fails_is_opened_again() -> None:
    """A loaded server is no mistake of the log; one that never opens is told with what it said last."""
    case = next(each for each in FLEET_LOG_CASES if each.name == "a_read_waits")
    run_virtual(_awaited(case, MemoryBed(AnswersLate)))
    with pytest.raises(AssertionError, match=r"open must return within 60\.0 s.*no answer"):
        run_virtual(_awaited(case, MemoryBed(NeverAnswers)))


def test_a_case_refuses_a_bed_that_cannot_do_what_it_needs() -> None:
    """A case of the capability `wipe` on a bed without it raises ValueError with the capability."""
    bed = MemoryBed()
    bed.capabilities = frozenset()
    case = next(each for each in FLEET_LOG_CASES if each.requires == {"wipe"})
    with pytest.raises(ValueError, match="wipe"):
        run_virtual(_awaited(case, bed))


async def _awaited(case: LogCase, bed: MemoryBed) -> None:
    await case(bed)


# -- Logs with one mistake each --------------------------------------------------------------------------------------------------------


class HasAnotherPlaceWhenOpen(MemoryFleetLog):
    @property
    def place(self) -> str:
        return f"the log in memory, {'open' if self._is_open else 'closed'}"


class ClosesOnce(MemoryFleetLog):
    async def close(self) -> None:
        self._check_open()
        await super().close()


class ReadsOnAfterTheClose(MemoryFleetLog):
    async def close(self) -> None:
        pass


class OpensByItself(MemoryFleetLog):
    async def append(self, records: Sequence[bytes]) -> None:
        if not self._is_open:
            await self.open()
        await super().append(records)


class ReturnsBeforeItIsStored(MemoryFleetLog):
    """It stores several records a second later."""

    async def append(self, records: Sequence[bytes]) -> None:
        if len(records) == 1:
            await super().append(records)
        asyncio.get_running_loop().call_later(1, self._server.store, records[1:])


class ReturnsNothing(MemoryFleetLog):
    async def read(self) -> Sequence[LogEntry]:
        try:
            async with asyncio.timeout(1):
                return await super().read()
        except TimeoutError:
            return []


class SeesItsOwnFirst(MemoryFleetLog):
    """What it appends comes to it before what the others have appended."""

    own: frozenset[bytes] = frozenset()

    async def append(self, records: Sequence[bytes]) -> None:
        self.own |= frozenset(records)
        await super().append(records)

    async def read(self) -> Sequence[LogEntry]:
        entries = await super().read()
        positions = sorted(entry.position for entry in entries)
        data = [entry.data for entry in sorted(entries, key=lambda entry: entry.data not in self.own)]
        return [LogEntry(position, each) for position, each in zip(positions, data, strict=True)]


class WaitsForItsReader(MemoryFleetLog):
    """Its append waits as long as its read does."""

    reading = 0

    async def read(self) -> Sequence[LogEntry]:
        self.reading += 1
        try:
            return await super().read()
        finally:
            self.reading -= 1

    async def append(self, records: Sequence[bytes]) -> None:
        while self.reading:
            await asyncio.sleep(0.1)
        await super().append(records)


class CutsLargeRecords(MemoryFleetLog):
    async def append(self, records: Sequence[bytes]) -> None:
        await super().append([record[:1000] for record in records])


class TakesRecordsOfAnySize(MemoryFleetLog):
    async def append(self, records: Sequence[bytes]) -> None:
        self._check_open()
        self._server.store(records)


class BeginsAtTheEnd(MemoryFleetLog):
    async def open(self) -> None:
        await super().open()
        self._next = self._server.end


class BeginsAtTheBeginning(MemoryFleetLog):
    async def open(self) -> None:
        await super().open()
        self._next = 0


class SkipsWhatACancelledReadHadTaken(MemoryFleetLog):
    async def read(self) -> Sequence[LogEntry]:
        entries = await super().read()
        await asyncio.sleep(0.001)
        return entries


class RepeatsAfterACancelledRead(MemoryFleetLog):
    async def read(self) -> Sequence[LogEntry]:
        try:
            return await super().read()
        except asyncio.CancelledError:
            self._next = max(0, self._next - 1)
            raise


class SendsAgainWhatWasCancelled(MemoryFleetLog):
    """It does not know whether a cancelled append has arrived, and sends it once more."""

    unsure: Sequence[bytes] = ()

    async def append(self, records: Sequence[bytes]) -> None:
        self._server.store([*self.unsure, *records])
        self.unsure = records
        await asyncio.sleep(0.001)
        self.unsure = ()


class StoresBackwardsAfterACancellation(MemoryFleetLog):
    async def append(self, records: Sequence[bytes]) -> None:
        try:
            await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            self._server.store(tuple(reversed(records)))
            raise
        await super().append(records)


class MakesTheLogItself(MemoryFleetLog):
    async def open(self) -> None:
        self._server.create()
        await super().open()


class NamesNoRemedy(MemoryFleetLog):
    async def open(self) -> None:
        try:
            await super().open()
        except FleetLogError:
            raise FleetLogError("404") from None


class SaysNothingOfARefusal(MemoryFleetLog):
    async def append(self, records: Sequence[bytes]) -> None:
        try:
            await super().append(records)
        except FleetLogError:
            self._check_open()


class StaysAtItsPosition(MemoryFleetLog):
    """It does not notice that the log was made anew."""

    async def read(self) -> Sequence[LogEntry]:
        self._generation = self._server.generation
        return await super().read()


class NeedsANewOpen(MemoryFleetLog):
    """Once something has failed, everything fails."""

    failed = False

    async def append(self, records: Sequence[bytes]) -> None:
        if self.failed:
            raise FleetLogError("it has failed before")
        try:
            await super().append(records)
        except FleetLogError:
            self.failed = True
            raise


class BreaksWhenItHangs(MemoryFleetLog):
    """A call that is cancelled while the server is frozen takes the log with it."""

    broken = False

    async def read(self) -> Sequence[LogEntry]:
        if self.broken:
            raise FleetLogError("a call was cancelled")
        try:
            return await super().read()
        except asyncio.CancelledError:
            self.broken = self._is_hung
            raise


class ClosesInOrder(MemoryFleetLog):
    """Its close asks the server."""

    async def close(self) -> None:
        while self._is_hung:
            await self._bell.wait()
        await super().close()


BROKEN: dict[str, tuple[type[MemoryFleetLog], ...]] = {
    "it_names_its_place": (HasAnotherPlaceWhenOpen,),
    "closing_twice_is_fine": (ClosesOnce,),
    "a_close_ends_a_read_that_waits": (ReadsOnAfterTheClose,),
    "a_log_that_is_not_open_raises": (OpensByItself,),
    "an_append_returns_when_the_log_has_it": (ReturnsBeforeItIsStored, BeginsAtTheEnd),
    "a_read_waits": (ReturnsNothing,),
    "all_readers_see_one_order": (SeesItsOwnFirst,),
    "it_reads_and_appends_in_parallel": (WaitsForItsReader,),
    "a_record_may_be_as_large_as_the_cap": (CutsLargeRecords, TakesRecordsOfAnySize),
    "a_newcomer_sees_what_is_new": (BeginsAtTheBeginning, BeginsAtTheEnd),
    "a_newcomer_to_old_records_waits": (BeginsAtTheBeginning,),
    "a_cancelled_read_loses_nothing": (SkipsWhatACancelledReadHadTaken, RepeatsAfterACancelledRead),
    "a_cancelled_append_is_in_the_log_once_or_not_at_all": (StoresBackwardsAfterACancellation, SendsAgainWhatWasCancelled),
    "a_log_that_does_not_exist_is_refused": (MakesTheLogItself, NamesNoRemedy),
    "who_may_not_write_is_refused": (SaysNothingOfARefusal,),
    "a_log_that_was_made_anew_goes_on": (StaysAtItsPosition,),
    "a_restart_of_the_server_is_survived": (NeedsANewOpen,),
    "a_frozen_server_is_survived": (BreaksWhenItHangs,),
    "closing_does_not_wait_for_a_frozen_server": (ClosesInOrder,),
}


def test_each_case_has_a_mistake_that_it_sees() -> None:
    """No case of the kit is without a broken log here."""
    assert set(BROKEN) == {case.name for case in FLEET_LOG_CASES}


@pytest.mark.parametrize(("case", "broken"), [(case, each) for case in FLEET_LOG_CASES for each in BROKEN[case.name]], ids=str)
def test_a_broken_log_is_seen(case: LogCase, broken: type[MemoryFleetLog]) -> None:
    """The case fails on a log with the mistake."""
    with pytest.raises(AssertionError):
        run_virtual(_awaited(case, MemoryBed(broken)))
