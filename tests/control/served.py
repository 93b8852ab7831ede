"""A guard over brokers in memory with a control plane on a real port, and a client that says exactly what a test wants to be sent."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from holdgate import CircuitSettings, Delivery, Dependency, Guard, Reject
from holdgate.control import Control
from holdgate.testing import MemoryBroker, MemoryIntake

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

TOKEN = "canary-5f0e2b64c1d94a7f"  # noqa: S105 - of these tests alone
# Only a failing test waits so long.
PATIENCE = 30.0


class Answer(NamedTuple):
    """What came back: status, headers in lower case, body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def port_of(control: Control) -> int:
    assert control.url is not None
    return int(control.url.rpartition(":")[2])


@asynccontextmanager
async def connections(control: Control, count: int) -> AsyncIterator[list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]:
    """So many connections that say nothing by themselves."""
    clients = [await asyncio.open_connection("127.0.0.1", port_of(control)) for _ in range(count)]
    try:
        yield clients
    finally:
        for _, writer in clients:
            writer.transport.abort()


async def exchange(control: Control, request: bytes) -> bytes:
    """Send these bytes, and return all that comes until the server closes."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(control))
        try:
            writer.write(request)
            await writer.drain()
            answer = await reader.read()
            assert b"canary-" not in answer  # a token or a payload in any answer of any test
            return answer
        finally:
            writer.transport.abort()


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """Write out a request; a header's name is given with underscores, and an empty value leaves it out."""
    given = {"host": "127.0.0.1", "connection": "close", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if body:
        given.setdefault("content-length", str(len(body)))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items() if value)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def parsed(answer: bytes) -> Answer:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Answer(int(first.split()[1]), headers, body)


async def ask(control: Control, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> Answer:
    """Ask one question."""
    return parsed(await exchange(control, request(method, path, body, **headers)))


async def command(control: Control, name: str, token: str = TOKEN, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
    """Give one command as the command line does."""
    given = {"content_type": "application/json", "authorization": f"Bearer {token}", **(headers or {})}
    return await ask(control, f"/commands/{name}", "POST", json.dumps(fields).encode(), **given)


class TooMany(ConnectionError):
    """What an API raises that takes no more calls for ten minutes."""

    status = 429
    headers = {"Retry-After": "600"}  # noqa: RUF012


class Stage:
    """A running guard. `down` lets its dependency fail, `refuses` lets it say that the calls are too many, `rejects` its handler reject;
    `handled` are the messages that went well."""

    def __init__(self, guard: Guard, control: Control, broker: MemoryBroker) -> None:
        self.guard = guard
        self.control = control
        self.broker = broker
        self.down = False
        self.refuses = False
        self.rejects = False
        self.handled: list[bytes | None] = []

    async def handle(self, delivery: Delivery[Any]) -> None:
        if self.down:
            raise ConnectionError
        if self.refuses:
            raise TooMany
        if self.rejects:
            raise Reject("not a charge")
        self.handled.append(delivery.body)

    async def limit(self) -> None:
        """Let the dependency refuse until its sources are held for that."""
        self.refuses = True
        await self._fill_until_held_for("limit:payments")

    async def outage(self) -> None:
        """Let the circuit open."""
        self.down = True
        await self._fill_until_held_for("circuit:payments")

    async def _fill_until_held_for(self, reason: str) -> None:
        for number in range(10):
            self.broker.produce("orders", str(number).encode())
        await until(lambda: any(reason in seen.reasons for seen in self.guard.snapshot().sources.values()))


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop go on until the condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def served(control: Control | None = None, topics: Mapping[str, int] | None = None, **settings: Any) -> AsyncIterator[Stage]:
    """Run a guard over two partitions of orders, or other topics, which need payments; email is declared and never called."""
    # The wait is longer than any test: a circuit that is open stays so.
    payments = Dependency("payments", failures=ConnectionError, settings=CircuitSettings(open_duration=600.0, open_duration_max=600.0))
    control = control or Control(port=0, token=TOKEN, name="worker-1")
    topics = topics or {"orders": 2}
    broker = MemoryBroker(topics=topics)
    async with Guard(Dependency("email"), control=control, signals=False, **settings) as guard:
        stage = Stage(guard, control, broker)
        run = asyncio.create_task(guard.run(MemoryIntake(broker, topics=list(topics)), stage.handle, needs=[payments]))
        try:
            await until(lambda: guard.health().started)
            yield stage
        finally:
            await guard.stop()
            await run
