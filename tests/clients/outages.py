"""Two minutes of outage in which every call ends as a real client's did, in whatever shape a handler lets it out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

from holdgate import Delivery, Dependency, RetryPolicy
from holdgate.testing import MemoryDeadLetters, rehearse

MESSAGES = 60  # one a second: the outage begins among them, and ends long after the last
DOWN = (10.0, 130.0)


class Wrapped(Exception):
    """What a client of somebody's own makes of it."""


async def plain(error: Exception) -> None:
    """As it is."""
    raise error.with_traceback(None)


async def from_a_cause(error: Exception) -> None:
    """In an error of somebody's own."""
    raise Wrapped from error


async def in_a_group(error: Exception) -> None:
    """Out of a task group."""
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(3600))
        group.create_task(plain(error))


async def in_a_thread(error: Exception) -> None:
    """Out of a plain function in a thread."""

    def fail() -> None:
        raise error.with_traceback(None)

    await asyncio.to_thread(fail)


SHAPES: tuple[Callable[[Exception], Awaitable[None]], ...] = (plain, from_a_cause, in_a_group, in_a_thread)


def assert_buries_nothing(preset: ModuleType, error: Exception) -> None:
    """Rehearse it, with one attempt for each message: one failure that is not seen as the dependency's would be a dead letter."""

    async def handler(delivery: Delivery[Any]) -> None:
        if DOWN[0] <= asyncio.get_running_loop().time() < DOWN[1]:
            await SHAPES[delivery.position % len(SHAPES)](error)

    reports: list[Any] = []
    needs = [Dependency("downstream", failures=preset.failures)]
    retry = RetryPolicy(attempts=1)
    # In a thread of its own: the caller has a loop, and the rehearsal makes another one.
    thread = threading.Thread(
        target=lambda: reports.append(rehearse(handler, needs=needs, deliveries=MESSAGES, retry=retry, dead_letters=MemoryDeadLetters()))
    )
    thread.start()
    thread.join()
    [report] = reports
    assert (len(report.processed), report.rejected, report.left) == (MESSAGES, (), ())
