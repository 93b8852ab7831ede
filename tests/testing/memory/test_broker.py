"""MemoryBroker: what a test does with it."""

from __future__ import annotations

import asyncio

import pytest

from holdgate.flow.message import Partition, Queue
from holdgate.testing import MemoryBroker, MemoryIntake, QueueSettings, in_virtual_time
from tests.testing.memory.driver import driving

GROUP = "holdgate"
P0, P1 = Partition("orders", 0), Partition("orders", 1)


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker(topics={"orders": 2, "bills": 1}, queues=["mails"])


def test_it_is_made_with_topics_and_queues(broker: MemoryBroker) -> None:
    """More can be made later, of other kinds."""
    broker.create_topic("more", 2)
    broker.create_queue("strict", QueueSettings(single_active=True))

    assert {name: len(logs) for name, logs in broker.model.topics.items()} == {"orders": 2, "bills": 1, "more": 2}
    assert {name: queue.settings.single_active for name, queue in broker.model.queues.items()} == {"mails": False, "strict": True}


def test_it_can_be_filled_before_any_loop_runs(broker: MemoryBroker) -> None:
    """A plain fixture may produce; it is told where the message went."""
    place, message = broker.produce("orders", b"body", b"key", {"h": b"1"}, partition=1)

    assert (place, message.position, message.body, message.key, message.headers) == (P1, 0, b"body", b"key", {"h": b"1"})
    assert broker.produce("mails", b"")[0] == Queue("mails")


def test_without_a_loop_its_time_is_a_real_loops(broker: MemoryBroker) -> None:
    """So that ages make sense in a test that runs in real time afterwards."""
    before = broker.produce("mails", b"")[1].timestamp

    async def later() -> float:
        return broker.produce("mails", b"")[1].timestamp

    after = asyncio.run(later())
    assert before <= after < before + 600


@in_virtual_time
async def test_in_a_loop_its_time_is_the_loops(broker: MemoryBroker) -> None:
    """Virtual where that is."""
    await asyncio.sleep(3600)

    assert broker.produce("mails", b"")[1].timestamp == 3600.0


@in_virtual_time
async def test_what_is_committed_is_a_copy(broker: MemoryBroker) -> None:
    """What a test keeps does not change under it."""
    before = broker.committed(GROUP)
    broker.produce("orders", b"", partition=0)
    async with driving(MemoryIntake(broker, topics=["orders"])) as at:
        at.ack(at.received)

    assert (before, broker.committed(GROUP)) == ({}, {P0: 1})


@in_virtual_time
async def test_another_member_takes_its_share_and_does_nothing(broker: MemoryBroker) -> None:
    """Until it leaves."""
    async with driving(MemoryIntake(broker, topics=["orders"])) as at:
        other = broker.add_member(GROUP)
        await at.drain()
        with_other = (set(at.listener.owned), other in broker.members(GROUP))
        broker.remove_member(GROUP, other)
        await at.drain()

        assert (with_other, at.listener.owned) == (({P1}, True), {P0, P1})


@in_virtual_time
async def test_another_member_may_read_other_topics(broker: MemoryBroker) -> None:
    """It takes nothing of ours then."""
    async with driving(MemoryIntake(broker, topics=["orders"])) as at:
        broker.add_member(GROUP, ["bills"])
        await at.drain()

        assert at.listener.owned == {P0, P1}


def test_members_without_an_intake_need_no_loop(broker: MemoryBroker) -> None:
    """They give back at once, so that no rebalance is left open."""
    first = broker.add_member(GROUP)
    second = broker.add_member(GROUP)
    broker.rebalance(GROUP)
    broker.remove_member(GROUP, first)
    broker.remove_member(GROUP, "a stranger")

    assert broker.members(GROUP) == (second,)
    assert broker.model.group(GROUP).is_rebalancing is False


@in_virtual_time
async def test_a_forced_rebalance_deals_everything_anew(broker: MemoryBroker) -> None:
    """Though nobody came or went."""
    async with driving(MemoryIntake(broker, topics=["orders"])) as at:
        broker.rebalance(GROUP)
        await at.drain()

        assert [event for event, _ in at.listener.events] == ["assigned", "revoked", "assigned"]


@in_virtual_time
async def test_each_rebalance_has_its_own_deadline(broker: MemoryBroker) -> None:
    """One that ended in time evicts nobody in the next one."""
    async with driving(MemoryIntake(broker, topics=["orders"], rebalance_timeout=10)) as at:
        at.listener.finish_in_flight = lambda: asyncio.sleep(8)
        broker.rebalance(GROUP)
        await at.poll_for(9)
        broker.rebalance(GROUP)
        await at.poll_for(9)

        assert [event for event, _ in at.listener.events] == ["assigned", "revoked", "assigned", "revoked", "assigned"]


@in_virtual_time
async def test_closed_intakes_are_no_longer_told(broker: MemoryBroker) -> None:
    """A broker that lives through many tests does not collect them."""
    async with driving(MemoryIntake(broker, topics=["orders"])), driving(MemoryIntake(broker, queues=["mails"])):
        during = len(broker._bells)

    assert (during, len(broker._bells)) == (2, 0)


def test_what_waits_is_what_a_new_consumer_would_get(broker: MemoryBroker) -> None:
    """For a partition and for a queue."""
    broker.produce("orders", b"a", partition=0)
    broker.produce("mails", b"b")

    assert [message.body for message in broker.waiting(P0)] == [b"a"]
    assert [message.body for message in broker.waiting(Queue("mails"))] == [b"b"]
