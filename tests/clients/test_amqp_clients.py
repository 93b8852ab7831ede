"""What the failures of publishing with aio-pika are taken for, on sockets and on a real RabbitMQ behind a proxy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import pytest
from tests.clients.places import IN_VAIN, PATIENCE, Serve, drop, hang, refusing, serving, talk_nonsense
from tests.clients.verdicts import raised
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq_address import RabbitMQAddress

Record = Callable[..., str]
Queue = Callable[..., Awaitable[str]]

SOCKETS: dict[str, Serve | None] = {"refused": None, "dropped": drop, "hung": hang, "nonsense": talk_nonsense}
HELLO = aio_pika.Message(b"hello")


@asynccontextmanager
async def publishing(url_of_node: str, **more: Any) -> AsyncIterator[tuple[Any, Proxy]]:
    """A channel with publisher confirms through a proxy of its own: the channel and the proxy."""
    url = urlsplit(url_of_node)
    async with Proxy((url.hostname or "127.0.0.1", url.port or 5672)) as proxy:
        behind = url._replace(netloc=f"{url.username}:{url.password}@{proxy.address}").geturl()
        connection = await aio_pika.connect(behind, timeout=PATIENCE)
        try:
            yield await connection.channel(**more), proxy
        finally:
            with suppress(Exception):
                await asyncio.wait_for(connection.close(), 5)


async def cut_off(channel: Any, proxy: Proxy) -> None:
    """The connection breaks in the middle of a publish."""
    proxy.cut()
    sending = asyncio.create_task(channel.default_exchange.publish(HELLO, "anywhere"))
    await asyncio.sleep(0)
    while not proxy.links:
        await asyncio.sleep(0.01)
    proxy.reset()
    await sending


async def not_confirmed(channel: Any, proxy: Proxy) -> None:
    """The broker hangs, and the publish has a time limit."""
    proxy.cut()
    try:
        await channel.default_exchange.publish(HELLO, "anywhere", timeout=IN_VAIN)
    finally:
        proxy.heal()


async def fill(channel: Any, queue: str) -> None:
    """More than a queue of one message takes."""
    for _ in range(20):
        await channel.default_exchange.publish(HELLO, queue)


def with_a_wrong_password(url_of_node: str) -> str:
    url = urlsplit(url_of_node)
    return url._replace(netloc=f"{url.username}:wrong@{url.hostname}:{url.port}").geturl()


@pytest.fixture
def publisher(rabbitmq: RabbitMQAddress) -> Callable[..., Any]:
    """Open channels with publisher confirms through a proxy, as `async with`: the channel and the proxy."""
    return lambda **more: publishing(rabbitmq.url, **more)


@pytest.mark.parametrize("situation", SOCKETS)
async def test_a_broker_that_is_not_there_is_a_failure(situation: str, record: Record) -> None:
    """Refused, dropped, hung, nonsense while connecting."""
    serve = SOCKETS[situation]
    async with refusing() if serve is None else serving(serve) as port:
        patience = IN_VAIN if situation == "hung" else PATIENCE
        error = await raised(lambda: aio_pika.connect(f"amqp://guest:guest@127.0.0.1:{port}/", timeout=patience))
    told(record, situation, error, True)


async def test_a_login_that_is_refused_is_a_failure(rabbitmq: RabbitMQAddress, record: Record) -> None:
    """Every message meets it."""
    wrong = with_a_wrong_password(rabbitmq.url)
    told(record, "wrong password", await raised(lambda: aio_pika.connect(wrong, timeout=PATIENCE)), True)


async def test_a_connection_that_breaks_is_a_failure(publisher: Callable[..., Any], record: Record) -> None:
    """In the middle of a publish, and for whoever publishes afterwards on the channel that went with it."""
    async with publisher() as (channel, proxy):
        told(record, "cut off", await raised(lambda: cut_off(channel, proxy)), True)
        told(record, "channel gone", await raised(lambda: channel.default_exchange.publish(HELLO, "anywhere")), True)


async def test_a_broker_that_hangs_is_a_failure(publisher: Callable[..., Any], record: Record) -> None:
    """A publish with a time limit that is never confirmed."""
    async with publisher() as (channel, proxy):
        told(record, "not confirmed in time", await raised(lambda: not_confirmed(channel, proxy)), True)


async def test_a_queue_that_is_full_is_a_failure(publisher: Callable[..., Any], queue: Queue, record: Record) -> None:
    """It rejects publishes: the broker says no by a nack."""
    name = await queue({"x-max-length": 1, "x-overflow": "reject-publish"})
    async with publisher() as (channel, _):
        told(record, "queue full", await raised(lambda: fill(channel, name)), True)


async def test_what_the_broker_refuses_is_the_messages_own(publisher: Callable[..., Any], queue: Queue, record: Record) -> None:
    """No such exchange, no queue for the key, a queue that is another than was said."""
    name = await queue()
    async with publisher(on_return_raises=True) as (channel, _):
        error = await raised(lambda: channel.default_exchange.publish(HELLO, "nowhere", mandatory=True))
        told(record, "no queue for the key", error, False)
        missing = await channel.get_exchange("nowhere", ensure=False)
        told(record, "no such exchange", await raised(lambda: missing.publish(HELLO, "anywhere")), False)
    async with publisher() as (channel, _):
        told(record, "another queue", await raised(lambda: channel.declare_queue(name, arguments={"x-max-length": 7})), False)


def told(record: Record, situation: str, error: BaseException, expected: bool) -> None:
    assert (record("amqp", "aio-pika", "aio-pika", situation, error) != "own") is expected, repr(error)
