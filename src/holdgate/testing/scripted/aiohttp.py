"""A far end for aiohttp: a connector that fails in an outage as a real server does.

    async with aiohttp.ClientSession(connector=ScriptedConnector(payments)) as session: ...

aiohttp runs as it is, client and server, with its parser, its pool and its timeouts on virtual time. Only the network is none: `_End` is
one end of a wire in memory, so nothing is sent and TLS plays no part. The client's side asks for the outage, because the server's tasks do
not know for which message they work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import BaseConnector, ClientConnectorError, web

from holdgate.runtime.dependency import Dependency
from holdgate.testing.outages import Answered, Hung, Met, Refused, ScriptedDependency, raisable, refusal

__all__ = ["ScriptedConnector"]


async def _ok(_: web.BaseRequest) -> web.StreamResponse:
    return web.json_response({})


class ScriptedConnector(BaseConnector):
    """A connector for `aiohttp.ClientSession`. Like every connector it is made in the loop in which it is used.

    - `dependency`: the Dependency whose outages it has.
    - `answer`: an async function that gets an `aiohttp.web.BaseRequest`, and returns the response while the dependency is up. The default
      is 200 with an empty object.
    - `**settings`: as for `aiohttp.BaseConnector`, such as `limit`.
    """

    def __init__(
        self, dependency: Dependency, answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] = _ok, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self._stand_in = ScriptedDependency(dependency)
        self._answer = answer
        self._server = web.Server(self._serve, access_log=None)

    async def connect(self, req: Any, *rest: Any, **named: Any) -> Any:
        """Return a connection for a request, or raise what a refused one does."""
        met = self._stand_in.meet()
        if met is not None and isinstance(met.fault, Exception):
            raise raisable(met.fault)
        if met is not None and isinstance(met.fault, Refused):
            raise ClientConnectorError(req.connection_key, refusal())
        connection = await super().connect(req, *rest, **named)
        cast("_End", connection.transport).peer.met = met
        return connection

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> Any:  # noqa: ARG002 - as in the class above
        client, server = self._factory(), self._server()
        _End.join(client, server, asyncio.get_running_loop())
        return client

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        end = cast("_End", request.transport)
        met, end.met = end.met, None
        if met is None:
            return await self._answer(request)
        if isinstance(met.fault, Answered):
            return web.Response(status=met.fault.status, headers=met.fault.headers)
        if isinstance(met.fault, Hung):
            await met.outlast(lambda: not end.is_closing())
        end.abort()
        raise asyncio.CancelledError  # nobody is there to answer to


class _End(asyncio.Transport):
    """One end of a wire in memory. What is written at one end comes out at the other in the loop's next step.

    It has no `pause_reading`: there is room for everything, and aiohttp does without.
    """

    def __init__(self, protocol: asyncio.Protocol, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.peer = self  # until it is joined
        self.met: Met | None = None
        self._protocol = protocol
        self._loop = loop
        self._closing = False

    @classmethod
    def join(cls, one: asyncio.Protocol, other: asyncio.Protocol, loop: asyncio.AbstractEventLoop) -> None:
        """Put a wire between two protocols."""
        here, there = cls(one, loop), cls(other, loop)
        here.peer, there.peer = there, here
        other.connection_made(there)
        one.connection_made(here)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast("asyncio.Protocol", protocol)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._closing:
            self._loop.call_soon(self.peer.take, bytes(data))

    def take(self, data: bytes) -> None:
        """Get what was written at the other end."""
        if not self._closing:
            self._protocol.data_received(data)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._protocol.connection_lost, None)
            self._loop.call_soon(self.peer.close)

    def abort(self) -> None:
        self.close()
