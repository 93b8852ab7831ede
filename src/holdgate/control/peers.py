"""The peers of a worker: other workers whose status its page shows, so that a fleet is one table.

The worker asks them, and not the browser. An operator at three in the morning often has a tunnel to one pod and reaches no other, while
the pods reach each other; and no worker has to let a page of another origin read it. What is asked is `GET /status?limit=0` of addresses
from the configuration, and nothing that came over the network: no redirect is followed, and of an answer only what has the form of a
status is passed on (shape.py). No command goes to a peer.

A peer is asked only while somebody looks, and not more often than `_KEPT_FOR`. A name may stand for many addresses, as that of a headless
service in Kubernetes does: each of them is a worker.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import ssl
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, cast
from urllib.parse import urlsplit

import h11

from holdgate.control.shape import WrongShape, fitting
from holdgate.errors import SettingsError
from holdgate.flow.status import SCHEMA, DependencyStatus, HealthStatus, SummaryStatus
from holdgate.tasks import run_beside

# A page asks every two seconds, and many pages share one round.
_KEPT_FOR = 1.5
# A worker in the same network answers in milliseconds. One that does not must not hold back the others for long (seconds).
_WITHIN = 2.0
# A status without sources is some 600 bytes for each dependency. What is longer is no status.
_ANSWER_AT_MOST = 256 * 1024
# Such an answer has some hundreds of pieces on the way. Each costs time on the worker's loop, and a peer could cut one into bytes, or send
# preliminary answers for ever.
_PIECES_AT_MOST = 2000
# A fleet that one still reads as a table.
_PEERS_AT_MOST = 100
# So many at the same time: a round of a hundred should not open a hundred files in parallel.
_TOGETHER = 20
log = logging.getLogger("holdgate")

_PORTS = {"http": 80, "https": 443}

Answer = dict[str, Any]


class PeerStatus(TypedDict):
    """What is passed on of a status; `sources` are asked for with a limit of 0."""

    schema: int
    at: float
    worker: str
    version: str
    began: float
    health: HealthStatus
    summary: SummaryStatus
    dependencies: list[DependencyStatus]


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """Where one peer is, taken apart once. `path` is that of its control plane, without a slash at its end."""

    url: str
    scheme: str
    host: str
    port: int
    path: str


class _NoStatus(Exception):
    """What a peer has answered is none of a worker's. The text is constant."""


class Peers:
    """Asks the peers. `token` is what they want for reading, the same in all of the fleet; None means nothing."""

    def __init__(self, peers: Sequence[PeerAddress], token: str | None) -> None:
        self._peers = tuple(peers)
        # Of a token that nobody is given, no copy is kept (access.py).
        self._headers = [("authorization", f"Bearer {token}")] if token is not None and peers else []
        self._together = asyncio.Semaphore(_TOGETHER)
        self._found: list[Answer] = []
        self._fresh_until = -1.0
        self._round: asyncio.Task[None] | None = None
        self._has_ended = False
        # Made once: reading the system's certificates takes the loop for tens of milliseconds.
        self._secure = ssl.create_default_context() if any(peer.scheme == "https" for peer in peers) else None

    async def get(self) -> list[Answer]:
        """Return what each worker among the peers answers: `url`, and `status` or `error`. All that ask meanwhile wait for one round."""
        if self._peers and not self._has_ended and time.monotonic() >= self._fresh_until:
            if self._round is None or self._round.done():
                self._round = run_beside(self._ask_all(), "question to the peers", _ended)
            await asyncio.wait({self._round})
        return self._found

    def end(self) -> None:
        """Ask nobody any more: who asks from now on gets what was found last."""
        self._has_ended = True
        if self._round is not None:
            self._round.cancel()

    async def _ask_all(self) -> None:
        places = await asyncio.gather(*(self._places_of(peer) for peer in self._peers))
        asked = [(peer, place, len(of_peer)) for peer, of_peer in zip(self._peers, places, strict=True) for place in of_peer]
        self._found = list(await asyncio.gather(*(self._ask(*each) for each in asked[:_PEERS_AT_MOST])))
        self._fresh_until = time.monotonic() + _KEPT_FOR

    async def _places_of(self, peer: PeerAddress) -> Sequence[str | Exception]:
        """Return the addresses that a peer's name stands for, or why there are none."""
        try:
            async with asyncio.timeout(_WITHIN):
                known = await asyncio.get_running_loop().getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # a timeout is an OSError; a name that cannot be written for a resolver the other
            return [error]
        return sorted({str(address[0]) for *_, address in known})

    async def _ask(self, peer: PeerAddress, host: str | Exception, of: int) -> Answer:
        if isinstance(host, Exception):
            return _failed(peer.url, host)
        # Of several workers under one name the name leads a browser to any of them.
        url = peer.url if of == 1 else f"{peer.scheme}://{_in_url(host)}:{peer.port}{peer.path}/"
        try:
            async with self._together, asyncio.timeout(_WITHIN):
                return {"url": url, "status": _status(await self._fetch(peer, host)), "error": None}
        except (OSError, _NoStatus, h11.RemoteProtocolError) as error:
            return _failed(url, error)

    async def _fetch(self, peer: PeerAddress, host: str) -> bytes:
        secure = self._secure if peer.scheme == "https" else None
        name = peer.host if secure is not None else None
        reader, writer = await asyncio.open_connection(host, peer.port, ssl=secure, server_hostname=name)
        try:
            talk = h11.Connection(h11.CLIENT)
            headers = [
                ("host", f"{_in_url(peer.host)}:{peer.port}"),
                ("accept", "application/json"),
                ("connection", "close"),
                *self._headers,
            ]
            asked = h11.Request(method="GET", target=f"{peer.path}/status?limit=0", headers=headers)
            writer.write((talk.send(asked) or b"") + (talk.send(h11.EndOfMessage()) or b""))
            return await _read(talk, reader.read)
        finally:
            writer.transport.abort()  # there is nothing left to say, and waiting for a peer's goodbye may take for ever


