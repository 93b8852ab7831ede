"""What tests ask of a RabbitMQ wherever it runs: make queues, publish, look at what waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aio_pika
from aio_pika.abc import AbstractChannel

# Everything here answers in milliseconds on a quiet machine; this is for a node that comes back from a kill.
TIMEOUT = 60.0
BETWEEN_LOOKS = 0.05
# Only for one that is never answered: whoever asks again lets what was taken come back once more.
GET_TIMEOUT = 15.0

QUORUM: Mapping[str, Any] = {"x-queue-type": "quorum"}
SINGLE_ACTIVE: Mapping[str, Any] = {"x-single-active-consumer": True}


@dataclass(frozen=True, slots=True)
class Waiting:
    """One message that waits in a queue. `returns` is its x-delivery-count: how often it came back; 0 where nobody counts."""

    body: bytes
    returns: int
    redelivered: bool


class RabbitMQAddress:
    """A RabbitMQ at `url` ("amqp://user:password@host:port/vhost"). `version` is "3.10" or alike; None until it is asked."""

    def __init__(self, url: str, *, version: str | None = None, management_url: str | None = None) -> None:
        self.url = url
        self.version = version
        self.management_url = management_url

    def as_user(self, name: str, password: str) -> str:
        """The same URL for another user, or with another password."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=f"{name}:{password}@{parts.netloc.rpartition('@')[2]}"))

    def at(self, address: str) -> str:
        """The same URL at another HOST:PORT, that of a proxy."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@{address}"))

    async def answers(self) -> bool:
        """Whether a client gets in. Learns the version."""
        try:
            async with self.channel() as channel:
                found = channel._connection.transport.connection.server_properties["version"]
        except (OSError, TimeoutError, aio_pika.exceptions.AMQPError):
            return False
        self.version = ".".join(str(found).split(".")[:2])
        return True

    async def declare(self, name: str, arguments: Mapping[str, Any] | None = None, **more: Any) -> str:
        """Make a durable queue, and return its name."""
        async with self.channel() as channel:
            await channel.declare_queue(name, durable=True, arguments=dict(arguments or {}), **more)
        return name

    async def delete(self, name: str) -> None:
        """Delete a queue with all that is in it, whoever consumes from it."""
        async with self.channel() as channel:
            await channel.queue_delete(name, if_unused=False, if_empty=False)

    async def publish(self, queue: str, bodies: Iterable[bytes], **properties: Any) -> None:
        """Publish these in order; returns when the node has confirmed them."""
        async with self.channel() as channel:
            for sent in [
                asyncio.ensure_future(
                    channel.default_exchange.publish(
                        aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, **properties), routing_key=queue
                    )
                )
                for body in bodies
            ]:
                await sent

    async def depth(self, queue: str) -> tuple[int, int]:
        """How many messages are ready, and how many consumers there are. What consumers have in hand is not counted."""
        async with self.channel() as channel:
            found = (await channel.declare_queue(queue, passive=True)).declaration_result
        return found.message_count or 0, found.consumer_count or 0

    async def becomes(self, queue: str, *, ready: int | None = None, consumers: int | None = None) -> None:
        """Return when so many are ready, and so many consumers there. Raises TimeoutError."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                found = await self.depth(queue)
                if ready in (None, found[0]) and consumers in (None, found[1]):
                    return
                await asyncio.sleep(BETWEEN_LOOKS)

    async def waiting(self, queue: str) -> list[Waiting]:
        """What is ready, in the order in which a consumer would get it. Afterwards each has come back once more."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                try:
                    return await self._take_and_return(queue)
                except TimeoutError:
                    # A quorum queue whose leader has just been killed leaves a get without an answer, for ever.
                    await asyncio.sleep(BETWEEN_LOOKS)

    async def waiting_once_free(self, queue: str) -> list[Waiting]:
        """The same by a consumer, which a queue with a single active one lets get nothing else; once nobody consumes any more."""
        await self.becomes(queue, consumers=0)
        async with self.channel() as channel:
            source = await channel.get_queue(queue, ensure=False)
            found: list[Waiting] = []

            async def take(message: Any) -> None:
                found.append(Waiting(message.body, int(message.headers.get("x-delivery-count", 0)), bool(message.redelivered)))

            async def look() -> tuple[int, int]:
                declared = await channel.declare_queue(queue, passive=True)
                return declared.declaration_result.message_count or 0, len(found)

            # What an ended channel had in hand comes back through a quorum queue's log, and consumers come by it too: the answer is later.
            # A look at the depth asks no log, and may miss what is about to come back.
            await source.consume(take)
            await look()  # what its channel gets while it asks the queue comes before the next answer
            async with asyncio.timeout(TIMEOUT):
                while (seen := await look())[0] or seen != await look():
                    await asyncio.sleep(BETWEEN_LOOKS)
            return found

    async def taken(self, queue: str, count: int) -> list[Waiting]:
        """Take so many for good, each as soon as it is ready."""
        async with self.channel() as channel, asyncio.timeout(TIMEOUT):
            source = await channel.get_queue(queue, ensure=False)
            found: list[Waiting] = []
            while len(found) < count:
                message = await source.get(fail=False)
                if message is None:
                    await asyncio.sleep(BETWEEN_LOOKS)
                    continue
                await message.ack()
                found.append(Waiting(message.body, int(message.headers.get("x-delivery-count", 0)), bool(message.redelivered)))
            return found

    async def _take_and_return(self, queue: str) -> list[Waiting]:
        async with self.channel() as channel:
            source = await channel.get_queue(queue, ensure=False)
            found: list[Waiting] = []
            while (message := await source.get(fail=False, timeout=GET_TIMEOUT)) is not None:
                found.append(Waiting(message.body, int(message.headers.get("x-delivery-count", 0)), bool(message.redelivered)))
            return found

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[AbstractChannel]:
        """A channel on a connection of its own, for what is not here; what was taken and not acked goes back at its end."""
        connection = await aio_pika.connect(self.url, timeout=TIMEOUT)
        try:
            yield await connection.channel()
        finally:
            await connection.close()
