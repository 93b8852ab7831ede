"""Health probes as a guard runs them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.runtime.stage import GROUP, ORDERS, STEADY, Down, Handler, broker_with, quiet_guard, running, until

from holdgate import Dependency, Guard, RetryPolicy, State
from holdgate.errors import SettingsError
from holdgate.runtime.probes import Prober
from holdgate.testing import MemoryBroker, MemoryDeadLetters, MemoryIntake, in_virtual_time

ORDER = ORDERS[0]


class Service:
    """A dependency that is down until it is not; its probe notes when it was asked."""

    def __init__(self) -> None:
        self.up = False
        self.asked: list[float] = []

    async def probe(self) -> bool:
        self.asked.append(asyncio.get_running_loop().time())
        return self.up

    def plain(self) -> bool:
        self.asked.append(0.0)
        return self.up


def payments(probe: Callable[[], Any], **settings: Any) -> Dependency:
    return Dependency("payments", failures=Down, settings=STEADY, probe=probe, **settings)


def state(guard: Guard) -> State | None:
    gate = guard.engine.gates.get("payments")
    return None if gate is None else gate.circuit.state


def committed(broker: MemoryBroker) -> int:
    return broker.committed(GROUP).get(ORDER, 0)


async def an_outage(probe: Callable[[], Any], service: Service, **settings: Any) -> Handler:
    """Down for a minute, then up until all is processed."""
    broker, handler = broker_with(20), Handler(down=True)
    async with (
        quiet_guard() as guard,
        running(guard.run(MemoryIntake(broker, topics=["orders"]), handler, needs=[payments(probe, **settings)])),
    ):
        await until(lambda: state(guard) is State.OPEN)
        tried = len(handler.started)
        await asyncio.sleep(60.0)
        assert len(handler.started) == tried
        service.up, handler.down = True, False
        await until(lambda: committed(broker) == 20)
        assert state(guard) is State.CLOSED
    return handler


@in_virtual_time
async def test_an_outage_with_a_probe_costs_no_message_an_attempt() -> None:
    """Only the probe asks, after each open wait, and when it is answered the messages come."""
    service = Service()
    await an_outage(service.probe, service)

    assert len(service.asked) >= 3


@in_virtual_time
async def test_a_plain_probe_runs_in_a_thread() -> None:
    """It may block."""
    service = Service()
    await an_outage(service.plain, service)

    assert len(service.asked) >= 3


async def test_a_plain_probe_that_hangs_keeps_one_thread() -> None:
    """The next one waits for it: a dependency that answers nobody does not cost a thread at every wait."""
    gate, asked = threading.Event(), threading.Semaphore(0)
    prober = Prober(quiet_guard())

    def probe() -> None:
        asked.release()
        gate.wait(60)

    asking = [asyncio.create_task(prober._in_thread(probe, "payments")) for _ in range(2)]
    await asyncio.to_thread(asked.acquire)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not asked.acquire(blocking=False)
    gate.set()
    await asyncio.gather(*asking)
    assert asked.acquire(blocking=False)


@in_virtual_time
async def test_a_plain_function_in_front_of_an_async_one_is_awaited() -> None:
    """Such as a lambda."""
    service = Service()
    await an_outage(lambda: service.probe(), service)  # noqa: PLW0108 - that is the point

    assert len(service.asked) >= 3


@in_virtual_time
async def test_a_probe_that_raises_or_takes_too_long_says_no() -> None:
    """In turn, until it is well."""
    service = Service()

    async def probe() -> None:
        await service.probe()
        if not service.up and len(service.asked) % 2:
            raise Down
        if not service.up:
            await asyncio.sleep(1e6)

    await an_outage(probe, service, probe_timeout=timedelta(seconds=1))
    assert len(service.asked) >= 3


@in_virtual_time
async def test_leaving_the_guard_ends_a_probe() -> None:
    """It is cancelled, and nothing waits for it."""
    ended: list[str] = []

    async def probe() -> None:
        try:
            await asyncio.sleep(1e6)
        finally:
            ended.append("cancelled")

    async with quiet_guard(payments(probe, probe_timeout=1e6)) as guard:
        guard.circuit("payments").open_for(1.0, guard.now())
        guard.wake()
        await asyncio.sleep(2.0)
        assert ended == []
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert ended == ["cancelled"]


@in_virtual_time
async def test_a_lone_poison_message_is_found_by_probes() -> None:
    """On one strict partition, with nobody to compare: after three good probes it is rejected, and the others go on."""
    service = Service()
    service.up = True
    broker, dead, handler = broker_with(5), MemoryDeadLetters(), Handler()

    async def picky(delivery: Any) -> None:
        if delivery.body == b"0":
            raise Down
        await handler(delivery)

    async with (
        quiet_guard() as guard,
        running(
            guard.run(
                MemoryIntake(broker, topics=["orders"]),
                picky,
                needs=[payments(service.probe)],
                retry=RetryPolicy(reject_after_probes=3),
                dead_letters=dead,
            )
        ),
    ):
        await until(lambda: committed(broker) == 5, seconds=3000.0)
    assert [letter.delivery.position for letter in dead.letters] == [0]
    assert len(service.asked) >= 3


def test_a_probe_must_be_a_function() -> None:
    """And its time a number of seconds."""
    with pytest.raises(SettingsError, match="probe=3 cannot be called"):
        payments(3)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="probe_timeout"):
        payments(lambda: True, probe_timeout=0)
