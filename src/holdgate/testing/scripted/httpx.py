"""A far end for httpx: transports that fail in an outage as a real server does, for `httpx.Client` and `httpx.AsyncClient`.

    client = httpx.AsyncClient(transport=AsyncScriptedTransport(payments), timeout=5)

What hangs ends by the client's `read` timeout, on virtual time. Limits of the connection pool and of connecting play no part: a connection
takes no time here.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable

import httpx

from holdgate.runtime.dependency import Dependency
from holdgate.testing.outages import Answered, Fault, Hung, Refused, ScriptedDependency, raisable, refusal, reset

__all__ = ["AsyncScriptedTransport", "ScriptedTransport"]


def _ok(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={})


class ScriptedTransport(httpx.BaseTransport):
    """A transport for `httpx.Client`, as plain handlers use it.

    - `dependency`: the Dependency whose outages it has.
    - `answer`: gets a request, and returns the response while the dependency is up, as in `httpx.MockTransport`. The default is 200 with an
      empty object.
    """

    def __init__(self, dependency: Dependency, answer: Callable[[httpx.Request], httpx.Response] = _ok) -> None:
        self._stand_in = ScriptedDependency(dependency)
        self._answer = answer

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer, or fail as the outage says."""
        request.read()
        met = self._stand_in.meet()
        if met is None:
            return self._answer(request)
        return _failed(request, met.fault, times_out=isinstance(met.fault, Hung) and met.hang_in_thread(_patience(request)))


class AsyncScriptedTransport(httpx.AsyncBaseTransport):
    """A transport for `httpx.AsyncClient`.

    - `dependency`: the Dependency whose outages it has.
    - `answer`: async or plain, gets a request, and returns the response while the dependency is up, as in `httpx.MockTransport`. The
      default is 200 with an empty object.
    """

    def __init__(self, dependency: Dependency, answer: Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]] = _ok) -> None:
        self._stand_in = ScriptedDependency(dependency)
        self._answer = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer, or fail as the outage says."""
        await request.aread()
        met = self._stand_in.meet()
        if met is None:
            answer = self._answer(request)
            return await answer if inspect.isawaitable(answer) else answer
        return _failed(request, met.fault, times_out=isinstance(met.fault, Hung) and await met.hang(_patience(request)))


def _patience(request: httpx.Request) -> float | None:
    """Return how long the client waits for bytes; None means for ever. A server that hangs has taken the connection."""
    limits: dict[str, float | None] = request.extensions.get("timeout", {})
    return limits.get("read")


def _failed(request: httpx.Request, fault: Fault, *, times_out: bool) -> httpx.Response:
    """Return the answer of an outage, or raise what httpx raises in it."""
    if isinstance(fault, Exception):
        raise raisable(fault)
    if isinstance(fault, Answered):
        return httpx.Response(fault.status, headers=fault.headers, request=request)
    if isinstance(fault, Refused):
        raise httpx.ConnectError("All connection attempts failed", request=request) from refusal()
    if times_out:
        raise httpx.ReadTimeout("", request=request)
    if isinstance(fault, Hung):
        raise httpx.ReadError("", request=request) from reset()
    raise httpx.RemoteProtocolError("Server disconnected without sending a response.", request=request)
