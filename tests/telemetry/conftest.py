"""What the tests of telemetry share: a worker on virtual time whose dependency can be taken down."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.runtime.stage import STEADY, Down, Handler, broker_with, quiet_guard, running

from holdgate import Dependency, Guard
from holdgate.testing import MemoryIntake


class Scene:
    """A guard with one dependency and one topic of two partitions, and the handler of its run."""

    def __init__(self, guard: Guard, handler: Handler) -> None:
        self.guard = guard
        self.handler = handler


@asynccontextmanager
async def scene(messages: int = 40, *, name: str = "payments", topic: str = "orders", **settings: Any) -> AsyncIterator[Scene]:
    handler = Handler()
    async with quiet_guard() as guard:
        source = MemoryIntake(broker_with(messages, topic=topic, partitions=2), topics=[topic])
        needs = [Dependency(name, failures=Down, settings=STEADY)]
        async with running(guard.run(source, handler, needs=needs, **settings)):
            yield Scene(guard, handler)
