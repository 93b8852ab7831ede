"""Tests of the consumer. `pytest` runs them once, and `pytest --outage payments` through outages as well."""

import asyncio
from collections.abc import Callable

import consumer
import httpx
import pytest

from holdgate import Guard
from holdgate.testing import LoopClock, MemoryBroker, MemoryIntake, Rehearsal
from holdgate.testing.scripted.httpx import AsyncScriptedTransport


# region far-end
@pytest.fixture
def charged(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What the bank has charged. Its far end is a stand-in: it answers, or fails as an outage says."""
    charges: list[bytes] = []

    def bank(request: httpx.Request) -> httpx.Response:
        charges.append(request.content)
        return httpx.Response(201)

    stand_in = AsyncScriptedTransport(consumer.payments, bank)
    monkeypatch.setattr(consumer, "client", httpx.AsyncClient(transport=stand_in, base_url="https://bank.example", timeout=5))
    return charges


# endregion


# region rehearse
def test_every_order_is_charged_once(charged: list[bytes], rehearse: Callable[..., Rehearsal]) -> None:
    report = rehearse(consumer.charge, needs=[consumer.payments], deliveries=[b"1", b"2", b"3"])

    assert report.problems == ()
    assert charged == [b"1", b"2", b"3"]


# endregion


# region guard
async def test_with_a_guard_of_its_own(charged: list[bytes], memory_broker: MemoryBroker, virtual_clock: LoopClock) -> None:
    memory_broker.create_topic("orders")
    for order in (b"1", b"2", b"3"):
        memory_broker.produce("orders", order)

    async with Guard(clock=virtual_clock, signals=False) as guard:
        run = asyncio.create_task(guard.run(MemoryIntake(memory_broker, topics=["orders"]), consumer.charge, needs=[consumer.payments]))
        while len(charged) < 3:
            await asyncio.sleep(1)  # virtual seconds
        await guard.stop()
        await run

    assert charged == [b"1", b"2", b"3"]


# endregion
