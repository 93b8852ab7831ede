"""The ASGI app: which path answers what. It runs in any ASGI server; `Control` runs it in one of its own.

Whatever a client does, the answer is short and made of constant texts and of what the guard says: nothing of a request is quoted but a
target, and no traceback leaves the process. Nothing of a request leads to another: the only requests of our own go to the configured peers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from holdgate.control.access import Access, Denied, check_host
from holdgate.control.commands import BODY_AT_MOST, carry_out, read_order
from holdgate.control.feed import EventFeed, EventStream
from holdgate.control.peers import Peers
from holdgate.control.site import Site
from holdgate.control.views import Views, encode
from holdgate.errors import CommandError, MissingExtra
from holdgate.ports import Controllable

log = logging.getLogger("holdgate")

# A command is one packet: what takes longer than this to arrive is held up on purpose (seconds).
_BODY_WITHIN = 5.0
# Streams at the same time. A page has one, and twenty people look at an outage; the rest is for reloads.
_STREAMS_AT_MOST = 100

# A status of ten thousand sources is four megabytes. Of what a client does not take, so many bytes are kept for it and no more.
_PIECE = 64 * 1024
# A client on a slow line takes such a piece in a second (seconds).
_PIECE_WITHIN = 10.0

_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Endpoint = Callable[[Request], Awaitable[Any]]


class Desk:
    """Answers requests about one guard, which comes with `begin`. Before it comes, and after it has gone, only the probes answer."""

    def __init__(self, access: Access, feed: EventFeed, peers: Peers) -> None:
        self._access = access
        self._feed = feed
        self._peers = peers
        self._guard: Controllable | None = None
        self._views: Views | None = None

    def begin(self, guard: Controllable, views: Views) -> None:
        """Answer about this guard from now on."""
        self._guard, self._views = guard, views

    def routes(self) -> list[BaseRoute]:
        """Return every path that answers."""
        return [
            _read("/livez", self.livez),
            _read("/readyz", self.readyz),
            _read("/startupz", self.startupz),
            _read("/status", self.status),
            _read("/metrics", self.metrics),
            _read("/audit", self.audit),
            _read("/events", self.events),
            _read("/peers", self.peers),
            Route("/commands/{command}", self.command, methods=["POST"]),
        ]

    # -- probes -----------------------------------------------------------------------------------------------------------------------

    async def livez(self, request: Request) -> Response:  # noqa: ARG002
        """200 while this process should not be restarted; never depends on a broker, a dependency or a circuit."""
        return self._probe("live", without=True)

    async def readyz(self, request: Request) -> Response:  # noqa: ARG002
        """200 from the first assignment to the stop, also while a circuit is open."""
        return self._probe("ready", without=False)

    async def startupz(self, request: Request) -> Response:  # noqa: ARG002
        """200 from the first assignment on."""
        return self._probe("started", without=False)

    def _probe(self, what: str, *, without: bool) -> Response:
        if self._views is None:
            return _json({"status": "starting", what: without}, 200 if without else 503)
        health = self._views.health()
        return _json(health, 200 if dict(health)[what] else 503)

    # -- reading ----------------------------------------------------------------------------------------------------------------------

    async def status(self, request: Request) -> Response:
        """What is held, why, since when, how much waits, and what happens next: the document of flow/status.py."""
        return _bytes(self._read_by(request).status(_limit(request)))

    async def metrics(self, request: Request) -> Response:
        """What Prometheus scrapes."""
        views = self._read_by(request)
        try:
            kind, body = views.metrics(request.headers.get("accept", ""))
        except MissingExtra as error:
            raise Denied(501, str(error)) from None
        return Document(body, headers={"content-type": kind})

    async def audit(self, request: Request) -> Response:
        """The last thousand commands."""
        return _bytes(self._read_by(request).audit())

    async def events(self, request: Request) -> EventStream:
        """Every event as it happens, and once a second the status."""
        views = self._read_by(request)
        if self._feed.open_streams >= _STREAMS_AT_MOST:
            raise Denied(503, f"there are {self._feed.open_streams} event streams already")
        return EventStream(self._feed, views, request.headers.get("last-event-id", ""))

    async def peers(self, request: Request) -> Response:
        """The status of each configured peer, or why there is none."""
        self._read_by(request)
        return _json({"peers": await self._peers.get()})

    def _read_by(self, request: Request) -> Views:
        self._access.check_read(request.headers)
        if self._views is None:
            raise Denied(503, "no guard runs here yet")
        if self._feed.ended:
            raise Denied(503, "the guard that ran here has ended")
        return self._views

    # -- commands ---------------------------------------------------------------------------------------------------------------------

    async def command(self, request: Request) -> Response:
        """Carry out one command. The answer has its entry of the audit log."""
        self._access.check_command(request.headers, request.url.query)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Denied(415, "a command must be sent as application/json")
        order = read_order(request.path_params["command"], await _body(request))
        if self._guard is None or self._views is None or self._feed.ended:
            raise Denied(503, "no guard runs here")
        try:
            result = await carry_out(self._guard, order)
        except CommandError as error:
            raise Denied(409, str(error)) from None
        self._views.expire(whatever_it_cost=True)  # who has commanded looks immediately, and has a token
        return _json({**result, **({"command": self._views.last_command()} if result["done"] else {})})


class Door:
    """What every request passes: the app as ASGI servers call it. It adds headers, and hides what went wrong inside.

    `loopback` means that its server listens on loopback alone, so that only requests to a loopback name are answered.
    """

    def __init__(self, app: Starlette, *, loopback: bool) -> None:
        self._app = app
        self._loopback = loopback

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def pass_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            try:
                await send(message)
            except Exception:  # noqa: BLE001 - the server's affair: the client is gone, or has broken the protocol
                raise ClientDisconnect from None

        try:
            if self._loopback:
                check_host(Headers(scope=scope))
            await self._app(scope, receive, pass_on)
        except Denied as error:
            await _error(error.status, error.text)(scope, receive, pass_on)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - its text may be anything, and a server would log it
            log.warning("control: a request ended with %s", type(error).__name__)


class Document(Response):
    """An answer that may be large: sent in pieces, each when the client has taken the one before. A client that takes none is cut."""

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Send it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body = bytes(self.body)
        for begin in range(0, len(body), _PIECE):
            piece = {"type": "http.response.body", "body": body[begin : begin + _PIECE], "more_body": True}
            try:
                async with asyncio.timeout(_PIECE_WITHIN):
                    await send(piece)
            except TimeoutError:
                return  # the rest is missing, so the server ends the connection
        await send({"type": "http.response.body", "body": b""})


def make_app(desk: Desk) -> Starlette:
    """Return the app without its door: the desk's paths, and the page."""
    handlers = {HTTPException: _not_here, Denied: _denied, Exception: _mistaken}
    app = Starlette(routes=[*desk.routes(), *Site().routes()], exception_handlers=handlers)
    app.router.redirect_slashes = False  # the address of a redirect would be made of what the client says its host is
    return app


