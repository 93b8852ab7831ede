"""A TCP proxy for network faults: slow, reset, refused, cut, half-open, truncated."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from tests.servers.ports import release_port, reserve_port

if TYPE_CHECKING:
    from collections.abc import Coroutine

CHUNK = 65_536


@dataclass(eq=False, slots=True)
class _Link:
    """One client's connection and the one to the server behind it."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    truncated: bool = False


class Proxy:
    """Listens on 127.0.0.1 and passes everything on to `target` until told otherwise. `async with` starts and stops it.

    `port` 0: any free one, which nobody else gets while the proxy refuses. `delay`: seconds that each piece waits in each direction, order
    kept. `links_made` counts the connections that came in.
    """

    def __init__(self, target: tuple[str, int], *, port: int = 0, delay: float = 0.0) -> None:
        self.target = target
        self.port = port
        self._reserved = 0
        self.delay = delay
        self.links_made = 0
        self._links: set[_Link] = set()
        self._listening: asyncio.Server | None = None
        self._flows = asyncio.Event()
        self._flows.set()
        self._left_open: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """Host and port for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def links(self) -> int:
        """How many connections pass through now."""
        return len(self._links)

    async def accept(self) -> None:
        """Listen; clients get through again after `refuse`."""
        if not self.port:
            self.port = self._reserved = reserve_port()
        if self._listening is None:
            self._listening = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    def refuse(self) -> None:
        """Refuse new connections (ECONNREFUSED); those that exist go on."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None

    def reset(self) -> None:
        """End every connection with RST on both sides; new ones are accepted."""
        for link in list(self._links):
            _reset(link.client)
            _reset(link.server)
            self._drop(link)

    def cut(self) -> None:
        """A black hole: connections stay, new ones are accepted, and no byte passes until `heal`. Nothing is lost, as with TCP."""
        self._flows.clear()

    def heal(self) -> None:
        """Let the bytes flow again, those that waited first."""
        self._flows.set()

    def half_open(self) -> None:
        """Forget every connection without a word to the client: the server sees RST, the client's socket stays open and silent."""
        for link in list(self._links):
            _reset(link.server)
            self._drop(link)
            self._left_open.append(link.client)

    def truncate(self) -> None:
        """Let each connection that exists break off in the middle: half of what its server sends next arrives, and then its end."""
        for link in self._links:
            link.truncated = True

    async def close(self) -> None:
        """End everything."""
        self.refuse()
        writers = [*self._left_open, *(writer for link in self._links for writer in (link.client, link.server))]
        self.reset()
        for writer in self._left_open:
            _reset(writer)
        self._left_open.clear()
        self.heal()
        await asyncio.gather(*self._tasks, *map(_closed, writers), return_exceptions=True)
        if self._reserved:
            release_port(self._reserved)
            self._reserved = 0

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.links_made += 1
        try:
            server_reader, server = await asyncio.open_connection(*self.target)
        except OSError:
            _reset(client)
            return
        link = _Link(client, server)
        self._links.add(link)
        self._start(link, self._pass_on(link, reader, server))
        self._start(link, self._pass_on(link, server_reader, client))

    def _start(self, link: _Link, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        link.tasks.append(task)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(CHUNK):
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self._flows.wait()
                if link.truncated and writer is link.client:
                    writer.write(piece[: len(piece) // 2])
                    break
                writer.write(piece)
                await writer.drain()
        # One side ended: the other learns of it, after the black hole if there is one.
        await self._flows.wait()
        self._drop(link)
        link.client.close()
        link.server.close()
        await _closed(link.client)
        await _closed(link.server)

    def _drop(self, link: _Link) -> None:
        self._links.discard(link)
        here = asyncio.current_task()
        for task in link.tasks:
            if task is not here:
                task.cancel()


async def _closed(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def _reset(writer: asyncio.StreamWriter) -> None:
    # SO_LINGER with zero seconds: the close that follows sends RST instead of FIN.
    raw = writer.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
