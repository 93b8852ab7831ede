"""A model of something downstream, over TCP, so that several worker processes meet the same outage; and its client for them.

Some runs make a hundred thousand calls, so both sides are protocols: streams take a fifth more of the processor for each.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, Self

from tests.servers.ports import release_port, reserve_port

if TYPE_CHECKING:
    from tests.ledger.ledger import LedgerWriter


class Mode(Enum):
    """How it behaves. UP answers after `latency`; DOWN answers with an error; HANG never answers; GONE refuses connections."""

    UP = "up"
    DOWN = "down"
    HANG = "hang"
    GONE = "gone"


class ModelDependency:
    """A server in the test's own process. `async with` starts and stops it; `address` goes to the workers.

    The test sets `mode` by `set_mode`, `latency` in seconds at any time (slow is a large one), `failing_keys` to be down for some
    messages alone, and `fail_every` = n for an error at each n-th call (0: never). A mode change ends the wait of calls that hang.
    `calls`, `failed` and `peak` (the most calls in flight at once) count since the last `reset_counts`. With a `ledger` each call
    that it did not serve is written down as wasted, under `name`; a key "worker-1|..." says whose. What was refused while GONE never
    arrived, and is not counted.
    """

    def __init__(self, name: str = "payments", *, latency: float = 0.0, ledger: LedgerWriter | None = None) -> None:
        self.name = name
        self.latency = latency
        self.failing_keys: set[str] = set()
        self.fail_every = 0
        self.mode = Mode.UP
        # Reserved: nobody else takes it while this is GONE.
        self.port = reserve_port()
        self.in_flight = 0
        self._ledger = ledger
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._under_way: set[asyncio.Task[None]] = set()
        self.reset_counts()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def reset_counts(self) -> None:
        """Count anew from here."""
        self.calls = self.failed = 0
        self.peak = self.in_flight

    async def set_mode(self, mode: Mode) -> None:
        """Behave differently from now on."""
        self.mode = mode
        self._changed.set()
        self._changed = asyncio.Event()
        if mode is Mode.GONE:
            self._stop_listening()
            for connection in self._connections:
                connection.transport.abort()
        else:
            await self._listen()

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop_listening()
        connections, calls = list(self._connections), list(self._under_way)
        for connection in connections:
            connection.transport.abort()
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, *(connection.lost for connection in connections), return_exceptions=True)
        release_port(self.port)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.get_running_loop().create_server(lambda: _Connection(self), "127.0.0.1", self.port)

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def serve(self, connection: _Connection, key: str) -> None:
        """Answer one call: immediately where that takes no time."""
        if self.latency or self.mode is Mode.HANG:
            call = asyncio.create_task(self._serve_in_time(connection, key))
            self._under_way.add(call)
            call.add_done_callback(self._under_way.discard)
            return
        good = self._begin(key)
        self.in_flight -= 1
        connection.answer(good=good)

    async def _serve_in_time(self, connection: _Connection, key: str) -> None:
        good = self._begin(key)
        try:
            await self._work()
            if good and self.mode is not Mode.UP:
                self._failed(key)
                good = False
        finally:
            self.in_flight -= 1
        connection.answer(good=good)

    def _begin(self, key: str) -> bool:
        self.calls += 1
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        good = self._is_good(key)
        if not good:
            self._failed(key)
        return good

    def _is_good(self, key: str) -> bool:
        unlucky = self.fail_every > 0 and self.calls % self.fail_every == 0
        return self.mode is Mode.UP and key not in self.failing_keys and not unlucky

    async def _work(self) -> None:
        while self.mode is Mode.HANG:
            await self._changed.wait()
        if self.latency:
            await asyncio.sleep(self.latency)

    def _failed(self, key: str) -> None:
        self.failed += 1
        if self._ledger is not None:
            self._ledger.write("wasted", dependency=self.name, key=key, mode=self.mode.value, caller=key.partition("|")[0])


class _Lines(asyncio.Protocol):
    """Lines over one connection. `lost` is done when it has ended, by whichever side."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self.read(line)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)

    def read(self, line: bytes) -> None:
        """Take one line in."""
        raise NotImplementedError


class _Connection(_Lines):
    """A caller, who waits for each answer before the next call. One that has given up goes on occupying the dependency."""

    def __init__(self, dependency: ModelDependency) -> None:
        super().__init__()
        self._dependency = dependency

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._dependency._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._dependency._connections.discard(self)

    def read(self, line: bytes) -> None:
        self._dependency.serve(self, line.decode().strip())

    def answer(self, *, good: bool) -> None:
        """Answer the call that was read last."""
        if not self.transport.is_closing():
            self.transport.write(b"ok\n" if good else b"error\n")


class _Call(_Lines):
    """A worker's end of a connection, on which one call at a time is made."""

    def __init__(self) -> None:
        super().__init__()
        self._answer: asyncio.Future[bytes] | None = None

    async def ask(self, key: str) -> bytes:
        """Send a key, and return the answer. Raises DependencyError when the connection ends before."""
        if self.lost.done():
            raise DependencyError("the connection ended")
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(key.encode() + b"\n")
        return await self._answer

    def read(self, line: bytes) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(line)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._answer is not None and not self._answer.done():
            error = DependencyError(str(exc or "the connection ended"))
            error.__cause__ = exc
            self._answer.set_exception(error)


class DependencyError(ConnectionError):
    """The dependency answered with an error, or broke the connection."""


class DependencyClient:
    """A worker's side. It keeps its connections; one that a call left in the middle is not used again."""

    def __init__(self, address: str) -> None:
        self._host, _, port = address.partition(":")
        self._port = int(port)
        self._idle: list[_Call] = []

    async def call(self, key: str = "") -> None:
        """Make one call. Raises DependencyError, or ConnectionRefusedError when nobody listens; the caller's timeout ends a hang."""
        if self._idle:
            connection = self._idle.pop()
        else:
            _, connection = await asyncio.get_running_loop().create_connection(_Call, self._host, self._port)
        try:
            answer = await connection.ask(key)
        except BaseException:
            connection.transport.abort()
            raise
        self._idle.append(connection)
        if answer != b"ok":
            raise DependencyError("the dependency answered with an error")

    async def close(self) -> None:
        """Close the connections that wait."""
        while self._idle:
            connection = self._idle.pop()
            connection.transport.close()
            await connection.lost