def _read(path: str, endpoint: Endpoint) -> Route:
    return Route(path, endpoint, methods=["GET"])


async def _body(request: Request) -> bytes:
    """Return the body of a command. Raises Denied for one that is too long, or does not come."""
    body = b""
    try:
        async with asyncio.timeout(_BODY_WITHIN):
            async for part in request.stream():
                body += part
                if len(body) > BODY_AT_MOST:
                    raise Denied(413, f"the body must be at most {BODY_AT_MOST} bytes")
    except TimeoutError:
        raise Denied(408, f"the body must arrive within {_BODY_WITHIN:g} s") from None
    return body


def _limit(request: Request) -> int | None:
    text = request.query_params.get("limit")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 8):  # noqa: PLR2004 - as a number it is short
        raise Denied(400, "limit must be a whole number from 0: how many sources to list")
    return int(text)


async def _denied(request: Request, error: Exception) -> Response:  # noqa: ARG001 - starlette's signature
    if not isinstance(error, Denied):
        raise error
    return _error(error.status, error.text)


async def _not_here(request: Request, error: Exception) -> Response:  # noqa: ARG001 - starlette's signature
    if not isinstance(error, HTTPException):
        raise error
    text = {404: "nothing is here", 405: "this path takes another method"}.get(error.status_code, "this cannot be answered")
    return _error(error.status_code, text, error.headers)


async def _mistaken(request: Request, error: Exception) -> Response:  # noqa: ARG001 - the door logs its kind: starlette raises it again
    return _error(500, "this is a mistake of holdgate's: the log has its kind")


def _error(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    # What the client still sends of a request that is refused is not read: the connection ends.
    more = {"connection": "close", **(headers or {})}
    if status == 401:  # noqa: PLR2004
        more["www-authenticate"] = "Bearer"
    return Response(encode({"error": text}), status, more, "application/json")


def _json(value: Any, status: int = 200) -> Response:
    return Document(encode(value), status, media_type="application/json")


def _bytes(body: bytes) -> Response:
    return Document(body, media_type="application/json")
