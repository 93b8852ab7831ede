"""FastStream's RabbitMQ subscribers under a guard: a hold is a wait within the prefetch.

Theory of operation. FastStream begins a task for each message that comes. If the engine does not let the message start, the task waits, and
the message stays unacked. The full prefetch then stops the deliveries, so a hold makes no call to the broker, and there is no hold without
a prefetch. A failed attempt waits and is tried again in the same task, uncounted by the broker.

    a message comes     it is offered, and its task waits until it is granted
    failed: AGAIN       it waits again; its task runs the handler once more
    failed: REJECT      the broker rejects it, or its letter goes out first
    held for too long   everything that waits goes back by nack, and comes again immediately
    the guard stops     the tasks that wait end, and leave their messages to the closing of the channel

The broker takes back what is unacked for longer than its consumer timeout, and closes the channel with everything on it. So `_GIVE_BACK` of
it after the oldest message came, all that waits goes back, in order. The queue is closed for the engine meanwhile, and what comes again
waits for that. What runs stays, and may end.

The attempt ends when the handler returns; the ack waits until the result is published. A result that cannot be published sends its message
back, after a second: to begin it here once more would be too late.

Acks are joined, a quarter of the prefetch or twenty milliseconds of work in one frame, as by a RabbitMQIntake (`Acks`). One ack that covers
all below it must cover nothing that is not ours, or not done. `Unsettled` sees to that: it knows each message that has come on the channel,
and where the tags have a gap, others read on the same channel, or a message came that nobody has seen. From then on each is acked alone.

Which races matter. 1. The channel is lost while messages wait: they come again, on another channel, and the waiting ones must not start,
because no ack of theirs could arrive. The first message on another channel, or the look of every second, ends them. 2. A task that waits is
cancelled: its delivery is the engine's and nobody would take its grant. `granted` sees that, and puts the delivery off.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from aio_pika import IncomingMessage
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError, MessageProcessError
from faststream.message import StreamMessage
from faststream.rabbit import RabbitBroker

from holdgate.brokers.rabbitmq.channel import Acks
from holdgate.errors import CommandError, NeedsError, Reject, SettingsError
from holdgate.flow.inbox import OVERHEAD, Order
from holdgate.flow.message import AnyDelivery, Backlog, Delivery, Queue, Settlement, Source
from holdgate.flow.plan import Plan
from holdgate.flow.policy import Verdict
from holdgate.integrations.faststream.middleware import CallNext, GuardMiddleware, Held, goes_on, meant_by
from holdgate.ports import IntakeListener
from holdgate.runtime.guests import GuestLane, GuestRun
from holdgate.tasks import begin_later

log = logging.getLogger("holdgate")

# How often it looks whether messages must go back, or their channel is gone (seconds).
_EVERY = 1.0
# Of the consumer timeout: the broker looks for late acks only once a minute, and a nack must still arrive.
_GIVE_BACK = 0.8
# A result that cannot be published will not be in the next moment either (seconds).
_PUBLISH_AGAIN = 1.0
# An ack needs no answer: this is for a socket that takes nothing any more (seconds).
_FLUSH_WITHIN = 5.0
# For a delivery whose task is gone: its message comes again long before (seconds).
_PUT_OFF = 86400.0
# A run of acks is a quarter of the prefetch, as in brokers/rabbitmq/channel.py: the broker fills it again while handlers work on the rest.
_RUNS_PER_PREFETCH = 4


class QueuedMessage(Delivery[IncomingMessage]):
    """A message that FastStream was given."""

    __slots__ = ("arrived_at", "channel", "consumed", "lane", "settlement")

    def __init__(self, source: Source, message: IncomingMessage, channel: ChannelInUse | None, arrived_at: float) -> None:
        super().__init__(source, message, message.redelivered)
        self.arrived_at = arrived_at
        self.channel = channel  # by which it came; None means that it was closed already
        self.lane: GuestLane | None = None  # where it starts now
        self.consumed = False  # its handler has returned, and its ack waits for the result to be published
        self.settlement: Settlement | None = None

    @property
    def position(self) -> int:
        return self.message.delivery_tag or 0

    @property
    def body(self) -> bytes | None:
        return self.message.body

    @property
    def key(self) -> bytes | None:
        return None

    @property
    def headers(self) -> Mapping[str, Any]:
        return self.message.headers

    @property
    def timestamp(self) -> float | None:
        return None if self.message.timestamp is None else self.message.timestamp.timestamp()


class ChannelInUse:
    """A channel by which messages come, and their acks. `raw` is the client's own channel."""

    __slots__ = ("_others", "_seen", "_unsettled", "acks", "raw")

    def __init__(self, raw: Any, prefetch: int) -> None:
        self.raw = raw
        # By tag and in order of arrival. A tag of 0, which no message has, stands for those of others: nothing below it may be covered.
        self._unsettled: dict[int, None] = {}
        self.acks = Acks(raw, self._unsettled)
        self.acks.run = max(1, prefetch // _RUNS_PER_PREFETCH)
        self._seen = 0  # the last tag; RabbitMQ counts deliveries of a channel from 1
        self._others = False

    def came(self, tag: int) -> None:
        """Note that a message has come."""
        if tag != self._seen + 1 and not self._others:
            self._others = True
            ours = list(self._unsettled)
            self._unsettled.clear()
            self._unsettled.update(dict.fromkeys((0, *ours)))
        self._seen = max(self._seen, tag)
        self._unsettled[tag] = None

    def settle(self, tag: int, settlement: Settlement) -> None:
        """Have a message acked or rejected, with others, very soon."""
        if tag in self._unsettled:
            del self._unsettled[tag]
            self.acks.record(tag, settlement)

    def forget(self, tag: int) -> None:
        """Note that a message has been settled by others, or is back in its queue."""
        self._unsettled.pop(tag, None)


class RabbitMQStation:
    """One subscriber under the guard: FastStream brings its messages, and the engine decides about them. It is the run's intake, too."""

    order: Order = "none"
    can_reject = True
    can_dead_letter = True

    def __init__(self, queue: str, prefetch: int, consumer_timeout: float) -> None:
        self.names = (queue,)
        self.name = queue
        self.inbox = self.concurrency = prefetch
        # Half of it is what a handler has to end before the queue goes back; what runs for longer than the timeout is lost anyway.
        self.rebalance_timeout = 2 * consumer_timeout
        self._source = Queue(queue)
        self._hold_for = consumer_timeout * _GIVE_BACK
        self._run: GuestRun | None = None
        self._waiting: dict[QueuedMessage, asyncio.Future[GuestLane | None]] = {}  # None means: it is not to start
        self._channel: ChannelInUse | None = None  # the one on which messages come now
        self._returning: asyncio.Task[None] | None = None  # what waits is going back
        self._sending: set[asyncio.Task[None]] = set()
        self._arriving: QueuedMessage | None = None  # it is being offered
        self._assignment: Any = None  # that of the last message, which saves looking it up for the next
        self._over = False
        self._ended = asyncio.Event()
        self._now = asyncio.get_running_loop().time

    # -- what FastStream brings -------------------------------------------------------------------------------------------------------

    def met(self, raw: Any) -> bool:
        """Note a message before anything of it runs, so that all are seen in the order of their tags."""
        if type(raw) is not IncomingMessage:
            return False
        channel, current = self._channel, _channel_of(raw)
        if current is None:  # it was closed meanwhile: the message comes again
            return True
        if channel is None or channel.raw is not current:
            self._lost()
            channel = self._channel = ChannelInUse(current, self.inbox)
        channel.came(raw.delivery_tag or 0)
        return True

    async def consume(self, visit: GuardMiddleware, call_next: CallNext, message: StreamMessage[Any]) -> Any:
        """Run the handler as often as the engine lets the message start. Raises Held when the message is settled, or not to start here."""
        try:
            if self._returning is not None:
                await self._returned()
            delivery = visit.delivery = self._arrived(message.raw_message)
            lane = self._offer(delivery)
            while True:
                if lane is None:
                    lane = await self._granted(delivery)
                error: BaseException | None = None
                result: Any = None
                try:
                    lane.begin()
                    result = await call_next(message)
                    delivery.consumed = True
                except BaseException as raised:  # noqa: BLE001 - every end is a verdict; what is not the message's is raised again
                    error = raised
                if self._is_over(lane, delivery, message, error):
                    return result
                lane = None
        except Held:
            visit.is_held = True
            raise
        except Exception as mistake:
            if visit.delivery is None:
                visit.could_not_begin(mistake)
            raise

    def _is_over(self, lane: GuestLane, delivery: QueuedMessage, message: StreamMessage[Any], error: BaseException | None) -> bool:
        """End an attempt, and return whether it was the message's last one. Raises Held if it was, and there is nothing to publish."""
        plainly = lane.end_plainly() if error is None and message.committed is None else None
        if plainly is Verdict.DONE:
            return True
        if plainly is not None:  # its channel is gone: the message comes again
            delivery.consumed = False
            raise Held
        verdict = self._end(lane, delivery, None if message.committed is not None else meant_by(delivery, None, error))
        if error is None and verdict is Verdict.DONE:
            return True
        delivery.consumed = False
        if error is not None and goes_on(error):
            raise error
        if verdict in _OVER:
            raise Held
        return False

    def ended(
        self,
        visit: GuardMiddleware,
        message: StreamMessage[Any],  # noqa: ARG002 - Kafka's
        error: BaseException | None,
    ) -> Awaitable[None] | None:
        """Settle the message whose result is published. Give it back if that failed."""
        delivery = visit.delivery
        if not isinstance(delivery, QueuedMessage) or not delivery.consumed:
            return None
        if error is not None:
            return self._unpublished(delivery, error)
        return None if self._settle_with_others(delivery, delivery.settlement) else self._settle(delivery, delivery.settlement)

    async def _unpublished(self, delivery: QueuedMessage, error: BaseException) -> None:
        if not goes_on(error):
            log.warning(
                "%s@%d: its result could not be published, %s; it goes back", delivery.source, delivery.position, type(error).__name__
            )
            await asyncio.sleep(_PUBLISH_AGAIN)
        await self._settle(delivery, None)

    async def unreadable(self, raw: Any, error: Exception) -> None:
        await self._returned()
        delivery = self._arrived(raw)
        lane = self._offer(delivery)
        verdict: Verdict | None = None
        while verdict not in _OVER:
            if lane is None:
                lane = await self._granted(delivery)
            with suppress(NeedsError, Reject):
                lane.begin()
            verdict = self._end(lane, delivery, error)
            lane = None

    def _end(self, lane: GuestLane, delivery: QueuedMessage, error: BaseException | None) -> Verdict | None:
        """End an attempt. If the message comes again, its task must wait for the next grant."""
        self._wait_for(delivery)  # the engine may grant it before `leave` returns
        verdict = lane.leave(error)
        if verdict in _OVER:
            self._waiting.pop(delivery, None)
        return verdict

    async def _returned(self) -> None:
        """Wait while everything goes back: what comes meanwhile comes after it."""
        while self._returning is not None:
            await asyncio.wait({self._returning})

    def _arrived(self, raw: IncomingMessage) -> QueuedMessage:
        """Return a delivery for a message. Raises Held when the guard stops."""
        if self._over or self._run is None or self._run.is_over:
            raise Held
        channel = self._channel
        if channel is not None and channel.raw is not _channel_of(raw):
            channel = None  # it has been lost while the message was read
        delivery = QueuedMessage(self._source, raw, channel, self._now())
        delivery.assignment = self._assignment
        return delivery

    def _offer(self, delivery: QueuedMessage) -> GuestLane | None:
        """Hand a message to the engine, and return the lane in which it starts now. None means that it waits."""
        run = self._run
        if run is None:
            raise CommandError(f"{self.name}: the guard has not been started; `await guarded.start()` comes before the broker starts")
        self._arriving = delivery
        lane = run.start(delivery, len(delivery.message.body)) or delivery.lane
        self._arriving = None
        self._assignment = delivery.assignment
        if lane is None:
            self._wait_for(delivery)
        return lane

    def _wait_for(self, delivery: QueuedMessage) -> None:
        waiter = self._waiting[delivery] = asyncio.get_running_loop().create_future()
        if self._over:
            waiter.set_result(None)

    async def _granted(self, delivery: QueuedMessage) -> GuestLane:
        """Wait until the delivery may start. Raises Held when it is not to start here any more; its message is with the broker then."""
        waiter = self._waiting[delivery]
        try:
            lane = await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and (given := waiter.result()) is not None and given.delivery is delivery:
                given.let_go()
            raise
        finally:
            if self._waiting.get(delivery) is waiter:
                del self._waiting[delivery]
        if lane is not None and lane.delivery is delivery:
            return lane
        if not self._over:
            await self._settle(delivery, None)
        raise Held

    # -- what the engine decides ------------------------------------------------------------------------------------------------------

    def granted(self, lane: GuestLane) -> None:
        """Let the task of this message go on."""
        delivery = lane.delivery
        if delivery is self._arriving and isinstance(delivery, QueuedMessage):
            delivery.lane = lane
            return
        waiter = self._waiting.get(delivery) if isinstance(delivery, QueuedMessage) else None
        if waiter is not None and not waiter.done():
            waiter.set_result(lane)
        else:
            asyncio.get_running_loop().call_soon(self._put_off, lane)

    def settle(self, delivery: AnyDelivery, settlement: Settlement) -> None:
        """Ack or reject: when the result is published, or now if there is none to wait for."""
        if not isinstance(delivery, QueuedMessage):
            return
        delivery.settlement = settlement
        if not delivery.consumed:
            task = begin_later(self._settle(delivery, settlement), f"settling on {self.name}")
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _settle(self, delivery: QueuedMessage, settlement: Settlement | None) -> None:
        """Ack or reject a message. None gives it back. A channel that is gone has given everything back."""
        if not self._settle_with_others(delivery, settlement):
            await _send(delivery, settlement)
            if delivery.channel is not None:
                delivery.channel.forget(delivery.position)

    def _settle_with_others(self, delivery: QueuedMessage, settlement: Settlement | None) -> bool:
        """Have a message acked or rejected very soon, in one frame with others. False: it must be settled by itself, and now.

        That is so for what is settled when the guard has stopped, as the channel is about to be closed.
        """
        message, channel = delivery.message, delivery.channel
        if settlement is None or message.processed or channel is None or self._over:
            return False
        channel.settle(delivery.position, settlement)
        message.lock()  # FastStream settles it no more, whatever asks
        return True

    def _put_off(self, lane: GuestLane) -> None:
        """Give the permits back of a delivery whose task is gone, and let it wait out its message's return."""
        delivery = lane.delivery
        if delivery is not None and not lane.started:
            delivery.retry(_PUT_OFF)
            with suppress(NeedsError, Reject):
                lane.begin()
            lane.leave(None)

    def _lost(self) -> None:
        """End what waits on a channel that is gone: its messages come again. What runs there is interrupted, as no ack could arrive."""
        if self._channel is not None:
            self._channel.acks.end()
            if self._run is not None:
                self._run.worker.lost((self._source,))
        self._release()

    def _release(self) -> None:
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_result(None)

    # -- the run's intake -------------------------------------------------------------------------------------------------------------

    def joined(self, run: GuestRun) -> None:
        """Take the run to which the messages go."""
        self._run = run

    async def open(self, listener: IntakeListener) -> None:
        """Nothing: FastStream opens its channels."""

    async def receive(self) -> Sequence[AnyDelivery]:
        """Wait for a second, and look whether what waits is still ours, and for how long. The messages come another way."""
        try:
            async with asyncio.timeout(_EVERY):
                await self._ended.wait()
        except TimeoutError:
            self._look_after()
        else:
            await asyncio.sleep(0)
        return ()

    def apply(self, plan: Plan) -> None:
        """Nothing: the prefetch bounds what comes, and what has come waits."""

    def weigh(self, deliveries: Sequence[Delivery[Any]]) -> int:
        """Return the bytes of the message that has come."""
        return OVERHEAD + len(deliveries[0].message.body)

    async def flush(self) -> bool:
        self._ended.set()
        if self._sending:
            await asyncio.wait(self._sending, timeout=_FLUSH_WITHIN)
        acked = self._channel is None or await self._channel.acks.flush()
        return acked and not self._sending

    def way_of_rejected(self, name: str) -> str:  # noqa: ARG002 - all queues alike
        return "are rejected: RabbitMQ hands them to the queue's dead letter exchange, or drops them where there is none"

    async def backlog(self) -> Mapping[Source, Backlog]:
        """Nothing: FastStream shows no channel on which one could ask."""
        return {}

    async def close(self) -> None:
        self._ended.set()

    def released(self) -> None:
        self._over = True
        self._release()

    def _look_after(self) -> None:
        if self._channel is not None and self._channel.raw.is_closed:
            self._lost()
            self._channel = None
            return
        oldest = min((delivery.arrived_at for delivery in self._waiting), default=None)
        if oldest is not None and self._returning is None and self._now() - oldest > self._hold_for:
            self._returning = begin_later(self._return_all(), f"giving back on {self.name}")

    async def _return_all(self) -> None:
        """Give back everything that waits, before the broker takes it."""
        log.info(
            "%s: %d messages have been held for %g s and go back, before the consumer timeout",
            self.name,
            len(self._waiting),
            self._hold_for,
        )
        try:
            if self._run is not None:
                closing = begin_later(self._run.worker.revoked((self._source,)), f"closing of {self.name}")
                await asyncio.sleep(0)
                self._release()
                await asyncio.wait({closing})
        finally:
            self._returning = None


# The engine has nothing more to do with a message.
_OVER = (Verdict.DONE, Verdict.REJECT, Verdict.STALE)


async def _send(delivery: QueuedMessage, settlement: Settlement | None) -> None:
    """Ack or reject a message. None gives it back. A channel that is gone has given everything back."""
    message = delivery.message
    if message.processed:
        return  # by the handler itself
    with suppress(AMQPError, ChannelInvalidStateError, MessageProcessError, ConnectionError):
        if settlement is Settlement.ACK:
            await message.ack()
        elif settlement is Settlement.REJECT:
            await message.reject(requeue=False)
        else:
            await message.nack(requeue=True)


def _channel_of(message: IncomingMessage) -> Any:
    """Return the client's channel on which a message came. None means that it is closed."""
    try:
        return message.channel
    except ChannelInvalidStateError:
        return None


class _RabbitMQ:
    """What FastStream's RabbitMQ subscribers are, by their public names."""

    def is_for(self, broker: object) -> bool:
        return isinstance(broker, RabbitBroker)

    def names_of(self, subscriber: Any) -> Collection[str] | None:
        return (subscriber.queue.name,)

    def is_real(self, subscriber: Any, raw: Any) -> bool:  # noqa: ARG002 - Kafka's consumer tells
        return type(raw) is IncomingMessage

    def check(self, subscriber: Any, names: Collection[str] | None) -> None:  # noqa: ARG002 - Kafka's
        if not _prefetch(subscriber):
            raise SettingsError(
                f"the subscriber of {subscriber.queue.name} has no prefetch of its own, so a hold would take the whole queue into memory:"
                " give it channel=Channel(prefetch_count=50)"
            )

    def station(self, subscriber: Any, names: Collection[str] | None, consumer_timeout: float) -> RabbitMQStation:  # noqa: ARG002
        return RabbitMQStation(subscriber.queue.name, _prefetch(subscriber), consumer_timeout)


def _prefetch(subscriber: Any) -> int:
    """Return how many messages may be unacked. 0 means that there is no bound, or none that FastStream shows."""
    return 0 if subscriber.channel is None else subscriber.channel.prefetch_count or 0


RABBITMQ = _RabbitMQ()
