"""The log of a fleet in a Redis or Valkey stream: `RedisFleetLog`.

The server numbers the records by its clock, so that the place "30 s ago" is known from its `TIME`, and no clocks are compared. A stream
that was deleted is made again by the next record, and by its number that comes after all that was there. Only a server whose clock was set
back numbers it lower; a reader would then wait for numbers that are past. So a reader that has waited in vain looks at the last number.

redis-py has no part in what counts here. It would send a command again that was not answered in time, and the record would be in the log
twice. Its time limits are one for each connection, and a read waits longer than anything else. So both are switched off, whatever the URL
says, and each question has a time limit of ours. A question that is cancelled ends its connection, and the next one makes another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from holdgate.errors import FleetLogError, SettingsError
from holdgate.ports import LOOK_BACK, LogEntry, check_records
from holdgate.slips import suggest_keywords
from holdgate.tasks import begin_later, within

# Records that the stream keeps, roughly: ten minutes of twenty workers in an outage, and 3 MB of memory.
_KEPT = 10_000
# Records of one read: more than come while a reader computes.
_AT_ONCE = 500
# Seconds after which a read that finds nothing is answered. Shorter than the time limit of an answer, or silence would look the same.
_LOOK_AGAIN = 2.0
# Seconds to connect, and for each question of an `open` or a `create`: a server whose machine is busy takes more than five.
_CONNECT_WITHIN = 15.0
# Seconds for the server to answer afterwards: a guard counts on nobody's log that is silent for six.
_ANSWER_WITHIN = 5.0
# Closing waits for nothing but the sockets.
_CLOSE_WITHIN = 5.0
# The field of a record. An entry of the stream without it is nobody's of ours.
_FIELD = b"r"
# A number of the stream is two of 64 bits: the server's milliseconds, and a count within them.
_COUNT_BITS = 64
# A group that `create` makes for a moment.
_GROUP = "holdgate"
_SCHEMES = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss", "unix": "unix"}
_SETTINGS: Mapping[str, Any] = {
    "decode_responses": False,
    "protocol": 2,  # the same answers from every server, and no handshake that an old one does not know
    "retry": Retry(NoBackoff(), 0),
    "retry_on_timeout": False,
    "socket_timeout": None,
    "socket_connect_timeout": None,
    "health_check_interval": 0,
}


@dataclass(frozen=True, slots=True)
class StreamMade:
    """What `RedisFleetLog.create` came to. `is_new` says whether the stream was made, and `notes` what else there is to know."""

    is_new: bool
    notes: tuple[str, ...] = ()


class RedisFleetLog:
    """The log of a fleet in a stream of Redis 5 or newer, or of Valkey; give it to `Guard(fleet=...)`.

    Implements `holdgate.ports.FleetLog`. The server makes the stream with the first record, and keeps some 10,000 records of it. It is the
    choice for workers that consume from several brokers and share a dependency. Raises SettingsError for a URL that cannot be read.

    `url`: `redis://user:password@host:6379/0`, also with `rediss`, `valkey`, `valkeys` or `unix`. A cluster is not supported.
    `key`: the name of the stream. Fleets that have nothing to do with each other need keys of their own.
    """

    @suggest_keywords
    def __init__(
        self,
        url: str,
        key: str = "holdgate-fleet",  # named by what it is for, in a database that others use too
    ) -> None:
        if not key:
            raise SettingsError("the key must not be empty: holdgate-fleet is the default")
        self._pool, self._where = _pool_for(url)
        self._key = key
        self._client: Any = None
        self._after = 0
        self._reading: asyncio.Task[Sequence[LogEntry]] | None = None

    @property
    def place(self) -> str:
        return f"key {self._key!r} at {self._where}"

    async def create(self) -> StreamMade:
        """Make the stream, empty, where there is none: nobody has to, because the first record makes it. Raises FleetLogError.

        It shows that the server can be reached, and that the key is free. The user needs +xgroup and +exists.
        """
        await self.open()
        try:
            is_new = not await self._answer_in_time(_CONNECT_WITHIN, "EXISTS", self._key)
            if is_new:  # a group makes an empty stream, and leaves it
                await self._answer_in_time(_CONNECT_WITHIN, "XGROUP", "CREATE", self._key, _GROUP, "$", "MKSTREAM")
                await self._answer_in_time(_CONNECT_WITHIN, "XGROUP", "DESTROY", self._key, _GROUP)
            return StreamMade(is_new)
        finally:
            await self.close()

    async def open(self) -> None:
        """Connect, and find the number of 30 seconds ago. Raises FleetLogError with the remedy."""
        self._client = Redis(connection_pool=self._pool)
        try:
            self._after = await self._begin(_CONNECT_WITHIN)
            # May it be read, and is it a stream?
            await self._answer_in_time(_CONNECT_WITHIN, "XREAD", "COUNT", 1, "STREAMS", self._key, _text(self._after))
        except BaseException:
            await self.close()
            raise

    async def append(self, records: Sequence[bytes]) -> None:
        """Return when the stream has these records, in this order. Raises FleetLogError."""
        check_records(records)
        for record in records:  # one after the other: if one fails, a prefix is in the stream
            await self._answer("XADD", self._key, "MAXLEN", "~", _KEPT, "*", _FIELD, record)

    async def read(self) -> Sequence[LogEntry]:
        """Return what comes next, as soon as there is something. Raises FleetLogError."""
        if self._client is None:
            raise self._not_open()
        if self._reading is None:
            self._reading = begin_later(self._next(), f"reads {self.place}")
            self._reading.add_done_callback(_retrieve)
        reading = self._reading
        await asyncio.wait((reading,))  # a caller that is cancelled leaves it to the next one
        if self._reading is reading:
            self._reading = None
        if reading.cancelled():
            raise self._not_open()
        return reading.result()

    async def close(self) -> None:
        """Close the connections, within five seconds. A read or an append that waits raises FleetLogError."""
        self._client = None
        if self._reading is not None:
            self._reading.cancel()
        await within(self._pool.disconnect(), _CLOSE_WITHIN)

    async def _next(self) -> Sequence[LogEntry]:
        wait = int(_LOOK_AGAIN * 1000)
        while True:
            answer = await self._answer("XREAD", "COUNT", _AT_ONCE, "BLOCK", wait, "STREAMS", self._key, _text(self._after))
            entries = self._entries(answer)
            if entries:
                return entries
            if not answer:
                await self._look_for_a_lower_number()

    def _entries(self, answer: Any) -> Sequence[LogEntry]:
        """Return the records of an answer, and go on after it."""
        found = [(_number(name), fields) for _, entries in answer or () for name, fields in entries]
        if found:
            self._after = found[-1][0]
        return [LogEntry(number, fields[_FIELD]) for number, fields in found if _FIELD in fields]

    async def _look_for_a_lower_number(self) -> None:
        last = await self._answer("XREVRANGE", self._key, "+", "-", "COUNT", 1)
        if last and _number(last[0][0]) < self._after:
            self._after = min(await self._begin(_ANSWER_WITHIN), _number(last[0][0]) - 1)

    async def _begin(self, patience: float) -> int:
        """Return the number before that of a record of 30 seconds ago, by the server's clock."""
        seconds, microseconds = await self._answer_in_time(patience, "TIME")
        milliseconds = int(seconds) * 1000 + int(microseconds) // 1000
        return max(0, milliseconds - int(LOOK_BACK * 1000)) << _COUNT_BITS

    async def _answer(self, *command: Any) -> Any:
        """Return the server's answer. Raises FleetLogError with the remedy."""
        return await self._answer_in_time(_ANSWER_WITHIN, *command)

    async def _answer_in_time(self, seconds: float, *command: Any) -> Any:
        """Return the server's answer, as `_answer`, for which so long is waited."""
        if self._client is None:
            raise self._not_open()
        try:
            async with asyncio.timeout(seconds):
                return await self._client.execute_command(*command)
        except (exceptions.RedisError, OSError) as error:
            if self._client is None:
                raise self._not_open() from error
            raise FleetLogError(self._explain(error, seconds)) from error

    def _not_open(self) -> FleetLogError:
        return FleetLogError(f"the log in {self.place} is not open: open() comes first, and close() ends it")

    def _explain(self, error: Exception, seconds: float) -> str:
        words = next((words for kind, words in _REMEDIES if isinstance(error, kind)), _NO_ANSWER)
        if type(error) is exceptions.ResponseError:  # it has no class of its own
            words = next((words for beginning, words in _REFUSALS if str(error).startswith(beginning)), _REFUSED)
        how = f"within {seconds:g} s" if isinstance(error, TimeoutError) else f"({error})"
        return words.format(place=self.place, where=self._where, key=self._key, error=error, how=how)


