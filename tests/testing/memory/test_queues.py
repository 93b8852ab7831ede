"""The RabbitMQ half of the in-memory intake: acks in runs, and what a lost or closed channel gives back."""

from __future__ import annotations

import asyncio

import pytest

from holdgate.flow.message import Backlog, Delivery, Queue, Settlement
from holdgate.testing import MemoryBroker, MemoryDelivery, MemoryIntake, Message, QueueSettings, in_virtual_time
from tests.testing.memory.driver import driving

MAILS = Queue("mails")


@pytest.fixture
def broker() -> MemoryBroker:
    return broker_with(QueueSettings())


def broker_with(settings: QueueSettings, count: int = 3) -> MemoryBroker:
    """A queue of that kind with the bodies 0, 1, 2."""
    broker = MemoryBroker(queues=["dead"])
    broker.create_queue("mails", settings)
    for number in range(count):
        broker.model.produce("mails", b"%d" % number, 0.0)
    return broker


def intake(broker: MemoryBroker, prefetch: int = 50) -> MemoryIntake:
    return MemoryIntake(broker, queues=["mails"], prefetch=prefetch)


def counts(deliveries: list[Delivery[Message]]) -> list[int]:
    return [delivery.delivery_count for delivery in deliveries if isinstance(delivery, MemoryDelivery)]


@in_virtual_time
async def test_acks_go_out_a_turn_of_the_loop_later(broker: MemoryBroker) -> None:
    """Recorded at once, sent in a run, in the order of the tags."""
    async with driving(intake(broker)) as at:
        at.ack(at.received[::-1])
        at_once = broker.ledger.positions("acked", MAILS)
        await asyncio.sleep(0)

        assert (at_once, broker.ledger.positions("acked", MAILS)) == ([], [0, 1, 2])


@in_virtual_time
async def test_the_first_word_counts(broker: MemoryBroker) -> None:
    """Settled twice before the run went out: a broker would close the channel for the second."""
    async with driving(intake(broker)) as at:
        at.ack(at.received[:1])
        at.intake.settle(at.received[0], Settlement.REJECT)
        await at.intake.flush()

        assert (broker.ledger.positions("acked", MAILS), broker.ledger.positions("rejected", MAILS)) == ([0], [])


@in_virtual_time
async def test_a_rejected_message_goes_to_the_dead_letter_queue() -> None:
    """The queue's own one."""
    broker = broker_with(QueueSettings(dead_letters="dead"))
    async with driving(intake(broker)) as at:
        at.intake.settle(at.received[1], Settlement.REJECT)

    assert [message.body for message in broker.waiting(Queue("dead"))] == [b"1"]


@in_virtual_time
async def test_an_ack_on_a_lost_channel_is_ignored(broker: MemoryBroker) -> None:
    """Its tag means another message on the next channel."""
    async with driving(intake(broker)) as at:
        late = at.received[:2]
        broker.drop(at.intake)
        again = await at.drain()
        at.ack(late)
        await at.intake.flush()

        assert (len(again), broker.ledger.positions("acked", MAILS)) == (3, [])


@in_virtual_time
async def test_acks_on_their_way_are_lost_with_the_channel(broker: MemoryBroker) -> None:
    """Recorded but not sent: the message comes again, and the next run does not carry the old tags."""
    async with driving(intake(broker)) as at:
        at.ack(at.received[:1])
        broker.drop(at.intake)
        again = await at.drain()

        assert ([delivery.body for delivery in again], broker.ledger.positions("acked", MAILS)) == ([b"0", b"1", b"2"], [])


@pytest.mark.parametrize(("nack_counts", "count"), [(True, 1), (False, 0)])
@in_virtual_time
async def test_closing_counts_only_where_it_must(nack_counts: bool, count: int) -> None:
    """Where a nack is free, everything is nacked before the channel closes; order is kept either way."""
    broker = broker_with(QueueSettings(nack_counts=nack_counts))
    async with driving(intake(broker)):
        pass
    async with driving(intake(broker)) as at:
        assert ([delivery.body for delivery in at.received], counts(at.received)) == ([b"0", b"1", b"2"], [count] * 3)


@in_virtual_time
async def test_a_close_while_it_reconnects_stays_closed(broker: MemoryBroker) -> None:
    """No channel is opened behind its back, to swallow messages for ever."""
    async with driving(intake(broker)) as at:
        broker.drop(at.intake)
        await at.intake.close()
        await asyncio.sleep(1)

        assert (broker.model.queues["mails"].unacked, at.listener.count("assigned")) == (0, 1)


@in_virtual_time
async def test_dropped_twice_it_loses_its_queues_once(broker: MemoryBroker) -> None:
    """Before it is back there is nothing to lose."""
    async with driving(intake(broker)) as at:
        broker.drop(at.intake)
        broker.drop(at.intake)
        await at.drain()

        assert [event for event, _ in at.listener.events] == ["assigned", "lost", "assigned"]
        assert len(broker.model.queues["mails"]._channels) == 1


@in_virtual_time
async def test_what_is_held_is_not_prefetched(broker: MemoryBroker) -> None:
    """It stays in the queue, for other consumers to take."""
    async with driving(intake(broker), held=[MAILS]):
        assert (broker.model.queues["mails"].ready, broker.model.queues["mails"].unacked) == (3, 0)


@in_virtual_time
async def test_two_intakes_share_a_queue(broker: MemoryBroker) -> None:
    """Each has its own window, and a settlement in one does not wait for the other."""
    async with driving(intake(broker, prefetch=1)) as first, driving(intake(broker, prefetch=1)) as second:
        first.ack(first.received)
        await first.drain()

        assert ([d.body for d in first.received], [d.body for d in second.received]) == ([b"0", b"2"], [b"1"])


@in_virtual_time
async def test_the_backlog_counts_what_is_recorded_as_settled(broker: MemoryBroker) -> None:
    """An ack on its way is done for us; the age is that of the oldest that is left."""
    broker.model.produce("mails", b"late", 40.0)
    async with driving(intake(broker)) as at:
        await asyncio.sleep(60 - broker.now())
        some = await at.intake.backlog()
        at.ack(at.received[:3])
        late = await at.intake.backlog()
        at.ack(at.received[3:])

        assert (some, late, await at.intake.backlog()) == ({MAILS: Backlog(4, 60.0)}, {MAILS: Backlog(1, 20.0)}, {MAILS: Backlog(0, None)})


@in_virtual_time
async def test_a_deleted_queue_is_closed_without_an_error(broker: MemoryBroker) -> None:
    """Nothing can be given back to it."""
    async with driving(intake(broker)):
        broker.delete("mails")
