"""A guard's place: a listener with a plan of its own that polls one intake and keeps what comes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.servers.rabbitmq import START_TIMEOUT

from holdgate.flow.message import Settlement
from holdgate.flow.plan import Plan, SourcePlan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection

    from holdgate.flow.message import Source

PATIENCE = 60.0  # only a failing test waits so long
HELD = SourcePlan(fetch=False, reasons=("test",))


class Drive:
    """Writes down (event, sources), and polls in one task when asked to."""

    def __init__(self, intake: Any, held: Collection[Source] = ()) -> None:
        self.intake = intake
        self.held = set(held)
        self.owned: set[Source] = set()
        self.events: list[tuple[str, tuple[str, ...]]] = []
        self.received: list[Any] = []
        self.leaked: list[Any] = []
        self.in_revoked: Callable[[], Awaitable[None]] | None = None
        self._version = 0

    def plan(self) -> Plan:
        self._version += 1
        return Plan({source: HELD if source in self.held else SourcePlan() for source in self.owned}, self._version)

    def assigned(self, sources: Collection[Source]) -> Plan:
        self._note("assigned", sources)
        self.owned.update(sources)
        return self.plan()

    async def revoked(self, sources: Collection[Source]) -> None:
        self._note("revoked", sources)
        if self.in_revoked is not None:
            await self.in_revoked()
        self.owned.difference_update(sources)

    def lost(self, sources: Collection[Source]) -> None:
        self._note("lost", sources)
        self.owned.difference_update(sources)

    def count(self, event: str) -> int:
        """How often it was told this of at least one source."""
        return sum(kind == event and bool(sources) for kind, sources in self.events)

    def hold(self, *sources: Source) -> None:
        self.held.update(sources or self.owned)
        self.intake.apply(self.plan())

    def admit(self) -> None:
        self.held.clear()
        self.intake.apply(self.plan())

    async def poll(self) -> list[Any]:
        fresh = list(await self.intake.receive())
        self.leaked += [delivery for delivery in fresh if delivery.source in self.held]
        self.received += fresh
        return fresh

    async def until(self, condition: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Poll until `condition` holds. With one that never does: until a poll raises."""
        async with asyncio.timeout(patience):
            while not condition():
                await self.poll()

    async def for_seconds(self, seconds: float) -> None:
        """Poll for so long, whatever comes."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            await self.poll()

    async def beside(self, work: Awaitable[Any]) -> Any:
        """Poll until `work` is done; returns what it returned."""
        task = asyncio.ensure_future(work)
        await self.until(task.done, START_TIMEOUT + PATIENCE)  # a server's start has a limit of its own
        return task.result()

    async def take(self, count: int) -> list[Any]:
        """Poll until so many deliveries came in all."""
        await self.until(lambda: len(self.received) >= count)
        return self.received

    def ack(self, deliveries: Collection[Any]) -> None:
        for delivery in deliveries:
            self.intake.settle(delivery, Settlement.ACK)

    def bodies(self) -> list[bytes | None]:
        return [delivery.body for delivery in self.received]

    def _note(self, event: str, sources: Collection[Source]) -> None:
        self.events.append((event, tuple(sorted(map(str, sources)))))


@asynccontextmanager
async def drive(intake: Any, held: Collection[Source] = ()) -> AsyncIterator[Drive]:
    """Open it, drive it, close it."""
    at = Drive(intake, held)
    await intake.open(at)
    try:
        yield at
    finally:
        await intake.close()
