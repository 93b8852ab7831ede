"""A consumer without a prefetch gets the whole queue: the next worker gets nothing, and a crash counts against every message."""

import asyncio

from examples.traps.world import Figures, Payments, guarded

from holdgate.testing import MemoryBroker, MemoryIntake, QueueSettings

MESSAGES = 2_000
LASTS = 40.0


def queue() -> MemoryBroker:
    broker = MemoryBroker()
    broker.create_queue("orders", QueueSettings(delivery_limit=20))
    for number in range(MESSAGES):
        broker.produce("orders", b"order %d" % number)
    return broker


async def without() -> Figures:
    broker, payments = queue(), Payments()
    orders = broker.model.queues["orders"]
    # region without
    first = orders.open(prefetch=MESSAGES)  # no basic.qos: the broker sends all that there is
    taken = first.take()
    # endregion
    most, ready = orders.unacked, orders.ready

    async def consume() -> None:
        for tag, queued in taken:
            while True:
                try:
                    await payments.charge(queued.message.body or b"")
                    break
                except ConnectionError:
                    await asyncio.sleep(1)
            first.ack(tag)

    try:
        await asyncio.wait_for(consume(), LASTS)
    except TimeoutError:
        first.close()  # the worker is killed: out of memory, or by a deployment
    return result(broker, most, ready)


async def behind_a_guard() -> Figures:
    broker, payments = queue(), Payments()
    orders = broker.model.queues["orders"]
    intake = MemoryIntake(broker, queues=["orders"])
    running = asyncio.create_task(guarded(payments, intake, lasts=LASTS))
    await asyncio.sleep(30)  # in the outage
    most, ready = orders.unacked, orders.ready
    broker.drop(intake)  # its channel is lost, as when the worker is killed
    after = result(broker, most, ready)
    await running
    return after


def result(broker: MemoryBroker, most: int, ready: int) -> Figures:
    counted = sum(1 for entry in broker.ledger if entry.event == "requeued")
    return {"in the first worker's memory": most, "left for a second worker": ready, "returns counted when it is killed": counted}
