"""A test of yours: what a worker exports while its dependency is down."""

import asyncio

from prometheus_client import CollectorRegistry, generate_latest

from holdgate import Delivery, Dependency, Guard
from holdgate.telemetry.prometheus import GuardCollector
from holdgate.testing import MemoryBroker, MemoryIntake, in_virtual_time


async def charge(_: Delivery) -> None:
    raise ConnectionError


# region worker
async def work(intake: MemoryIntake, registry: CollectorRegistry) -> None:
    payments = Dependency("payments", failures=ConnectionError)
    async with Guard() as guard:
        registry.register(GuardCollector(guard))
        await guard.run(intake, charge, needs=[payments])


# endregion


@in_virtual_time
async def test_an_outage_can_be_seen_from_outside() -> None:
    """The circuit is open, and the five partitions are held."""
    broker = MemoryBroker(topics={"orders": 5})
    for number in range(10):
        broker.produce("orders", b"an order", partition=number % 5)
    registry = CollectorRegistry()
    worker = asyncio.create_task(work(MemoryIntake(broker, topics=["orders"]), registry))
    await asyncio.sleep(2)
    page = generate_latest(registry).decode()
    worker.cancel()
    await asyncio.wait({worker})

    assert 'holdgate_circuit_state{dependency="payments",state="open"} 1.0' in page
    assert 'holdgate_sources_held{dependency="payments",reason="circuit"} 5.0' in page
