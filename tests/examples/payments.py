"""A payment service for the examples: it charges, or says 503 and when to come back."""

from __future__ import annotations

import asyncio
from typing import Self


class Payments:
    """Answers POSTs on 127.0.0.1, each after `seconds`. `charged` has the accepted bodies in order, `refused` counts the others."""

    def __init__(self) -> None:
        self.charged: list[bytes] = []
        self.refused = 0
        self.is_up = True
        self.seconds = 0.0
        self.retry_after: int | None = 1  # a second: the examples have the default settings, whose first wait is longer
        self._server: asyncio.Server | None = None

    @property
    def host(self) -> str:
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        body = await reader.readexactly(int(head.partition(b"content-length:")[2].split()[0]))
        await asyncio.sleep(self.seconds)
        if self.is_up:
            self.charged.append(body)
            answer = b"HTTP/1.1 200 OK\r\n"
        else:
            self.refused += 1
            asked = b"" if self.retry_after is None else b"Retry-After: %d\r\n" % self.retry_after
            answer = b"HTTP/1.1 503 Service Unavailable\r\n" + asked
        writer.write(answer + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
