"""A real HTTP server behind a token bucket says 429 to what comes too early: on any broker all is processed, in its order, and nothing
opens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
from tests.scenarios.brokers import in_real_time_on_every_broker
from tests.scenarios.world import PATIENCE, numbered
from tests.servers.limited_http import LimitedServer

from holdgate import Dependency, RetryPolicy, http
from holdgate.core import CircuitOpened

if TYPE_CHECKING:
    from tests.scenarios.world import World

    from holdgate import Delivery

MESSAGES = 40
# One failure of its own would end a message, and the first refusal would be one: a throttled start is no attempt.
ONCE = RetryPolicy(attempts=1)


class Charging:
    """A handler that posts each message, and writes down in which attempt it was processed."""

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self.url = url
        self.client = client
        self.processed: list[bytes] = []
        self.attempts: set[int] = set()

    async def __call__(self, delivery: Delivery[Any]) -> None:
        body = delivery.body or b""
        (await self.client.post(self.url, content=body)).raise_for_status()
        self.attempts.add(delivery.attempt)
        self.processed.append(body)


async def _charge(world: World, server: LimitedServer, payments: Dependency, **settings: Any) -> Charging:
    await world.produce(world.first, numbered(MESSAGES))
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        handler = Charging(server.url, client)
        async with world.working(handler, needs=[payments], retry=ONCE, **settings):
            await world.until(lambda: len(handler.processed) == MESSAGES, "all was processed")
    await world.check(handler.processed)
    assert handler.attempts == {1}
    assert server.refused > 0
    assert world.told(CircuitOpened) == []
    return handler


@in_real_time_on_every_broker
async def test_a_token_bucket_of_ten_a_second_costs_no_message_and_no_order(world: World) -> None:
    """Each message is processed once, in the order of its source; no dead letter, no circuit that opens, no attempt that counts."""
    server = LimitedServer(rate=10.0, burst=10, spent=True)
    with server.listening():
        handler = await _charge(world, server, Dependency("payments", failures=http.failures), order="source")
    assert handler.processed == server.accepted == numbered(MESSAGES)


@in_real_time_on_every_broker
async def test_with_many_lanes_it_is_the_same(world: World) -> None:
    """Sixteen handlers in parallel meet the bucket at once: each message is processed once, whatever was refused."""
    server = LimitedServer(rate=10.0, burst=10, headers=lambda _: {"retry-after": "1"}, spent=True)
    with server.listening():
        handler = await _charge(world, server, Dependency("payments", failures=http.failures), order="none", concurrency=16)
    assert sorted(handler.processed) == sorted(server.accepted) == sorted(numbered(MESSAGES))
