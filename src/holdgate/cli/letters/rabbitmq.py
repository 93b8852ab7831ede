"""A look at dead letters in a RabbitMQ queue, which has no way to read a message without taking it.

AMQP can only deliver a message and take it back, and the peek of the management API does the same. So each letter that is shown is taken,
one after the other, and all of them go back together when the list is complete. Meanwhile nobody else gets them. What that does to them
depends on the queue:

- Classic: they come back to their places, marked as redelivered. Nothing is counted.
- Quorum: they come back to the front, in their order. Up to 4.2 each return is counted, and a letter whose count passes the queue's
  delivery limit is dropped. From 4.3 on a `nack` is not counted, but a letter that died of its count has brought it along, and any return
  is its end.

No look may lose a letter. So a letter for which one more return could be too many is not returned: it is written again, at the end of its
queue, confirmed, and then acknowledged, as `holdgate replay` does with one that it could not move. That gives it a new count. Whether
a return is too many is known only where the limit is, and policies may set one that AMQP does not show. Without the management API a letter
that has come back before is therefore taken for one at its limit.

What that cannot help is a connection that is lost, or a `kill -9`, in the milliseconds between a letter's delivery and its copy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from holdgate.cli.letters.letter import Letter, read_letter
from holdgate.errors import IntakeError, MissingExtra

if TYPE_CHECKING:
    from holdgate.brokers.rabbitmq.queue_facts import QueueFacts, Rules

# A broker in reach confirms and answers within milliseconds (seconds).
_ANSWERS_WITHIN = 15.0


@dataclass(slots=True)
class RabbitMQLook:
    """What a look at a queue came to."""

    letters: list[Letter] = field(default_factory=list[Letter])
    waiting: int = 0
    notes: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class Terms:
    """What a return to one queue does to a message.

    `counted`: it is counted. `limit` is after how many returns a message is dropped; None means never. `known`: nothing that is hidden from
    us can lower that. `nack`: by nacks they come back in order; otherwise by closing the channel.
    """

    counted: bool
    limit: int | None
    known: bool
    nack: bool

    def endangers(self, returns: int) -> bool:
        """Return whether one more return may be the end of a letter that shows so many."""
        if not self.known and returns:
            return True
        return self.limit is not None and returns >= self.limit


class RabbitMQShelf:
    """Shows the letters of one queue at `url`. `management_url` None means that policies stay unknown."""

    def __init__(self, url: str, queue: str, *, management_url: str | None = None) -> None:
        try:
            from holdgate.brokers.rabbitmq.checks import check_connection
            from holdgate.brokers.rabbitmq.client import Client
            from holdgate.brokers.rabbitmq.queue_facts import Management
        except ImportError as error:
            raise MissingExtra("aio-pika is not installed: pip install 'holdgate[rabbitmq,cli]'") from error
        check_connection(url)
        self._client = Client(url)
        self._management = None if management_url is None else Management(management_url)
        self._queue = queue
        self._channel: Any = None
        self._writer: Any = None
        self._out: list[int] = []  # the tags of the letters that are to go back, in their order
        self._terms = Terms(counted=False, limit=None, known=True, nack=False)

    async def look(self, limit: int) -> RabbitMQLook:
        """Take the first so many letters, and write those again that one more return would endanger. `close` returns the others."""
        from holdgate.brokers.rabbitmq.client import answered, describe_end

        await self._client.connect()
        self._terms = await self._find_terms()
        ready = (await self._client.ready([self._queue])).get(self._queue, 0)
        found = RabbitMQLook(waiting=ready)
        again = 0
        self._channel = await self._client.channel()
        for number in range(1, min(limit, ready) + 1):
            message = await answered(
                self._take(), lambda error: IntakeError(f"queue {self._queue!r} cannot be read: {describe_end(error)}")
            )
            if message is None:
                break
            found.letters.append(read_letter({"queue": self._queue, "number": number}, message.headers.items()))
            if self._terms.endangers(_returns(message.headers)):
                await self._write_again(message)
                again += 1
            else:
                self._out.append(message.delivery_tag)
        found.notes = self._notes(again)
        return found

    async def close(self) -> None:
        """Return what is out, in order, and disconnect."""
        from holdgate.brokers.rabbitmq.client import throw_away

        channel, self._channel = self._channel, None
        out, self._out = self._out, []
        try:
            if channel is not None and not channel.is_closed and self._terms.nack:
                for tag in out:
                    await channel.basic_nack(tag, requeue=True)
        finally:
            if channel is not None:
                await throw_away(channel)  # with it goes back what is still out, in its order
            await self._client.close()

    async def _find_terms(self) -> Terms:
        from holdgate.brokers.rabbitmq.queue_facts import find_facts, rules_for

        facts = await find_facts(self._client, self._queue)
        if facts.type == "stream":
            raise IntakeError(f"{self._queue!r} is a stream: any consumer with x-stream-offset=first reads it, and moves nothing by that")
        if self._management is not None:
            facts = replace(facts, policy=await self._management.policy(self._client.vhost, self._queue))
        # What is neither classic nor quorum, or could not be found out, is treated as a quorum queue: that is right or harmless.
        return terms_of(facts, rules_for(self._client.version, "classic" if facts.type == "classic" else "quorum"))

    async def _take(self) -> Any:
        from aio_pika import IncomingMessage
        from pamqp.commands import Basic

        got = await self._channel.basic_get(self._queue, timeout=_ANSWERS_WITHIN)
        return None if isinstance(got.delivery, Basic.GetEmpty) else IncomingMessage(got)

    async def _write_again(self, message: Any) -> None:
        from holdgate.brokers.rabbitmq.dead_letters import copy_message

        if self._writer is None:
            # A channel of its own: if the broker closes it, the letters that are out stay where they are.
            self._writer = await self._client.channel(publisher_confirms=True)
        copy = copy_message(message, message.headers)
        async with asyncio.timeout(_ANSWERS_WITHIN):
            await self._writer.basic_publish(copy.body, exchange="", routing_key=self._queue, properties=copy.properties, mandatory=True)
        await self._channel.basic_ack(message.delivery_tag)

    def _notes(self, again: int) -> list[str]:
        notes: list[str] = []
        if self._out:
            counted = ", and one return more is counted for each" if self._terms.counted else ""
            most = f" (their queue drops them after {self._terms.limit})" if counted and self._terms.limit is not None else ""
            notes.append(
                f"{len(self._out)} were delivered to this command and went back to their places, marked as redelivered{counted}{most}"
            )
        if again:
            notes.append(
                f"{again} had come back before, and one more return might have dropped them: they were written again, at the end of "
                f"{self._queue}"
            )
            if not self._terms.known:
                notes.append("whether policies limit the returns is unknown: --management-url shows it, and then more of them can go back")
        return notes


def terms_of(facts: QueueFacts, rules: Rules) -> Terms:
    """Return what a return does to a message of a queue with these facts, under these rules."""
    if facts.type == "classic":
        return Terms(counted=False, limit=None, known=True, nack=False)
    limit = rules.delivery_limit if facts.delivery_limit is None else facts.delivery_limit
    if limit is not None and limit < 0:
        limit = None if rules.unlimited else 0
    known = facts.type == "quorum" and facts.policy is not None
    return Terms(counted=rules.counts == "returns", limit=limit, known=known, nack=rules.nacks_back)


def _returns(headers: Mapping[str, Any]) -> int:
    # A publisher can bring this header, too. Such a letter is written again without need, which costs it nothing but its place.
    count = headers.get("x-delivery-count", 0)
    return count if isinstance(count, int) and not isinstance(count, bool) else 0
