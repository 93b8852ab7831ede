"""One queue through one channel: deliveries, how often each has come back, batches of them, and the acks that settle them.

How often a message came back to its queue, and when `x-delivery-count` may be believed about it.

It is an ordinary header: a publisher can bring it, and whoever puts a dead letter back with all its headers does. The broker counts from
nothing all the same, and writes its own count over the header as soon as it has one. So it is the broker's word

    nowhere on a classic queue, where nobody counts, and the header stays as it came
    not at a first delivery
    where each return is counted: at every later one
    where nacks are not (4.3): at a later one, unless it says more than `x-acquired-count`, the number of deliveries, which is always the
    broker's then: so much only a dead letter can have, which brings the count of the queue that it died in along

A dead letter that somebody has put back into the queue it died in is none any more, though it may still have the headers of one.

One RabbitMQ message as the handler sees it, and aio-pika's message with its own settling taken away.

Batches: what has come over the wire becomes one when the wire pauses, and not each bunch that the client reads.

The client takes about three messages at a time out of its socket. Handed out as they come, batches in front of a full queue would be of
three. So they wait until a batch is full, or the window is, or nothing has come for a moment; with a trickle no longer than a few moments.

Acks: what is finished is settled in runs, with `multiple=True` up to the oldest unfinished delivery, and one by one past it.

What must hold (RabbitMQ answers each of these mistakes by closing the channel, with everything in hand):
- each tag is settled once, on the channel it came by, and a run ends at a tag that is still out;
- a run covers nothing unfinished: it ends below the oldest delivery that is not settled.

`basic.ack` is written, never answered; that the broker has it is known when the next call on the channel is. Sending is never cancelled.

One queue through one channel, from its opening until it closes: what came by it, what of it is settled, and its consumer.

Every reconnect, give-back and failure ends with a fresh `QueueChannel`. Deliveries keep a reference to theirs, so that a result which comes
after the channel has gone finishes something in an object that nobody settles from any more: no comparison of generations can be
forgotten, because there is none.

The consumer's callback runs in a task that belongs to aiormq's channel and is cancelled with it: it only puts the message down here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, cast

from aio_pika import IncomingMessage
from aiormq.exceptions import ChannelInvalidStateError

from holdgate.brokers.rabbitmq.client import ConsumerCancelled, is_transient, on_consumer_cancel
from holdgate.brokers.rabbitmq.queue_facts import Counts
from holdgate.brokers.tasks import within
from holdgate.errors import AlreadySettled
from holdgate.flow.message import Delivery, Queue, Settlement
from holdgate.tasks import begin_later

if TYPE_CHECKING:
    from aiormq.abc import DeliveredMessage


# What a broker writes about the life of a message in its queues; the next life begins without.
BROKERS_OWN = frozenset(
    {
        "x-delivery-count", "x-acquired-count", "x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason",
        "x-last-death-exchange", "x-last-death-queue", "x-last-death-reason",
    }
)  # fmt: skip


def returns_of(headers: Mapping[str, Any], counts: Counts, *, redelivered: bool, queue: str) -> int:
    """How often the message has come back, as its `queue` counts; 0 where nobody counts, and where the header may be somebody else's."""
    if counts == "nothing" or not redelivered:
        return 0
    told = _number(headers, "x-delivery-count")
    if counts == "failures" and told > _number(headers, "x-acquired-count") and not _came_dead(headers, queue):
        return 0
    return told


def _came_dead(headers: Mapping[str, Any], queue: str) -> bool:
    """Whether it is in `queue` because it died in another one."""
    died_in: object = headers.get("x-last-death-queue")
    return died_in is not None and died_in != queue


def _number(headers: Mapping[str, Any], name: str) -> int:
    found = headers.get(name, 0)
    return found if isinstance(found, int) and found > 0 else 0


class GuardedMessage(IncomingMessage):
    """aio-pika's message; `ack`, `nack`, `reject`, and so `process()`, raise AlreadySettled and send nothing.

    With acks that are joined into runs, a second ack of one message would close the channel, and with it everything in hand.
    """

    __slots__ = ("_guard_channel",)

    def __init__(self, message: DeliveredMessage, channel: QueueChannel) -> None:
        super().__init__(message)
        self._guard_channel = channel

    async def ack(self, multiple: bool = False) -> None:  # noqa: ARG002 - aio-pika's signature
        self._refuse("ack")

    async def nack(self, multiple: bool = False, requeue: bool = True) -> None:  # noqa: ARG002
        self._refuse("nack")

    async def reject(self, requeue: bool = False) -> None:  # noqa: ARG002
        self._refuse("reject")

    def _refuse(self, word: str) -> NoReturn:
        error = AlreadySettled(
            f"the handler called {word}() on a message of {self._guard_channel.source}, and the guard settles it: take `async with "
            "message.process()` and calls of ack, nack and reject out of the handler; to refuse a message, raise holdgate.Reject"
        )
        # Also for the intake: in the handler alone it would look like a failure of the dependency, and be held for ever.
        self._guard_channel.failed(error)
        raise error


