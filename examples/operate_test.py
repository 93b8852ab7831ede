"""A test of yours: what an operator says to a guard, and what the guard says of it."""

import asyncio
from datetime import timedelta

from holdgate import Delivery, Dependency, Guard
from holdgate.testing import MemoryBroker, MemoryIntake

payments = Dependency("payments", failures=ConnectionError)
charged: list[bytes | None] = []


async def charge(delivery: Delivery) -> None:
    charged.append(delivery.body)


# region commands
def before_the_migration(guard: Guard) -> None:
    guard.hold("orders", reason="the schema changes at noon", actor="alice", for_=timedelta(hours=1))
    guard.force_open("payments", reason="the provider's maintenance", actor="alice", for_=600)


def after_the_migration(guard: Guard) -> None:
    guard.unhold("orders", reason="migrated", actor="alice")
    guard.clear_override("payments", reason="the provider is back early", actor="alice")


# endregion


# region look
def what_is_in_force(guard: Guard) -> list[str]:
    lines = []
    for given in guard.snapshot().commands:
        lasts = "until another command" if given.until is None else f"for another {given.until - guard.now():.0f} s"
        lines.append(f"{given.command} {given.target} by {given.actor}, {lasts}: {given.reason}")
    return lines


# endregion


async def test_nothing_is_processed_during_the_migration() -> None:
    broker = MemoryBroker(topics={"orders": 1})
    async with Guard(payments, signals=False) as guard:
        run = asyncio.create_task(guard.run(MemoryIntake(broker, topics=["orders"]), charge, needs=[payments]))
        while not guard.health().started:  # noqa: ASYNC110 - in memory that is a step or two
            await asyncio.sleep(0)
        before_the_migration(guard)
        broker.produce("orders", b"1")
        assert what_is_in_force(guard) == [
            "hold orders by alice, for another 3600 s: the schema changes at noon",
            "force_open payments by alice, for another 600 s: the provider's maintenance",
        ]
        assert charged == []
        after_the_migration(guard)
        while not charged:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert what_is_in_force(guard) == []
        await guard.stop()
        await run
