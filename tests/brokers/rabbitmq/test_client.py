"""The connection: its name, what its owner does to it while it is away from its broker, and what older clients lack.

Both sides of each difference are tested with whichever client is installed; `make test-lowest` meets the older side for real.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING

import aio_pika
import pytest

from holdgate.brokers.rabbitmq.client import Client, close_called, on_consumer_cancel, store_messages
from holdgate.errors import IntakeError

if TYPE_CHECKING:
    from tests.servers.rabbitmq import RabbitMQServer

# A reconnect takes milliseconds once the wire is whole; a machine that others use may sleep for seconds.
WITHIN = 30.0


async def test_its_name_is_in_the_brokers_list(own_rabbitmq: RabbitMQServer) -> None:
    """A connection made from a URL is called holdgate there, or what the URL says."""
    clients = [Client(own_rabbitmq.url + query) for query in ("", "?name=my+worker&heartbeat=7")]
    try:
        for client in clients:
            await client.connect()
        # One call for both: each starts an Erlang of its own.
        listed = await own_rabbitmq.ctl("list_connections", "client_properties")
    finally:
        for client in clients:
            await client.close()
    assert '{"connection_name","holdgate"}' in listed
    assert '{"connection_name","my worker"}' in listed


async def test_what_the_url_says_beside_its_name_counts(own_rabbitmq: RabbitMQServer) -> None:
    """How soon it comes back, for one: aio-pika 9 overlooks the query of a URL as soon as it is given anything else."""
    client = Client(own_rabbitmq.url + "?reconnect_interval=0.25")
    await client.connect()
    try:
        assert client._connection.reconnect_interval == 0.25
    finally:
        await client.close()


async def test_a_question_that_waits_for_the_connection_leaves_no_channel_behind() -> None:
    """The connection may be the caller's, and comes back after the guard has gone."""
    client, back, calls = Client("amqp://localhost"), asyncio.Event(), list[str]()

    async def close() -> None:
        calls.append("close")

    async def channel() -> SimpleNamespace:
        await back.wait()
        calls.append("open")
        return SimpleNamespace(is_closed=False, close=close)

    client.channel = channel  # type: ignore[assignment,method-assign]  # pyright: ignore[reportAttributeAccessIssue]
    asking = asyncio.create_task(client.ready(["orders", "mails"]))
    await asyncio.sleep(0)
    await client.close()
    back.set()
    assert await asking == {}
    assert calls == ["open", "close"]


async def test_a_channel_comes_after_two_lost_connections(own_rabbitmq: RabbitMQServer) -> None:
    """Who waited for one reconnect has not closed the connection for the next."""
    async with own_rabbitmq.proxy() as proxy:
        client = Client(own_rabbitmq.url_through(proxy) + "?reconnect_interval=0.2")
        await client.connect()
        try:
            for _ in range(2):
                proxy.reset()
                await _away(client)
                async with asyncio.timeout(WITHIN):
                    channel = await client.channel()
                await channel.close()
                assert not client.is_closed
        finally:
            await client.close()


async def test_an_owner_who_closes_it_while_it_is_away_is_heard(own_rabbitmq: RabbitMQServer) -> None:
    """Nothing would ever come back: whoever waits for a channel is told."""
    async with own_rabbitmq.proxy() as proxy:
        connection = await aio_pika.connect_robust(own_rabbitmq.url_through(proxy) + "?reconnect_interval=0.2")
        client = Client(connection)
        await client.connect()
        proxy.cut()
        proxy.reset()
        await _away(client)
        waiting = asyncio.ensure_future(client.channel())
        await asyncio.sleep(0)
        await connection.close()
        with pytest.raises(IntakeError, match="closed while a guard uses it"):
            await asyncio.wait_for(waiting, WITHIN)
        assert client.is_closed


async def _away(client: Client) -> None:
    async with asyncio.timeout(WITHIN):
        while client._connection.connected.is_set():
            await asyncio.sleep(0.01)


# -- older clients ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["close_called", "_close_called"])
@pytest.mark.parametrize("closed", [False, True])
def test_a_close_that_was_called_is_seen(name: str, closed: bool) -> None:
    """By the public name of aio-pika 9.6, and by what the connections of before keep for themselves."""
    assert close_called(SimpleNamespace(**{name: closed})) is closed


def test_a_cancelled_consumer_is_told_by_a_client_that_tells() -> None:
    """By aiormq's own callbacks, from 7.1 on."""
    told: list[str] = []
    raw = SimpleNamespace(on_consumer_cancel_callbacks=set(), consumers={})
    on_consumer_cancel(raw, told.append)
    (callback,) = raw.on_consumer_cancel_callbacks
    callback(SimpleNamespace(consumer_tag="tag"))
    assert told == ["tag"]
    assert type(raw.consumers) is dict


def test_messages_are_stored_without_a_task() -> None:
    """As aiormq calls it: the callback that stands in the table, and what it returned goes to `create_task`. Other work has its task."""
    stored: list[object] = []
    raw = SimpleNamespace(consumers={}, create_task=lambda work: f"task of {work}")
    store_messages(raw, stored.append)
    raw.consumers["tag"] = print
    raw.create_task(raw.consumers.get("tag")("message")).add_done_callback(print)
    assert stored == ["message"]
    assert raw.create_task("reading") == "task of reading"


def test_an_old_client_tells_of_cancelled_consumers_whose_messages_are_stored() -> None:
    """Both need the channel's table, and neither takes the other out of it."""
    told: list[str] = []
    stored: list[object] = []
    raw = SimpleNamespace(consumers={}, create_task=None)
    store_messages(raw, stored.append)
    on_consumer_cancel(raw, told.append)
    raw.consumers["tag"] = print
    raw.consumers.pop("tag")("message")
    assert (told, stored) == (["tag"], ["message"])


def test_a_cancelled_consumer_is_told_by_a_client_that_does_not() -> None:
    """By its going out of the channel's table, which keeps whom it had and takes new ones."""
    told: list[str] = []
    raw = SimpleNamespace(consumers={"before": print})
    on_consumer_cancel(raw, told.append)
    raw.consumers["tag"] = print
    assert raw.consumers.pop("tag", None) is print
    assert raw.consumers.pop("gone", None) is None
    assert (told, dict(raw.consumers)) == (["tag", "gone"], {"before": print})
