"""A circuit breaker inside the handler protects the dependency and not the messages: refused at once, they fail faster than before."""

import asyncio

from examples.traps.world import Figures, Payments, fill, for_a_while, guarded

from holdgate import CallNotPermitted, Dependency, Guard
from holdgate.testing import LoopClock, MemoryBroker, MemoryDeadLetters, MemoryIntake


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
    refused = 0

    breaker = Dependency("payments", failures=ConnectionError)

    # region without
    async def consume() -> None:
        nonlocal refused
        while True:
            for _, messages in consumer.poll(1):
                for message in messages:
                    for attempt in (1, 2, 3):
                        try:
                            await breaker.call(payments.charge, message.body or b"")  # any breaker
                            break
                        except (ConnectionError, CallNotPermitted) as error:
                            refused += isinstance(error, CallNotPermitted)
                            if attempt == 3:
                                dead.append(message.body or b"")
                            await asyncio.sleep(0.1 * 2**attempt)
            await asyncio.sleep(0.1)

    # endregion

    async with Guard(breaker, signals=False, clock=LoopClock()):  # only for its clock: the breaker counts virtual seconds, too
        await for_a_while(consume())
    return result(payments, len(dead), refused)


async def behind_a_guard() -> Figures:
    broker, payments, dead = topic(), Payments(), MemoryDeadLetters()
    await guarded(payments, MemoryIntake(broker, topics=["orders"]), dead)
    return result(payments, len(dead.letters), 0)


def result(payments: Payments, dead: int, refused: int) -> Figures:
    return {
        "charged": len(set(payments.charged)),
        "good messages among the dead letters": dead,
        "attempts that the breaker refused": refused,
        "calls into the outage": payments.failed,
    }
