"""One task per queue keeps it: its channel, its window, giving back in time, and what is near the end of its returns.

How many messages of a queue are out at a time, and what they weigh: the window is memory that nothing takes back.

RabbitMQ sends a consumer its whole prefetch, handlers or no handlers, and a prefetch counts for consumers that start after it was set. So
where prefetch times the mean body is more than the guard may have in hand, that is said, with the figures; and every later consumer (after
a reconnect, a message given back, or a probe) takes fewer. The running one keeps its window: cancelled under flow it would lose the order.

Parking: a message that one return more may kill goes to a queue of its own, instead of back to the one that would drop it.

It is written and confirmed first and acked then, so that a fault in between makes two of it and never none. What cannot be parked goes back
with the rest: a hold may not end because the parking place is away.

Keeps one queue: a live channel, a consumer where the plan wants one, everything back in time, and what the guard is told of it.

One task per queue does all its channel calls, one after the other, so that no two can cross. It looks at what is and at what should be, and
takes the next step:

    no channel            open one, once the connection is there; tell the guard, whose plan counts before anything is consumed
    a delivery too old    give back (terms.py), and begin anew
    fetch, no consumer    consume: with the full prefetch; after a hold that gave back with a window of one, as a probe
    the probe succeeded   consume with the full prefetch
    stopping              flush, give back, close

A hold is none of these steps: the window is the back-pressure. A consumer is never cancelled for one.

Why a window of one: each time that messages go back may cost each of them one of its returns. While a dependency stays down, every probe
would pay that for a whole window. The price is order, on a quorum queue: what came back waits in a line of its own, and a probe that comes
back again goes to its end. So where order is promised, of a single active consumer, the whole window is taken each time.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from holdgate.brokers.rabbitmq.channel import QueueChannel, RabbitMQDelivery
from holdgate.brokers.rabbitmq.client import Client, end_of_intake, is_transient, words_of
from holdgate.brokers.rabbitmq.terms import DeliveryLimitNear, QueueTerms, quiesce
from holdgate.brokers.tasks import run_beside, within
from holdgate.errors import IntakeError
from holdgate.flow.message import DeadLetter, Queue, Settlement
from holdgate.flow.plan import Plan

if TYPE_CHECKING:
    from holdgate.ports import DeadLetters, IntakeListener


log = logging.getLogger(__name__)

# The mean is one of the last few hundred: sizes change with the days, and a deployment.
_REMEMBERED = 500
_MIB = 1024 * 1024


class Window:
    """The window of one queue's consumers. `prefetch` is the most; `room` bytes are what its messages may take, None: no bound."""

    __slots__ = ("_bytes", "_count", "_prefetch", "_room", "_source", "_told")

    def __init__(self, source: Queue, prefetch: int, room: int | None) -> None:
        self._source = source
        self._prefetch = prefetch
        self._room = room
        self._count = 0
        self._bytes = 0
        self._told = False

    def saw(self, size: int) -> None:
        """A message with a body of so many bytes came."""
        if self._count >= _REMEMBERED:
            self._count //= 2
            self._bytes //= 2
        self._count += 1
        self._bytes += size

    @property
    def size(self) -> int:
        """What the next consumer's window should be."""
        if self._room is None or not self._bytes:
            return self._prefetch
        return max(1, min(self._prefetch, self._room * self._count // self._bytes))

    def warn(self) -> None:
        """Say it once when a full window is more than there is room for."""
        size = self.size
        if self._told or self._room is None or size == self._prefetch:
            return
        self._told = True
        mean = self._bytes / self._count
        log.warning(
            "%s: prefetch=%d times a mean body of %.1f MiB is %.0f MiB, and it may have %.0f MiB of Guard(memory=): RabbitMQ sends it all "
            "unasked; say prefetch=%d, or raise memory=. Consumers that start later take %d",
            self._source, self._prefetch, mean / _MIB, self._prefetch * mean / _MIB, self._room / _MIB, size, size,
        )  # fmt: skip


# All of them together: a window is parked in a tenth of a second, and the rest of the margin is for what has to go back.
_PARK_WITHIN = 5.0

_REASON = "held, and near the delivery limit of its queue"


class Overflow:
    """Parks messages of one intake in `target`, a `DeadLetters`, which it opens and closes."""

    def __init__(self, target: DeadLetters) -> None:
        self._target = target
        self._is_open = False
        self._worker = f"{socket.gethostname()}:{os.getpid()}"

    async def open(self, names: Sequence[str]) -> None:
        """Raises what the target raises: before an outage there is time to mend it."""
        await self._target.open(names)
        self._is_open = True

    async def close(self) -> None:
        """Let the target go. Idempotent."""
        if self._is_open:
            self._is_open = False
            await self._target.close()

    async def park(self, deliveries: Sequence[RabbitMQDelivery]) -> Sequence[RabbitMQDelivery]:
        """Write these, in order, within a bound; returns those that are confirmed."""
        parked: list[RabbitMQDelivery] = []
        try:
            if not await within(self._publish(deliveries, parked), _PARK_WITHIN):
                log.error("parking took longer than %g s; %d messages are not parked", _PARK_WITHIN, len(deliveries) - len(parked))
        except Exception as error:  # noqa: BLE001 - whatever the target raises, what is not parked goes back
            log.warning("%d messages could not be parked: %r", len(deliveries) - len(parked), error)
        return tuple(parked)

    async def _publish(self, deliveries: Sequence[RabbitMQDelivery], parked: list[RabbitMQDelivery]) -> None:
        now = time.time()
        for delivery in deliveries:
            letter = DeadLetter(delivery, delivery.attempt, now, now, None, "", _REASON, self._worker)
            await self._target.publish(letter)
            parked.append(delivery)


# What is out for longest is due a margin before the timeout, which is at least three margins after it came: a look in each is in time.
# All else that matters wakes the keeper; a message that comes does not, which would cost more than the message.
_LOOK_EVERY = 1.0
# A queue that cannot be used just now (its leader is being elected, its node restarts) is asked for again so often.
_RETRY_AFTER = 1.0
# A probe that has neither succeeded nor failed by then is a slow handler, or a message with a fault of its own that needs neighbours to be
# told from an outage.
_PROBE_AT_MOST = 10.0


class QueueSupervisor:
    """One queue of one intake. `plan` is the plan in force, `store` takes the one that the guard answers an assignment with."""

    def __init__(
        self,
        client: Client,
        terms: QueueTerms,
        guard: IntakeListener,
        *,
        window: Window,
        arguments: Mapping[str, Any],
        plan: Callable[[], Plan],
        store: Callable[[Plan], None],
        rings: Callable[[], None],
        limit_near: Callable[[DeliveryLimitNear], None],
        parking: Overflow | None,
        failed: Callable[[BaseException], None],
    ) -> None:
        self.source: Queue = terms.source
        self.channel: QueueChannel | None = None
        self._client = client
        self._terms = terms
        self._guard = guard
        self._window = window
        self._arguments = arguments
        self._plan = plan
        self._store = store
        self._rings = rings
        self._limit_near = limit_near
        self._parking = parking
        self._failed = failed
        self._assigned = False
        self._look_every = min(_LOOK_EVERY, terms.margin or _LOOK_EVERY)
        self._cautious = False  # the next consumer probes
        self._stopping = False
        self._told_slow = False
        self._told_limit = False
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> asyncio.Task[None]:
        """Begin; the task ends when it was stopped, or after telling `failed` why it cannot go on."""
        self._task = run_beside(self._run(), f"rabbitmq keeper of {self.source}", self._failed)
        return self._task

    def wake(self) -> None:
        """Something has changed."""
        self._woken.set()

    def stop(self) -> None:
        """Flush, give back and close, in the keeper's own task."""
        self._stopping = True
        self._woken.set()
        if self.channel is None and self._task is not None:
            self._task.cancel()  # it waits for a broker, and has nothing in hand

    async def _run(self) -> None:
        try:
            await self._one_after_the_other()
        except asyncio.CancelledError:
            if not self._stopping:  # in silence the queue would stand still for ever
                raise IntakeError(f"{self.source}: its task was cancelled from outside; to end a run, stop the guard") from None
            raise

    async def _one_after_the_other(self) -> None:
        now = asyncio.get_running_loop().time
        while not self._stopping:
            began = now()
            error = await self._one_channel()
            end = None if error is None else end_of_intake(error, self.source.name)
            if end is not None:
                raise end from error
            if error is not None and not self._stopping and now() - began < _RETRY_AFTER:
                log.warning("%s: %s; trying again", self.source, words_of(error))
                await self._wait(_RETRY_AFTER)

    async def _one_channel(self) -> BaseException | None:
        """From a fresh channel to its end; returns what it ended with, None when that was our own doing or the broker gave no reason."""
        try:
            channel = self.channel = await self._open()
            await self._keep(channel)
            return channel.reason
        except Exception as error:
            if not is_transient(error):
                raise
            return error
        except asyncio.CancelledError as error:
            # aiormq lets the calls of a closed channel raise this, too.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return error
        finally:
            await self._let_go()

    async def _open(self) -> QueueChannel:
        raw = await self._client.channel()
        await raw.queue_declare(queue=self.source.name, passive=True)
        return QueueChannel(
            self.source,
            raw,
            counts=self._terms.counts,
            rings=self._rings,
            changed=self.wake,
            lost=self._channel_lost,
            failed=self._failed,
            saw=self._window.saw,
        )

    async def _keep(self, channel: QueueChannel) -> None:
        if not self._assigned:
            self._assigned = True
            self._store(self._guard.assigned([self.source]))
        if not channel.alive:
            self._channel_lost(channel)
        while channel.alive and not self._stopping:
            await self._step(channel)
        if channel.alive:
            await self._hand_back(channel)

    async def _step(self, channel: QueueChannel) -> None:
        plan = self._plan().of(self.source)
        now = asyncio.get_running_loop().time()
        due_at = self._terms.due_at(channel)
        self._watch_limit(channel, now)
        self._window.warn()
        if due_at is not None and now >= due_at:
            await self._give_back(channel, held=plan.held)
        elif plan.fetch and channel.consumer is None:
            await self._consume(channel)
        elif channel.acks.held_back and self._probe_is_over(channel, held=plan.held, now=now):
            await self._widen(channel)
        else:
            await self._wait(max(0.0, min(self._look_every, math.inf if due_at is None else due_at - now)))

    async def _consume(self, channel: QueueChannel) -> None:
        size = self._window.size
        probes = self._cautious and size > 1 and not self._terms.single_active
        # A window of one whose ack is kept is full for as long as we like: nothing is on the wire, and a cancel loses no order.
        channel.acks.held_back = probes
        await channel.consume(1 if probes else size, self._arguments)

    def _probe_is_over(self, channel: QueueChannel, *, held: bool, now: float) -> bool:
        if channel.acks.waiting:
            return True
        oldest = channel.oldest
        return oldest is not None and not held and now - oldest.arrived_at >= _PROBE_AT_MOST

    async def _widen(self, channel: QueueChannel) -> None:
        """From a window of one to the full one, or, when the probe was rejected, on to the next probe."""
        if channel.acks.waiting and not channel.acks.has_success:
            await channel.acks.flush()
            channel.acks.held_back = True
            return
        self._cautious = False
        await channel.cancel()
        await channel.consume(self._window.size, self._arguments)
        await channel.acks.flush()

    async def _give_back(self, channel: QueueChannel, *, held: bool) -> None:
        if not held and not self._told_slow:
            self._told_slow = True
            log.warning(
                "%s: a message was out for nearly the consumer timeout (%g s) and goes back: handlers are too slow for this prefetch; "
                "lower prefetch, or raise consumer_timeout",
                self.source, self._terms.timeout or 0,
            )  # fmt: skip
        await self._guard.revoked([self.source])
        self._assigned = False
        self._cautious = held
        log.info("%s: giving %d messages back before the consumer timeout", self.source, len(channel.unsettled))
        await self._hand_back(channel)
        if channel.alive:
            self._assigned = True
            self._store(self._guard.assigned([self.source]))

    async def _hand_back(self, channel: QueueChannel) -> None:
        """Everything that is out, in order: by nacks, and the channel stays, or with the channel."""
        if channel.alive:
            await channel.acks.flush()
        if channel.consumer is not None:
            await quiesce(channel)
        if channel.alive and self._parking is not None:
            await self._park(channel, self._parking)
        if channel.alive and (last := self._terms.at_their_end(channel)):
            log.error("%s: %d messages go back for the last time: the queue dead-letters or drops them", self.source, len(last))
        if self._terms.nacks and channel.alive:
            await channel.cancel()
            await channel.nack_back()
        elif channel.alive:
            await channel.close()

    async def _park(self, channel: QueueChannel, parking: Overflow) -> None:
        """What one return more may kill goes to the parking place; what does not get there goes back, and is told."""
        endangered = self._terms.endangered(channel)
        if not endangered:
            return
        parked = await parking.park(endangered)
        for delivery in parked:
            channel.settle(delivery, Settlement.ACK)
        await channel.acks.flush()
        log.warning("%s: %d of %d messages near their delivery limit were parked", self.source, len(parked), len(endangered))
        near = self._terms.near_limit(channel)
        if near is not None:
            self._limit_near(near)

    def _watch_limit(self, channel: QueueChannel, now: float) -> None:
        """Past the time at which the rest would have gone back: say for what it is kept."""
        oldest = channel.oldest
        if self._told_limit or self._terms.parks or oldest is None or self._terms.timeout is None:
            return
        if now >= oldest.arrived_at + self._terms.timeout - self._terms.margin:
            near = self._terms.near_limit(channel)
            if near is not None:
                self._told_limit = True
                self._limit_near(near)

    def _channel_lost(self, channel: QueueChannel) -> None:
        """The channel has ended though we did not close it: handlers are interrupted, nothing of it is settled."""
        if self._assigned:
            self._assigned = False
            log.warning("%s: its channel has closed (%s); what was in hand comes again", self.source, words_of(channel.reason))
            self._guard.lost([self.source])
        self._woken.set()

    async def _let_go(self) -> None:
        channel, self.channel = self.channel, None
        if channel is not None:
            if channel.alive and not self._stopping:  # one of its calls has failed: what the guard has of it must go
                self._channel_lost(channel)
            await channel.close()

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), seconds)
        self._woken.clear()
