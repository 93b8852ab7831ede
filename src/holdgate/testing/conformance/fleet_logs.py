"""Cases about a fleet's log: one order for all, a newcomer's view, cancelled calls, and a server that goes away and comes back."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from holdgate.errors import FleetLogError
from holdgate.ports import LARGEST_RECORD, FleetLog
from holdgate.testing.conformance.kit import expect, expect_equal
from holdgate.testing.conformance.log_kit import (
    LogBed,
    LogReader,
    append_at_last,
    expect_error,
    log_case,
    opened,
    within,
)

# How often a case cancels a call, and after how many seconds at most: from "before its first step" to "after its answer".
_CANCELLED = 24
_AFTER_AT_MOST = 0.012
# Seconds for which a case waits for a server that is frozen: longer than a worker would.
_FROZEN = 1.0
# How often a case appends while the server restarts, and after how many seconds again: until it is cancelled.
_TRIES, _NOW_AND_THEN = 1000, 0.2


def named(name: str, count: int, first: int = 0) -> list[bytes]:
    """Return records that show their place: b"a 0", b"a 1" and so on."""
    return [b"%s %d" % (name.encode(), number) for number in range(first, first + count)]


# -- Life -----------------------------------------------------------------------------------------------------------------------------


async def it_names_its_place(bed: LogBed) -> None:
    """The place is a text before it is open, and the same one afterwards."""
    log = bed.log()
    place = log.place
    expect(place, "place is a text for people")
    async with opened(bed, log):
        expect_equal(log.place, place, "place stays the same")


async def closing_twice_is_fine(bed: LogBed) -> None:
    """The second close does nothing, and one that never opened can be closed."""
    await within(bed, bed.log().close(), "close of a log that never opened returns")
    async with opened(bed, bed.log()) as (reader,):
        await within(bed, reader.log.close(), "close returns")
        await within(bed, reader.log.close(), "the second close returns")


async def a_close_ends_a_read_that_waits(bed: LogBed) -> None:
    """A read that waits when the log is closed raises FleetLogError, as does each call afterwards."""
    async with opened(bed, bed.log()) as (reader,):
        reading = asyncio.ensure_future(reader.read())
        await asyncio.sleep(bed.quiet)
        await within(bed, reader.log.close(), "close returns while a read waits")
        await expect_error(bed, reading, "a read that waits at the close")
        await expect_error(bed, reader.log.read(), "a read after the close")
        await expect_error(bed, reader.log.append([b"late"]), "an append after the close")


async def a_log_that_is_not_open_raises(bed: LogBed) -> None:
    """Before `open` both read and append raise FleetLogError."""
    log = bed.log()
    await expect_error(bed, log.read(), "a read before open")
    await expect_error(bed, log.append([b"early"]), "an append before open")
    await log.close()


# -- Order ----------------------------------------------------------------------------------------------------------------------------


async def an_append_returns_when_the_log_has_it(bed: LogBed) -> None:
    """What is appended after an append has returned is behind its records, and who opens then gets these first, in their order."""
    async with opened(bed, bed.log()) as (writer,):
        await within(bed, writer.log.append(named("a", 5)), "append returns")
        async with opened(bed, bed.log()) as (newcomer,):
            await within(bed, newcomer.log.append([b"later"]), "append returns")
            expect_equal(await newcomer.until(b"later"), [*named("a", 5), b"later"], "what was appended before comes before")


async def a_read_waits(bed: LogBed) -> None:
    """Without a record a read does not return; the next record ends it."""
    async with opened(bed, bed.log(), bed.log()) as (reader, writer):
        reading = asyncio.ensure_future(reader.read())
        await asyncio.sleep(bed.quiet)
        expect(not reading.done(), "a read waits for a record")
        await writer.log.append([b"first"])
        async with asyncio.timeout(bed.patience):
            await reading
        expect_equal(reader.data, [b"first"], "the read gives the record for which it waited")


async def all_readers_see_one_order(bed: LogBed) -> None:
    """Three writers append in parallel: each log, also that of a writer, gives all records in one order, and each writer's in its own."""
    names = ("a", "b", "c")
    async with opened(bed, *(bed.log() for _ in names)) as readers:
        await asyncio.gather(*(_append_singly(reader.log, named(name, 20)) for name, reader in zip(names, readers, strict=True)))
        wanted = [record for name in names for record in named(name, 20)]
        seen = [await reader.until(*wanted) for reader in readers]
        expect_equal(seen[1:], seen[:-1], "all readers see the same order")
        for name in names:
            own = [record for record in seen[0] if record.startswith(name.encode())]
            expect_equal(own, named(name, 20), f"the records of writer {name} are in the order of its appends")
        async with opened(bed, bed.log()) as (newcomer,):
            expect_equal(await newcomer.until(*wanted), seen[0], "a newcomer sees the order that the others saw")


