"""A nack gives a message back, and the broker delivers it again immediately: in an outage the loop eats the delivery limit."""

import asyncio

from examples.traps.world import MESSAGES, Figures, Payments, fill, for_a_while, guarded

from holdgate.testing import MemoryBroker, MemoryIntake, QueueSettings


def queue() -> MemoryBroker:
    """A quorum queue of RabbitMQ 4.0: 20 returns are allowed, and what is dead goes nowhere unless a policy names a place."""
    broker = MemoryBroker()
    broker.create_queue("orders", QueueSettings(delivery_limit=20))
    fill(broker, "orders")
    return broker


async def without() -> Figures:
    broker, payments = queue(), Payments()
    channel = broker.model.queues["orders"].open(prefetch=10)

    # region without
    async def consume() -> None:
        while True:
            for tag, queued in channel.take():
                try:
                    await payments.charge(queued.message.body or b"")
                except ConnectionError:
                    channel.nack(tag, requeue=True)
                else:
                    channel.ack(tag)
            await asyncio.sleep(0.1)

    # endregion

    await for_a_while(consume())
    return result(broker, payments)


async def behind_a_guard() -> Figures:
    broker, payments = queue(), Payments()
    await guarded(payments, MemoryIntake(broker, queues=["orders"]))
    return result(broker, payments)


def result(broker: MemoryBroker, payments: Payments) -> Figures:
    events = [entry.event for entry in broker.ledger]
    return {
        "charged": len(set(payments.charged)),
        "dropped by the broker": events.count("dead"),
        "not processed at the end": MESSAGES - len(set(payments.charged)) - events.count("dead"),
        "calls into the outage": payments.failed,
        "returns counted": events.count("requeued"),
    }
