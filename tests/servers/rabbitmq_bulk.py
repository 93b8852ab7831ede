"""Thousands of messages to RabbitMQ in one write, confirmed by the node: what a test puts into a queue before it begins to look.

A client makes a task, a future and three frames of each message: a hundred thousand take it a quarter of a minute of the processor. Here
the frames are put together once and differ in their bodies alone. Publisher confirms are counted: the node confirms one by one, or all up
to a number.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from pamqp import commands, frame
from pamqp.header import ContentHeader, ProtocolHeader

_CHANNEL = 1
_METHOD, _HEARTBEAT = 1, 8  # types of frames
_ACK = struct.pack(">HH", 60, 80)  # Basic.Ack: a number, and a bit that says whether it stands for all up to it
_END = b"\xce"

T = TypeVar("T")


async def publish_in_bulk(url: str, queue: str, bodies: Sequence[bytes], properties: commands.Basic.Properties) -> None:
    """Publish these in order, all with the same properties; returns when the node has confirmed every one. Raises ConnectionError when it
    answers anything else, as for a queue that is not there."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 5672)
    try:
        await _open(reader, writer, parts.username or "guest", parts.password or "guest", unquote(parts.path[1:]) or "/")
        writer.write(_frames(queue, bodies, properties))
        await asyncio.gather(writer.drain(), _confirmed(reader, len(bodies)))
        _send(writer, 0, commands.Connection.Close(200, "done", 0, 0))
        await _expect(reader, commands.Connection.CloseOk)
    finally:
        writer.close()


async def _open(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, user: str, password: str, vhost: str) -> None:
    writer.write(ProtocolHeader(0, 9, 1).marshal())
    await _expect(reader, commands.Connection.Start)
    _send(writer, 0, commands.Connection.StartOk({}, "PLAIN", f"\0{user}\0{password}", "en_US"))
    tune = await _expect(reader, commands.Connection.Tune)
    _send(writer, 0, commands.Connection.TuneOk(tune.channel_max, tune.frame_max, 0))
    _send(writer, 0, commands.Connection.Open(vhost))
    await _expect(reader, commands.Connection.OpenOk)
    _send(writer, _CHANNEL, commands.Channel.Open())
    await _expect(reader, commands.Channel.OpenOk)
    _send(writer, _CHANNEL, commands.Confirm.Select())
    await _expect(reader, commands.Confirm.SelectOk)


def _send(writer: asyncio.StreamWriter, channel: int, method: frame.FrameTypes) -> None:
    writer.write(frame.marshal(method, channel))


async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The type of the next frame, and the whole of it."""
    head = await reader.readexactly(7)
    kind, _channel, size = struct.unpack(">BHI", head)
    return kind, head + await reader.readexactly(size + len(_END))


async def _expect(reader: asyncio.StreamReader, method: type[T]) -> T:
    found = frame.unmarshal((await _read(reader))[1])[2]
    if not isinstance(found, method):
        raise ConnectionError(f"RabbitMQ answers {found!r}")
    return found


def _frames(queue: str, bodies: Sequence[bytes], properties: commands.Basic.Properties) -> bytes:
    publish = frame.marshal(commands.Basic.Publish(exchange="", routing_key=queue, mandatory=True), _CHANNEL)
    heads = {
        size: publish
        + frame.marshal(ContentHeader(body_size=size, properties=properties), _CHANNEL)
        + struct.pack(">BHI", 3, _CHANNEL, size)
        for size in set(map(len, bodies))
    }
    return b"".join(part for body in bodies for part in (heads[len(body)], body, _END))


async def _confirmed(reader: asyncio.StreamReader, count: int) -> None:
    """Return when all numbers from 1 to `count` are confirmed."""
    upto = 0  # all up to here are
    alone: set[int] = set()
    while upto < count:
        kind, whole = await _read(reader)
        if kind == _HEARTBEAT:
            continue
        if kind != _METHOD or whole[7:11] != _ACK:
            raise ConnectionError(f"RabbitMQ answers {frame.unmarshal(whole)[2]!r}")
        number, multiple = struct.unpack(">QB", whole[11:20])
        if multiple:
            upto = max(upto, number)
        else:
            alone.add(number)
        while upto + 1 in alone:
            upto += 1
            alone.remove(upto)
