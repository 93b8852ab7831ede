"""A message that is acknowledged before its handler runs is gone when the handler fails."""

import asyncio
from contextlib import suppress

from examples.traps.world import MESSAGES, Figures, Payments, fill, for_a_while, guarded

from holdgate.testing import MemoryBroker, MemoryIntake


def queue() -> MemoryBroker:
    broker = MemoryBroker(queues=["orders"])
    fill(broker, "orders")
    return broker


async def without() -> Figures:
    broker, payments = queue(), Payments()
    channel = broker.model.queues["orders"].open(prefetch=10)

    # region without
    async def consume() -> None:
        while True:
            for tag, queued in channel.take():
                channel.ack(tag)
                with suppress(ConnectionError):  # logged, and gone
                    await payments.charge(queued.message.body or b"")
            await asyncio.sleep(0.1)

    # endregion

    await for_a_while(consume())
    return result(payments)


async def behind_a_guard() -> Figures:
    broker, payments = queue(), Payments()
    await guarded(payments, MemoryIntake(broker, queues=["orders"]))
    return result(payments)


def result(payments: Payments) -> Figures:
    return {"charged": len(set(payments.charged)), "lost": MESSAGES - len(set(payments.charged)), "calls into the outage": payments.failed}
