"""openai, boto3 and grpcio in front of a service with a limit: a guard finds it out on a real socket, and keeps to it.

Messages of four keys wait. The service takes ten calls a second and refuses the others: with 429, a ThrottlingException,
RESOURCE_EXHAUSTED. One attempt for each message: a refusal that counted as one would be a dead letter.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

import pytest
from tests.clients.clients_that_wait import ask_openai, openai_by_default, openai_client
from tests.clients.places import PATIENCE, answer, serving
from tests.clients.test_grpc_clients import server as grpc_server

from holdgate import Delivery, Dependency, Guard, RetryPolicy, http
from holdgate.core.limits import LimiterSnapshot
from holdgate.events import CircuitOpened
from holdgate.presets import aws, grpc
from holdgate.testing import MemoryBroker, MemoryDeadLetters, MemoryIntake

A_SECOND, BURST = 10.0, 2.0
MESSAGES, KEYS, AT_WORK = 24, 4, 8
# The law wastes one call in a hundred in the long run, and more of the first few: hammering would waste three of four.
REFUSED = MESSAGES // 2
GIVE_UP = 6 * PATIENCE


class Bucket:
    """Ten calls a second, two of them together."""

    def __init__(self) -> None:
        self.served = 0
        self.refused = 0
        self._clock = asyncio.get_running_loop().time
        self._tokens, self._filled_at = BURST, self._clock()

    def takes(self) -> bool:
        """Take a token if there is one, and return whether there was."""
        now = self._clock()
        self._tokens = min(BURST, self._tokens + A_SECOND * (now - self._filled_at))
        self._filled_at = now
        if self._tokens < 1:
            self.refused += 1
            return False
        self._tokens -= 1
        self.served += 1
        return True


@asynccontextmanager
async def over_http(bucket: Bucket, good: bytes, status: int, refusal: bytes) -> AsyncIterator[str]:
    """The bucket behind HTTP; gives its URL."""
    well, refuse = answer(200, good), answer(status, refusal)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (well if bucket.takes() else refuse)(reader, writer)

    async with serving(serve) as port:
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def over_grpc(bucket: Bucket) -> AsyncIterator[str]:
    """The bucket behind gRPC; gives its target."""
    import grpc as library

    async def limit(context: Any) -> None:
        if not bucket.takes():
            await context.abort(library.StatusCode.RESOURCE_EXHAUSTED, "quota")

    async with grpc_server(limit) as port:
        yield f"127.0.0.1:{port}"


def in_thread(make: Callable[[str], Any], url: str) -> Callable[[], None]:
    """A call for a plain handler, which runs in a thread, with one client for all of them."""
    client = make(url)
    return lambda: client.list_tables()  # noqa: PLW0108 - a method of botocore's is made when it is asked for


def boto3_client(url: str, retries: dict[str, Any] | None = None) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(retries=retries or {"total_max_attempts": 1}, proxies={})
    keys = {"aws_access_key_id": "none", "aws_secret_access_key": "none", "region_name": "eu-central-1"}
    return boto3.client("dynamodb", endpoint_url=url, config=config, **keys)


def with_openai(make: Callable[[str], Any], url: str) -> Callable[[], Awaitable[None]]:
    client = make(url)
    return lambda: ask_openai(client)


def with_grpc_aio(target: str) -> Callable[[], Awaitable[Any]]:
    import grpc as library

    channel = library.aio.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)])
    method = channel.unary_unary("/orders.Orders/Charge")
    return lambda: method(b"?", timeout=PATIENCE)


def with_plain_grpc(target: str) -> Callable[[], Any]:
    import grpc as library

    channel = library.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)])
    method = channel.unary_unary("/orders.Orders/Charge")
    return lambda: method(b"?", timeout=PATIENCE)


_COMPLETION = b'{"id": "1", "object": "chat.completion", "created": 1, "model": "any", "choices": []}'
_RATE_LIMIT = b'{"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}}'
_THROTTLING = b'{"__type": "com.amazonaws#ThrottlingException", "message": "Rate exceeded"}'


@dataclass(frozen=True)
class LimitedClient:
    """One client: its service, its call, whether that is to be awaited, and its preset."""

    service: Callable[[Bucket], AbstractAsyncContextManager[str]]
    call: Callable[[str], Callable[[], Any]]
    preset: ModuleType
    awaited: bool = True


def _openai_service(bucket: Bucket) -> AbstractAsyncContextManager[str]:
    return over_http(bucket, _COMPLETION, 429, _RATE_LIMIT)


def _aws_service(bucket: Bucket) -> AbstractAsyncContextManager[str]:
    return over_http(bucket, b'{"TableNames": []}', 400, _THROTTLING)


CLIENTS = {
    "openai": LimitedClient(_openai_service, partial(with_openai, openai_client), http),
    "boto3": LimitedClient(_aws_service, partial(in_thread, boto3_client), aws, awaited=False),
    "grpc.aio": LimitedClient(over_grpc, with_grpc_aio, grpc),
    "grpc": LimitedClient(over_grpc, with_plain_grpc, grpc, awaited=False),
}
# As they are without any setting, but for boto3: its old retries, the default, wait longer than a test may.
BY_DEFAULT = {
    "openai": LimitedClient(_openai_service, partial(with_openai, openai_by_default), http),
    "boto3": LimitedClient(_aws_service, partial(in_thread, partial(boto3_client, retries={"mode": "standard"})), aws, awaited=False),
}


@dataclass
class Came:
    """What became of the messages."""

    bucket: Bucket
    dead: list[Any] = field(default_factory=list)
    events: Counter[type] = field(default_factory=Counter)
    by_key: dict[bytes, list[int]] = field(default_factory=lambda: defaultdict(list))
    limit: LimiterSnapshot | None = None  # what was known when the last message was processed

    @property
    def processed(self) -> int:
        return sum(map(len, self.by_key.values()))


async def worked(client: LimitedClient, *, call_form: bool) -> Came:
    """Run a guard until all messages are processed."""
    broker, dead = MemoryBroker(topics={"orders": 1}), MemoryDeadLetters()
    for number in range(MESSAGES):
        broker.produce("orders", b"%d" % number, key=b"%d" % (number % KEYS))
    service = Dependency("service", failures=client.preset.failures, retry_after=client.preset.retry_after)
    bucket = Bucket()
    came = Came(bucket)
    done, loop = asyncio.Event(), asyncio.get_running_loop()

    def ended(delivery: Delivery[Any]) -> None:
        came.by_key[delivery.key or b""].append(int(delivery.body or b""))
        if came.processed == MESSAGES:
            done.set()

    async with client.service(bucket) as place:
        call = client.call(place)

        async def handle(delivery: Delivery[Any]) -> None:
            await (service.call(call) if call_form else call())
            ended(delivery)

        def handle_plainly(delivery: Delivery[Any]) -> None:
            service.call_sync(call) if call_form else call()
            loop.call_soon_threadsafe(ended, delivery)

        handler: Any = handle if client.awaited else handle_plainly
        observe = lambda event: came.events.update([type(event)])  # noqa: E731
        async with Guard(signals=False, observers=[observe]) as guard, asyncio.timeout(GIVE_UP):
            intake = MemoryIntake(broker, topics=["orders"])
            run = asyncio.create_task(
                guard.run(
                    intake, handler, needs=[service], order="key", concurrency=AT_WORK, retry=RetryPolicy(attempts=1), dead_letters=dead
                )
            )
            waits = asyncio.create_task(done.wait())
            await asyncio.wait({run, waits}, return_when=asyncio.FIRST_COMPLETED)
            waits.cancel()
            came.limit = guard.circuit("service").limits.snapshot(guard.now())
            await guard.stop()
            await run
    came.dead = dead.letters
    return came


def assert_nothing_is_lost(came: Came) -> None:
    """Each message once, each key in its order, no dead letter, and a circuit that stayed closed."""
    assert came.dead == []
    assert came.by_key == {b"%d" % key: list(range(key, MESSAGES, KEYS)) for key in range(KEYS)}
    assert came.events[CircuitOpened] == 0
    assert came.bucket.served == MESSAGES


@pytest.mark.parametrize("call_form", [False, True], ids=["raises", "call form"])
@pytest.mark.parametrize("name", CLIENTS)
async def test_a_guard_keeps_to_the_limit_of_a_real_service(name: str, call_form: bool) -> None:
    """Whether its handler calls by a call form or raises what the client raises: it paces, few calls are refused, and all messages pass."""
    came = await worked(CLIENTS[name], call_form=call_form)
    assert_nothing_is_lost(came)
    assert came.bucket.refused > 0
    assert came.bucket.refused <= REFUSED
    assert came.limit is not None
    assert came.limit.pace is not None
    assert came.limit.refused == came.bucket.refused


@pytest.mark.parametrize("name", BY_DEFAULT)
async def test_a_client_that_waits_by_itself_loses_nothing_either(name: str) -> None:
    """It wastes more calls and the guard sees fewer of them, but no message is given up, and no circuit opens."""
    assert_nothing_is_lost(await worked(BY_DEFAULT[name], call_form=False))
