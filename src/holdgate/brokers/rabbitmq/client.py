"""The connection as holdgate uses it. Every access to names of aio-pika and aiormq that are not public is in this file, with its reason.

aio-pika 9.0 to 10.2 were read for it. holdgate uses aio-pika's robust *connection*, which reconnects well. It does not use robust
*channels*: they consume again by themselves after a reconnect, with the old consumer tag and before anything else can happen. A hold would
end with every reconnect. And on RabbitMQ 4.3 a consumer that the broker cancels would end the whole connection, again and again. So each
queue gets a plain channel of aiormq. It is replaced, never reopened: a delivery belongs to exactly one channel.

The file has three parts: what older clients lack, so that the other files know a single client; what an error of the client means, either
the end of the intake with a remedy or something that passes; and `Client`, one connection. aio-pika 9 is what FastStream up to 0.6 allows,
and most lock files have it. `make test-lowest` runs everything with the oldest supported one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import aiormq
from aio_pika import RobustConnection
from aio_pika.abc import AbstractRobustConnection
from aio_pika.connection import make_url
from aiormq.exceptions import (
    AMQPError,
    ChannelAccessRefused,
    ChannelInvalidStateError,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from pamqp.exceptions import AMQPInternalError, PAMQPException
from yarl import URL

from holdgate.errors import HoldgateError, IntakeError
from holdgate.tasks import GIVE_UP_WITHIN, begin_later, is_being_cancelled, within

T = TypeVar("T")

# A broker in reach answers in milliseconds; a wrong address should not take the minutes that TCP allows.
_CONNECT_WITHIN = 15.0

# -- older clients -----------------------------------------------------------------------------------------------------------------------

# A frame that is not the expected answer. aiormq up to 7.1 raises the errors of its codec for it, which do not inherit from its own.
FRAME_ERRORS = (InvalidFrameError, PAMQPException)
UNEXPECTED_FRAME = (InvalidFrameError, AMQPInternalError)


def close_called(connection: Any) -> bool:
    """Return whether the owner of the connection has called its `close()`.

    The public name came with aio-pika 9.6.0. `is_closed` is not enough: up to 10.1, a connection that is closed while it is disconnected
    stays "not closed" for ever.
    """
    return bool(connection.close_called if hasattr(connection, "close_called") else connection._close_called)  # noqa: SLF001


def on_consumer_cancel(raw: Any, notify: Callable[[str], None]) -> None:
    """Call `notify` with the tag of each consumer of this channel that the broker cancels.

    aiormq up to 7.0 (aio-pika up to 10.0.1) has no callback for it, and only removes the consumer from the channel's table.
    """

    def cancelled(frame: Any) -> None:
        notify(frame.consumer_tag)

    if hasattr(raw, "on_consumer_cancel_callbacks"):
        raw.on_consumer_cancel_callbacks.add(cancelled)
        return
    if not isinstance(raw.consumers, _Consumers):
        raw.consumers = _Consumers(raw.consumers)
    raw.consumers.removed = notify


def store_messages(raw: Any, store: Callable[[Any], None]) -> None:
    """Call `store` with each message of this channel's consumers, in the step in which it was read. Call it before there is a consumer.

    The channel makes a task for the callback of each message, which costs a fifth of all that a message costs, and `store` needs none. So
    it is called while the channel asks for that task, and then there is none. What `store` raises would end the channel.
    """
    make_task = raw.create_task

    def task_of(work: Any) -> Any:
        return _STORED if work is None else make_task(work)

    raw.create_task = task_of
    raw.consumers = _Consumers(raw.consumers, store)


class _Consumers(dict[str, Any]):
    """A channel's table of consumers: all have the callback `store`, if there is one, and `removed` is told of each that goes."""

    def __init__(self, consumers: dict[str, Any], store: Callable[[Any], None] | None = None) -> None:
        super().__init__(consumers)
        self._store = store
        self.removed: Callable[[str], None] | None = None

    def __setitem__(self, tag: str, callback: Any) -> None:
        super().__setitem__(tag, self._store or callback)

    def pop(self, tag: str, *default: Any) -> Any:
        found = super().pop(tag, *default)
        if self.removed is not None:
            self.removed(tag)
        return found


