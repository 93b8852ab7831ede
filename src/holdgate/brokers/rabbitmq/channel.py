"""One queue through one channel: the deliveries that come by it, and the acks that settle them.

A `QueueChannel` lives from the opening of its channel until that closes. After a reconnect, a failure or a give-back the supervisor makes
another one. Each delivery keeps a reference to its channel. So a result that comes too late ends in an object that sends nothing any more,
and nobody has to compare generations. The file has five parts.

- Returns: how often a message came back. RabbitMQ keeps that in `x-delivery-count`, an ordinary header, which a publisher can set too;
  `count_returns` has the rules by which it is trusted.
- Deliveries: a RabbitMQ message as the handler sees it. Its ack, nack and reject raise an error, since only the guard settles.
- Batches: the client reads about three messages at a time from its socket. Handed out as they come, batches from a full queue would have
  three messages. So messages wait until a batch is full, or the window is, or the wire pauses.
- Acks: finished messages are acked in runs, with `multiple=True`, up to the oldest unfinished one, and one by one after it. RabbitMQ
  answers a mistake here by closing the channel, with everything in hand. So each tag is settled once, on the channel by which it came; a
  run covers nothing unfinished; and a run ends at a tag that is still out.
- The channel itself, with its window and its consumer.

What is ugly: `basic.ack` has no answer. The broker is known to have it when the next call on the channel is answered. And the callback of a
consumer runs in the middle of aiormq's reader (client.py), which an error in it would end; so it only stores the message.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, cast

from aio_pika import IncomingMessage
from aiormq.exceptions import ChannelInvalidStateError

from holdgate.brokers.rabbitmq.client import ConsumerCancelled, is_transient, on_consumer_cancel, store_messages
from holdgate.brokers.rabbitmq.queue_facts import Counts
from holdgate.errors import AlreadySettled
from holdgate.flow.message import Delivery, Queue, Settlement, unknown_attribute
from holdgate.tasks import begin_later, within

if TYPE_CHECKING:
    from aiormq.abc import DeliveredMessage


# -- returns -----------------------------------------------------------------------------------------------------------------------------

# The headers in which a broker records the life of a message in its queues. A copy of the message must not have them.
BROKER_HEADERS = frozenset(
    {
        "x-delivery-count", "x-acquired-count", "x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason",
        "x-last-death-exchange", "x-last-death-queue", "x-last-death-reason",
    }
)  # fmt: skip


def count_returns(headers: Mapping[str, Any], counts: Counts, *, redelivered: bool, queue: str) -> int:
    """Return how often the message has come back, as its `queue` counts; 0 where nothing is counted or the header may be a publisher's.

    The broker counts from 0, and replaces the header once it has a count of its own. Until then a publisher's value stays, also the one of
    a dead letter that somebody published again with all its headers. So the header is trusted

    - never on a classic queue, which counts nothing and keeps the header as it came;
    - never at a first delivery;
    - at every later delivery, where each return is counted;
    - where nacks are not counted (4.3): only if it is no more than `x-acquired-count`, the number of deliveries, which the broker always
      writes. More returns than deliveries can only be those of a dead letter, which brings the count of the queue it died in. If that is
      this queue, somebody put it back, and its headers are copies.
    """
    if counts == "nothing" or not redelivered:
        return 0
    returns = _read_count(headers, "x-delivery-count")
    if counts == "failures" and returns > _read_count(headers, "x-acquired-count") and not _died_elsewhere(headers, queue):
        return 0
    return returns


def _died_elsewhere(headers: Mapping[str, Any], queue: str) -> bool:
    """Return whether the message is in `queue` because it died in another one."""
    died_in: object = headers.get("x-last-death-queue")
    return died_in is not None and died_in != queue


def _read_count(headers: Mapping[str, Any], name: str) -> int:
    found = headers.get(name, 0)
    return found if isinstance(found, int) and found > 0 else 0


# -- deliveries --------------------------------------------------------------------------------------------------------------------------


class GuardedMessage(IncomingMessage):
    """aio-pika's message, whose `ack`, `nack`, `reject` and so `process()` raise AlreadySettled and send nothing.

    Acks are joined into runs. A second ack of one message would close the channel, with everything in hand.
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

    def _refuse(self, method: str) -> NoReturn:
        error = AlreadySettled(
            f"the handler called {method}() on a message of {self._guard_channel.source}, but the guard settles it: take `async with "
            "message.process()` and calls of ack, nack and reject out of the handler; to refuse a message, raise holdgate.Reject"
        )
        # The intake gets it as well. In the handler alone it would look like a failure of the dependency, and the message would be held
        # for ever.
        self._guard_channel.failed(error)
        raise error


