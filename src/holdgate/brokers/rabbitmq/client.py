"""The connection as holdgate uses it: every look behind aio-pika's public names is in this file or in this file, with its reason.

aio-pika 9.0 to 10.2 were read for it. Its robust *connection* is used for what it does well, coming back. Its robust *channels* are not:
they consume again by themselves, with the old consumer tag and before anybody is told, so that a hold would be undone on every reconnect,
and on RabbitMQ 4.3 a consumer that the broker has cancelled ends the whole connection, again and again. So each queue gets a plain channel
of aiormq, which lives as long as it is open and is replaced by a fresh one: a delivery belongs to a channel, and a channel is never two.

What aio-pika 9 lacks and aio-pika 10 has, one function a difference, so that the files beside this one know a single client.

aio-pika 9 is what FastStream up to 0.6 allows, and what most lock files have. `make test-lowest` runs everything against the oldest one.

What an error of the client means: the end of the intake, with a remedy, or something that passes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

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

from holdgate.brokers.tasks import within
from holdgate.errors import IntakeError
from holdgate.tasks import is_being_cancelled

# A frame that is not the expected answer. aiormq up to 7.1 raises its codec's errors for it, which are none of its own.
FRAME_ERRORS = (InvalidFrameError, PAMQPException)
UNEXPECTED_FRAME = (InvalidFrameError, AMQPInternalError)


def close_called(connection: Any) -> bool:
    """Whether the connection's owner has called its `close()`.

    The public name came with aio-pika 9.6.0. `is_closed` does not do instead: up to 10.1, one that is closed while it is away from its
    broker stays "not closed" for ever.
    """
    return bool(connection.close_called if hasattr(connection, "close_called") else connection._close_called)  # noqa: SLF001


def on_consumer_cancel(raw: Any, tell: Callable[[str], None]) -> None:
    """Have `tell` called with the tag of a consumer that the broker takes away from this channel.

    aiormq up to 7.0 (aio-pika up to 10.0.1) has no callback for it: the consumer goes out of the channel's table in silence.
    """

    def cancelled(frame: Any) -> None:
        tell(frame.consumer_tag)

    if hasattr(raw, "on_consumer_cancel_callbacks"):
        raw.on_consumer_cancel_callbacks.add(cancelled)
    else:
        raw.consumers = _Consumers(raw.consumers, tell)


class _Consumers(dict[str, Any]):
    """A channel's table of consumers that tells who goes out of it."""

    def __init__(self, consumers: dict[str, Any], tell: Callable[[str], None]) -> None:
        super().__init__(consumers)
        self._tell = tell

    def pop(self, tag: str, *default: Any) -> Any:
        found = super().pop(tag, *default)
        self._tell(tag)
        return found


class ConsumerCancelled(Exception):
    """The broker took the consumer away. It gives no reason; these are the ones that there are."""

    def __init__(self) -> None:
        super().__init__(
            "the broker cancelled the consumer: its queue was deleted or moved, or a message was out for longer than the consumer timeout"
        )


def words_of(error: BaseException | None) -> str:
    """What a channel ended with, for a log line: never a bare None or an error without a word."""
    if error is None:
        return "the connection went away, or the broker gave no reason"
    return f"{type(error).__name__}: {error}" if str(error) else f"{type(error).__name__}, without a word of why"


def no_connection(error: BaseException, where: str) -> str:
    """Why there is no connection to `where`, and what to do."""
    if isinstance(error, ProbableAuthenticationError):
        return f"the broker at {where} refuses this user or password: check the URL, and that the user may log in from this host"
    if isinstance(error, UNEXPECTED_FRAME) and "Connection.OpenOk" in str(error):
        # aiormq tells a refused virtual host as a frame that it did not expect.
        return f"the broker at {where} refuses the virtual host: check its name in the URL, and that this user has permissions in it"
    return f"no RabbitMQ broker answers at {where} ({error!r}): check host, port and TLS, and that the broker is up"


def end_of_intake(error: BaseException, queue: str, need: str = "read") -> IntakeError | None:
    """The error to end the intake with; None for one that may pass. `need` is the permission that the call takes."""
    if isinstance(error, IntakeError):
        return error
    text = _meaning(error, queue, need)
    return None if text is None else IntakeError(text)


def exclusive_here(queue: str) -> IntakeError:
    """The error for a queue that this very connection holds exclusively; it looks like one of another connection in its own refusal."""
    return IntakeError(
        f"queue {queue!r} is exclusive to the connection that was given: when that one is lost it is deleted, with everything that waits; "
        "declare it without exclusive=True"
    )


def _meaning(error: BaseException, queue: str, need: str) -> str | None:
    if isinstance(error, ChannelNotFoundEntity):
        # A durable queue whose node is down is "not found" as well, and comes back.
        return f"there is no queue {queue!r}: declare it, or correct the name" if "no queue" in str(error) else None
    if isinstance(error, ChannelLockedResource):
        return f"queue {queue!r} is exclusive to another connection: it goes with that connection, declare it without exclusive=True"
    if isinstance(error, ChannelAccessRefused):
        if "exclusive use" in str(error):
            return f"queue {queue!r} has an exclusive consumer: stop that one, or let it consume without exclusive=True"
        return f"not authorised to {need} queue {queue!r}: give this user {need} permission on it ({error})"
    return None


def parse_version(text: object) -> tuple[int, int]:
    """Major and minor of "3.10.8"; (0, 0), with the oldest rules, for what is no version."""
    parts = str(text).split(".")
    try:
        return int(parts[0]), int(parts[1])
    except (IndexError, ValueError):
        return 0, 0