async def it_reads_and_appends_in_parallel(bed: LogBed) -> None:
    """One task reads while another one appends by the same log: neither waits for the other."""
    async with opened(bed, bed.log()) as (reader,):
        for record in named("a", 20):
            reading = asyncio.ensure_future(reader.until(record))
            await asyncio.sleep(0)
            await within(bed, reader.log.append([record]), "append returns while a read waits")
            await reading
        expect_equal(reader.data, named("a", 20), "a log gives what it has appended, in order")


async def a_record_may_be_as_large_as_the_cap(bed: LogBed) -> None:
    """Records of the largest size, with any bytes, come as they were; a larger one is refused, and the log goes on."""
    large = [bytes((number + at) % 256 for at in range(LARGEST_RECORD)) for number in range(20)]
    async with opened(bed, bed.log()) as (reader,):
        await within(bed, reader.log.append(large), "append returns")
        expect_equal(await reader.until(*large), large, "records of the largest size come as they were appended")
        await expect_error(bed, reader.log.append([b"x" * (LARGEST_RECORD + 1)]), "a record above the largest size")
        await within(bed, reader.log.append([b"next"]), "append returns")
        expect_equal((await reader.until(b"next"))[len(large) :], [b"next"], "nothing of a record that is too large comes")


# -- Newcomers ------------------------------------------------------------------------------------------------------------------------


async def a_newcomer_sees_what_is_new(bed: LogBed) -> None:
    """What is older than the look back is not given, and what is newer is, before what comes afterwards."""
    await bed.store_old(b"old")
    async with opened(bed, bed.log()) as (writer,):
        await writer.log.append(named("new", 3))
        async with opened(bed, bed.log()) as (newcomer,):
            await writer.log.append([b"after"])
            await newcomer.until(b"after")
            expect_equal(newcomer.data, [*named("new", 3), b"after"], "a newcomer gets the last seconds, and then what comes")


async def a_newcomer_to_old_records_waits(bed: LogBed) -> None:
    """In a log with nothing but old records a read waits for the next one."""
    await bed.store_old(b"old")
    async with opened(bed, bed.log()) as (newcomer,):
        await newcomer.read_for(bed.quiet)
        expect_equal(newcomer.data, [], "a newcomer gets nothing old")
        await newcomer.log.append([b"next"])
        expect_equal(await newcomer.until(b"next"), [b"next"], "a newcomer gets the next record")


# -- Cancellation ---------------------------------------------------------------------------------------------------------------------


async def a_cancelled_read_loses_nothing(bed: LogBed) -> None:
    """Reads are cancelled at any moment while records come: each record is given once, in order."""
    async with opened(bed, bed.log(), bed.log()) as (reader, writer):
        wanted = named("a", _CANCELLED)
        appending = asyncio.ensure_future(_append_singly(writer.log, wanted))
        for turn in range(_CANCELLED):
            await reader.read_for(_AFTER_AT_MOST * turn / _CANCELLED)
        await within(bed, appending, "append returns")
        expect_equal(await reader.until(*wanted), wanted, "cancelled reads skip nothing and give nothing twice")


async def a_cancelled_append_is_in_the_log_once_or_not_at_all(bed: LogBed) -> None:
    """Appends are cancelled at any moment: of each a prefix is in the log, no record twice, and what is appended afterwards comes."""
    async with opened(bed, bed.log(), bed.log()) as (reader, writer):
        for turn in range(_CANCELLED):
            try:
                async with asyncio.timeout(_AFTER_AT_MOST * turn / _CANCELLED):
                    await writer.log.append(named(f"turn{turn}", 3))
            except TimeoutError:
                pass
        await within(bed, writer.log.append([b"last"]), "append returns after cancelled ones")
        seen = await reader.until(b"last")
        for turn in range(_CANCELLED):
            own = [record for record in seen if record.startswith(b"turn%d " % turn)]
            expect_equal(own, named(f"turn{turn}", len(own)), "of a cancelled append the log has a prefix, in order")


# -- Troubles -------------------------------------------------------------------------------------------------------------------------


async def a_log_that_does_not_exist_is_refused(bed: LogBed) -> None:
    """Opening a log that nobody has made raises FleetLogError with the command that makes it. It is not made by that, and can be closed."""
    for _ in range(2):
        stranger = bed.stranger()
        error = await expect_error(bed, stranger.open(), "open of a log that does not exist")
        expect("holdgate fleet create" in str(error), f"the error names the remedy `holdgate fleet create`, got {error}")
        await within(bed, stranger.close(), "close returns after a refused open")


