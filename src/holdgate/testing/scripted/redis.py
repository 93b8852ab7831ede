"""A far end for redis-py: connection classes that fail in an outage as a real server does, for plain and asyncio clients.

    pool = redis.asyncio.ConnectionPool(connection_class=AsyncScriptedConnection, dependency=cache, socket_timeout=5)
    client = redis.asyncio.Redis(connection_pool=pool, retry=Retry(NoBackoff(), 1))

There is no socket. `_FarEnd` reads the commands that the client has packed, and gives the replies. What hangs ends by `socket_timeout`, on
virtual time. The client's own retries run as they are: give it a `retry` whose waits are not random, or two rehearsals differ. A plain
client sleeps real time between them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import redis
import redis.asyncio
from redis.exceptions import BusyLoadingError, ConnectionError, OutOfMemoryError, RedisError, TimeoutError  # noqa: A004 - redis-py's own

from holdgate.runtime.dependency import Dependency
from holdgate.testing.outages import TOO_MUCH, Answered, Fault, Hung, Met, Refused, ScriptedDependency, raisable, refusal, reset

__all__ = ["AsyncScriptedConnection", "ScriptedConnection"]

Answer = Callable[[Sequence[bytes]], Any]


def _ok(command: Sequence[bytes]) -> Any:
    return b"PONG" if command[0].upper() == b"PING" else b"OK"


class ScriptedConnection(redis.Connection):
    """A `connection_class` for a `redis.ConnectionPool`, as plain handlers use it.

    - `dependency`: the Dependency whose outages it has.
    - `answer`: gets a command as a list of bytes, and returns the reply while the dependency is up: bytes, a number, None or a list. An
      exception that it raises is an error reply. The default is OK.
    - `**settings`: as for `redis.Connection`, such as `socket_timeout`.
    """

    def __init__(self, *args: Any, dependency: Dependency, answer: Answer = _ok, **settings: Any) -> None:
        cast("Any", super()).__init__(*args, **settings)
        self._far_end = _FarEnd(dependency, answer)

    @property
    def is_connected(self) -> bool:
        return self._far_end.is_connected

    def connect(self) -> None:
        """Connect, or fail as the outage says."""
        met = self._far_end.connect()
        if met is not None:
            self._fail(met)

    def connect_check_health(self, *_: Any, **__: Any) -> None:
        self.connect()

    def check_health(self) -> None:
        """Send no PING: a command finds out."""

    def disconnect(self, *args: Any, **named: Any) -> None:
        self._far_end.hang_up()
        cast("Any", super()).disconnect(*args, **named)

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: ARG002 - as in the class above
        """Take commands, or fail as the outage says."""
        self.connect()
        met = self._far_end.take(command)
        if met is not None:
            self._fail(met)

    def can_read(self, timeout: float = 0) -> bool:  # noqa: ARG002
        return bool(self._far_end.replies)

    def read_response(self, disable_decoding: bool = False, **_: Any) -> Any:
        """Return the next reply, or raise the error that it is."""
        return self._far_end.reply(None if disable_decoding else cast("Any", self.encoder).decode)

    def _fail(self, met: Met) -> None:
        self.disconnect()
        times_out = isinstance(met.fault, Hung) and met.hang_in_thread(self.socket_timeout)
        raise _error(met.fault, f"{self.host}:{self.port}", times_out=times_out)


class AsyncScriptedConnection(redis.asyncio.Connection):
    """A `connection_class` for a `redis.asyncio.ConnectionPool`.

    - `dependency`: the Dependency whose outages it has.
    - `answer`: gets a command as a list of bytes, and returns the reply while the dependency is up: bytes, a number, None or a list. An
      exception that it raises is an error reply. The default is OK.
    - `**settings`: as for `redis.asyncio.Connection`, such as `socket_timeout`.
    """

    def __init__(self, *args: Any, dependency: Dependency, answer: Answer = _ok, **settings: Any) -> None:
        cast("Any", super()).__init__(*args, **settings)
        self._far_end = _FarEnd(dependency, answer)

    @property
    def is_connected(self) -> bool:
        return self._far_end.is_connected

    async def connect(self) -> None:
        """Connect, or fail as the outage says."""
        met = self._far_end.connect()
        if met is not None:
            await self._fail(met)

    async def connect_check_health(self, *_: Any, **__: Any) -> None:
        await self.connect()

    async def check_health(self) -> None:
        """Send no PING: a command finds out."""

    async def disconnect(self, *args: Any, **named: Any) -> None:
        self._far_end.hang_up()
        await super().disconnect(*args, **named)

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: ARG002 - as in the class above
        """Take commands, or fail as the outage says."""
        await self.connect()
        met = self._far_end.take(command)
        if met is not None:
            await self._fail(met)

    async def can_read(self) -> bool:
        return bool(self._far_end.replies)

    async def can_read_destructive(self) -> bool:
        return bool(self._far_end.replies)

    async def read_response(self, disable_decoding: bool = False, *_: Any, **__: Any) -> Any:
        """Return the next reply, or raise the error that it is."""
        return self._far_end.reply(None if disable_decoding else cast("Any", self.encoder).decode)

    async def _fail(self, met: Met) -> None:
        await self.disconnect()
        times_out = isinstance(met.fault, Hung) and await met.hang(self.socket_timeout)
        raise _error(met.fault, f"{self.host}:{self.port}", times_out=times_out)


class _FarEnd:
    """The server of one connection."""

    def __init__(self, dependency: Dependency, answer: Answer) -> None:
        self.is_connected = False
        self.replies: deque[Any] = deque()
        self._stand_in = ScriptedDependency(dependency)
        self._answer = answer

    def connect(self) -> Met | None:
        """Connect, or return the outage that the attempt meets. It counts as a call only if it fails: a command comes after it."""
        if self.is_connected:
            return None
        met = self._stand_in.meet() if self._stand_in.is_down() else None
        self.is_connected = met is None
        return met

    def hang_up(self) -> None:
        """End the connection. Replies that nobody has read are lost."""
        self.is_connected = False
        self.replies.clear()

    def take(self, packed: bytes | str | Iterable[bytes]) -> Met | None:
        """Answer all commands, or return the outage that they meet."""
        met = self._stand_in.meet()
        if met is None:
            data = packed.encode() if isinstance(packed, str) else packed if isinstance(packed, bytes) else b"".join(packed)
            self.replies.extend(self._answered(command) for command in _commands(data))
        return met

    def _answered(self, command: Sequence[bytes]) -> Any:
        try:
            return self._answer(command)
        except RedisError as error:
            return error

    def reply(self, decode: Callable[[Any], Any] | None) -> Any:
        """Return the next reply, or raise it."""
        reply = self.replies.popleft()
        if isinstance(reply, Exception):
            raise reply
        return _decoded(reply, decode) if decode else reply


def _commands(data: bytes) -> Iterable[list[bytes]]:
    """Read what a client has packed: arrays of byte strings, each with its length in front."""
    at = 0

    def number() -> int:
        nonlocal at
        end = data.index(b"\r\n", at)
        found, at = int(data[at + 1 : end]), end + 2
        return found

    while at < len(data):
        words: list[bytes] = []
        for _ in range(number()):
            length = number()
            words.append(data[at : at + length])
            at += length + 2
        yield words


def _decoded(reply: Any, decode: Callable[[Any], Any]) -> Any:
    if not isinstance(reply, list):
        return decode(reply)
    items: list[Any] = reply  # pyright: ignore[reportUnknownVariableType]
    return [_decoded(each, decode) for each in items]


def _error(fault: Fault, address: str, *, times_out: bool) -> Exception:
    """Return what redis-py raises, with its own texts."""
    if isinstance(fault, Exception):
        return raisable(fault)
    if isinstance(fault, Answered):
        too_much = OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")
        return too_much if fault.status == TOO_MUCH else BusyLoadingError("Redis is loading the dataset in memory")
    if isinstance(fault, Refused):
        return ConnectionError(f"Error {refusal().errno} connecting to {address}. {refusal().strerror}.")
    if times_out:
        return TimeoutError(f"Timeout reading from {address}")
    if isinstance(fault, Hung):
        return ConnectionError(f"Error while reading from {address} : {reset().args}")
    return ConnectionError("Connection closed by server.")