# What a call on a channel or connection that goes away may raise; all of it passes, or shows again at the next try.
TRANSIENT = (AMQPError, *FRAME_ERRORS, ChannelInvalidStateError, OSError, RuntimeError)


def is_transient(error: BaseException) -> bool:
    """Whether a call failed because its channel or connection went away. aiormq raises a bare Exception in calls of one that is closed."""
    return isinstance(error, TRANSIENT) or type(error) is Exception


# A broker in reach answers in milliseconds; a wrong address should not take the minutes that TCP allows.
_CONNECT_WITHIN = 15.0
# Closing is a handshake, and a broker that is away does not answer it.
CLOSE_WITHIN = 5.0
# A process that is to go before it had anything in hand, or with its loop: a broker in reach has answered by then, others are left.
GIVE_UP_WITHIN = 0.25
# How soon a connection that its owner closes during a reconnect is noticed: well below what a drain may take.
_BETWEEN_LOOKS = 0.2
_CLOSED_IN_USE = "the connection was closed while a guard uses it: call guard.stop() first, then connection.close()"


async def throw_away(channel: Any) -> None:
    """Close a channel that was made for one question. Whoever is being cancelled meanwhile hardly waits for the broker's goodbye."""
    if not channel.is_closed:
        await within(channel.close(), GIVE_UP_WITHIN if is_being_cancelled() else CLOSE_WITHIN)


class Client:
    """One robust connection: made from `url` here and closed at the end, or the caller's."""

    def __init__(self, connection_or_url: Any) -> None:
        self._url = None if isinstance(connection_or_url, AbstractRobustConnection) else connection_or_url
        self._connection: Any = None if self._url is not None else connection_or_url
        self._aside: Any = None
        self.version = (0, 0)

    @property
    def where(self) -> str:
        """Host, port and virtual host; never the password."""
        url = make_url(self._url) if self._url is not None else self._connection.url
        return f"{url.host}:{url.port or 5672}{url.path or '/'}"

    @property
    def vhost(self) -> str:
        """The virtual host."""
        return str(self._connection.transport.connection.vhost)

    @property
    def is_closed(self) -> bool:
        """Whether the connection was closed for good, by its owner; one that is lost comes back."""
        return bool(self._connection is None or self._connection.is_closed or close_called(self._connection))

    async def connect(self) -> None:
        """Connect, or wait for the caller's connection to be up. Raises IntakeError with the remedy."""
        if self._url is not None:
            self._connection = RobustConnection(_named(make_url(self._url)))
            try:
                await self._connection.connect(timeout=_CONNECT_WITHIN)
            except TRANSIENT as error:
                await self.close()
                raise IntakeError(no_connection(error, self.where)) from error
            except BaseException:  # cancelled; left open it would connect again and again, even while the loop ends
                await self.close(GIVE_UP_WITHIN)
                raise
        elif self.is_closed:
            raise IntakeError("the connection was closed: make a new one with aio_pika.connect_robust(...)")
        else:
            try:
                await asyncio.wait_for(self._connection.connected.wait(), _CONNECT_WITHIN)
            except TimeoutError as error:
                raise IntakeError(no_connection(error, self.where)) from error
        self.version = parse_version(self._connection.transport.connection.server_properties.get("version"))

    async def channel(self, *, publisher_confirms: bool = False) -> Any:
        """A fresh aiormq channel, once the connection is up. Raises IntakeError when its owner has closed it.

        `publisher_confirms`: publications wait for the broker, and raise when no queue takes them.
        """
        while True:
            await self._up()
            transport = self._connection.transport
            if transport is not None:
                return await transport.connection.channel(publisher_confirms=publisher_confirms, on_return_raises=publisher_confirms)
            await asyncio.sleep(0)

    async def ready(self, queues: list[str]) -> dict[str, int]:
        """How many messages are ready in each; a queue or broker that does not answer is left out.

        On a channel of its own, since a name that is not there closes the channel it was asked on.
        """
        found: dict[str, int] = {}
        for name in queues:
            try:
                if self._aside is None or self._aside.is_closed:
                    self._aside = await self.channel()
                found[name] = (await self._aside.queue_declare(queue=name, passive=True)).message_count or 0
            except Exception as error:
                if not is_transient(error):
                    raise
        return found

    async def close(self, seconds: float = CLOSE_WITHIN) -> None:
        """Close a connection that is ours, and the channel for questions, each within `seconds`."""
        aside, self._aside = self._aside, None
        if aside is not None and not aside.is_closed:
            await within(aside.close(), seconds)
        if self._url is not None and self._connection is not None and not self._connection.is_closed:
            await within(self._connection.close(), seconds)

    async def _up(self) -> None:
        if self.is_closed:
            raise IntakeError(_CLOSED_IN_USE)
        # Looked at again and again: with aio-pika up to 10.1 a waiter for `closed()` that is cancelled closes the connection with itself,
        # and a connection that is closed while it is away tells nobody.
        while not self._connection.connected.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._connection.connected.wait(), _BETWEEN_LOOKS)
            if self.is_closed:
                raise IntakeError(_CLOSED_IN_USE)


def _named(url: URL) -> URL:
    """The URL with a name for the broker's list of connections, where it has none.

    In the URL, which every version reads. aio-pika up to 10.0 does not send `client_properties`, and overlooks the query because of it.
    """
    return url if "name" in url.query else url.update_query(name="holdgate")