class _Ended:
    """Stands for the task of a callback that has ended already."""

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Do nothing: the callback could only report an error."""


_STORED = _Ended()

# -- errors ------------------------------------------------------------------------------------------------------------------------------


class ConsumerCancelled(Exception):
    """The broker cancelled the consumer. It gives no reason, so the text names all possible ones."""

    def __init__(self) -> None:
        super().__init__(
            "the broker cancelled the consumer: its queue was deleted or moved, or a message was out for longer than the consumer timeout"
        )


def describe_end(error: BaseException | None) -> str:
    """Return what a channel ended with, for a log line: never a bare None or an empty text."""
    if error is None:
        return "the connection was lost, or the broker gave no reason"
    return f"{type(error).__name__}: {error}" if str(error) else f"{type(error).__name__}, without a reason"


def explain_no_connection(error: BaseException, where: str, seconds: float = _CONNECT_WITHIN) -> str:
    """Return why there is no connection to `where` after a try of so many seconds, with the remedy."""
    if isinstance(error, ProbableAuthenticationError):
        return f"the broker at {where} refuses this user or password: check the URL, and that the user may log in from this host"
    if isinstance(error, UNEXPECTED_FRAME) and "Connection.OpenOk" in str(error):
        # To aiormq a refused virtual host is an unexpected frame.
        return f"the broker at {where} refuses the virtual host: check its name in the URL, and that this user has permissions in it"
    how = f"within {seconds:g} s" if isinstance(error, TimeoutError) else f"({error!r})"
    return f"no RabbitMQ broker answers at {where} {how}: check host, port and TLS, and that the broker is up"


def as_intake_error(error: BaseException, queue: str, need: str = "read") -> IntakeError | None:
    """Return the IntakeError for an error that ends the intake. None means that the error may pass.

    `need` is the permission that the failed call takes.
    """
    if isinstance(error, IntakeError):
        return error
    text = _explain(error, queue, need)
    return None if text is None else IntakeError(text)


def exclusive_error(queue: str) -> IntakeError:
    """Return the error for a queue that this very connection holds exclusively. The broker's refusal looks like another connection's."""
    return IntakeError(
        f"queue {queue!r} is exclusive to the connection that was given, and is deleted with that connection, with everything that waits: "
        "declare it without exclusive=True"
    )


def _explain(error: BaseException, queue: str, need: str) -> str | None:
    if isinstance(error, ChannelNotFoundEntity):
        # A durable queue whose node is down is "not found" too, and comes back.
        return f"there is no queue {queue!r}: declare it, or correct the name" if "no queue" in str(error) else None
    if isinstance(error, ChannelLockedResource):
        return f"queue {queue!r} is exclusive to another connection, and is deleted with it: declare it without exclusive=True"
    if isinstance(error, ChannelAccessRefused):
        if "exclusive use" in str(error):
            return f"queue {queue!r} has an exclusive consumer: stop that consumer, or let it consume without exclusive=True"
        return f"not authorised to {need} queue {queue!r}: give this user {need} permission on it ({error})"
    return None


def parse_version(text: object) -> tuple[int, int]:
    """Return major and minor of "3.10.8". A text that is not a version gives (0, 0), which has the oldest rules."""
    parts = str(text).split(".")
    try:
        return int(parts[0]), int(parts[1])
    except (IndexError, ValueError):
        return 0, 0


# What a call may raise when its channel or connection is lost. All of these pass, or appear again at the next try.
TRANSIENT = (AMQPError, *FRAME_ERRORS, ChannelInvalidStateError, OSError, RuntimeError)


def is_transient(error: BaseException) -> bool:
    """Return whether a call failed because its channel or connection was lost. aiormq's own calls then raise a bare Exception."""
    return isinstance(error, TRANSIENT) or type(error) is Exception


async def answered(question: Awaitable[T], refusal: Callable[[BaseException], HoldgateError]) -> T:
    """Return what the broker says. Raises `refusal` of the error where that is no, or where the connection is lost meanwhile."""
    try:
        return await question
    except Exception as error:
        if not is_transient(error):
            raise
        raise refusal(error) from error
    except asyncio.CancelledError as error:  # aiormq cancels the calls of a channel that closes
        if is_being_cancelled():
            raise
        raise refusal(error) from error


# -- the connection ----------------------------------------------------------------------------------------------------------------------

# Closing is a handshake, which a broker that is away does not answer.
CLOSE_WITHIN = 5.0
# How soon a close by the owner during a reconnect is noticed: much sooner than a drain must end.
_BETWEEN_LOOKS = 0.2
_CLOSED_IN_USE = "the connection was closed while a guard uses it: call guard.stop() first, then connection.close()"


async def throw_away(channel: Any) -> None:
    """Close a channel that was made for one question. A task that is being cancelled hardly waits for the broker's answer."""
    if not channel.is_closed:
        await within(channel.close(), GIVE_UP_WITHIN if is_being_cancelled() else CLOSE_WITHIN)


