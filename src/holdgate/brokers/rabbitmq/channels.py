"""One queue through one channel, from its opening until it closes: what came by it, what of it is settled, and its consumer.

Every reconnect, give-back and failure ends with a fresh `QueueChannel`. Deliveries keep a reference to theirs, so that a result which comes
after the channel has gone finishes something in an object that nobody settles from any more: no comparison of generations can be
forgotten, because there is none.

The consumer's callback runs in a task that belongs to aiormq's channel and is cancelled with it: it only puts the message down here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from holdgate.brokers.rabbitmq.acks import Acks
from holdgate.brokers.rabbitmq.background import within
from holdgate.brokers.rabbitmq.client import is_transient
from holdgate.brokers.rabbitmq.delivery import RabbitMQDelivery
from holdgate.brokers.rabbitmq.failures import ConsumerCancelled
from holdgate.brokers.rabbitmq.older_clients import on_consumer_cancel
from holdgate.brokers.rabbitmq.versions import Counts
from holdgate.flow.delivery import Settlement
from holdgate.flow.sources import Queue

if TYPE_CHECKING:
    from aiormq.abc import DeliveredMessage

# Closing is a handshake; a broker that is away does not answer it, and the channel is gone all the same.
_CLOSE_WITHIN = 5.0
# A run of acks is a quarter of the window: the broker fills it again while the rest is worked on.
_RUNS_PER_WINDOW = 4


class QueueChannel:
    """A channel. It calls `rings` when something has come, `changed` when its keeper has something to do, `saw` with the size of each body,
    and `lost` once, when it ends though we did not close it.

    `alive` is False from its end on. `unsettled`: what is out, by tag and so in order of arrival. `arrived`: what of it was not handed out
    yet. `consumer` is the tag of its consumer, None without one. `counts`: which returns its queue counts. `reason`: what it ended with,
    None where nobody said.
    """

    __slots__ = (
        "_changed", "_lost", "_now", "_raw", "_rings", "_saw", "acks", "alive", "arrived", "consumer", "counts", "failed", "last_arrival",
        "prefetch", "reason", "source", "unsettled",
    )  # fmt: skip

    def __init__(
        self,
        source: Queue,
        raw: Any,
        *,
        counts: Counts,
        rings: Callable[[], None],
        changed: Callable[[], None],
        lost: Callable[[QueueChannel], None],
        failed: Callable[[BaseException], None],
        saw: Callable[[int], None],
    ) -> None:
        self.source = source
        self.counts: Counts = counts
        self.alive = True
        self.arrived: deque[RabbitMQDelivery] = deque()
        self.unsettled: dict[int, RabbitMQDelivery] = {}
        self.acks = Acks(raw, self.unsettled)
        self.consumer: str | None = None
        self.prefetch = 0
        self.last_arrival = 0.0
        self.reason: BaseException | None = None
        self.failed = failed
        self._raw = raw
        self._rings = rings
        self._changed = changed
        self._lost = lost
        self._saw = saw
        self._now = asyncio.get_running_loop().time
        on_consumer_cancel(raw, self._cancelled)
        raw.closing.add_done_callback(self._closed)

    @property
    def oldest(self) -> RabbitMQDelivery | None:
        """The unsettled delivery that has been out for longest; None when nothing is."""
        return next(iter(self.unsettled.values()), None)

    async def consume(self, prefetch: int, arguments: Mapping[str, Any]) -> None:
        """Begin to consume, with a window of `prefetch`: it counts for consumers that start after it was set."""
        await self._raw.basic_qos(prefetch_count=prefetch)
        self.prefetch = prefetch
        self.acks.run = max(1, prefetch // _RUNS_PER_WINDOW)
        answer = await self._raw.basic_consume(self.source.name, self._arrive, arguments=dict(arguments))
        self.consumer = answer.consumer_tag

    async def cancel(self) -> None:
        """Get no more messages. What is out stays out, and ours to settle."""
        consumer, self.consumer = self.consumer, None
        if consumer is not None:
            await self._raw.basic_cancel(consumer)
            # What came before the answer has a task that puts it down; let it run.
            await asyncio.sleep(0)

    def settle(self, delivery: RabbitMQDelivery, settlement: Settlement) -> None:
        """Record a settlement. One that was settled already, or came by a channel that has gone, is ignored.

        REQUEUE leaves it out: it goes back, in its place, with the rest. A nack of its own would put it at the back, or at once in front
        of the same consumer again.
        """
        if self.alive and settlement is not Settlement.REQUEUE and self.unsettled.pop(delivery.position, None) is not None:
            self.acks.record(delivery.position, settlement)
            if self.acks.held_back:
                self._changed()

    async def nack_back(self) -> None:
        """Give back everything that is out, in its order, and keep the channel. To be called without a consumer."""
        for tag in list(self.unsettled):
            await self._raw.basic_nack(tag, requeue=True, wait=False)
        self.unsettled.clear()
        self.arrived.clear()

    async def close(self) -> None:
        """End it, within a bound: what is out goes back, in front and in its order. Idempotent."""
        self.alive = False
        if not self._raw.is_closed:
            try:
                await within(self._raw.close(), _CLOSE_WITHIN)
            except Exception as error:
                if not is_transient(error):
                    raise
                self.reason = self.reason or error
        self._end()

    async def _arrive(self, raw: DeliveredMessage) -> None:
        if not self.alive:
            return
        now = self.last_arrival = self._now()
        delivery = RabbitMQDelivery(self, raw, now)
        self.unsettled[delivery.position] = delivery
        self.arrived.append(delivery)
        self._saw(len(raw.body))
        self._rings()

    def _cancelled(self, consumer: str) -> None:
        """The broker took the consumer away: the queue was deleted, or on 4.3 a message was out for too long. What is out is not ours."""
        if consumer == self.consumer:
            self.consumer = None
            self._ended_by_broker(ConsumerCancelled())

    def _closed(self, closing: asyncio.Future[Any]) -> None:
        self._ended_by_broker(None if closing.cancelled() else closing.exception())

    def _ended_by_broker(self, reason: BaseException | None) -> None:
        self.reason = self.reason or reason
        if self.alive:
            self.alive = False
            self._end()
            self._lost(self)
        self._changed()

    def _end(self) -> None:
        self.acks.end()
        self.unsettled.clear()
        self.arrived.clear()
