"""The brokers are asked beside the work, seldom, and only while somebody wants to know."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from tests.runtime.stage import Handler, broker_with, dependency, quiet_guard, running

from holdgate import Guard, LogSettings, Partition
from holdgate.errors import SettingsError
from holdgate.flow.message import Backlog, Source
from holdgate.testing import MemoryBroker, MemoryIntake, in_virtual_time

ORDERS = Partition("orders", 0)


class CountedIntake(MemoryIntake):
    """Counts the questions, and answers them late or not at all."""

    def __init__(self, broker: MemoryBroker, **settings: Any) -> None:
        super().__init__(broker, topics=["orders"], **settings)
        self.asked = 0
        self.under_way = 0
        self.most = 0
        self.takes = 0.0
        self.raises: BaseException | None = None
        self.cancelled = 0

    async def backlog(self) -> Mapping[Source, Backlog]:
        self.asked += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(self.takes)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1
        if self.raises is not None:
            raise self.raises
        return await super().backlog()


@in_virtual_time
async def test_nobody_asks_who_does_not_want_to_know() -> None:
    """A worker without metrics, and without the log's lines about its work, asks its broker nothing, however long it runs."""
    source = CountedIntake(broker_with(5))
    async with quiet_guard(log=LogSettings(work_every=None)) as guard, running(guard.run(source, Handler())):
        await asyncio.sleep(300)
        assert source.asked == 0


@in_virtual_time
async def test_it_is_asked_every_few_seconds_and_read_from_memory() -> None:
    """However often somebody reads, the broker gets one question in five seconds; a read never waits."""
    source = CountedIntake(broker_with(5))
    async with quiet_guard() as guard, running(guard.run(source, Handler(1000.0))):
        await asyncio.sleep(1)
        assert guard.backlogs() == {}
        for _ in range(300):
            await asyncio.sleep(0.1)
            guard.backlogs()
        assert source.asked in (6, 7)
        seen = guard.backlogs()[ORDERS]
        assert (seen.waiting.messages, seen.group, seen.willing) == (5, "holdgate", 5)


@in_virtual_time
async def test_the_questions_end_when_nobody_reads_any_more() -> None:
    """And begin again with the next read."""
    source = CountedIntake(broker_with(5))
    quiet = LogSettings(work_every=None)  # its lines ask, too
    async with quiet_guard(backlog_every=1.0, log=quiet) as guard, running(guard.run(source, Handler())):
        await asyncio.sleep(1)
        guard.backlogs()
        await asyncio.sleep(300)
        assert 20 < source.asked < 30
        guard.backlogs()
        await asyncio.sleep(1.5)
        assert guard.backlogs()[ORDERS].waiting.messages == 0


@in_virtual_time
async def test_a_scrape_a_minute_is_enough_for_any_number_of_runs() -> None:
    """Each run counts its own questions: five of them do not tire of a reader five times as soon."""
    quiet = LogSettings(work_every=None)  # its lines ask, too
    names = [f"orders{number}" for number in range(5)]
    broker = MemoryBroker(topics=dict.fromkeys(names, 1))
    async with quiet_guard(log=quiet) as guard, asyncio.TaskGroup() as runs:
        for name in names:
            runs.create_task(guard.run(MemoryIntake(broker, topics=[name]), Handler()))
        await asyncio.sleep(1)
        guard.backlogs()
        for _ in range(3):
            await asyncio.sleep(60)
            assert {source.name for source in guard.backlogs()} == set(names)
        await guard.stop()


@in_virtual_time
async def test_a_broker_that_does_not_answer_keeps_one_question_and_the_flow_goes_on() -> None:
    """Never two, and none is cancelled by the end of the run."""
    source = CountedIntake(broker_with(50))
    source.takes = 100.0
    handler = Handler()
    async with quiet_guard(backlog_every=1.0) as guard:
        async with running(guard.run(source, handler)):
            await asyncio.sleep(0.5)
            for _ in range(20):
                guard.backlogs()
                await asyncio.sleep(1)
            assert (source.asked, source.most, len(handler.done)) == (1, 1, 50)
        await asyncio.sleep(200)
    assert source.cancelled == 0


@in_virtual_time
async def test_a_question_that_fails_is_no_answer_and_the_next_one_is(caplog) -> None:
    """What was known stays for as long as nothing better is known."""
    source = CountedIntake(broker_with(5))
    async with quiet_guard(backlog_every=1.0) as guard, running(guard.run(source, Handler(1000.0))):
        await asyncio.sleep(0.5)
        source.raises = OSError("secret")
        guard.backlogs()
        await asyncio.sleep(1.5)
        assert guard.backlogs() == {}
        source.raises = None
        await asyncio.sleep(2)
        assert guard.backlogs()[ORDERS].waiting.messages == 5
    assert "secret" not in caplog.text


@in_virtual_time
async def test_a_source_that_has_gone_is_not_shown() -> None:
    """Its next owner tells of it; and after the run there is nothing."""
    source = CountedIntake(broker_with(5))
    async with quiet_guard(backlog_every=1.0) as guard:
        async with running(guard.run(source, Handler(1000.0), needs=[dependency()])):
            await asyncio.sleep(0.5)
            guard.backlogs()
            await asyncio.sleep(2)
            assert ORDERS in guard.backlogs()
            source.drop()
            assert guard.backlogs() == {} or ORDERS in guard.snapshot().sources
        assert guard.backlogs() == {}


@pytest.mark.parametrize("value", [0, -1, "often"])
def test_an_interval_that_makes_no_sense_is_refused(value: Any) -> None:
    """To ask without a pause would be an attack."""
    with pytest.raises(SettingsError, match="backlog_every"):
        Guard(backlog_every=value)
