"""When what is out must go back to its queue, and how, by the terms of that queue.

Queues that make what comes back wait: `x-delayed-retry-type`, from RabbitMQ 4.3 on.

    type        by nack    by reject, a closed channel, a lost connection
    returned    waits      at once, in front
    failed      at once    waits
    all         waits      waits

What waits comes back to the front `x-delayed-retry-min` later; what was taken meanwhile has passed it. A nack waits for that long each
time, anything else for a multiple of it, once for each return, up to `x-delayed-retry-max`. Until then it is neither ready nor with a
consumer, and only the management API has its number (`messages_delayed`). What the consumer timeout takes back never waits.

Giving back in time: what is out for too long goes back to its queue, in order, before the broker takes it.

A hold makes no call: messages stay out, in order and uncounted, within the prefetch. Only the broker's consumer timeout ends that, and it
ends the whole channel. So `margin` seconds before it everything out goes back: the guard lets running handlers end, acks are flushed, the
broker is left to empty its wire (a cancel under flow loses the order of what is on it), and then

    where nacks are uncounted and keep the order   cancel, nack in the order of arrival; the channel stays
    elsewhere                                      close the channel; the only way that keeps the order on every queue type
    single active consumer                         close the channel; cancelled while messages are out, its queue breaks their order, and so
                                                   does the consumer timeout: the next one is active as soon as the first message is back
    where only nacks wait (this file)              close the channel

On a queue with a delivery limit a closed channel costs each message one of its returns. A message that is near the limit goes to
the overflow (supervisor.py), if there is one; else it is kept until the last moment, and that is told. A message that has brought more
returns along than its queue allows, as a dead letter does on RabbitMQ 4.3, is dropped by whatever brings it back, nacks included.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal

from holdgate.brokers.rabbitmq.channel import QueueChannel, RabbitMQDelivery
from holdgate.brokers.rabbitmq.queue_facts import Counts, QueueFacts
from holdgate.flow.message import Queue


@dataclass(frozen=True, slots=True)
class RetryDelay:
    """What a queue makes wait, and for how many seconds at least."""

    kind: Literal["all", "returned", "failed"]
    seconds: float

    @property
    def of_nacks(self) -> bool:
        """Whether a nacked message waits."""
        return self.kind != "failed"

    @property
    def of_closing(self) -> bool:
        """Whether what was out on a closed channel waits."""
        return self.kind != "returned"


def delay_of(facts: QueueFacts) -> RetryDelay | None:
    """The delay that the queue's arguments, or its policies as far as they are known, ask for; None for none."""
    kind = facts.arguments.get("x-delayed-retry-type") or (facts.policy or {}).get("delayed-retry-type")
    least = facts.number("x-delayed-retry-min", "delayed-retry-min")
    # Without a least there is no delay, whatever the type.
    return RetryDelay(kind, least / 1000) if kind in ("all", "returned", "failed") and least is not None and least > 0 else None


def word_on(delay: RetryDelay, *, nacks: bool, single_active: bool) -> str:
    """What its owner should know; `nacks`: that is how this queue's messages are given back."""
    later = f"{delay.seconds:g} s or more later, others pass it meanwhile, and until then it is neither ready nor in hand"
    remedy = "set x-delayed-retry-type=disabled where order or the backlog's number matters"
    if delay.kind == "returned":
        how = "a hold gives back by closing the channel here, which keeps the order, and counts; what another consumer nacks comes back"
    elif not delay.of_nacks and nacks:
        how = "what a hold gives back comes back at once, but what a lost connection or a killed worker had in hand comes back"
    else:
        how = "what a long hold gives back, and what a worker had in hand when it ended, comes back"
    order = "; the order of a single active consumer is not kept then" if single_active and delay.of_closing else ""
    return f"it delays what is returned to it (x-delayed-retry-type={delay.kind}): {how} {later}{order}; {remedy}"


# Without a delivery for so long the wire is empty: 0 of 8 messages lost their order, with 4 to 7 of 8 before.
_QUIET = 0.15
# While messages trickle in slower than that, the window fills up in the end; longer than this is not worth it.
_QUIESCE_AT_MOST = 2.0
# A return that is still to come, and one for whoever is not us.
_NEAR = 2
# As late as a message near its limit goes back.
_LAST_MOMENT = 5.0


@dataclass(frozen=True, slots=True)
class DeliveryLimitNear:
    """A hold brings a message near its queue's delivery limit: it has come back `returns` times, and `limit` returns are its end.

    It is dead-lettered, or dropped where the queue has no dead letter exchange. Raise the limit, the broker's consumer_timeout, or both.
    """

    source: Queue
    returns: int
    limit: int


@dataclass(frozen=True, slots=True)
class QueueTerms:
    """What is known of one queue. `timeout` None: the broker takes nothing back. `limit` None: nothing is ever dead.

    `margin` is how many seconds before `timeout` messages go back. `nacks`: by nacks, uncounted; else by closing the channel. `parks`: what
    is near its limit has another place to go. `counts`: which returns are counted. `delay`: what comes back waits.
    """

    source: Queue
    timeout: float | None
    margin: float
    nacks: bool
    limit: int | None
    single_active: bool
    parks: bool = False
    counts: Counts = "returns"
    delay: RetryDelay | None = None

    def due_at(self, channel: QueueChannel) -> float | None:
        """When what is out must go back, on the event loop's clock; None while nothing must."""
        oldest = channel.oldest
        if self.timeout is None or oldest is None:
            return None
        end = oldest.arrived_at + self.timeout
        return end - (min(_LAST_MOMENT, self.margin / 2) if not self.parks and self.endangered(channel) else self.margin)

    def endangered(self, channel: QueueChannel) -> list[RabbitMQDelivery]:
        """What has so few returns left that giving it back may be its end; in order."""
        return self.at_their_end(channel) if self.nacks else self._beyond(channel, -_NEAR)

    def at_their_end(self, channel: QueueChannel) -> list[RabbitMQDelivery]:
        """What this queue will drop, or dead-letter, when it is given back now; in order."""
        return self._beyond(channel, 1 if self.nacks else 0)

    def _beyond(self, channel: QueueChannel, more: int) -> list[RabbitMQDelivery]:
        if self.limit is None:
            return []
        return [delivery for delivery in channel.unsettled.values() if delivery.returns >= self.limit + more]

    def near_limit(self, channel: QueueChannel) -> DeliveryLimitNear | None:
        """The message that has least returns left, when that is so few."""
        endangered = self.endangered(channel)
        if self.limit is None or not endangered:
            return None
        return DeliveryLimitNear(self.source, max(delivery.returns for delivery in endangered), self.limit)


async def quiesce(channel: QueueChannel) -> None:
    """Wait until the wire is empty: nothing has come for a while, with nothing settled meanwhile."""
    now = asyncio.get_running_loop().time
    since = now()
    while channel.alive and now() < since + _QUIESCE_AT_MOST:
        rest = max(since, channel.last_arrival) + _QUIET - now()
        if rest <= 0:
            return
        await asyncio.sleep(rest)