async def who_may_not_write_is_refused(bed: LogBed) -> None:
    """An append without the permission raises FleetLogError, leaves nothing in the log, and reading goes on."""
    async with opened(bed, bed.log(), bed.read_only()) as (writer, reader):
        await expect_error(bed, reader.log.append([b"forbidden"]), "an append without the permission")
        await within(bed, writer.log.append([b"allowed"]), "append returns")
        expect_equal(await reader.until(b"allowed"), [b"allowed"], "who may only read reads on")


async def a_log_that_was_made_anew_goes_on(bed: LogBed) -> None:
    """After the log was deleted and made anew, both calls work again, without a new `open`."""
    async with opened(bed, bed.log(), bed.log()) as readers:
        await readers[0].log.append(named("before", 3))
        for reader in readers:
            await reader.until(*named("before", 3))
            reader.is_wiped = True
        waiting = asyncio.ensure_future(_try_read(readers[1], bed.quiet))  # a read that waits in the middle of it
        await bed.wipe()
        await asyncio.wait((waiting,))
        await _works_again(bed, readers)


async def a_restart_of_the_server_is_survived(bed: LogBed) -> None:
    """While the server is away calls raise or wait; when it is back both work, and nothing is skipped or given twice."""
    async with opened(bed, bed.log(), bed.log()) as readers:
        await readers[0].log.append(named("before", 3))
        await readers[0].until(*named("before", 3))
        reading = asyncio.ensure_future(_try_read(readers[0], bed.quiet))
        appending = asyncio.ensure_future(_append_now_and_then(readers[1].log))
        await bed.restart()
        appending.cancel()
        await asyncio.wait((reading, appending))
        await readers[1].until_at_last(*named("before", 3))
        await _works_again(bed, readers)


async def a_frozen_server_is_survived(bed: LogBed) -> None:
    """While the server is frozen calls raise or wait, and can be cancelled; afterwards both work, and nothing is skipped or given twice."""
    async with opened(bed, bed.log(), bed.log()) as readers:
        await readers[0].log.append(named("before", 3))
        await bed.freeze()
        try:
            await asyncio.gather(_try_append(readers[0].log, b"frozen"), _try_read(readers[1], _FROZEN))
        finally:
            await bed.thaw()
        await readers[1].until_at_last(*named("before", 3))
        await _works_again(bed, readers)


async def closing_does_not_wait_for_a_frozen_server(bed: LogBed) -> None:
    """A close ends within the bed's patience, although the server does not answer."""
    async with opened(bed, bed.log()) as (reader,):
        await bed.freeze()
        try:
            await _try_append(reader.log, b"frozen")
            await within(bed, reader.log.close(), "close returns while the server is frozen")
        finally:
            await bed.thaw()


async def _append_singly(log: FleetLog, records: list[bytes]) -> None:
    for record in records:
        await log.append([record])


async def _append_now_and_then(log: FleetLog) -> None:
    for record in named("meanwhile", _TRIES):
        await _try_append(log, record)
        await asyncio.sleep(_NOW_AND_THEN)


async def _try_append(log: FleetLog, record: bytes) -> None:
    with suppress(TimeoutError, FleetLogError):
        async with asyncio.timeout(_FROZEN):
            await log.append([record])


async def _try_read(reader: LogReader, seconds: float) -> None:
    with suppress(FleetLogError):
        await reader.read_for(seconds)


async def _works_again(bed: LogBed, readers: list[LogReader]) -> None:
    """Check that all append and read, and see one order from the first new record on."""
    wanted = [await append_at_last(bed, reader.log, b"again%d" % number) for number, reader in enumerate(readers)]
    seen = [await reader.until_at_last(*wanted) for reader in readers]
    again = [[record for record in each if record in wanted] for each in seen]
    expect_equal(again, [wanted for _ in readers], "after the trouble all read what is appended, in one order")


FLEET_LOG_CASES = (
    log_case(it_names_its_place),
    log_case(closing_twice_is_fine),
    log_case(a_close_ends_a_read_that_waits),
    log_case(a_log_that_is_not_open_raises),
    log_case(an_append_returns_when_the_log_has_it),
    log_case(a_read_waits),
    log_case(all_readers_see_one_order),
    log_case(it_reads_and_appends_in_parallel),
    log_case(a_record_may_be_as_large_as_the_cap),
    log_case(a_newcomer_sees_what_is_new, "past"),
    log_case(a_newcomer_to_old_records_waits, "past"),
    log_case(a_cancelled_read_loses_nothing),
    log_case(a_cancelled_append_is_in_the_log_once_or_not_at_all),
    log_case(a_log_that_does_not_exist_is_refused, "absent"),
    log_case(who_may_not_write_is_refused, "permission"),
    log_case(a_log_that_was_made_anew_goes_on, "wipe"),
    log_case(a_restart_of_the_server_is_survived, "restart"),
    log_case(a_frozen_server_is_survived, "freeze"),
    log_case(closing_does_not_wait_for_a_frozen_server, "freeze"),
)