# What the server's refusals and the client's errors mean, with the remedy.
_NO_ANSWER = "no Redis or Valkey answers at {where} {how}: check host, port and TLS, and that the server is up"
_REFUSED = "the server at {where} refuses the log in {place}: {error}"
_CLUSTER = "the server at {where} is of a cluster, which is not supported: give the URL of a server that stands alone"
_REMEDIES: Sequence[tuple[type[Exception], str]] = (
    (exceptions.AuthenticationError, "the server at {where} refuses this user or password: check the URL"),
    (
        exceptions.NoPermissionError,
        "this user may not use {place} ({error}): ACL SETUSER NAME ~{key} +time +xread +xrevrange +xadd, beside what it has",
    ),
    (exceptions.ReadOnlyError, "the server at {where} is a replica, to which nobody writes: give the URL of the primary"),
    (
        exceptions.OutOfMemoryError,
        "the server at {where} has no memory left and takes no records: raise its maxmemory, or let it evict keys",
    ),
    (exceptions.BusyLoadingError, "the server at {where} still reads its data: wait until it is up"),
    (
        exceptions.ClusterError,
        "the server at {where} is of a cluster that is down, and clusters are not supported: give the URL of another",
    ),
    (exceptions.AskError, "the server at {where} is of a cluster, which keeps {place} elsewhere: give the URL of a server of its own"),
    (exceptions.ResponseError, _REFUSED),
)
# Those without a class of their own; the cluster's have none before redis-py 6.
_REFUSALS = (
    ("MOVED", _CLUSTER),
    ("CLUSTERDOWN", _CLUSTER),
    ("WRONGTYPE", "{place} is no stream: delete that key, or give the log another one with key="),
    ("unknown command", "the server at {where} has no streams: it must be Redis 5 or newer, or Valkey"),
)