class RabbitMQDelivery(Delivery[IncomingMessage]):
    """A message and the channel by which it came.

    `message` is aio-pika's IncomingMessage, made when it is first read. Its `ack`, `nack`, `reject` and `process()` raise AlreadySettled,
    since the guard settles. `raw` is aiormq's message. `position` is the delivery tag, which means nothing on another channel. `arrived_at`
    is its arrival in seconds on the event loop's clock.
    """

    __slots__ = ("arrived_at", "channel", "raw")

    channel: QueueChannel

    def __init__(self, channel: QueueChannel, raw: DeliveredMessage, arrived_at: float) -> None:
        super().__init__(channel.source, cast("IncomingMessage", None), raw.redelivered)
        del self.message  # so that the first read makes it
        self.channel = channel
        self.raw = raw
        self.arrived_at = arrived_at

    if not TYPE_CHECKING:  # type checkers see the parent's `message`; with __getattr__ they would accept any name

        def __getattr__(self, name: str) -> GuardedMessage:
            # Making one takes a sixth of a message's time, and a handler that reads only body and headers does not need it.
            if name != "message":
                raise unknown_attribute(self, name, None if name in {"raw", "channel"} else self.message)
            made = self.message = GuardedMessage(self.raw, self.channel)
            return made

    @property
    def position(self) -> int:
        return self.raw.delivery_tag or 0

    @property
    def returns(self) -> int:
        """How often it came back, as a quorum queue counts. 0 where nothing is counted, or where the header may be a publisher's."""
        return count_returns(self.headers, self.channel.counts, redelivered=self.raw.redelivered is True, queue=self.channel.source.name)

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
        # Only a producer sets it.
        return None if self.message.timestamp is None else self.message.timestamp.timestamp()


# -- batches -----------------------------------------------------------------------------------------------------------------------------

# Between two reads of the socket lies less than half a millisecond. But a queue may fill a window in two steps, 2 to 4 ms apart.
_PAUSE = 0.005
# As long as a finished message may wait for its ack: a tenth of what a person notices.
_GATHER_AT_MOST = 0.02


def batch_due_at(channel: QueueChannel, most: int) -> float:
    """Return when the messages that have arrived, at least one, become a batch of at most `most`, on the event loop's clock."""
    if len(channel.arrived) >= most or len(channel.unsettled) >= channel.prefetch:
        return channel.last_arrival
    return min(channel.last_arrival + _PAUSE, channel.arrived[0].arrived_at + _GATHER_AT_MOST)


# -- acks --------------------------------------------------------------------------------------------------------------------------------

log = logging.getLogger(__name__)

_ACK = Settlement.ACK

# How many seconds of work a crash repeats at most, and how long the broker's window waits for a run that is not full.
_SEND_WITHIN = 0.02
# Writing to a socket takes microseconds; a connection that cannot write is about to be lost.
_FLUSH_WITHIN = 5.0


