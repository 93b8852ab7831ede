"""Three attempts and then the dead letters: right for a message that is at fault, and in an outage every message looks like one."""

import asyncio

from examples.traps.world import Figures, Payments, fill, for_a_while, guarded

from holdgate.testing import MemoryBroker, MemoryDeadLetters, MemoryIntake


def topic() -> MemoryBroker:
    broker = MemoryBroker(topics={"orders": 1})
    fill(broker, "orders")
    return broker


async def without() -> Figures:
    broker, payments = topic(), Payments()
    group = broker.model.group("charger")
    group.join("a", ["orders"], 0)
    consumer = broker.model.consumer("charger")
    consumer.assign(group.assignment("a"))
    dead: list[bytes] = []

    # region without
    async def consume() -> None:
        while True:
            for _, messages in consumer.poll(1):
                for message in messages:
                    body = message.body or b""
                    for attempt in (1, 2, 3):
                        try:
                            await payments.charge(body)
                            break
                        except ConnectionError:
                            if attempt == 3:
                                dead.append(body)
                            await asyncio.sleep(0.1 * 2**attempt)
            await asyncio.sleep(0.1)

    # endregion

    await for_a_while(consume())
    return result(payments, len(dead))


async def behind_a_guard() -> Figures:
    broker, payments, dead = topic(), Payments(), MemoryDeadLetters()
    await guarded(payments, MemoryIntake(broker, topics=["orders"]), dead)
    return result(payments, len(dead.letters))


def result(payments: Payments, dead: int) -> Figures:
    return {"charged": len(set(payments.charged)), "good messages among the dead letters": dead, "calls into the outage": payments.failed}
