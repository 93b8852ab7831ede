"""A model of something downstream, over TCP, so that several worker processes meet the same outage; and its client for them."""

from __future__ import annotations

import asyncio
import contextlib
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
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
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
            for writer in self._connections.values():
                writer.transport.abort()
        else:
            await self._listen()

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop_listening()
        tasks = list(self._connections)
        for task, writer in self._connections.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        release_port(self.port)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            with contextlib.suppress(OSError):
                while line := await reader.readline():
                    writer.write(b"ok\n" if await self._serve(line.decode().strip()) else b"error\n")
        finally:
            del self._connections[task]
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _serve(self, key: str) -> bool:
        self.calls += 1
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            good = self._is_good(key)
            if not good:
                self._failed(key)
            await self._work()
            if good and self.mode is not Mode.UP:
                self._failed(key)
                return False
            return good
        finally:
            self.in_flight -= 1

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


class DependencyError(ConnectionError):
    """The dependency answered with an error, or broke the connection."""


class DependencyClient:
    """A worker's side. It keeps its connections; one that a call left in the middle is not used again."""

    def __init__(self, address: str) -> None:
        self._host, _, port = address.partition(":")
        self._port = int(port)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def call(self, key: str = "") -> None:
        """Make one call. Raises DependencyError, or ConnectionRefusedError when nobody listens; the caller's timeout ends a hang."""
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(key.encode() + b"\n")
            answer = await reader.readline()
        except BaseException as error:
            writer.transport.abort()
            if isinstance(error, OSError):
                raise DependencyError(str(error)) from error
            raise
        if not answer:
            writer.close()
            raise DependencyError("the connection ended")
        self._idle.append((reader, writer))
        if answer != b"ok\n":
            raise DependencyError("the dependency answered with an error")

    async def close(self) -> None:
        """Close the connections that wait."""
        while self._idle:
            _, writer = self._idle.pop()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
