"""The connection as holdgate uses it: every look behind aio-pika's public names is in this file or in older_clients.py, with its reason.

aio-pika 9.0 to 10.2 were read for it. Its robust *connection* is used for what it does well, coming back. Its robust *channels* are not:
they consume again by themselves, with the old consumer tag and before anybody is told, so that a hold would be undone on every reconnect,
and on RabbitMQ 4.3 a consumer that the broker has cancelled ends the whole connection, again and again. So each queue gets a plain channel
of aiormq, which lives as long as it is open and is replaced by a fresh one: a delivery belongs to a channel, and a channel is never two.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from aio_pika import RobustConnection
from aio_pika.abc import AbstractRobustConnection
from aio_pika.connection import make_url
from aiormq.exceptions import AMQPError, ChannelInvalidStateError
from yarl import URL

from holdgate.brokers.rabbitmq.background import within
from holdgate.brokers.rabbitmq.failures import no_connection
from holdgate.brokers.rabbitmq.older_clients import FRAME_ERRORS, close_called
from holdgate.brokers.rabbitmq.versions import parse_version
from holdgate.errors import IntakeError
from holdgate.tasks import is_being_cancelled

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