class RabbitMQDelivery(Delivery[IncomingMessage]):
    """A message and the channel it came by.

    `message` is aio-pika's IncomingMessage, made when it is first asked for; its `ack`, `nack`, `reject` and `process()` raise: the guard
    settles. `raw` is aiormq's. `position` is the delivery tag, which means nothing on another channel. `arrived_at` is the event loop's
    second in which it came.
    """

    __slots__ = ("arrived_at", "channel", "raw")

    channel: QueueChannel

    def __init__(self, channel: QueueChannel, raw: DeliveredMessage, arrived_at: float) -> None:
        super().__init__(channel.source, cast("IncomingMessage", None), raw.redelivered)
        del self.message  # so that the first look at it makes it
        self.channel = channel
        self.raw = raw
        self.arrived_at = arrived_at

    if not TYPE_CHECKING:  # type checkers see the parent's `message`, and would take any name for granted

        def __getattr__(self, name: str) -> GuardedMessage:
            # Making one costs a sixth of what a message costs in all, and a handler that reads its body and headers has no use for it.
            if name != "message":
                raise AttributeError(f"{type(self).__name__} has no attribute {name!r}", name=name, obj=self)
            made = self.message = GuardedMessage(self.raw, self.channel)
            return made

    @property
    def position(self) -> int:
        return self.raw.delivery_tag or 0

    @property
    def returns(self) -> int:
        """How often it has come back to its queue, as a quorum queue counts; 0 where nobody does, or the header may be a publisher's."""
        return returns_of(self.headers, self.channel.counts, redelivered=self.raw.redelivered is True, queue=self.channel.source.name)

    @property
    def body(self) -> bytes | None:
        return self.raw.body

    @property
    def key(self) -> bytes | None:
        return None

    @property
    def headers(self) -> Mapping[str, Any]:
        return self.raw.header.properties.headers or {}

    @property
    def timestamp(self) -> float | None:
        # Set by the producer, if at all.
        return None if self.message.timestamp is None else self.message.timestamp.timestamp()


# Between two bunches lies less than half a millisecond, but a queue may fill a window in two steps with 2 to 4 ms between them.
_PAUSE = 0.005
# As long as what is finished may wait for its ack (this file): a tenth of what anybody notices.
_AT_MOST = 0.02


def ripe_at(channel: QueueChannel, most: int) -> float:
    """From when on what has arrived on this channel, at least one message, is a batch of at most `most`; on the event loop's clock."""
    if len(channel.arrived) >= most or len(channel.unsettled) >= channel.prefetch:
        return channel.last_arrival
    return min(channel.last_arrival + _PAUSE, channel.arrived[0].arrived_at + _AT_MOST)


log = logging.getLogger(__name__)

_ACK = Settlement.ACK

# What a crash repeats at most, in seconds of work, and what the broker's window waits for when a run is not full.
_SEND_WITHIN = 0.02
# Writing to a socket takes microseconds; a connection that cannot write is about to be lost.
_FLUSH_WITHIN = 5.0


class Acks:
    """The settlements of one channel. `unsettled` has what is out, by tag in order of arrival; who records one takes it from there."""

    def __init__(self, raw: Any, unsettled: Mapping[int, object]) -> None:
        self._raw = raw
        self._unsettled = unsettled
        self._unsent: dict[int, Settlement] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None
        self.run = 1  # how many are sent at once: the rest of the window must last until the broker has them
        self.held_back = False  # nothing is sent before a flush: the window stays as full as it is

    @property
    def waiting(self) -> bool:
        """Whether something is recorded and not sent."""
        return bool(self._unsent)

    @property
    def has_success(self) -> bool:
        """Whether an ack is among what waits."""
        return _ACK in self._unsent.values()

    def record(self, tag: int, settlement: Settlement) -> None:
        """Note one; it goes out when a run is full, or soon."""
        self._unsent[tag] = settlement
        if len(self._unsent) >= self.run:
            self.soon()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SEND_WITHIN, self.soon)

    def soon(self) -> None:
        """Send what is recorded, in a task of its own."""
        self._stop_timer()
        if self._unsent and not self.held_back and (self._sending is None or self._sending.done()):
            self._sending = begin_later(self._send(), "rabbitmq acks")

    async def flush(self) -> bool:
        """Send everything, also what was held back, within a bound; returns whether it is out."""
        self.held_back = False
        self.soon()
        if self._sending is not None:
            await asyncio.wait((self._sending,), timeout=_FLUSH_WITHIN)
        return not self._unsent

    def end(self) -> None:
        """The channel is gone, and what was not sent with it: it comes again."""
        self._stop_timer()
        if self._unsent:
            log.warning("a channel closed before %d settlements were sent; their messages come again", len(self._unsent))
        self._unsent.clear()

    async def _send(self) -> None:
        try:
            while self._unsent:
                unsent, self._unsent = self._unsent, {}
                for tag, settlement, multiple in frames(unsent, next(iter(self._unsettled), None)):
                    if settlement is _ACK:
                        await self._raw.basic_ack(tag, multiple=multiple, wait=False)
                    else:
                        await self._raw.basic_reject(tag, requeue=False, wait=False)
        except (ChannelInvalidStateError, OSError) as error:
            log.info("settlements could not be sent, their channel is closing: %r", error)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def frames(unsent: Mapping[int, Settlement], oldest: int | None) -> list[tuple[int, Settlement, bool]]:
    """What to send for these, in order: (tag, settlement, whether it covers all below it). `oldest` is unfinished; None: nothing is.

    Rejects come first, so that none is covered by a run.
    """
    rejected = [(tag, settlement, False) for tag, settlement in unsent.items() if settlement is not _ACK]
    acked = [tag for tag, settlement in unsent.items() if settlement is _ACK]
    run = [tag for tag in acked if oldest is None or tag < oldest]
    alone = [(tag, _ACK, False) for tag in acked if oldest is not None and tag > oldest]
    return rejected + ([(max(run), _ACK, len(run) > 1)] if run else []) + alone


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
