"""The wire to a fleet's log: what it does when the log fails, hangs, cannot be written or does not exist."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from holdgate.errors import FleetLogError
from holdgate.ports import LogEntry
from holdgate.runtime.fleet_wire import Wire
from holdgate.testing import in_virtual_time
from holdgate.testing.memory import LogTrouble, MemoryFleetLog, MemoryLogServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LONG = 120.0


class Desk:
    """A wire, what it has heard, and what it has said of the log's state."""

    def __init__(self, server: MemoryLogServer) -> None:
        self.server = server
        self.log = MemoryFleetLog(server)
        self.heard: list[bytes] = []
        self.states: list[bool] = []
        self.wire = Wire(self.log, self._heard, self.states.append, lambda: 0.5)

    def _heard(self, entries: Sequence[LogEntry]) -> None:
        self.heard += [entry.data for entry in entries]


@asynccontextmanager
async def started(server: MemoryLogServer | None = None) -> AsyncIterator[Desk]:
    """A wire that has begun; none of its tasks is left at the end."""
    desk = Desk(server or MemoryLogServer())
    desk.wire.start()
    await asyncio.sleep(1.0)
    try:
        yield desk
    finally:
        await desk.wire.close()
        assert not [task for task in asyncio.all_tasks() if "fleet" in task.get_name()]


@in_virtual_time
async def test_what_is_sent_is_written_and_read_in_order() -> None:
    """The sender never waits; all of one moment are one append."""
    async with started() as desk:
        desk.wire.send([b"1", b"2"])
        desk.wire.send([b"3"])
        await asyncio.sleep(1.0)
        assert desk.heard == [b"1", b"2", b"3"]
        assert set(desk.states) == {True}


@in_virtual_time
async def test_a_log_that_is_not_there_yet_is_opened_when_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """One warning with the remedy, however often it is tried; what was to be written meanwhile is over."""
    caplog.set_level(logging.INFO, "holdgate")
    async with started(MemoryLogServer(exists=False)) as desk:
        desk.wire.send([b"late"])
        await asyncio.sleep(LONG)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "create" in caplog.text
        desk.server.create()
        await asyncio.sleep(LONG)
        desk.wire.send([b"new"])
        await asyncio.sleep(1.0)
        assert desk.heard == [b"new"]
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
        assert (desk.states[0], desk.states[-1]) == (False, True)


