"""Dead letters into RabbitMQ queues, by a channel of their own: confirmed, and refused where no queue would take them.

The channel is not the intake's: a publication to an exchange that is not there closes it, and with it everything in hand. One publication
at a time: a returned message is told by its message id, which two of them may share.

A message written again: its properties and headers go along, with three exceptions.

`expiration` would let a dead letter vanish by itself. `user_id` must be the name of who publishes, or the broker refuses the message and
closes the channel. What a broker has written about its life in other queues is untrue of the copy, and yet looks like the broker's word: a
delivery count shows until the copy has one of its own, and up to 3.13 a copied `x-death` is counted on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from aio_pika import DeliveryMode, IncomingMessage, Message
from aio_pika.abc import AbstractRobustConnection
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource, ChannelNotFoundEntity

from holdgate.brokers.rabbitmq.channel import BROKERS_OWN
from holdgate.brokers.rabbitmq.checks import check_connection
from holdgate.brokers.rabbitmq.client import CLOSE_WITHIN, GIVE_UP_WITHIN, TRANSIENT, Client, throw_away, words_of
from holdgate.brokers.tasks import within
from holdgate.errors import IntakeError, SettingsError
from holdgate.flow.message import PREFIX, DeadLetter, own_headers

_PROPERTIES = (
    "content_type", "content_encoding", "delivery_mode", "priority", "correlation_id", "reply_to", "message_id", "timestamp", "type",
    "app_id",
)  # fmt: skip


def copy_of(message: IncomingMessage, headers: Mapping[str, Any]) -> Message:
    """The same message with these headers, without what a broker wrote."""
    return Message(message.body, headers=portable(headers), **{name: getattr(message, name) for name in _PROPERTIES})


def portable(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The headers without what a broker wrote."""
    return {name: value for name, value in headers.items() if name not in BROKERS_OWN}


# Where the key of a Kafka record goes, which a message here does not have.
KEY = PREFIX + "key"


class RabbitMQDeadLetters:
    """Publishes rejected messages to RabbitMQ; give it to `guard.run(dead_letters=...)`.

    `connection_or_url`: an `aio_pika.connect_robust` connection, whose `close()` stays the caller's, or a URL, for a connection of its
    own. `routing_key` names the queue, `{queue}` in it stands for the queue (or topic) that the message came from; with `exchange` it is
    the routing key there. Body, properties and headers are unchanged, but for `expiration`, `user_id` and what a broker has written of it
    (`x-death`, `x-delivery-count` and the like). `exception_text`: whether the headers quote what the exception says. Raises SettingsError
    for a connection that does not come back.
    """

    def __init__(
        self,
        connection_or_url: AbstractRobustConnection | str,
        routing_key: str = "{queue}.dead",  # beside its origin in every list of queues, and named by what it is
        *,
        exchange: str = "",  # the default exchange: straight into the queue of that name
        exception_text: bool = False,  # it may quote the message, and the target's readers may be others
    ) -> None:
        check_connection(connection_or_url)
        _check_template(routing_key)
        self._client = Client(connection_or_url)
        self._routing_key = routing_key
        self._exchange = exchange
        self._exception_text = exception_text
        self._channel: Any = None
        self._users = 0
        self._opening = asyncio.Lock()
        self._publishing = asyncio.Lock()

    async def open(self, names: Collection[str] | None) -> None:
        targets = sorted({self._target(name) for name in names or ()})
        async with self._opening:  # two runs may begin in the same step
            if self._users == 0:
                await self._client.connect()
            self._users += 1
        try:
            await self._check(targets)
        except BaseException as error:
            await self._close(GIVE_UP_WITHIN if isinstance(error, asyncio.CancelledError) else CLOSE_WITHIN)
            raise

    async def publish(self, letter: DeadLetter) -> None:
        message = self._message(letter)
        async with self._publishing:
            if self._channel is None or self._channel.is_closed:
                self._channel = await self._client.channel(publisher_confirms=True)
            await self._channel.basic_publish(
                message.body,
                exchange=self._exchange,
                routing_key=self._target(letter.source.name),
                properties=message.properties,
                mandatory=True,  # without it the broker confirms, and drops, what no queue takes
            )

    async def close(self) -> None:
        await self._close(CLOSE_WITHIN)

    async def _close(self, seconds: float) -> None:
        if self._users == 0:
            return
        self._users -= 1
        if self._users:
            return
        channel, self._channel = self._channel, None
        if channel is not None and not channel.is_closed:
            await within(channel.close(), seconds)
        await self._client.close(seconds)

    def _target(self, name: str) -> str:
        target = self._routing_key.format(queue=name)
        if target == name and not self._exchange:
            raise SettingsError(f"routing_key={self._routing_key!r} would send the dead letters of {name!r} back to where they came from")
        return target

    def _message(self, letter: DeadLetter) -> Message:
        headers = dict(own_headers(letter.delivery.headers.items())) | letter.facts(text=self._exception_text)
        message = letter.delivery.message
        if isinstance(message, IncomingMessage):
            return copy_of(message, headers)
        if letter.key is not None:
            headers[KEY] = letter.key
        return Message(letter.body or b"", headers=_amqp(portable(headers)), delivery_mode=DeliveryMode.PERSISTENT)

    async def _check(self, targets: Collection[str]) -> None:
        if self._exchange:
            await self._ask(f"exchange {self._exchange!r}", "exchange_declare", exchange=self._exchange)
            return
        for target in targets:
            await self._ask(f"queue {target!r}", "queue_declare", queue=target)

    async def _ask(self, what: str, call: str, **name: str) -> None:
        """Whether it is there. On a channel of its own, which the answer no closes."""
        channel = await self._client.channel()
        try:
            await getattr(channel, call)(passive=True, **name)
        except TRANSIENT as error:
            raise IntakeError(self._refusal(what, error)) from error
        finally:
            await throw_away(channel)

    def _refusal(self, what: str, error: BaseException) -> str:
        where, target = self._client.where, f"correct routing_key={self._routing_key!r} or exchange="
        if isinstance(error, ChannelNotFoundEntity):
            return f"no {what} for dead letters at {where}: declare it, or {target} ({error})"
        if isinstance(error, ChannelLockedResource):
            return f"{what} for dead letters at {where} is exclusive to another connection: declare it without exclusive=True, or {target}"
        if isinstance(error, ChannelAccessRefused):
            return f"{what} for dead letters at {where} may not be seen by this user: allow it to write there, or {target} ({error})"
        return f"whether there is {what} for dead letters at {where} could not be asked: is the broker up? ({words_of(error)})"


def _amqp(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Header values of another broker's message: bytes are a `bytearray` to the protocol's encoder."""
    return {name: bytearray(value) if isinstance(value, bytes) else value for name, value in headers.items()}


def _check_template(routing_key: str) -> None:
    try:
        routing_key.format(queue="")
    except (ValueError, LookupError) as error:
        raise SettingsError(f'routing_key={routing_key!r} may have {{queue}} in it and nothing else in braces: "{{queue}}.dead"') from error
    if not routing_key:
        raise SettingsError('routing_key is empty: name the queue of the dead letters, "{queue}.dead"')