class Client:
    """One robust connection: made from a URL, and closed at the end, or the caller's, which stays open."""

    def __init__(self, connection_or_url: Any) -> None:
        self._url = None if isinstance(connection_or_url, AbstractRobustConnection) else connection_or_url
        self._connection: Any = None if self._url is not None else connection_or_url
        self._query_channel: Any = None
        self._asks_no_more = False
        self.version = (0, 0)

    @property
    def where(self) -> str:
        """Host, port and virtual host, without the password."""
        return _where(make_url(self._url) if self._url is not None else self._connection.url)

    @property
    def vhost(self) -> str:
        """The virtual host."""
        return str(self._connection.transport.connection.vhost)

    @property
    def is_closed(self) -> bool:
        """Whether its owner has closed the connection for good. A lost connection is not closed: it comes back."""
        return bool(self._connection is None or self._connection.is_closed or close_called(self._connection))

    async def connect(self) -> None:
        """Connect, or wait for the caller's connection to be up. Raises IntakeError with the remedy."""
        self._asks_no_more = False
        if self._url is not None:
            self._connection = RobustConnection(_with_name(make_url(self._url)))
            try:
                await self._connection.connect(timeout=_CONNECT_WITHIN)
            except TRANSIENT as error:
                await self.close()
                raise IntakeError(explain_no_connection(error, self.where)) from error
            except BaseException:  # cancelled: left open, it would reconnect again and again, even while the loop ends
                await self.close(GIVE_UP_WITHIN)
                raise
        elif self.is_closed:
            raise IntakeError("the connection was closed: make a new one with aio_pika.connect_robust(...)")
        else:
            try:
                async with asyncio.timeout(_CONNECT_WITHIN):
                    await self._connection.connected.wait()
            except TimeoutError as error:
                raise IntakeError(explain_no_connection(error, self.where)) from error
        self.version = parse_version(self._connection.transport.connection.server_properties.get("version"))

    async def channel(self, *, publisher_confirms: bool = False) -> Any:
        """Return a fresh aiormq channel, once the connection is up. Raises IntakeError when its owner has closed it.

        `publisher_confirms` makes publications wait for the broker, and raise when no queue takes them.
        """
        while True:
            await self._wait_until_up()
            transport = self._connection.transport
            if transport is not None:
                return await transport.connection.channel(publisher_confirms=publisher_confirms, on_return_raises=publisher_confirms)
            await asyncio.sleep(0)

    async def ready(self, queues: list[str]) -> dict[str, int]:
        """Return how many messages are ready in each queue. A queue that does not answer is left out.

        It asks on a channel of its own, since a missing queue closes the channel on which it was asked for.
        """
        found: dict[str, int] = {}
        for name in queues:
            try:
                channel = await self._channel_to_ask()
                if channel is None:
                    return found
                found[name] = (await channel.queue_declare(queue=name, passive=True)).message_count or 0
            except Exception as error:
                if not is_transient(error):
                    raise
        return found

    async def close(self, seconds: float = CLOSE_WITHIN) -> None:
        """Close the channel for questions, and a connection that is ours, each within `seconds`."""
        self._asks_no_more = True
        await self._drop_query_channel(seconds)
        if self._url is not None and self._connection is not None and not self._connection.is_closed:
            await within(self._connection.close(), seconds)

    async def _channel_to_ask(self) -> Any:
        """Return the channel for questions; None after `close`, also if that came while the connection was away."""
        if not self._asks_no_more and (self._query_channel is None or self._query_channel.is_closed):
            self._query_channel = await self.channel()
        if self._asks_no_more:  # a question that has waited would leave a channel behind
            await self._drop_query_channel(CLOSE_WITHIN)
            return None
        return self._query_channel

    async def _drop_query_channel(self, seconds: float) -> None:
        channel, self._query_channel = self._query_channel, None
        if channel is not None and not channel.is_closed:
            await within(channel.close(), seconds)

    async def _wait_until_up(self) -> None:
        if self.is_closed:
            raise IntakeError(_CLOSED_IN_USE)
        # Polled, since two races make `closed()` useless with aio-pika up to 10.1: a waiter for it that is cancelled closes the
        # connection too, and a connection that is closed while it is disconnected wakes no waiter.
        while not self._connection.connected.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_BETWEEN_LOOKS):
                    await self._connection.connected.wait()
            if self.is_closed:
                raise IntakeError(_CLOSED_IN_USE)


class Beside:
    """Connections beside the consumer's, each for one use until its first fault: to a URL, or to where a connection goes that is given.

    A broker that is short of memory or disk stops to read from a connection that publishes, its acks and heartbeats too. So what is written
    while a consumer works goes by a connection of its own, and the given one is only looked at.
    """

    def __init__(self, connection_or_url: Any, name: str) -> None:
        url: Any = connection_or_url
        self._context: Any = None
        if isinstance(connection_or_url, AbstractRobustConnection):
            given: Any = connection_or_url
            url, self._context = given.url, given.kwargs.get("context")  # what its `ssl_context=` was
        self._url = make_url(url).update_query(name=name)

    @property
    def where(self) -> str:
        """Host, port and virtual host, without the password."""
        return _where(self._url)

    async def connect(self) -> Any:
        """Return a new connection of aiormq. Raises what `explain_no_connection` takes."""
        connection: Any = aiormq.Connection(self._url, context=self._context)
        try:
            await connection.connect()
        except BaseException:
            await give_up(connection)
            raise
        return connection


async def give_up(connection: Any) -> None:
    """Close a connection of aiormq, within a moment, whether or not its broker answers."""
    closing = begin_later(connection.close(), "closes a connection")
    closing.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    await asyncio.wait((closing,), timeout=GIVE_UP_WITHIN)
    closing.cancel()  # a broker that does not answer has the socket closed all the same


def _where(url: URL) -> str:
    return f"{url.host}:{url.port or (5671 if url.scheme == 'amqps' else 5672)}{url.path or '/'}"


def _with_name(url: URL) -> URL:
    """Return the URL with a name for the broker's list of connections, unless it has one.

    The name goes into the URL because every version reads that. aio-pika up to 10.0 does not send `client_properties`, and given them it
    overlooks the query.
    """
    return url if "name" in url.query else url.update_query(name="holdgate")