class Acks:
    """The settlements of one channel, and when they are sent. `unsettled` has the messages that are out, by tag in order of arrival.

    The caller of `record` takes the message out of `unsettled` first. Sending is never cancelled.
    """

    def __init__(self, raw: Any, unsettled: Mapping[int, object]) -> None:
        self._raw = raw
        self._unsettled = unsettled
        self._unsent: dict[int, Settlement] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None
        self.run = 1  # how many are sent together: the rest of the window must last until the broker has them
        self.held_back = False  # nothing is sent before a flush, so that the broker sees a full window

    @property
    def waiting(self) -> bool:
        """Whether a settlement is recorded and not sent."""
        return bool(self._unsent)

    @property
    def has_success(self) -> bool:
        """Whether an ack is among the settlements that wait."""
        return _ACK in self._unsent.values()

    def record(self, tag: int, settlement: Settlement) -> None:
        """Record one settlement; it is sent when a run is full, or 20 ms later."""
        self._unsent[tag] = settlement
        if len(self._unsent) >= self.run:
            self.soon()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SEND_WITHIN, self.soon)

    def soon(self) -> None:
        """Send everything recorded, in a task of its own."""
        self._stop_timer()
        if self._unsent and not self.held_back and (self._sending is None or self._sending.done()):
            self._sending = begin_later(self._send(), "rabbitmq acks")

    async def flush(self) -> bool:
        """Send everything, also what was held back, within 5 s. Returns whether everything is sent."""
        self.held_back = False
        self.soon()
        if self._sending is not None:
            await asyncio.wait((self._sending,), timeout=_FLUSH_WITHIN)
        return not self._unsent

    def end(self) -> None:
        """Forget what was not sent: the channel is gone, and these messages come again."""
        self._stop_timer()
        if self._unsent:
            log.warning("a channel closed before %d settlements were sent: these messages come again", len(self._unsent))
        self._unsent.clear()

    async def _send(self) -> None:
        try:
            while self._unsent:
                unsent, self._unsent = self._unsent, {}
                for tag, settlement, multiple in plan_frames(unsent, next(iter(self._unsettled), None)):
                    if settlement is _ACK:
                        await self._raw.basic_ack(tag, multiple=multiple, wait=False)
                    else:
                        await self._raw.basic_reject(tag, requeue=False, wait=False)
        except (ChannelInvalidStateError, OSError) as error:
            log.info("settlements could not be sent because their channel is closing: %r", error)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def plan_frames(unsent: Mapping[int, Settlement], oldest: int | None) -> list[tuple[int, Settlement, bool]]:
    """Return what to send for these settlements, in order: tag, settlement, and whether it covers all tags below.

    `oldest` is the oldest unfinished tag; None means that nothing is unfinished. Rejects come first, so that no run covers one.
    """
    rejected = [(tag, settlement, False) for tag, settlement in unsent.items() if settlement is not _ACK]
    acked = [tag for tag, settlement in unsent.items() if settlement is _ACK]
    run = [tag for tag in acked if oldest is None or tag < oldest]
    alone = [(tag, _ACK, False) for tag in acked if oldest is not None and tag > oldest]
    return rejected + ([(max(run), _ACK, len(run) > 1)] if run else []) + alone


# -- the channel -------------------------------------------------------------------------------------------------------------------------

# Closing is a handshake. A broker that is away does not answer it, and the channel is gone nevertheless.
_CLOSE_WITHIN = 5.0
# A run of acks is a quarter of the window: the broker fills it again while the handlers work on the rest.
_RUNS_PER_WINDOW = 4


