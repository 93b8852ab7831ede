"""Dead letters into RabbitMQ queues: each is confirmed by the broker, or refused where no queue would take it.

They have a channel of their own. A publication to a missing exchange closes its channel, and on the intake's channel that would cost
everything in hand. One publication runs at a time: a returned message is recognised by its message id, which two of them may share.

A dead letter is the message written again, with its properties and headers. Three things do not go along. `expiration` would let it vanish
by itself. `user_id` must name the publishing user, or the broker refuses the message and closes the channel. And what a broker has written
about the message's life in other queues is not true of the copy, but would look like the broker's own: a copied delivery count is visible
until the copy has one of its own, and up to 3.13 a copied `x-death` is counted on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from aio_pika import DeliveryMode, IncomingMessage, Message
from aio_pika.abc import AbstractRobustConnection
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource, ChannelNotFoundEntity

from holdgate.brokers.letters import Runs, Template
from holdgate.brokers.rabbitmq.channel import BROKER_HEADERS
from holdgate.brokers.rabbitmq.checks import check_connection
from holdgate.brokers.rabbitmq.client import CLOSE_WITHIN, Client, answered, describe_end, throw_away
from holdgate.errors import IntakeError
from holdgate.flow.message import PREFIX, DeadLetter, own_headers
from holdgate.slips import suggest_keywords
from holdgate.tasks import within

_PROPERTIES = (
    "content_type", "content_encoding", "delivery_mode", "priority", "correlation_id", "reply_to", "message_id", "timestamp", "type",
    "app_id",
)  # fmt: skip


def copy_message(message: IncomingMessage, headers: Mapping[str, Any]) -> Message:
    """Return the same message with these headers, without those of a broker."""
    return Message(message.body, headers=without_broker_headers(headers), **{name: getattr(message, name) for name in _PROPERTIES})


def without_broker_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headers without those that a broker writes."""
    return {name: value for name, value in headers.items() if name not in BROKER_HEADERS}


# The header for the key of a Kafka record: a RabbitMQ message has no key.
KEY = PREFIX + "key"


class RabbitMQDeadLetters:
    """Publishes rejected messages to RabbitMQ; give it to `guard.run(dead_letters=...)`.

    Body, properties and headers stay as they are, except `expiration`, `user_id` and the headers of a broker (`x-death`, `x-delivery-count`
    and others). Raises SettingsError for a connection that is not robust.

    `connection_or_url`: an `aio_pika.connect_robust` connection, which its caller closes, or a URL for a connection of its own.
    `routing_key`: the name of the queue; `{queue}` in it stands for the queue or topic from which the message came.
    `exchange`: where to publish with that routing key. Empty means the default exchange, which has a route to every queue.
    `exception_text`: whether the headers quote the text of the exception.
    """

    @suggest_keywords
    def __init__(
        self,
        connection_or_url: AbstractRobustConnection | str,
        routing_key: str = "{queue}.dead",  # beside its origin in every list of queues, and named by what it is
        *,
        exchange: str = "",  # the default exchange: straight into the queue of that name
        exception_text: bool = False,  # it may quote the message, and the target's readers may be others
    ) -> None:
        check_connection(connection_or_url)
        self._routing_key = Template("routing_key", routing_key, "queue")
        self._client = Client(connection_or_url)
        self._exchange = exchange
        self._exception_text = exception_text
        self._channel: Any = None
        self._runs = Runs(self._stop, CLOSE_WITHIN)
        self._publishing = asyncio.Lock()

    async def open(self, names: Collection[str] | None) -> None:
        targets = sorted({self._target(name) for name in names or ()})
        await self._runs.enter(self._start, lambda: self._check(targets))

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
        await self._runs.leave()

    def way_of_rejected(self, name: str) -> str:
        target = self._target(name)
        return f"go to exchange {self._exchange!r} with routing key {target!r}" if self._exchange else f"go to queue {target!r}"

    async def _start(self) -> None:
        if not self._runs.any:
            await self._client.connect()

    async def _stop(self, seconds: float) -> None:
        channel, self._channel = self._channel, None
        if channel is not None and not channel.is_closed:
            await within(channel.close(), seconds)
        await self._client.close(seconds)

    def _target(self, name: str) -> str:
        return self._routing_key.fill(name) if self._exchange else self._routing_key.fill_elsewhere(name)

    def _message(self, letter: DeadLetter) -> Message:
        headers = dict(own_headers(letter.delivery.headers.items())) | letter.facts(text=self._exception_text)
        message = letter.delivery.message
        if isinstance(message, IncomingMessage):
            return copy_message(message, headers)
        if letter.key is not None:
            headers[KEY] = letter.key
        return Message(letter.body or b"", headers=_amqp(without_broker_headers(headers)), delivery_mode=DeliveryMode.PERSISTENT)

    async def _check(self, targets: Collection[str]) -> None:
        if self._exchange:
            await self._ask(f"exchange {self._exchange!r}", "exchange_declare", exchange=self._exchange)
            return
        for target in targets:
            await self._ask(f"queue {target!r}", "queue_declare", queue=target)

    async def _ask(self, what: str, call: str, **name: str) -> None:
        """Refuse an exchange or queue that is missing. Asks on a channel of its own, which such a refusal closes."""

        async def question() -> None:
            channel = await self._client.channel()
            try:
                await getattr(channel, call)(passive=True, **name)
            finally:
                await throw_away(channel)

        await answered(question(), lambda error: IntakeError(self._refusal(what, error)))

    def _refusal(self, what: str, error: BaseException) -> str:
        where, target = self._client.where, f"correct routing_key={self._routing_key.text!r} or exchange="
        if isinstance(error, ChannelNotFoundEntity):
            return f"there is no {what} for dead letters at {where}: declare it, or {target} ({error})"
        if isinstance(error, ChannelLockedResource):
            return f"{what} for dead letters at {where} is exclusive to another connection: declare it without exclusive=True, or {target}"
        if isinstance(error, ChannelAccessRefused):
            return f"this user may not see {what} for dead letters at {where}: allow it to write there, or {target} ({error})"
        return f"{what} for dead letters at {where} could not be checked: is the broker up? ({describe_end(error)})"


def _amqp(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return headers of another broker's message as AMQP can encode them: bytes must be a `bytearray`."""
    return {name: bytearray(value) if isinstance(value, bytes) else value for name, value in headers.items()}
