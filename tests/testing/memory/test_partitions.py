"""The Kafka half of the in-memory intake: when it commits, and what a changing group does to it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from holdgate.errors import IntakeError
from holdgate.flow.message import Backlog, Delivery, Partition, Source
from holdgate.flow.plan import Plan
from holdgate.testing import MemoryBroker, MemoryIntake, Message, in_virtual_time
from holdgate.testing.conformance import RecordingListener
from tests.testing.memory.driver import driving

GROUP = "holdgate"
COMMIT_EVERY = 5.0
REBALANCE_TIMEOUT = 20.0
P0, P1 = Partition("orders", 0), Partition("orders", 1)


@pytest.fixture
def broker() -> MemoryBroker:
    """Three messages in each of two partitions."""
    broker = MemoryBroker(topics={"orders": 2})
    for number in range(3):
        for partition in (0, 1):
            broker.model.produce("orders", b"%d" % number, 0.0, partition=partition)
    return broker


def intake(broker: MemoryBroker) -> MemoryIntake:
    return MemoryIntake(broker, topics=["orders"], commit_every=COMMIT_EVERY, rebalance_timeout=REBALANCE_TIMEOUT)


def of(deliveries: Collection[Delivery[Message]], source: Source) -> list[Delivery[Message]]:
    return [delivery for delivery in deliveries if delivery.source == source]


@in_virtual_time
async def test_the_watermark_is_committed_in_runs(broker: MemoryBroker) -> None:
    """Nothing at once, and one commit for everything finished when the interval is over."""
    async with driving(intake(broker)) as at:
        at.ack(at.received[:2])
        await asyncio.sleep(COMMIT_EVERY - 0.1)
        early = broker.committed(GROUP)
        at.ack(at.received[2:])
        await asyncio.sleep(0.2)

        assert (early, broker.committed(GROUP)) == ({}, {P0: 3, P1: 3})
        assert broker.ledger.positions("committed", P0) == [3]


@in_virtual_time
async def test_the_next_run_begins_with_the_next_settlement(broker: MemoryBroker) -> None:
    """An interval after each first settlement, for ever."""
    async with driving(intake(broker)) as at:
        committed = []
        for delivery in of(at.received, P0):
            at.ack([delivery])
            await asyncio.sleep(COMMIT_EVERY + 0.1)
            committed.append(broker.committed(GROUP)[P0])

        assert committed == [1, 2, 3]


@in_virtual_time
async def test_a_hold_commits_at_once(broker: MemoryBroker) -> None:
    """What is finished when a source is held is safe for as long as the hold takes; held already, nothing is done."""
    async with driving(intake(broker)) as at:
        at.ack(of(at.received, P0)[:1])
        at.hold(P0)
        first = broker.committed(GROUP)
        at.ack(of(at.received, P0)[1:])
        at.hold(P0)

        assert (first, broker.committed(GROUP)) == ({P0: 1}, {P0: 1})


@in_virtual_time
async def test_a_watermark_is_committed_once(broker: MemoryBroker) -> None:
    """Nothing new, no commit; also in a new assignment that begins where the last one ended."""
    async with driving(intake(broker)) as at:
        at.ack(of(at.received, P0)[:1])
        for _ in range(3):
            await at.intake.flush()
        broker.rebalance(GROUP)
        await at.drain()
        await at.intake.flush()

    assert broker.ledger.positions("committed", P0) == [1]


@in_virtual_time
async def test_offsets_with_gaps_are_never_counted(broker: MemoryBroker) -> None:
    """The watermark after the last message of a log that ends in a gap is the log's end: the lag is zero."""
    broker.model.log(P0).skip(7)
    async with driving(intake(broker)) as at:
        before_gap = of(at.received, P0)
        at.ack(before_gap[:2])
        await at.intake.flush()
        middle = broker.committed(GROUP)[P0]
        at.ack(before_gap[2:])
        await at.intake.flush()

        assert (middle, broker.committed(GROUP)[P0]) == (2, 10)


@in_virtual_time
async def test_what_is_not_settled_keeps_the_watermark(broker: MemoryBroker) -> None:
    """The watermark stays before it, whatever is settled after it."""
    async with driving(intake(broker)) as at:
        at.ack(of(at.received, P0)[1:])
        await at.intake.flush()

        assert broker.committed(GROUP) == {}


@in_virtual_time
async def test_the_backlog_counts_messages_and_tells_the_age_of_the_oldest(broker: MemoryBroker) -> None:
    """In hand and in the log; finished out of turn is not waiting, and an empty partition has no age."""
    async with driving(intake(broker)) as at:
        at.ack([of(at.received, P0)[1], *of(at.received, P1)])
        at.hold(P0)
        await asyncio.sleep(60 - broker.now())
        broker.produce("orders", b"3", partition=0)

        assert await at.intake.backlog() == {P0: Backlog(3, 60.0), P1: Backlog(0, None)}


@in_virtual_time
async def test_the_backlog_of_what_was_never_read_is_the_log(broker: MemoryBroker) -> None:
    """Held from the first moment."""
    async with driving(intake(broker), held=[P0, P1]) as at:
        await asyncio.sleep(60 - broker.now())

        assert (await at.intake.backlog())[P0] == Backlog(3, 60.0)