def _pool_for(url: object) -> tuple[Any, str]:
    """Return the connections for a URL, and where they go, without the password. Raises SettingsError."""
    if not isinstance(url, str):
        raise SettingsError(f"url must be a str, got {type(url).__name__}: redis://user:password@host:6379/0")
    try:
        parts = urlsplit(url)
        scheme = _SCHEMES[parts.scheme]
        # Without what it says of our own settings: redis-py lets a URL win over arguments.
        query = urlencode([(name, value) for name, value in parse_qsl(parts.query) if name not in _SETTINGS])
        pool: Any = cast("Any", ConnectionPool).from_url(urlunsplit(parts._replace(scheme=scheme, query=query)), **_SETTINGS)
        where = parts.path if scheme == "unix" else f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
    except (KeyError, ValueError):  # its text may be a piece of the password, so neither the error nor its cause quotes it
        raise SettingsError(
            "the URL must be redis://user:password@host:6379/0, or with rediss, valkey, valkeys or unix, special characters percent-encoded"
        ) from None
    database = pool.connection_kwargs.get("db") or 0
    return pool, f"{where}/{database}" if scheme != "unix" else f"{where} (database {database})"


def _number(name: bytes) -> int:
    """Return the number of an entry, such as b"1795989921358-0"."""
    milliseconds, _, count = name.partition(b"-")
    return int(milliseconds) << _COUNT_BITS | int(count)


def _text(number: int) -> str:
    return f"{number >> _COUNT_BITS}-{number & (1 << _COUNT_BITS) - 1}"


def _retrieve(ended: asyncio.Task[Any]) -> None:
    if not ended.cancelled():
        ended.exception()
