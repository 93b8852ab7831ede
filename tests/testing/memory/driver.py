"""A guard's place for tests of the in-memory intake: polls it, and remembers what comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager

from holdgate.flow.message import Delivery, Settlement, Source
from holdgate.testing import MemoryIntake
from holdgate.testing.conformance import RecordingListener
from holdgate.testing.memory.message import Message

EMPTY_POLLS = 3  # that many in a row and nothing more is coming


class Driver:
    """One open intake, its listener, and every delivery so far."""

    def __init__(self, intake: MemoryIntake, listener: RecordingListener) -> None:
        self.intake = intake
        self.listener = listener
        self.received: list[Delivery[Message]] = []

    async def drain(self) -> list[Delivery[Message]]:
        """Poll until nothing more comes; returns what came."""
        fresh: list[Delivery[Message]] = []
        empty = 0
        while empty < EMPTY_POLLS:
            deliveries = await self.intake.receive()
            empty = 0 if deliveries else empty + 1
            fresh += deliveries
        self.received += fresh
        return fresh

    async def poll_for(self, seconds: float) -> None:
        """Poll that long."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            self.received += await self.intake.receive()

    def ack(self, deliveries: Collection[Delivery[Message]]) -> None:
        """Settle them as processed."""
        for delivery in deliveries:
            self.intake.settle(delivery, Settlement.ACK)

    def hold(self, *sources: Source) -> None:
        """Hold these sources."""
        self.listener.held.update(sources)
        self.intake.apply(self.listener.plan())


@asynccontextmanager
async def driving(intake: MemoryIntake, held: Collection[Source] = ()) -> AsyncGenerator[Driver]:
    """The intake opened, with every message that waits already taken, and closed at the end."""
    listener = RecordingListener(held)
    await intake.open(listener)
    driver = Driver(intake, listener)
    await driver.drain()
    try:
        yield driver
    finally:
        await intake.close()
