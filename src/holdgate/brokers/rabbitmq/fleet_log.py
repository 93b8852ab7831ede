"""The log of a fleet in a RabbitMQ stream, over plain AMQP 0.9.1: `RabbitMQFleetLog`.

A stream is a queue that keeps its messages, and that every consumer reads for itself from where it likes; it is in the broker since 3.9,
without a plugin. The broker wants a prefetch and acks from a consumer of a stream, and a durable queue. It finds the place "30 s ago" by
its own clock, so that no clocks are compared.

One connection is used until its first fault, and then replaced: a `_Session`. The next one begins some seconds before the fault, and
`_Given` leaves out what was given already. It cannot begin at a position instead. Where the stream was deleted and made anew, positions
begin with 0 again, and the broker takes a position beyond the end for "what comes next".

What is ugly: the size of a stream on disk is bounded by its segments. Retention looks at whole segments, when a new one begins, and a
segment has 500 MB unless the stream says otherwise. So `STREAM` sets three numbers together, and `max-age` alone would bound nothing.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import uuid4

from aio_pika import Message
from aio_pika.abc import AbstractRobustConnection
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity, ChannelPreconditionFailed, DeliveryError, PublishError

from holdgate.brokers.rabbitmq.checks import check_connection
from holdgate.brokers.rabbitmq.client import (
    CLOSE_WITHIN,
    Beside,
    ConsumerCancelled,
    answered,
    describe_end,
    explain_no_connection,
    give_up,
    is_transient,
    on_consumer_cancel,
    store_messages,
)
from holdgate.brokers.rabbitmq.queue_facts import find_facts
from holdgate.errors import FleetLogError, IntakeError, SettingsError
from holdgate.ports import LOOK_BACK, LogEntry, check_records
from holdgate.slips import suggest_keywords
from holdgate.tasks import begin_later, within

# The arguments of the stream, and why.
STREAM: Mapping[str, Any] = {
    "x-queue-type": "stream",  # the queue that keeps what was read, and that each worker reads for itself
    "x-max-age": "600s",  # ten minutes: a newcomer reads half a minute, a person who looks wants a few
    "x-max-length-bytes": 4_000_000,  # whatever somebody writes: an hour of a fleet at rest is below 1 MB
    "x-stream-max-segment-size-bytes": 1_000_000,  # 500 MB by default, and what is over goes by whole segments
}

# Seconds of the stream that a reader may ask for: its age.
_KEPT = 600

# Seconds to connect, to make the stream and to begin to read it. As for an intake: a broker that has just started, or whose machine is
# busy, takes more than five. The attempt goes on for the next caller, and so keeps nobody longer than the caller wants.
_CONNECT_WITHIN = 15.0
# Seconds for a broker to confirm: a guard counts on nobody's log that is silent for six.
_ANSWER_WITHIN = 5.0
# Messages that the broker sends before an ack: what twenty workers write in half a minute.
_WINDOW = 500
# Seconds for which is remembered what was given. It must be longer than what a new connection looks back from the last record.
_REMEMBERED = 4 * LOOK_BACK
# The header in which the broker sends a message's place in the stream.
_POSITION = "x-stream-offset"


@dataclass(frozen=True, slots=True)
class StreamMade:
    """What `RabbitMQFleetLog.create` came to.

    `is_new` says whether the stream was made. `notes` say what of an existing one is otherwise than a new one would be.
    """

    is_new: bool
    notes: tuple[str, ...] = ()


class RabbitMQFleetLog:
    """The log of a fleet in a RabbitMQ stream; give it to `Guard(fleet=...)`. Implements `holdgate.ports.FleetLog`.

    It has a connection of its own, also where one is given: a broker that is short of memory or disk stops to read from a connection that
    publishes, and so would stop the consumer's acks. `create`, or `holdgate fleet create`, makes the stream. Raises SettingsError for a
    connection that is not robust.

    `connection_or_url`: the URL of the broker, or an `aio_pika.connect_robust` connection to it, which is only looked at.
    `stream`: its name. Fleets that have nothing to do with each other need streams of their own.
    """

    @suggest_keywords
    def __init__(
        self,
        connection_or_url: AbstractRobustConnection | str,
        stream: str = "holdgate-fleet",  # beside the queues, and named by what it is for
    ) -> None:
        check_connection(connection_or_url)
        if not stream:
            raise SettingsError("the name of the stream must not be empty: holdgate-fleet is the default")
        self._stream = stream
        self._way = Beside(connection_or_url, name=f"holdgate fleet {stream}")
        self._given = _Given()
        self._session: _Session | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._is_open = False

    @property
    def place(self) -> str:
        return f"stream {self._stream!r} at {self._way.where}"

    async def create(self) -> StreamMade:
        """Make the stream, small as a fleet needs it. One that is there is only compared with that. Raises FleetLogError.

        The user needs the permission to configure it, which a worker does not need.
        """
        connection = await self._reach()
        try:
            async with asyncio.timeout(_CONNECT_WITHIN):
                return await answered(self._made(connection), self._error)
        except TimeoutError as error:
            raise self._error(error, _CONNECT_WITHIN) from error
        except IntakeError as error:
            raise FleetLogError(str(error)) from error
        finally:
            await give_up(connection)

    async def open(self) -> None:
        """Connect, and begin to read 30 seconds ago. Raises FleetLogError with the remedy."""
        self._is_open, self._given = True, _Given()
        try:
            await self._connected()
        except BaseException:
            await self.close()
            raise

    async def append(self, records: Sequence[bytes]) -> None:
        """Return when the stream has these records, in this order. Raises FleetLogError."""
        check_records(records)
        session = await self._connected()
        await session.write(records)

    async def read(self) -> Sequence[LogEntry]:
        """Return what comes next, as soon as there is something. Raises FleetLogError."""
        session = await self._connected()
        while True:
            entries = [LogEntry(each.position, each.data) for each in session.take() if self._given.is_new(each)]
            if entries:
                return entries
            if session.lost is not None:
                raise session.lost
            await session.change()

    async def close(self) -> None:
        """Close the connection, within five seconds. A read or an append that waits raises FleetLogError."""
        self._is_open = False
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait((self._connecting,), timeout=CLOSE_WITHIN)
        if self._session is not None:
            await self._session.close(self._not_open())

    async def _connected(self) -> _Session:
        """Return a session that is not lost. The attempt goes on when its caller is cancelled, and serves the next caller."""
        while True:
            if not self._is_open:
                raise self._not_open()
            if self._session is not None and self._session.lost is None:
                return self._session
            if self._connecting is None:
                self._connecting = begin_later(self._connect(), f"connects to {self.place}")
                self._connecting.add_done_callback(_retrieve)
            attempt = self._connecting
            await asyncio.wait((attempt,))
            if self._connecting is attempt:
                self._connecting = None
            if not attempt.cancelled():
                attempt.result()
            elif self._is_open:  # aiormq cancels the calls of a channel that closes
                raise self._error(None)

    async def _made(self, connection: Any) -> StreamMade:
        try:
            await (await connection.channel()).queue_declare(self._stream, passive=True)
        except ChannelNotFoundEntity:
            await self._declare(connection)
            return StreamMade(is_new=True)
        found = await find_facts(connection, self._stream)
        if found.type is None:
            return StreamMade(is_new=False, notes=("this user may not configure it, so its arguments were not compared",))
        if found.type != "stream":
            raise FleetLogError(_NO_STREAM.format(name=self._stream, where=self._way.where))
        try:
            await self._declare(connection)
        except ChannelPreconditionFailed as error:
            return StreamMade(is_new=False, notes=(f"a new one would have other arguments ({error})",))
        return StreamMade(is_new=False)

    async def _declare(self, connection: Any) -> None:
        try:
            await (await connection.channel()).queue_declare(self._stream, durable=True, arguments=dict(STREAM))
        except ChannelAccessRefused as error:
            raise FleetLogError(f"{self.place} cannot be made: this user needs the permission to configure it ({error})") from error

    async def _reach(self) -> Any:
        try:
            async with asyncio.timeout(_CONNECT_WITHIN):
                return await self._way.connect()
        except Exception as error:
            if not is_transient(error):
                raise
            raise FleetLogError(explain_no_connection(error, self._way.where, _CONNECT_WITHIN)) from error

    async def _connect(self) -> None:
        connection = await self._reach()
        session = _Session(connection, self._stream, self._error)
        try:
            async with asyncio.timeout(_CONNECT_WITHIN):
                await session.consume(self._given.look_back())
        except BaseException as error:
            await session.close(self._not_open())
            if isinstance(error, Exception) and is_transient(error):
                raise self._error(error, _CONNECT_WITHIN) from error
            raise
        self._given.begun()
        self._session = session

    def _not_open(self) -> FleetLogError:
        return FleetLogError(f"the log in {self.place} is not open: open() comes first, and close() ends it")

    def _error(self, error: BaseException | None, seconds: float | None = None) -> FleetLogError:
        """Return what an error of the client means for this log, with the remedy. `seconds`: how long was waited; None means an append."""
        return FleetLogError(self._explain(error, _ANSWER_WITHIN if seconds is None else seconds))

    def _explain(self, error: BaseException | None, seconds: float) -> str:
        words = next((words for kinds, words in _REMEDIES if isinstance(error, kinds)), _LOST)
        if isinstance(error, ChannelPreconditionFailed) and _POSITION in str(error):  # what only a stream takes
            words = _NO_STREAM
        pattern, how = self._stream.replace(".", r"\."), describe_end(error)
        about = {"name": self._stream, "pattern": pattern, "error": error, "how": how, "seconds": seconds}
        return words.format(place=self.place, where=self._way.where, **about)


# What the broker's refusals and the client's errors mean, with the remedy.
_MAKE = "`holdgate fleet create 'amqp://HOST/VHOST?stream={name}'` makes it"
_LOST = "the connection to {place} was lost: is the broker up? ({how})"
_NO_STREAM = "queue {name!r} at {where} is no stream: delete it, or give the log another name with stream="
_REMEDIES: Sequence[tuple[type[BaseException] | tuple[type[BaseException], ...], str]] = (
    ((ChannelNotFoundEntity, PublishError), f"there is no {{place}}: {_MAKE}"),
    (ConsumerCancelled, f"{{place}} was deleted, or its node went away: if it is gone, {_MAKE}"),
    (
        ChannelAccessRefused,
        (
            "this user may not use {place} ({error}): let it read the stream, and write to the default exchange, called amq.default there: "
            r"rabbitmqctl set_permissions NAME '^$' '^amq\.default$' '^{pattern}$', beside what it has"
        ),
    ),
    (DeliveryError, "the broker refuses what is written to {place}: its log says why"),
    (TimeoutError, "{place} has not answered within {seconds:g} s: is the broker up, and short of neither memory nor disk?"),
)


class _Delivered(NamedTuple):
    """One message of the stream. No two have the same `name`, whatever they say."""

    tag: int
    position: int
    name: str
    data: bytes


class _Given:
    """What was given lately, by position: the messages that a new connection begins with were given, or the stream is another one."""

    def __init__(self) -> None:
        self._at: float | None = None
        self._names: dict[int, tuple[str, float]] = {}

    def begun(self) -> None:
        """Note that a connection reads: what is in the stream from 30 s ago on must be given, however long the next one takes."""
        if self._at is None:
            self._at = _now()

    def look_back(self) -> float:
        """Return the seconds from which to read: 30, and those since the last record was given, or since reading began.

        The stream has no more than ten minutes.
        """
        return LOOK_BACK if self._at is None else min(LOOK_BACK + _now() - self._at, _KEPT)

    def is_new(self, message: _Delivered) -> bool:
        """Return whether this message was not given before, and remember it.

        A stream that was made anew has another message at a position, or one at a position that was before all that is remembered.
        """
        known, _ = self._names.get(message.position, (None, 0.0))
        if known == message.name:
            return False
        if self._names and message.position <= next(reversed(self._names)):
            self._names.clear()
        self._at = _now()
        self._names[message.position] = message.name, self._at
        while self._names[oldest := next(iter(self._names))][1] < self._at - _REMEMBERED:
            del self._names[oldest]
        return True


class _Session:
    """One connection, with a channel that reads and one that writes, until its first fault.

    `lost` is the error that ended it. None means that it has not ended. A user that may not write loses the channel that writes, and reads
    on.
    """

    def __init__(self, connection: Any, stream: str, explain: Callable[[BaseException | None], FleetLogError]) -> None:
        self.lost: FleetLogError | None = None
        self._connection = connection
        self._stream = stream
        self._explain = explain
        self._arrived: deque[_Delivered] = deque()
        self._changed = asyncio.Event()
        self._reading: Any = None
        self._writing: Any = None
        self._one_by_one = asyncio.Lock()
        self._beside: set[asyncio.Task[Any]] = set()

    async def consume(self, look_back: float) -> None:
        """Begin to read at so many seconds before the broker's present."""
        self._reading = await self._connection.channel()
        store_messages(self._reading, self._arrive)
        on_consumer_cancel(self._reading, self._cancelled)
        self._reading.closing.add_done_callback(self._closed)
        await self._reading.basic_qos(prefetch_count=_WINDOW)
        arguments = {_POSITION: f"{math.ceil(look_back)}s"}
        await self._reading.basic_consume(self._stream, self._arrive, arguments=arguments)

    def take(self) -> Sequence[_Delivered]:
        """Return what has come, and let the broker send as much again."""
        taken = list(self._arrived)
        self._arrived.clear()
        self._changed.clear()
        if taken and self.lost is None:
            self._do(self._reading.basic_ack(taken[-1].tag, multiple=True))
        return taken

    async def change(self) -> None:
        """Wait for a message, or for the end."""
        if self.lost is None:
            await self._changed.wait()

    async def write(self, records: Sequence[bytes]) -> None:
        """Publish records, one after the other, so that a prefix is in the stream if one fails. Raises FleetLogError.

        The caller's cancellation does not reach the client, in which it would close the channel.
        """
        work = self._do(self._publish(records))
        await asyncio.wait((work,), timeout=_ANSWER_WITHIN)
        if not work.done():
            raise self._end(TimeoutError())
        if work.cancelled():  # by aiormq, which cancels the calls of a channel that closes
            raise self._end(None)
        error = work.exception()
        if error is None:
            return
        if isinstance(error, ChannelAccessRefused | DeliveryError):  # the channel that reads does not suffer from it
            raise self._explain(error) from error
        if isinstance(error, Exception) and not is_transient(error):
            raise error
        raise self._end(error) from error

    async def close(self, reason: FleetLogError) -> None:
        """End, with this reason if there was none, within a time limit."""
        self.lost = self.lost or reason
        self._changed.set()
        for task in self._beside:
            task.cancel()
        await within(give_up(self._connection), CLOSE_WITHIN)

    async def _publish(self, records: Sequence[bytes]) -> None:
        async with self._one_by_one:
            if self._writing is None or self._writing.is_closed:
                self._writing = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
            for record in records:
                message = Message(record, message_id=uuid4().hex[:16])
                # Without `mandatory` the broker confirms, and drops, what goes to a stream that was deleted.
                await self._writing.basic_publish(record, routing_key=self._stream, properties=message.properties, mandatory=True)

    def _arrive(self, message: Any) -> None:
        properties = message.header.properties
        headers: Mapping[str, Any] = properties.headers or {}
        position = int(headers.get(_POSITION, -1))
        self._arrived.append(_Delivered(message.delivery.delivery_tag, position, properties.message_id or "", bytes(message.body)))
        self._changed.set()

    def _cancelled(self, _: str) -> None:
        self._end(ConsumerCancelled())

    def _closed(self, closing: asyncio.Future[Any]) -> None:
        self._end(None if closing.cancelled() else closing.exception())

    def _end(self, error: BaseException | None) -> FleetLogError:
        if self.lost is None:
            self.lost = self._explain(error)
            self._changed.set()
            self._do(give_up(self._connection))
        return self.lost

    def _do(self, work: Any) -> asyncio.Task[Any]:
        """Begin work that nobody cancels, and whose failure shows in the channel's end."""
        task = begin_later(work, f"serves stream {self._stream!r}")
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)
        task.add_done_callback(_retrieve)
        return task


def _now() -> float:
    return asyncio.get_running_loop().time()


def _retrieve(ended: asyncio.Task[Any]) -> None:
    if not ended.cancelled():
        ended.exception()
