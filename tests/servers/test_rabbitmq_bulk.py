"""Publishing in bulk: what a queue gets is what a client would have put there, and nothing counts before the node confirms it."""

from __future__ import annotations

import asyncio
import struct

import pytest

from tests.servers.rabbitmq_address import BULK, QUORUM, RabbitMQAddress
from tests.servers.rabbitmq_bulk import _confirmed

HEARTBEAT = struct.pack(">BHI", 8, 0, 0) + b"\xce"


def ack(number: int, *, multiple: bool = False) -> bytes:
    payload = struct.pack(">HHQB", 60, 80, number, multiple)
    return struct.pack(">BHI", 1, 1, len(payload)) + payload + b"\xce"


@pytest.mark.parametrize("arguments", [{}, QUORUM], ids=["classic", "quorum"])
async def test_a_queue_gets_all_of_them_in_order(rabbitmq: RabbitMQAddress, queue, arguments: dict[str, str]) -> None:
    """Of many lengths, persistent, and with the headers that were asked for."""
    name = await queue(arguments)
    bodies = [b"%d" % number for number in range(BULK + 50)]
    await rabbitmq.publish(name, bodies, headers={"word": "reject"})

    assert [each.body for each in await rabbitmq.waiting(name)] == bodies
    async with rabbitmq.channel() as channel:
        message = await (await channel.get_queue(name)).get()
        assert (message.headers["word"], message.delivery_mode) == ("reject", 2)


async def test_a_queue_that_is_not_there_is_an_error(rabbitmq: RabbitMQAddress) -> None:
    """The node returns what it cannot route; a test that goes on would wait for it."""
    with pytest.raises(ConnectionError, match="RabbitMQ answers"):
        await rabbitmq.publish("no-such-queue", [b"x"] * BULK)


async def test_confirms_are_counted_however_they_come() -> None:
    """One by one and out of order, or all up to a number, with heartbeats in between."""
    reader = asyncio.StreamReader()
    reader.feed_data(ack(2) + HEARTBEAT + ack(5) + ack(3, multiple=True))
    waiting = asyncio.ensure_future(_confirmed(reader, 5))
    await asyncio.sleep(0)
    assert not waiting.done()

    reader.feed_data(ack(4))
    await asyncio.wait_for(waiting, 10)


async def test_what_the_node_refuses_is_an_error() -> None:
    """A nack is no confirmation."""
    reader = asyncio.StreamReader()
    payload = struct.pack(">HHQB", 60, 120, 1, 0)
    reader.feed_data(struct.pack(">BHI", 1, 1, len(payload)) + payload + b"\xce")
    with pytest.raises(ConnectionError, match="Nack"):
        await _confirmed(reader, 1)
