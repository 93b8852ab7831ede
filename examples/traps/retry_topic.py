"""A message that goes to a retry topic lets the next one of its key overtake it."""

import asyncio
from collections.abc import AsyncIterator

from examples.traps.world import DOWN, ENOUGH, Figures, Payments, for_a_while, guarded

from holdgate.testing import MemoryBroker, MemoryIntake, Message

KEYS = 20
EVENTS = 10
DELAY = 30.0


def topics() -> MemoryBroker:
    return MemoryBroker(topics={"orders": 1, "orders.retry": 1})


async def produce(broker: MemoryBroker) -> None:
    """An event of each account every ten seconds: before, in and after the outage."""
    for number in range(EVENTS):
        for account in range(KEYS):
            broker.produce("orders", b"%d %d" % (account, number), key=b"%d" % account)
        await asyncio.sleep(10)


async def read(broker: MemoryBroker, topic: str) -> AsyncIterator[Message]:
    """A consumer of one topic, for ever."""
    group = broker.model.group(topic)
    group.join("a", [topic], 0)
    consumer = broker.model.consumer(topic)
    consumer.assign(group.assignment("a"))
    while True:
        for _, messages in consumer.poll(1):
            for message in messages:
                yield message
        await asyncio.sleep(0.05)


async def without() -> Figures:
    broker, payments = topics(), Payments(DOWN)
    retried = 0

    # region without
    async def consume(topic: str) -> None:
        nonlocal retried
        async for message in read(broker, topic):
            if topic == "orders.retry":
                await asyncio.sleep(max(0.0, message.timestamp + DELAY - broker.now()))
            try:
                await payments.charge(message.body or b"")
            except ConnectionError:
                broker.produce("orders.retry", message.body, key=message.key)
                retried += 1

    # endregion

    async def both() -> None:
        await asyncio.gather(consume("orders"), consume("orders.retry"))

    producing = asyncio.create_task(produce(broker))
    await for_a_while(both(), 2 * ENOUGH)
    await producing
    return result(payments, retried)


async def behind_a_guard() -> Figures:
    broker, payments = topics(), Payments(DOWN)
    producing = asyncio.create_task(produce(broker))
    await guarded(payments, MemoryIntake(broker, topics=["orders"]), lasts=2 * ENOUGH)
    await producing
    return result(payments, 0)


def result(payments: Payments, retried: int) -> Figures:
    newest: dict[bytes, int] = {}
    overtaken = 0
    for body in payments.charged:
        account, number = body.split()
        overtaken += int(number) < newest.get(account, -1)
        newest[account] = max(int(number), newest.get(account, -1))
    return {
        "charged": len(set(payments.charged)),
        "charged after a later event of its account": overtaken,
        "published to the retry topic": retried,
        "calls into the outage": payments.failed,
    }
