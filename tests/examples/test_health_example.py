"""The health endpoint that a reader copies, asked over HTTP in an outage."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from examples.health_test import Outages, health_app, what_is_down, what_waits

from holdgate import CircuitSettings, Dependency, Guard
from holdgate.testing import LoopClock, MemoryBroker, MemoryIntake, in_virtual_time


async def asked(guard: Guard, path: str) -> tuple[int, dict[str, Any]]:
    transport = httpx.ASGITransport(app=health_app(guard))
    async with httpx.AsyncClient(transport=transport, base_url="http://worker") as client:
        answer = await client.get(path)
    return answer.status_code, answer.json()


async def fail(_: object) -> None:
    raise ConnectionError


@in_virtual_time
async def test_it_says_what_is_wrong_and_lets_nobody_restart_the_worker() -> None:
    """In an outage the process is alive and ready, and degraded; while it stops it is not ready any more."""
    broker = MemoryBroker(topics={"orders": 1})
    for _ in range(10):
        broker.produce("orders", b"1")
    payments = Dependency("payments", failures=ConnectionError, settings=CircuitSettings(open_duration=60.0))
    outages = Outages()
    async with Guard(signals=False, clock=LoopClock(), observers=[outages]) as guard:
        assert (await asked(guard, "/readyz"))[0] == 503
        run = asyncio.create_task(guard.run(MemoryIntake(broker, topics=["orders"]), fail, needs=[payments]))
        await asyncio.sleep(30)
        code, health = await asked(guard, "/healthz")
        assert (code, health["live"], health["ready"], health["status"]) == (200, True, True, "degraded")
        assert "circuit:payments is OPEN" in health["reasons"]
        assert (await asked(guard, "/readyz"))[0] == 200
        assert what_is_down(guard) == ["payments"]
        assert what_waits(guard) == {"orders[0]": 10}
        assert outages.opened == {"payments": 1}
        assert outages.held == {"orders[0]": ("circuit:payments",)}
        await guard.stop()
        await run
        assert (await asked(guard, "/readyz"))[0] == 503
