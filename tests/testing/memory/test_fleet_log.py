"""The log in memory: what its troubles do, and what it keeps. The conformance kit has the rest."""

from __future__ import annotations

import asyncio

import pytest

from holdgate.errors import FleetLogError
from holdgate.testing import NO_TROUBLE, LogTrouble, MemoryFleetLog, MemoryLogServer, in_virtual_time
from holdgate.testing.memory import fleet_log


async def opened(server: MemoryLogServer, count: int) -> list[MemoryFleetLog]:
    logs = [MemoryFleetLog(server) for _ in range(count)]
    for log in logs:
        await log.open()
    return logs


def now() -> float:
    return asyncio.get_running_loop().time()


async def data(log: MemoryFleetLog) -> list[bytes]:
    return [entry.data for entry in await log.read()]


@in_virtual_time
async def test_a_delay_is_on_the_way_there_and_on_the_way_back() -> None:
    """An append takes the delay of its log once, and a record takes it once more from the server to each reader."""
    server = MemoryLogServer()
    near, far = await opened(server, 2)
    far.trouble = LogTrouble(delay=0.5)
    await near.append([b"1"])
    assert now() == 0
    assert await data(near) == [b"1"]
    assert await data(far) == [b"1"]
    assert now() == pytest.approx(0.5)
    await far.append([b"2"])
    assert now() == pytest.approx(1.0)
    assert await data(near) == [b"2"]
    assert now() == pytest.approx(1.0)


@in_virtual_time
async def test_records_on_a_slow_way_keep_their_order() -> None:
    """Several appends that are on the way in parallel arrive in the order in which they were sent."""
    server = MemoryLogServer()
    (log,) = await opened(server, 1)
    log.trouble = LogTrouble(delay=0.5)
    await asyncio.gather(*(log.append([b"%d" % number]) for number in range(5)))
    assert now() == pytest.approx(0.5)
    assert await data(log) == [b"%d" % number for number in range(5)]


@in_virtual_time
async def test_what_was_sent_to_a_hung_server_is_stored_afterwards_although_it_was_cancelled() -> None:
    """A frozen server has the record in its socket, and stores it when it goes on."""
    server = MemoryLogServer()
    writer, reader = await opened(server, 2)
    server.trouble = LogTrouble(hung=True)
    appending = asyncio.ensure_future(writer.append([b"late"]))
    reading = asyncio.ensure_future(reader.read())
    await asyncio.sleep(60)
    assert not appending.done()
    assert not reading.done()
    appending.cancel()
    server.trouble = NO_TROUBLE
    assert [entry.data for entry in await reading] == [b"late"]


@in_virtual_time
async def test_one_log_is_cut_off_and_the_others_go_on() -> None:
    """The trouble of a log is its own: it hangs while another one appends and reads, and then it catches up."""
    server = MemoryLogServer()
    cut, other = await opened(server, 2)
    cut.trouble = LogTrouble(hung=True)
    reading = asyncio.ensure_future(cut.read())
    await other.append([b"1", b"2"])
    assert await data(other) == [b"1", b"2"]
    await asyncio.sleep(60)
    assert not reading.done()
    cut.trouble = NO_TROUBLE
    assert [entry.data for entry in await reading] == [b"1", b"2"]


@in_virtual_time
async def test_a_call_that_waits_meets_an_error_immediately() -> None:
    """When the error is set, a read that waits and an append on the wire raise it."""
    server = MemoryLogServer()
    (log,) = await opened(server, 1)
    log.trouble = LogTrouble(delay=10)
    calls = [asyncio.ensure_future(log.read()), asyncio.ensure_future(log.append([b"lost"]))]
    await asyncio.sleep(1)
    log.trouble = LogTrouble(error="no server")
    done, _ = await asyncio.wait(calls)
    assert [str(call.exception()) for call in calls if call in done] == ["no server", "no server"]
    assert now() == pytest.approx(10)
    assert server.end == 0


@in_virtual_time
async def test_a_reader_that_may_not_write_reads_on() -> None:
    """With `read_only` for everybody an append raises, and what the server has is read."""
    server = MemoryLogServer()
    (log,) = await opened(server, 1)
    await log.append([b"1"])
    server.trouble = LogTrouble(read_only=True)
    with pytest.raises(FleetLogError, match="may not write"):
        await log.append([b"2"])
    assert await data(log) == [b"1"]


@in_virtual_time
async def test_open_waits_while_the_server_hangs() -> None:
    """An open of a hung server returns when the hang is over."""
    server = MemoryLogServer()
    server.trouble = LogTrouble(hung=True)
    log = MemoryFleetLog(server)
    opening = asyncio.ensure_future(log.open())
    await asyncio.sleep(5)
    assert not opening.done()
    server.trouble = NO_TROUBLE
    await opening
    await log.append([b"1"])
    assert await data(log) == [b"1"]


@in_virtual_time
async def test_an_append_on_the_wire_raises_at_the_close_and_arrives() -> None:
    """The caller hears of the close, and the server gets the record."""
    server = MemoryLogServer()
    (log,) = await opened(server, 1)
    log.trouble = LogTrouble(delay=1)
    appending = asyncio.ensure_future(log.append([b"last"]))
    await asyncio.sleep(0.5)
    await log.close()
    with pytest.raises(FleetLogError, match="not open"):
        await appending
    await asyncio.sleep(1)
    assert server.end == 1


@in_virtual_time
async def test_old_records_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server keeps no record for ever, positions go on, and who hung meanwhile gets what is left."""
    monkeypatch.setattr(fleet_log, "_DROPPED_AT_ONCE", 10)
    server = MemoryLogServer()
    (log,) = await opened(server, 1)
    for number in range(100):
        await log.append([b"%d" % number])
        await asyncio.sleep(60)
    entries = await log.read()
    assert len(entries) < 25
    assert entries[-1].position == 99
    assert [entry.data for entry in entries] == [b"%d" % entry.position for entry in entries]
