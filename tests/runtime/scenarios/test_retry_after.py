"""A real HTTP server says when to come back, and the guard comes back then."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any, Self
from urllib.error import HTTPError

import pytest
from tests.runtime.stage import GROUP, ORDERS, broker_with, quiet_guard, running

from holdgate import CircuitSettings, Delivery, Dependency, RetryPolicy, http
from holdgate.core import CircuitOpened, Reason
from holdgate.testing import MemoryDeadLetters, MemoryIntake, in_virtual_time

ORDER = ORDERS[0]
WAIT = 40.0
SETTINGS = CircuitSettings(open_duration=5.0, open_jitter=0.0)  # the server's word is far from it


class Server:
    """Answers each request with the next of these heads, and then with 200; notes when it was asked."""

    def __init__(self, *heads: bytes) -> None:
        self._heads: Iterator[bytes] = iter(heads)
        self.asked: list[float] = []
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked.append(asyncio.get_running_loop().time())
        writer.write(b"HTTP/1.1 " + next(self._heads, b"200 OK") + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async def get(self, delivery: Delivery[Any]) -> None:
        """A handler: one request over a socket. Raises what urllib would, with the server's own status and headers."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        answer = (await reader.read()).decode("latin-1")
        writer.close()
        head, *lines = answer.split("\r\n")
        status = int(head.split()[1])
        if status != 200:
            headers = dict(line.split(": ", 1) for line in lines if ": " in line)
            error = HTTPError(f"http://{host}:{port}/", status, head, headers, None)  # type: ignore[arg-type]
            error.close()  # it keeps what was said; from CPython 3.14 on one that is not closed warns when it goes
            raise error


def in_seconds(status: bytes) -> bytes:
    return status + b"\r\nRetry-After: %d" % WAIT


def as_a_date(status: bytes) -> bytes:
    """By a server whose clock is wrong by years: it is compared with its own Date header."""
    sent, then = formatdate(1e9, usegmt=True), formatdate(1e9 + WAIT, usegmt=True)
    return status + f"\r\nDate: {sent}\r\nRetry-After: {then}".encode()


@pytest.mark.parametrize("status", [b"429 Too Many Requests", b"503 Service Unavailable"])
@pytest.mark.parametrize("form", [in_seconds, as_a_date])
@in_virtual_time
async def test_the_guard_comes_back_when_the_server_said(status: bytes, form: Any) -> None:
    """After one request none is made for so long, the next goes through; the message keeps its only attempt. A 503 opens the circuit."""
    broker, seen, dead = broker_with(5), list[Any](), MemoryDeadLetters()
    payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after, settings=SETTINGS)
    async with Server(form(status)) as server, quiet_guard(observers=[seen.append]) as guard:
        run = guard.run(
            MemoryIntake(broker, topics=["orders"], poll_timeout=5.0),
            server.get,
            needs=[payments],
            retry=RetryPolicy(attempts=1),
            dead_letters=dead,
        )
        async with running(run):
            await asyncio.sleep(WAIT + 15.0)  # not in small steps: with a socket about, virtual time jumps slowly
            assert broker.committed(GROUP)[ORDER] == 5

    assert len(server.asked) == 6
    # A limit is asked a little later than its server said, so that many workers do not come back in one instant.
    assert WAIT - 0.5 <= server.asked[1] - server.asked[0] <= WAIT * 1.05 + 0.5
    opened = [event.reason for event in seen if isinstance(event, CircuitOpened)]
    assert opened == ([] if status.startswith(b"429") else [Reason.RETRY_AFTER])
    assert dead.letters == []


@in_virtual_time
async def test_what_the_request_got_wrong_is_the_messages_own() -> None:
    """A 422 opens nothing, whatever its Retry-After, and is rejected after its attempts."""
    broker, dead = broker_with(2), MemoryDeadLetters()
    payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after, settings=SETTINGS)
    async with Server(*[in_seconds(b"422 Unprocessable Content")] * 2) as server, quiet_guard() as guard:
        run = guard.run(
            MemoryIntake(broker, topics=["orders"], poll_timeout=5.0),
            server.get,
            needs=[payments],
            retry=RetryPolicy(attempts=2),
            dead_letters=dead,
        )
        async with running(run):
            await asyncio.sleep(10.0)
            assert broker.committed(GROUP)[ORDER] == 2

    assert [(letter.delivery.position, letter.attempts) for letter in dead.letters] == [(0, 2)]
    assert server.asked[-1] < WAIT / 2
