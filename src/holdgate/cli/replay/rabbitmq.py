"""A replay through RabbitMQ: a letter leaves its queue when the broker has confirmed the copy, so what is left there is what is to do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from holdgate.cli.replay.route import Survey, replayed
from holdgate.errors import IntakeError, MissingExtra
from holdgate.flow.dead_letter import replays_of

_REACH_WITHIN = 15.0
_CLOSE_WITHIN = 5.0

# What a broker has written about an earlier life in its queues: the next one counts from nothing.
_BROKERS_OWN = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count")


class RabbitMQRoute:
    """From queue `dead` to queue `to` at `url`, by the default exchange."""

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
        self._left = 0

    async def survey(self) -> Survey:
        """Count, and nothing more: a look at a message costs it a delivery, which a quorum queue counts."""
        await self._connect()
        return Survey(await self._count(self._dead))

    async def begin(self) -> None:
        self._left = await self._count(self._dead)
        self._queue = await self._channel.get_queue(self._dead, ensure=False)

    async def take(self) -> object | None:
        if self._left == 0:
            return None
        self._left -= 1
        letter: object | None = await self._queue.get(fail=False)
        return letter

    async def put(self, letter: Any) -> None:
        from holdgate.brokers.rabbitmq.copies import copy_of

        # mandatory is aio-pika's default, and on_return_raises turns a queue that has gone into an error instead of a loss.
        await self._channel.default_exchange.publish(copy_of(letter, headers_of(letter.headers)), routing_key=self._to)

    async def done(self, letter: Any) -> None:
        await letter.ack()

    async def end(self) -> None:
        """What was taken and is not done goes back to its queue with the channel."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await asyncio.wait({asyncio.ensure_future(connection.close())}, timeout=_CLOSE_WITHIN)

    async def _connect(self) -> None:
        errors = (self._aio_pika.exceptions.AMQPError, OSError, TimeoutError)
        try:
            self._connection = await asyncio.wait_for(self._aio_pika.connect(self._url), _REACH_WITHIN)
        except errors as error:
            raise IntakeError(f"no RabbitMQ answers within {_REACH_WITHIN:g} s ({type(error).__name__}): check --url") from error
        self._channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
        await self._count(self._to)

    async def _count(self, name: str) -> int:
        # On a channel of its own: asking for a queue that does not exist closes it.
        channel = await self._connection.channel()
        try:
            queue = await channel.declare_queue(name, passive=True)
        except self._aio_pika.exceptions.AMQPError as error:
            raise IntakeError(f"no queue {name!r}: correct the name, or allow this user to read it ({type(error).__name__})") from error
        await channel.close()
        count: int = queue.declaration_result.message_count
        return count


def headers_of(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The headers that go back with a message: without what a dead letter, and the broker, wrote about its earlier life."""
    own = [(name, value) for name, value in headers.items() if not name.startswith(_BROKERS_OWN)]
    # As text on RabbitMQ too, so that the same header reads the same everywhere.
    return dict(replayed(own, str(replays_of(headers.items()) + 1)))