@in_virtual_time
async def test_a_log_that_raises_is_read_again_and_again(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing that was written meanwhile is missed."""
    async with started() as desk:
        desk.log.trouble = LogTrouble(error="gone fishing")
        await asyncio.sleep(LONG)
        desk.server.store([b"others"])
        await asyncio.sleep(LONG)
        assert not desk.heard
        assert caplog.text.count("gone fishing") == 1
        desk.log.trouble = LogTrouble()
        await asyncio.sleep(LONG)
        assert desk.heard == [b"others"]
        assert desk.states[-1] is True


@in_virtual_time
async def test_a_log_that_may_not_be_written_is_read_all_the_same() -> None:
    """An operator's hold reaches this worker, though it cannot say anything itself."""
    async with started() as desk:
        desk.log.trouble = LogTrouble(read_only=True)
        desk.wire.send([b"mine"])
        await asyncio.sleep(1.0)
        desk.server.store([b"others"])
        await asyncio.sleep(1.0)
        assert desk.heard == [b"others"]
        assert desk.states[-1] is False


@in_virtual_time
async def test_what_an_append_could_not_write_is_dropped_with_what_came_meanwhile() -> None:
    """It was about a moment that is over."""
    async with started() as desk:
        desk.log.trouble = LogTrouble(read_only=True)
        desk.wire.send([b"1"])
        await asyncio.sleep(0.1)
        desk.wire.send([b"2"])
        await asyncio.sleep(5.0)
        desk.log.trouble = LogTrouble()
        desk.wire.send([b"3"])
        await asyncio.sleep(LONG)
        assert desk.heard == [b"3"]
        assert desk.states[-1] is True


@in_virtual_time
async def test_who_waits_for_a_confirmation_gets_it_or_the_error() -> None:
    """A command of an operator: either every worker will read it, or the operator learns why not."""
    async with started() as desk:
        await desk.wire.confirm([b"hold"])
        await asyncio.sleep(0.1)
        assert desk.heard == [b"hold"]
        desk.log.trouble = LogTrouble(read_only=True)
        with pytest.raises(FleetLogError, match="may not write"):
            await desk.wire.confirm([b"hold"])


@in_virtual_time
async def test_a_confirmation_of_a_log_that_hangs_ends() -> None:
    """With an error, and in time."""
    async with started() as desk:
        desk.log.trouble = LogTrouble(hung=True)
        with pytest.raises((TimeoutError, FleetLogError)):
            await desk.wire.confirm([b"hold"])


@in_virtual_time
async def test_a_log_that_hangs_keeps_nobody() -> None:
    """Neither who sends, nor who closes; and what waits is bounded."""
    async with started() as desk:
        desk.log.trouble = LogTrouble(hung=True)
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(1000):
            desk.wire.send([b"x"])
        assert loop.time() == began
        await asyncio.sleep(LONG)
        began = loop.time()
        await desk.wire.close()
        assert loop.time() - began < 1.0


class Stubborn:
    """A log whose calls end neither by themselves nor by a cancellation."""

    place = "nowhere"

    def __init__(self) -> None:
        self.release = asyncio.Event()

    async def open(self) -> None:
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                continue

    async def append(self, records: Sequence[bytes]) -> None:
        raise AssertionError(records)

    async def read(self) -> Sequence[LogEntry]:
        raise AssertionError

    async def close(self) -> None:
        await self.open()


@in_virtual_time
async def test_a_log_that_takes_no_cancellation_is_left_behind() -> None:
    """It keeps its own task, and nothing else."""
    stubborn = Stubborn()
    wire = Wire(stubborn, print, print, lambda: 0.5)
    with pytest.raises(TimeoutError, match="no answer within 10 s"):
        await wire.open()
    wire.start()
    await asyncio.sleep(1.0)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await wire.close()
    assert loop.time() - began < 1.0
    stubborn.release.set()
    await asyncio.sleep(0.1)


class Cancelling(Stubborn):
    """A log that gives its own call up, and whose errors are none of holdgate's."""

    async def open(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1.0)

    async def close(self) -> None:
        raise ValueError


@in_virtual_time
async def test_a_log_that_cancels_its_own_call_has_failed() -> None:
    """That is no cancellation of ours, and what its close raises is nobody's business."""
    wire = Wire(Cancelling(), print, print, lambda: 0.5)
    with pytest.raises(FleetLogError, match="given up"):
        await wire.open()
    await wire.close()


class Foreign(MemoryFleetLog):
    """A log that raises what its author did not think of."""

    async def append(self, records: Sequence[bytes]) -> None:
        raise ValueError("secret")


@in_virtual_time
async def test_of_an_error_of_another_kind_only_the_type_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Its text may quote anything."""
    desk = Desk(MemoryLogServer())
    wire = Wire(Foreign(desk.server), print, print, lambda: 0.5)
    wire.start()
    await asyncio.sleep(0.1)
    with pytest.raises(FleetLogError, match="ValueError"):
        await wire.confirm([b"x"])
    assert "secret" not in caplog.text
    assert "ValueError" in caplog.text
    await wire.close()


class Impatient(MemoryFleetLog):
    """A log whose reads run into a time limit of its own."""

    reads = 0

    async def read(self) -> Sequence[LogEntry]:
        self.reads += 1
        raise TimeoutError("no leader")


@in_virtual_time
async def test_a_time_limit_of_the_logs_own_is_a_failure() -> None:
    """It is read again after a pause, and not in a hot loop."""
    log = Impatient(MemoryLogServer())
    states: list[bool] = []
    wire = Wire(log, print, states.append, lambda: 0.5)
    wire.start()
    await asyncio.sleep(LONG)
    assert 5 < log.reads < 20
    assert states[-1] is False
    await wire.close()


@in_virtual_time
async def test_what_is_sent_last_is_written_at_the_close() -> None:
    """The goodbye of a worker that leaves in order."""
    desk = Desk(MemoryLogServer())
    desk.wire.start()
    await asyncio.sleep(1.0)
    desk.wire.send([b"bye"])
    await desk.wire.close()
    assert desk.server.end == 1
