"""The world of every trap: 200 messages, a dependency that is down for a minute, and the same messages behind a guard."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from types import ModuleType
from typing import Any

from holdgate import Delivery, Dependency, Guard
from holdgate.testing import LoopClock, MemoryBroker, MemoryDeadLetters, MemoryIntake, run_virtual

MESSAGES = 200
DOWN = (10.0, 70.0)
# How long a run lasts: the outage, and whatever comes after it.
ENOUGH = 300.0

Figures = dict[str, object]


class Payments:
    """A service that takes a tenth of a second for a charge, and refuses immediately while it is down."""

    def __init__(self, down: tuple[float, float] = DOWN) -> None:
        self.down = down
        self.calls = 0
        self.failed = 0
        self.charged: list[bytes] = []

    async def charge(self, body: bytes) -> None:
        self.calls += 1
        if self.down[0] <= asyncio.get_running_loop().time() < self.down[1]:
            self.failed += 1
            await asyncio.sleep(0.01)
            raise ConnectionError("refused")
        await asyncio.sleep(0.1)
        self.charged.append(body)

    @property
    def twice(self) -> int:
        """How many messages were charged more than once."""
        return len(self.charged) - len(set(self.charged))


def fill(broker: MemoryBroker, name: str) -> None:
    """Produce the messages."""
    for number in range(MESSAGES):
        broker.produce(name, b"order %d" % number)


async def guarded(payments: Payments, intake: MemoryIntake, dead: MemoryDeadLetters | None = None, lasts: float = ENOUGH) -> None:
    """Handle everything behind a guard, one message at a time as without one; the other settings are the defaults."""
    dependency = Dependency("payments", failures=ConnectionError)

    async def handle(delivery: Delivery) -> None:
        await payments.charge(delivery.body or b"")

    async with Guard(signals=False, clock=LoopClock()) as guard:
        run = asyncio.create_task(guard.run(intake, handle, needs=[dependency], concurrency=1, dead_letters=dead))
        await asyncio.sleep(lasts)
        await guard.stop()
        await run


async def for_a_while(consumer: Coroutine[Any, Any, None], lasts: float = ENOUGH) -> None:
    """Run a consumer that never ends by itself."""
    with suppress(TimeoutError):
        await asyncio.wait_for(consumer, lasts)


def figures(trap: ModuleType) -> list[tuple[str, object, object]]:
    """Run a trap without and with a guard, and return a row for each of its figures."""
    without: Figures = run_virtual(trap.without())
    guarded: Figures = run_virtual(trap.behind_a_guard())
    return [(name, value, guarded[name]) for name, value in without.items()]


def table(trap: ModuleType) -> str:
    """Return the figures in columns."""
    rows = [("", "without", "behind a guard"), *((name, str(first), str(second)) for name, first, second in figures(trap))]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(f"{name:<{widths[0]}}  {first:>{widths[1]}}  {second:>{widths[2]}}".rstrip() for name, first, second in rows)
