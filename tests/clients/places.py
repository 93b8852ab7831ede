"""Servers of ours that fail on purpose: they refuse, drop, hang, break off, talk nonsense, or answer with a status."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

# What a client waits for an answer, in seconds: where none comes, and where one comes on a machine that others keep busy.
IN_VAIN = 0.4
PATIENCE = 20.0


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[int]:
    """A server on loopback for which `serve` handles each connection; its port."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        # Cancelled at the end, or the client has gone: all as it should be.
        with suppress(asyncio.CancelledError, ConnectionError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def refusing() -> AsyncIterator[int]:
    """A port on which nobody listens, and that nobody else gets meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take what comes, and reset the connection."""
    await reader.read(1)
    writer.transport.abort()


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take everything and say nothing."""
    while await reader.read(65536):
        pass


async def talk_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer in no protocol at all."""
    await reader.read(1)
    writer.write(b"\x00\xff\x15 nothing that anybody speaks \r\n\r\n" * 4)
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def greet_with_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The same for protocols in which the server speaks first."""
    writer.write(b"\x00\xff\x15 nothing that anybody speaks \r\n\r\n" * 4)
    await writer.drain()
    writer.close()
    await writer.wait_closed()


def answer(status: int, body: bytes = b"{}", headers: Mapping[str, str] = {}, length: int | None = None) -> Serve:
    """Answer every HTTP request with this; `length` other than the body's breaks off in the middle."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = {name.lower(): value for name, _, value in (line.partition(": ") for line in head.decode("latin-1").split("\r\n")[1:])}
        await reader.readexactly(int(lines.get("content-length", "0")))
        told = {"Content-Type": "application/json", "Content-Length": str(len(body) if length is None else length)}
        told |= {"Connection": "close", **headers}
        fields = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        writer.write(f"HTTP/1.1 {status} Said\r\n{fields}\r\n".encode() + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    return serve


async def drop_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reset the connection before anything is said: for protocols in which the server speaks first."""
    writer.transport.abort()
