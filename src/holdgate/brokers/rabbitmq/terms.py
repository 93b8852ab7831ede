"""When the messages of a queue must go back to it, and how: the terms of that queue.

A hold makes no call. Messages stay out, in order and uncounted, within the prefetch. Only the consumer timeout of the broker ends that, and
it ends the whole channel. So `margin` seconds before it everything that is out goes back: the guard lets running handlers end, acks are
flushed, the wire empties (a cancel while messages flow would break their order), and then

    where nacks are uncounted and keep the order   cancel, nack in the order of arrival; the channel stays
    elsewhere                                      close the channel: the only way that keeps the order on every type of queue
    single active consumer                         close the channel. A cancel with messages out breaks the order of such a queue. So does
                                                   the consumer timeout: the next consumer is active as soon as the first message is back
    where only nacks wait (see below)              close the channel

On a queue with a delivery limit, a closed channel costs each message one of its returns. A message near that limit goes to the overflow
(supervisor.py), if there is one. Otherwise it is kept until the last moment, and `DeliveryLimitNear` reports it. A message that has brought
more returns along than its queue allows, as a dead letter does on RabbitMQ 4.3, is dropped by every way of giving it back, nacks included.

From RabbitMQ 4.3 on, a queue with `x-delayed-retry-type` makes messages that come back wait:

    type        by nack       by reject, a closed channel, a lost connection
    returned    waits         immediately, in front
    failed      immediately   waits
    all         waits         waits

A message that waits comes back to the front after `x-delayed-retry-min`; messages taken meanwhile have passed it. A nack waits for that
long each time. Everything else waits for a multiple of it, one for each return, up to `x-delayed-retry-max`. Until then the message is
neither ready nor with a consumer, and only the management API shows it (`messages_delayed`). After a consumer timeout no message waits.
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
    """Which returned messages a queue makes wait, and for how many seconds at least."""

    kind: Literal["all", "returned", "failed"]
    seconds: float

    @property
    def of_nacks(self) -> bool:
        """Whether a nacked message waits."""
        return self.kind != "failed"

    @property
    def of_closing(self) -> bool:
        """Whether a message that was out on a closed channel waits."""
        return self.kind != "returned"


def find_delay(facts: QueueFacts) -> RetryDelay | None:
    """Return the delay that the arguments of a queue, or its known policies, ask for. None means no delay."""
    kind = facts.arguments.get("x-delayed-retry-type") or (facts.policy or {}).get("delayed-retry-type")
    least = facts.number("x-delayed-retry-min", "delayed-retry-min")
    # Without a minimum there is no delay, whatever the type.
    return RetryDelay(kind, least / 1000) if kind in ("all", "returned", "failed") and least is not None and least > 0 else None


def describe_delay(delay: RetryDelay, *, nacks: bool, single_active: bool) -> str:
    """Return what the delay means for the owner of the queue. `nacks` says whether a hold gives messages back by nacks here."""
    later = f"{delay.seconds:g} s or more later; others pass it meanwhile, and until then it is neither ready nor in hand"
    remedy = "set x-delayed-retry-type=disabled where the order or the number of waiting messages matters"
    if delay.kind == "returned":
        how = "a hold closes the channel here, which keeps the order and is counted; a message that another consumer nacks comes back"
    elif not delay.of_nacks and nacks:
        how = "a message that a hold gives back comes back immediately, but one of a lost connection or a killed worker comes back"
    else:
        how = "a message that a long hold gives back, or that a worker had in hand when it ended, comes back"
    order = "; the order of a single active consumer is not kept then" if single_active and delay.of_closing else ""
    return f"it delays returned messages (x-delayed-retry-type={delay.kind}): {how} {later}{order}; {remedy}"


# After so long without a delivery the wire is empty: then 0 of 8 messages lost their order in a cancel, and 4 to 7 of 8 without a wait.
_QUIET = 0.15
# Where messages trickle in more slowly, the window fills up in the end; a longer wait is not worth it.
_QUIESCE_AT_MOST = 2.0
# One return is the next give-back, and one is left for a consumer without a guard.
_NEAR = 2
# A message near its limit goes back so many seconds before the timeout, as late as is safe.
_LAST_MOMENT = 5.0


@dataclass(frozen=True, slots=True)
class DeliveryLimitNear:
    """A hold brings a message near the delivery limit of its queue: it has come back `returns` times, of `limit` that are allowed.

    After that the queue dead-letters the message, or drops it if it has no dead letter exchange. Raise the limit, the broker's
    consumer_timeout, or both.
    """

    source: Queue
    returns: int
    limit: int


@dataclass(frozen=True, slots=True)
class QueueTerms:
    """The terms of one queue.

    `timeout` is the consumer timeout in seconds; None means that the broker takes nothing back. `margin` is how many seconds before it
    messages go back. `nacks` says whether they go back by nacks, which are uncounted, or by closing the channel. `limit` is how many
    returns a message may have; None means any number. `has_overflow` says whether messages near that limit have another queue to go to.
    `counts` says which returns are counted. `delay` says which of them wait; None means that none does. `way_of_rejected` says what becomes
    of rejected messages, as `QueueFacts` does.
    """

    source: Queue
    timeout: float | None
    margin: float
    nacks: bool
    limit: int | None
    single_active: bool
    has_overflow: bool = False
    counts: Counts = "returns"
    delay: RetryDelay | None = None
    way_of_rejected: str = ""

    def due_at(self, channel: QueueChannel) -> float | None:
        """Return when the messages that are out must go back, on the event loop's clock. None means that none must."""
        oldest = channel.oldest
        if self.timeout is None or oldest is None:
            return None
        end = oldest.arrived_at + self.timeout
        return end - (min(_LAST_MOMENT, self.margin / 2) if not self.has_overflow and self.endangered(channel) else self.margin)

    def endangered(self, channel: QueueChannel) -> list[RabbitMQDelivery]:
        """Return the messages with so few returns left that giving them back may be their end, in order."""
        return self.at_their_end(channel) if self.nacks else self._beyond(channel, -_NEAR)

    def at_their_end(self, channel: QueueChannel) -> list[RabbitMQDelivery]:
        """Return the messages that this queue will drop or dead-letter if they go back now, in order."""
        return self._beyond(channel, 1 if self.nacks else 0)

    def _beyond(self, channel: QueueChannel, more: int) -> list[RabbitMQDelivery]:
        if self.limit is None:
            return []
        return [delivery for delivery in channel.unsettled.values() if delivery.returns >= self.limit + more]

    def near_limit(self, channel: QueueChannel) -> DeliveryLimitNear | None:
        """Report the message with the fewest returns left. None means that every message has enough."""
        endangered = self.endangered(channel)
        if self.limit is None or not endangered:
            return None
        return DeliveryLimitNear(self.source, max(delivery.returns for delivery in endangered), self.limit)


async def quiesce(channel: QueueChannel) -> None:
    """Wait until the wire is empty: no message has come for a while, and nothing was settled meanwhile that could make one come."""
    now = asyncio.get_running_loop().time
    since = now()
    while channel.alive and now() < since + _QUIESCE_AT_MOST:
        rest = max(since, channel.last_arrival) + _QUIET - now()
        if rest <= 0:
            return
        await asyncio.sleep(rest)
