"""One intake of a share group on the model, driven as a guard would: for stories in virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.brokers.share.model import ModelBroker, ModelClient

from holdgate.flow.message import Queue
from holdgate.testing import run_virtual
from holdgate.testing.conformance import RecordingListener, Station

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    import pytest

    from holdgate.brokers.share import ShareIntake

ORDERS = Queue("orders")
LOCK = 15.0
LIMIT = 5
BODIES = (b"0", b"1", b"2")


class Bed:
    """One topic on the model, and an intake of it that is driven as a guard would."""

    patience = 120.0
    quiet = 1.0

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.broker = ModelBroker("orders", lock=LOCK, limit=LIMIT)
        self.broker.install(monkeypatch)
        self.listener = RecordingListener()
        self.intake: ShareIntake = self.broker.intake()

    async def open(self, **settings: Any) -> Station:
        self.intake = self.broker.intake(**settings)
        await self.intake.open(self.listener)
        return Station(self, self.intake, self.listener)  # type: ignore[arg-type]

    async def held(self, *bodies: bytes, deliveries: int = 0, **settings: Any) -> Station:
        """Open it with these records in hand, hold them until they have gone back. They had so many deliveries before."""
        self.broker.produce("orders", *(bodies or BODIES))
        self.deliver(deliveries)
        at = await self.open(**settings)
        await at.take(ORDERS, len(bodies or BODIES))
        at.hold(ORDERS)
        await at.for_a_while(LOCK)
        return at

    async def copies(self, *bodies: bytes, **settings: Any) -> tuple[Station, Sequence[Any]]:
        """Do that, and admit: what is offered then are copies."""
        at = await self.held(*bodies, **settings)
        count = len(at.received)
        at.admit(ORDERS)
        return at, (await at.take(ORDERS, 2 * count))[count:]

    @property
    def client(self) -> ModelClient:
        return self.broker.clients[-1]

    def record(self, number: int) -> Any:
        return self.broker.groups["orders"].record(number)

    def deliver(self, times: int) -> None:
        """Let another member use up so many deliveries of each record, without a lock that lasts."""
        group = self.broker.groups["orders"]
        now = asyncio.get_running_loop().time()
        for _ in range(times):
            group.acquire("other", 100, now)
            group.leave("other", now)


def play(bed: Bed, story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a story in virtual time, and close the intake."""

    async def whole() -> None:
        try:
            await story()
        finally:
            await bed.intake.close()

    run_virtual(whole())
