"""A real HTTP server with a token bucket, and nobody who says how large it is: the worker finds its pace, on any broker."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn
from tests.scenarios.brokers import in_real_time_on_every_broker
from tests.scenarios.world import PATIENCE, numbered

from holdgate import Dependency, Limits, http
from holdgate.core import CircuitOpened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.scenarios.world import World

    from holdgate import Delivery

# A test of ten a second would take two minutes: benchmarks do that. A machine that makes fewer than this is never refused.
RATE = 50.0
BURST = 20.0
MESSAGES = 200


class Api:
    """An ASGI application that takes `RATE` calls a second, and `BURST` at once after a pause; the rest gets a bare 429."""

    def __init__(self) -> None:
        self.tokens, self.last = BURST, time.monotonic()
        self.accepted = 0
        self.refused = 0
        self.url = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        while (await receive()).get("more_body"):
            pass
        now = time.monotonic()
        self.tokens, self.last = min(BURST, self.tokens + RATE * (now - self.last)), now
        accepts = self.tokens >= 1.0
        self.tokens -= accepts
        self.accepted += accepts
        self.refused += not accepts
        await send({"type": "http.response.start", "status": 200 if accepts else 429, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[httpx.AsyncClient]:
        """Serve on a port of its own, and give a client."""
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{bound.getsockname()[1]}/charges"
            server = uvicorn.Server(uvicorn.Config(self, log_config=None, lifespan="off", timeout_keep_alive=int(PATIENCE)))
            serving = asyncio.create_task(server.serve([bound]))
            try:
                async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
                    yield client
            finally:
                server.should_exit = True
                await serving


@in_real_time_on_every_broker
async def test_the_worker_finds_what_the_server_takes(world: World) -> None:
    """Nothing is lost, dead or tried twice, the circuit never opens, and few calls are refused, though no header says anything."""
    api = Api()
    attempts: set[int] = set()
    processed: list[bytes] = []
    payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)
    await world.produce(world.first, numbered(MESSAGES // 2, b"first-"))
    await world.produce(world.second, numbered(MESSAGES // 2, b"second-"))
    async with api.listening() as client:

        async def charge(delivery: Delivery[Any]) -> None:
            attempts.add(delivery.attempt)
            (await client.post(api.url, content=delivery.body)).raise_for_status()
            processed.append(delivery.body or b"")

        async with world.working(charge, needs=[payments], order="none", concurrency=16):
            await world.until(lambda: len(processed) == MESSAGES, "all was processed")
            assert world.guard is not None
            found = world.guard.snapshot().dependencies["payments"].limits

    await world.check(processed)
    assert attempts == {1}
    assert api.accepted == MESSAGES
    assert api.refused < MESSAGES // 4  # of so few the search is a large part; without it three of four are
    assert not world.told(CircuitOpened)
    assert (0 if found is None else found.refused) == api.refused


@in_real_time_on_every_broker
async def test_a_rate_that_is_known_is_kept(world: World) -> None:
    """Half of what the server takes: not one call is refused."""
    api = Api()
    processed: list[bytes] = []
    payments = Dependency("payments", failures=http.failures, limits=Limits(rate=5, per=0.2))
    await world.produce(world.first, numbered(60))
    async with api.listening() as client:

        async def charge(delivery: Delivery[Any]) -> None:
            (await client.post(api.url, content=delivery.body)).raise_for_status()
            processed.append(delivery.body or b"")

        async with world.working(charge, needs=[payments], order="none", concurrency=16):
            await world.until(lambda: len(processed) == 60, "all was processed")

    await world.check(processed)
    assert api.refused == 0