@in_virtual_time
async def test_nothing_is_handed_out_while_it_gives_back(broker: MemoryBroker) -> None:
    """From the begin of a rebalance on, also while in-flight work still runs."""
    async with driving(intake(broker)) as at:
        at.listener.finish_in_flight = lambda: asyncio.sleep(3)
        at.received.clear()
        broker.rebalance(GROUP)
        broker.produce("orders", b"3", partition=0)
        await at.poll_for(2)
        during = list(at.received)
        await at.poll_for(3)

        assert (during, [delivery.body for delivery in of(at.received, P0)]) == ([], [b"0", b"1", b"2", b"3"])


@in_virtual_time
async def test_who_gives_back_too_slowly_is_evicted_and_comes_back(broker: MemoryBroker) -> None:
    """The others go on at the timeout; what it committed afterwards was refused; it joins anew, and is not told of a loss twice."""
    async with driving(intake(broker)) as at:

        async def finish_late() -> None:
            await asyncio.sleep(REBALANCE_TIMEOUT + 1)
            at.ack(at.received)

        at.listener.finish_in_flight = finish_late
        broker.add_member(GROUP)
        await at.poll_for(REBALANCE_TIMEOUT + 0.5)
        alone = len(broker.members(GROUP))
        await at.poll_for(5)

        assert (alone, len(broker.members(GROUP)), broker.committed(GROUP)) == (1, 2, {})
        assert at.listener.events[1:] == [
            ("revoked", frozenset({P0, P1})),
            ("assigned", frozenset({P0})),
        ]
        assert broker.ledger.positions("lost", P0) == [3]


@in_virtual_time
async def test_a_dropped_member_loses_its_partitions_and_gets_them_back(broker: MemoryBroker) -> None:
    """Nothing it had finished and not committed counts."""
    async with driving(intake(broker)) as at:
        at.ack(at.received)
        broker.drop(at.intake)
        again = await at.drain()

        assert [event for event, _ in at.listener.events] == ["assigned", "lost", "assigned"]
        assert (len(again), broker.committed(GROUP)) == (6, {})


@in_virtual_time
async def test_two_intakes_share_a_group(broker: MemoryBroker) -> None:
    """Both read; when one closes, the other gets the rest from where it was."""
    async with driving(intake(broker)) as first, driving(intake(broker)) as second:
        await first.drain()
        await second.drain()
        owned = (set(first.listener.owned), set(second.listener.owned))
        second.ack(second.received)
        await second.intake.close()
        fresh = await first.drain()

        assert owned == ({P0}, {P1})
        assert (first.listener.owned, of(fresh, P1)) == ({P0, P1}, [])


@in_virtual_time
async def test_a_member_without_partitions_has_nothing_revoked() -> None:
    """It takes part in rebalances all the same, and gets the partition when the other one goes."""
    broker = MemoryBroker(topics={"orders": 1})
    async with driving(intake(broker)) as first, driving(intake(broker)) as second:
        await first.drain()
        broker.rebalance(GROUP)
        await first.drain()
        without = second.listener.count("revoked")
        await first.intake.close()
        await second.drain()

        assert (without, second.listener.owned) == (0, {P0})
        assert all(sources for event, sources in second.listener.events if event == "revoked")


@in_virtual_time
async def test_a_close_waits_for_a_revocation(broker: MemoryBroker) -> None:
    """What ends in it is committed; then it leaves."""
    async with driving(intake(broker)) as at:

        async def finish() -> None:
            await asyncio.sleep(3)
            at.ack(at.received)

        at.listener.finish_in_flight = finish
        broker.rebalance(GROUP)
        await asyncio.sleep(1)

    assert (broker.committed(GROUP), list(broker.members(GROUP))) == ({P0: 3, P1: 3}, [])


@in_virtual_time
async def test_a_close_does_not_wait_for_ever(broker: MemoryBroker) -> None:
    """A listener that never returns costs the rebalance timeout and no more."""
    async with driving(intake(broker)) as at:
        never: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def finish_never() -> None:
            await never

        at.listener.finish_in_flight = finish_never
        broker.rebalance(GROUP)
        await asyncio.sleep(1)
        start = asyncio.get_running_loop().time()
        await at.intake.close()

        assert asyncio.get_running_loop().time() - start == pytest.approx(REBALANCE_TIMEOUT)


class FailingListener(RecordingListener):
    """A listener with a mistake in it."""

    def assigned(self, sources: Collection[Source]) -> Plan:
        raise LookupError("a mistake")


@in_virtual_time
async def test_a_listener_that_fails_ends_the_intake(broker: MemoryBroker) -> None:
    """The next receive says so, instead of a worker that reads nothing for ever."""
    failing = intake(broker)
    await failing.open(FailingListener())
    with pytest.raises(IntakeError, match="the listener failed") as raised:
        await failing.receive()
    await failing.close()

    assert isinstance(raised.value.__cause__, LookupError)


@in_virtual_time
async def test_messages_that_retention_took_are_not_waited_for(broker: MemoryBroker) -> None:
    """After a long hold it goes on at what is left."""
    async with driving(intake(broker), held=[P0, P1]) as at:
        broker.model.log(P0).trim(2)
        at.listener.held.clear()
        at.intake.apply(at.listener.plan())

        assert [delivery.position for delivery in of(await at.drain(), P0)] == [2]
