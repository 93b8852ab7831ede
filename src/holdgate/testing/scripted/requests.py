"""A far end for requests: an adapter that fails in an outage as a real server does. For plain handlers.

    session = requests.Session()
    session.mount("https://", ScriptedAdapter(payments))

requests and urllib3 run as they are, with their retries and their exceptions. Only the bytes do not go out: `_Pool` stands at the last
step, where urllib3 would use its connection. What hangs ends by the `timeout` of the call, on virtual time. What urllib3 sleeps between
two retries is real time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import RemoteDisconnected
from io import BytesIO
from typing import Any

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPResponse, Timeout
from urllib3.exceptions import NewConnectionError, ProtocolError, ReadTimeoutError

from holdgate.runtime.dependency import Dependency
from holdgate.testing.outages import Answered, Fault, Hung, Refused, ScriptedDependency, raisable, refusal, reset

__all__ = ["Reply", "ScriptedAdapter"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the far end answers while it is up.

    - `status`: the HTTP status.
    - `body`: bytes as they are, or anything else as JSON.
    - `headers`: by name.
    """

    status: int = 200
    body: Any = field(default_factory=dict[str, Any])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def content(self) -> bytes:
        """Return the bytes of the body."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def _ok(_: PreparedRequest) -> Reply:
    return Reply()


class ScriptedAdapter(HTTPAdapter):
    """An adapter to mount on a `requests.Session`.

    - `dependency`: the Dependency whose outages it has.
    - `answer`: gets a prepared request, and returns the Reply while the dependency is up. The default is 200 with an empty object.
    - `**settings`: as for HTTPAdapter, such as `max_retries`.
    """

    def __init__(self, dependency: Dependency, answer: Callable[[PreparedRequest], Reply] = _ok, **settings: Any) -> None:
        super().__init__(**settings)
        self._stand_in = ScriptedDependency(dependency)
        self._answer = answer

    def get_connection_with_tls_context(self, request: PreparedRequest, *_: Any, **__: Any) -> HTTPConnectionPool:
        """Return what stands where requests would get its pool of connections to the request's host."""
        return _Pool(self._stand_in, lambda: self._answer(request))

    def send(self, request: PreparedRequest, *rest: Any, **named: Any) -> Response:
        """Send a request, or fail as the outage says."""
        try:
            return super().send(request, *rest, **named)
        except _OwnFault as own:
            raise raisable(own.fault) from None

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """Look at no certificate: there is none."""


class _OwnFault(Exception):
    """Carries the exception of an outage past urllib3, which would take an OSError for one of its own."""

    def __init__(self, fault: Exception) -> None:
        super().__init__()
        self.fault = fault


class _Pool(HTTPConnectionPool):
    """A pool whose connections are never made."""

    def __init__(self, stand_in: ScriptedDependency, answer: Callable[[], Reply]) -> None:
        super().__init__("scripted")
        self._stand_in = stand_in
        self._answer = answer

    # As in the class above, and in a form that fits every urllib3: it is called with keywords.
    def _make_request(self, conn: Any, method: str, url: str, **given: Any) -> HTTPResponse:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        met = self._stand_in.meet()
        if met is None:
            reply = self._answer()
            return _response(method, reply.status, reply.headers, reply.content())
        if isinstance(met.fault, Exception):
            raise _OwnFault(met.fault)
        if isinstance(met.fault, Answered):
            return _response(method, met.fault.status, met.fault.headers, b"")
        limit: Timeout = given["timeout"]
        patience = None if limit.read_timeout is None else float(limit.read_timeout)
        times_out = isinstance(met.fault, Hung) and met.hang_in_thread(patience)
        if times_out:
            raise ReadTimeoutError(self, url, f"Read timed out. (read timeout={patience})")
        raise _error(conn, met.fault)


def _error(conn: Any, fault: Fault) -> Exception:
    """Return what urllib3 raises where it uses its connection."""
    if isinstance(fault, Refused):
        return NewConnectionError(conn, f"Failed to establish a new connection: {refusal()}")
    cause = reset() if isinstance(fault, Hung) else RemoteDisconnected("Remote end closed connection without response")
    return ProtocolError("Connection aborted.", cause)


def _response(method: str, status: int, headers: Mapping[str, str], body: bytes) -> HTTPResponse:
    return HTTPResponse(
        BytesIO(body), headers={"Content-Length": str(len(body)), **headers}, status=status, request_method=method, preload_content=False
    )
