"""As much of a MySQL and of a MongoDB as one INSERT needs: Debian's packages have no server that their clients could be tried with here."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping
from typing import Any

from tests.clients.places import Serve

_DONE = b"\x00\x00\x00\x02\x00\x00\x00"
_TAKEN = b"\xff" + struct.pack("<H", 1062) + b"#23000Duplicate entry '1' for key 'PRIMARY'"
# LONG_PASSWORD, CONNECT_WITH_DB, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION; PLUGIN_AUTH in the upper half.
_LOWER, _UPPER = 0x0001 | 0x0008 | 0x0200 | 0x2000 | 0x8000, 0x0008
_GREETING = (
    b"\x0a8.0.0\x00"
    + struct.pack("<I8sxHBHHB10x", 1, b"saltsalt", _LOWER, 45, 2, _UPPER, 21)
    + b"moresaltsalt\x00mysql_native_password\x00"
)
_QUIT = b"\x01"
_OP_REPLY, _OP_QUERY, _OP_MSG = 1, 2004, 2013
_ALONE = {
    "ok": 1,
    "ismaster": True,
    "isWritablePrimary": True,
    "helloOk": True,
    "minWireVersion": 0,
    "maxWireVersion": 25,
    "maxBsonObjectSize": 16_777_216,
    "maxMessageSizeBytes": 48_000_000,
    "maxWriteBatchSize": 100_000,
    "readOnly": False,
}


async def mysql(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Let anybody in; `INSERT INTO orders VALUES (1, ...)` is a duplicate, and everything else succeeds."""

    async def read() -> tuple[int, bytes]:
        head = await reader.readexactly(4)
        return head[3], await reader.readexactly(int.from_bytes(head[:3], "little"))

    def say(number: int, packet: bytes) -> None:
        writer.write(len(packet).to_bytes(3, "little") + bytes([number]) + packet)

    say(0, _GREETING)
    number, _ = await read()
    say(number + 1, _DONE)
    while True:
        number, command = await read()
        if command == _QUIT:
            return
        say(number + 1, _TAKEN if b"VALUES (1" in command else _DONE)


def mongo(reply: Mapping[str, Any]) -> Serve:
    """A server that stands alone, and answers every insert with `reply`."""
    import bson

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            size, request, _, operation = struct.unpack("<iiii", await reader.readexactly(16))
            body = await reader.readexactly(size - 16)
            if operation == _OP_QUERY:  # an old-fashioned hello, before either knows what the other speaks
                told = struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(_ALONE)
                operation = _OP_REPLY
            else:
                command = next(iter(bson.decode(body[5 : 5 + int.from_bytes(body[5:9], "little")])))
                answers: Mapping[str, Any] = {"insert": reply, "hello": _ALONE, "ismaster": _ALONE}.get(command, {"ok": 1})
                told = b"\0\0\0\0\0" + bson.encode(answers)
                operation = _OP_MSG
            writer.write(struct.pack("<iiii", 16 + len(told), 1, request, operation) + told)
            await writer.drain()

    return serve
