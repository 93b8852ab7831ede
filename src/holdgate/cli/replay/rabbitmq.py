"""A replay through RabbitMQ. A letter leaves its queue when the broker has confirmed the copy, so the queue holds what is left to move.

A letter that could not be moved goes back. For a letter that has come back before, one more return may be too many. Its queue may have a
delivery limit, which policies hide. On RabbitMQ 4.3 a dead letter even keeps the count of returns that it died of, so that the first return
here is its end. Such a letter is written again, at the end of its queue, and then acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from holdgate.cli.replay.route import Survey, replayed
from holdgate.errors import IntakeError, MissingExtra
from holdgate.flow.message import replays_of

log = logging.getLogger(__name__)

_REACH_WITHIN = 15.0
_CLOSE_WITHIN = 5.0
# A broker in reach confirms within milliseconds (seconds).
_PUT_BACK_WITHIN = 5.0


class RabbitMQRoute:
    """The route from queue `dead` to queue `to` at `url`, by the default exchange."""

    def __init__(self, url: str, dead: str, to: str) -> None:
        try:
            import aio_pika
        except ImportError as error:
            raise MissingExtra("aio-pika is not installed: pip install 'holdgate[rabbitmq,cli]'") from error
        self._aio_pika: Any = aio_pika
        self._url = url
        self._dead = dead
        self._to = to
        self._connection: Any = None
        self._channel: Any = None
        self._queue: Any = None
        self._letter: Any = None
        self._left = 0

    async def survey(self) -> Survey:
        """Connect, and count the letters without reading any: each read is a delivery, which a quorum queue counts."""
        await self._connect()
        return Survey(await self._count(self._dead))

    async def begin(self) -> None:
        self._left = await self._count(self._dead)
        # On a channel of its own: if the broker closes the channel of a publication, the letter here is not affected.
        self._queue = await (await self._connection.channel()).get_queue(self._dead, ensure=False)

    async def take(self) -> object | None:
        if self._left == 0:
            return None
        self._left -= 1
        self._letter = await self._queue.get(fail=False)
        return self._letter  # type: ignore[no-any-return]

    async def put(self, letter: Any) -> None:
        await self._write(letter, headers_of(letter.headers), self._to)

    async def done(self, letter: Any) -> None:
        await letter.ack()
        self._letter = None

    async def end(self) -> None:
        """Return the letter that is not done to its queue: with the channel, or as a copy where a return may be its end. Disconnect."""
        connection, self._connection = self._connection, None
        letter, self._letter = self._letter, None
        if letter is not None and has_come_back(letter):
            await self._put_back(letter, connection)
        if connection is not None:
            await asyncio.wait({asyncio.ensure_future(connection.close())}, timeout=_CLOSE_WITHIN)

    async def _write(self, letter: Any, headers: Mapping[str, Any], queue: str) -> None:
        from holdgate.brokers.rabbitmq.dead_letters import copy_message

        # mandatory is aio-pika's default, and on_return_raises turns a queue that has gone into an error instead of a loss.
        await self._channel.default_exchange.publish(copy_message(letter, headers), routing_key=queue)

    async def _put_back(self, letter: Any, connection: Any) -> None:
        from holdgate.tasks import within

        async def write() -> None:
            # A new channel: the broker may have closed that of the publication that failed.
            self._channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            await self._write(letter, letter.headers, self._dead)
            await letter.ack()

        try:
            if await within(write(), _PUT_BACK_WITHIN):
                return
            reason = f"no answer within {_PUT_BACK_WITHIN:g} s"
        except Exception as error:  # noqa: BLE001 - whatever it was, the letter goes back with its channel
            reason = type(error).__name__
        log.warning(
            "the letter under way could not be written back to %s (%s), and returns: once more may be over its limit", self._dead, reason
        )

    async def _connect(self) -> None:
        errors = (self._aio_pika.exceptions.AMQPError, OSError, TimeoutError)
        try:
            async with asyncio.timeout(_REACH_WITHIN):
                self._connection = await self._aio_pika.connect(self._url)
        except errors as error:
            raise IntakeError(self._no_connection(error)) from error
        self._channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
        await self._count(self._to)

    def _no_connection(self, error: Exception) -> str:
        if isinstance(error, self._aio_pika.exceptions.ProbableAuthenticationError):
            return "RabbitMQ refuses this user or password: check --url, and that the user may log in from this host"
        waited = f" within {_REACH_WITHIN:g} s" if isinstance(error, TimeoutError) else ""
        return f"no RabbitMQ answers{waited} ({type(error).__name__}): check host, port and virtual host in --url"

    async def _count(self, name: str) -> int:
        from holdgate.brokers.rabbitmq.client import as_intake_error, describe_end

        # On a channel of its own: the broker closes the channel if the queue does not exist.
        channel = await self._connection.channel()
        try:
            queue = await channel.declare_queue(name, passive=True)
        except self._aio_pika.exceptions.AMQPError as error:
            raise as_intake_error(error, name) or IntakeError(f"queue {name!r} could not be asked for: {describe_end(error)}") from error
        await channel.close()
        count: int = queue.declaration_result.message_count
        return count


def headers_of(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headers that go back with a message, without those that a dead letter and the broker have added."""
    from holdgate.brokers.rabbitmq.dead_letters import without_broker_headers

    # As text on RabbitMQ too, so that the same header reads the same everywhere.
    return dict(replayed(without_broker_headers(headers).items(), str(replays_of(headers.items()) + 1)))


def has_come_back(letter: Any) -> bool:
    """Return whether the queue has counted a return of this letter, as far as its headers show."""
    count = letter.headers.get("x-delivery-count", 0)
    return bool(letter.redelivered and isinstance(count, int) and count > 0)
