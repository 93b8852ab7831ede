"""Records of a share group have keys, so a run may keep the order of each key, within the worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.brokers.share.model import ModelBroker

from holdgate import Delivery, Dependency, Guard
from holdgate.testing import LoopClock, run_virtual

if TYPE_CHECKING:
    import pytest


def test_order_by_key_needs_no_key_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue of RabbitMQ has none, and is refused; a topic that is read as a queue has."""
    broker = ModelBroker("orders")
    broker.install(monkeypatch)
    handled: list[bytes] = []

    async def handle(delivery: Delivery[Any]) -> None:
        await asyncio.sleep(1 if delivery.body == b"0" else 0)
        handled.append(delivery.body or b"")

    async def story() -> None:
        for body in (b"0", b"1"):
            broker.groups["orders"].publish(body, 0.0, key=b"same")
        broker.groups["orders"].publish(b"2", 0.0, key=b"other")
        async with Guard(clock=LoopClock(), signals=False) as guard:
            run = asyncio.create_task(guard.run(broker.intake(), handle, needs=[Dependency("service")], order="key"))
            await asyncio.sleep(5)
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)

    run_virtual(story())
    assert handled == [b"2", b"0", b"1"]