class QueueChannel:
    """One channel of one queue, with one consumer at most, and further ones beside it while its window is wider than the prefetch.

    It calls `ring` when a message has come, `add_size` with the size of each body, `changed` when its supervisor has something to do, and
    `lost` once, if it ends without our closing it. A handler that settles by itself ends in `failed`.

    `alive` is False from its end on. `unsettled` has the messages that are out, by tag and so in order of arrival; `arrived` has those of
    them that were not handed out yet. `consumer` is the tag of its consumer; None means that it has none. `extra` is how many messages the
    further consumers may have out. `counts` says which returns its queue counts. `reason` is the error that ended it; None means that none
    was given.
    """

    __slots__ = (
        "_add_size", "_changed", "_early", "_further", "_lost", "_now", "_raw", "_ring", "acks", "alive", "arrived", "consumer", "counts",
        "extra", "failed", "last_arrival", "prefetch", "reason", "source", "unsettled",
    )  # fmt: skip

    def __init__(
        self,
        source: Queue,
        raw: Any,
        *,
        counts: Counts,
        ring: Callable[[], None],
        changed: Callable[[], None],
        lost: Callable[[QueueChannel], None],
        failed: Callable[[BaseException], None],
        add_size: Callable[[int], None],
    ) -> None:
        self.source = source
        self.counts: Counts = counts
        self.alive = True
        self.arrived: deque[RabbitMQDelivery] = deque()
        self.unsettled: dict[int, RabbitMQDelivery] = {}
        self.acks = Acks(raw, self.unsettled)
        self.consumer: str | None = None
        self.prefetch = 0
        self.extra = 0
        self._further: list[str] = []  # tags of the further consumers
        self._early: set[str] = set()  # consumers that have ended since one was asked for, and whose tag nobody knows yet
        self.last_arrival = 0.0
        self.reason: BaseException | None = None
        self.failed = failed
        self._raw = raw
        self._ring = ring
        self._changed = changed
        self._lost = lost
        self._add_size = add_size
        self._now = asyncio.get_running_loop().time
        store_messages(raw, self._arrive)
        on_consumer_cancel(raw, self._cancelled)
        raw.closing.add_done_callback(self._closed)

    @property
    def oldest(self) -> RabbitMQDelivery | None:
        """The unsettled delivery that has been out for longest. None means that nothing is out."""
        return next(iter(self.unsettled.values()), None)

    async def consume(self, prefetch: int, arguments: Mapping[str, Any]) -> None:
        """Start the consumer. The window is set first: it applies to consumers that start after it."""
        await self._raw.basic_qos(prefetch_count=prefetch)
        self.prefetch = prefetch
        self.acks.run = max(1, prefetch // _RUNS_PER_WINDOW)
        self.consumer = await self._start_consumer(arguments)
        self._look_for_early_end(self.consumer)

    async def widen(self, more: int, arguments: Mapping[str, Any]) -> None:
        """Start a further consumer, with a window of its own: the running one keeps the window that it began with."""
        await self._raw.basic_qos(prefetch_count=more)
        consumer = await self._start_consumer(arguments)
        self._further.append(consumer)
        self.extra += more
        self._look_for_early_end(consumer)

    async def narrow(self) -> None:
        """Stop the further consumers. Messages that are out stay out, and are still ours to settle."""
        further, self._further, self.extra = self._further, [], 0
        for consumer in further:
            await self._raw.basic_cancel(consumer)
        # A message that came before the answer has a task that stores it. It runs now.
        await asyncio.sleep(0)

    async def cancel(self) -> None:
        """Stop all consumers. Messages that are out stay out, and are still ours to settle."""
        if self._further:
            await self.narrow()
        consumer, self.consumer = self.consumer, None
        if consumer is not None:
            await self._raw.basic_cancel(consumer)
            await asyncio.sleep(0)

    def settle(self, delivery: RabbitMQDelivery, settlement: Settlement) -> None:
        """Record a settlement. A delivery that is settled already, or whose channel is gone, is ignored."""
        if self.alive and self.unsettled.pop(delivery.position, None) is not None:
            self.acks.record(delivery.position, settlement)
            if self.acks.held_back:
                self._changed()

    async def nack_back(self) -> None:
        """Nack everything that is out, in order of arrival, and keep the channel. Call it only without a consumer."""
        for tag in list(self.unsettled):
            await self._raw.basic_nack(tag, requeue=True, wait=False)
        self.unsettled.clear()
        self.arrived.clear()

    async def close(self) -> None:
        """Close the channel, within 5 s: everything that is out returns to the front of its queue, in order. Idempotent."""
        self.alive = False
        if not self._raw.is_closed:
            try:
                await within(self._raw.close(), _CLOSE_WITHIN)
            except Exception as error:
                if not is_transient(error):
                    raise
                self.reason = self.reason or error
        self._end()

    async def _start_consumer(self, arguments: Mapping[str, Any]) -> str:
        self._early.clear()
        answer = await self._raw.basic_consume(self.source.name, self._arrive, arguments=dict(arguments))
        tag: str = answer.consumer_tag
        return tag

    def _look_for_early_end(self, consumer: str) -> None:
        """Notice that the broker has cancelled a consumer before we knew its tag: the client may read both answers in one step."""
        if consumer in self._early:
            self._cancelled(consumer)

    def _arrive(self, raw: DeliveredMessage) -> None:
        if not self.alive:
            return
        now = self.last_arrival = self._now()
        delivery = RabbitMQDelivery(self, raw, now)
        self.unsettled[delivery.position] = delivery
        self.arrived.append(delivery)
        self._add_size(len(raw.body))
        self._ring()

    def _cancelled(self, consumer: str) -> None:
        """Note that the broker cancelled the consumer: its queue was deleted, or on 4.3 a message was out for too long.

        Nothing that is out is ours any more.
        """
        if consumer == self.consumer or consumer in self._further:
            self.consumer = None
            self._ended_by_broker(ConsumerCancelled())
        else:
            self._early.add(consumer)

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