async def _read(talk: h11.Connection, more: Any) -> bytes:
    body = bytearray()
    for _ in range(_PIECES_AT_MOST):
        event = talk.next_event()
        if event is h11.NEED_DATA:
            piece: bytes = await cast("Awaitable[bytes]", more(65536))
            talk.receive_data(piece)
        elif isinstance(event, h11.Response):
            if event.status_code != 200:  # noqa: PLR2004 - OK
                raise _NoStatus(f"it answers {event.status_code}")
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > _ANSWER_AT_MOST:
                raise _NoStatus("its answer is too long")
        elif isinstance(event, h11.EndOfMessage):
            return bytes(body)
        elif isinstance(event, h11.ConnectionClosed):
            raise _NoStatus("it does not speak HTTP")
    raise _NoStatus("its answer comes in too many pieces")


def _status(body: bytes) -> Answer:
    try:
        given: object = json.loads(body)
    except (ValueError, RecursionError):
        raise _NoStatus("its answer is not JSON") from None
    try:
        found: Answer = fitting(given, PeerStatus)
    except WrongShape:
        found = {}
    if found.get("schema") != SCHEMA:
        raise _NoStatus("its answer is no status that is known here: is the address that of a holdgate worker, and of this version?")
    return found


def _failed(url: str, error: BaseException) -> Answer:
    if isinstance(error, _NoStatus):
        return {"url": url, "status": None, "error": str(error)}
    if isinstance(error, TimeoutError):
        return {"url": url, "status": None, "error": f"no answer within {_WITHIN:.0f} seconds"}
    # Not the error's own text: asyncio's has addresses in it, of which some may be nobody's business.
    text = os.strerror(error.errno) if isinstance(error, ConnectionError) and error.errno else type(error).__name__
    return {"url": url, "status": None, "error": f"no connection: {text}"}


def _ended(error: BaseException) -> None:
    log.warning("control: asking the peers has ended with %s", type(error).__name__)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def check_peers(peers: object) -> tuple[PeerAddress, ...]:
    """Return the addresses taken apart. Raises SettingsError for what is no address of a control plane."""
    if isinstance(peers, str) or not isinstance(peers, Sequence):
        raise SettingsError(f'control: peers must be a list of addresses, got {type(peers).__name__}: give ["http://worker-2:9099"]')
    given = cast("Sequence[object]", peers)
    if len(given) > _PEERS_AT_MOST:
        raise SettingsError(f"control: peers must be at most {_PEERS_AT_MOST} addresses, got {len(given)}: one name may stand for many")
    return tuple(_check_peer(each) for each in given)


def _check_peer(peer: object) -> PeerAddress:
    try:
        if not isinstance(peer, str) or not peer.isprintable() or not peer.isascii() or " " in peer:
            raise ValueError
        parts = urlsplit(peer)
        usual = _PORTS[parts.scheme]  # first: a scheme that is neither is none with a port, too
        port = parts.port or usual
        if not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError
    except (ValueError, KeyError):
        # It is not quoted: what is wrong with it may be that it has a password in it.
        raise SettingsError(
            'control: peers must be addresses as "http://worker-2:9099", of http or https, without a user, a query or a fragment'
        ) from None
    path = parts.path.rstrip("/")
    return PeerAddress(f"{parts.scheme}://{parts.netloc}{path}/", parts.scheme, parts.hostname, port, path)
