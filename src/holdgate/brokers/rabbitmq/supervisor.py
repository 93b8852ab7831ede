"""One task per queue supervises it: its channel, its consumer, its window, and what must go back to the broker in time.

The task makes all channel calls of its queue, one after the other, so that no two can cross. It compares what is with what should be, and
takes the next step:

    no channel            open one, once the connection is up; report the assignment, and apply the plan before anything is consumed
    a delivery too old    give everything back (terms.py), and start again
    fetch, no consumer    consume with the full window; after a hold that gave messages back, with a window of one, as a probe
    the probe succeeded   consume with the full window
    many are passed       start a further consumer, with a window for them; without any, cancel those
    stopping              flush, give everything back, close

A hold is none of these steps. The full window stops the broker, so a consumer is never cancelled for a hold.

Why a window of one: each time that messages go back may count as one of their returns. While a dependency stays down, every probe would
cost a whole window one return each. The price is the order on a quorum queue: messages that came back wait in a line of their own, and a
probe that comes back again goes to its end. So where order is promised, for a single active consumer, each probe takes the whole window.

`Window` is the size of that window. RabbitMQ sends a consumer its whole prefetch, whether a handler is free or not, and a new prefetch
applies only to consumers that start later. So where prefetch times the mean body is more than the guard may have in memory, a warning says
so with the figures, and every later consumer (after a reconnect, a give-back or a probe) takes fewer messages. The running consumer keeps
its window: cancelling it while messages flow would break their order.

Where messages need different things, some wait here for a circuit of their own while others go on (flow/passing.py). What waits would fill
the window, and then nothing else comes. To give those back would not help: they come again immediately, before all others. So half of the
prefetch may wait, and for each further half the window grows, by consumers beside the first one. When nothing waits any more the acks are
held back until the wire is empty, and those consumers are cancelled. Their number stays small because each is a quarter of the window at
least. They are no way out for a single active consumer, beside which no other gets anything.

`Overflow` takes the messages that one more return may kill: they go to another queue instead of back to the one that would drop them. A
message is written, confirmed and only then acked. A fault in between makes two of it and never none. What cannot be written goes back with
the rest: a hold must not fail because the overflow is away.
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
from holdgate.brokers.rabbitmq.client import Client, as_intake_error, describe_end, is_transient
from holdgate.brokers.rabbitmq.terms import DeliveryLimitNear, QueueTerms, quiesce
from holdgate.errors import IntakeError
from holdgate.flow.message import DeadLetter, Queue, Settlement
from holdgate.flow.plan import Plan
from holdgate.tasks import run_beside, within

if TYPE_CHECKING:
    from holdgate.ports import DeadLetters, IntakeListener


log = logging.getLogger(__name__)

# The mean follows the last few hundred messages: sizes change with a deployment, and with the day.
_REMEMBERED = 500
_MIB = 1024 * 1024
# The protocol has 16 bits for a window.
_MANY = 65_535
# A further consumer has this part of the window at least: 100,000 messages are some thirty consumers, and at most a quarter is too much.
_GROWTH = 4


class Window:
    """The window of one queue's consumers. `prefetch` is its upper limit. `room` is how many bytes its messages may take.

    `room` None means no bound.
    """

    __slots__ = ("_bytes", "_count", "_prefetch", "_room", "_source", "_warned")

    def __init__(self, source: Queue, prefetch: int, room: int | None) -> None:
        self._source = source
        self._prefetch = prefetch
        self._room = room
        self._count = 0
        self._bytes = 0
        self._warned = False

    def add_size(self, size: int) -> None:
        """Count a message with a body of so many bytes."""
        if self._count >= _REMEMBERED:
            self._count //= 2
            self._bytes //= 2
        self._count += 1
        self._bytes += size

    @property
    def size(self) -> int:
        """The window that the next consumer should have."""
        return max(1, min(self._prefetch, self.fits))

    @property
    def fits(self) -> int:
        """How many messages there is room for."""
        return _MANY if self._room is None or not self._bytes else self._room * self._count // self._bytes

    def warn(self) -> None:
        """Warn once, when a full window needs more than there is room for."""
        size = self.size
        if self._warned or self._room is None or size == self._prefetch:
            return
        self._warned = True
        mean = self._bytes / self._count
        log.warning(
            "%s: prefetch=%d times a mean body of %.1f MiB is %.0f MiB, but this queue may have %.0f MiB of Guard(memory=), and RabbitMQ "
            "sends a whole prefetch unasked: set prefetch=%d, or raise memory=. Consumers that start later take %d",
            self._source, self._prefetch, mean / _MIB, self._prefetch * mean / _MIB, self._room / _MIB, size, size,
        )  # fmt: skip


# For all of them together: a window is written in a tenth of a second, and the rest of the margin is for what has to go back.
_MOVE_WITHIN = 5.0

_REASON = "held, and near the delivery limit of its queue"


class Overflow:
    """Moves messages of one intake to `target`, which it opens and closes."""

    def __init__(self, target: DeadLetters) -> None:
        self._target = target
        self._is_open = False
        self._worker = f"{socket.gethostname()}:{os.getpid()}"

    async def open(self, names: Sequence[str]) -> None:
        """Open the target, and raise what it raises: at the start there is still time to mend it."""
        await self._target.open(names)
        self._is_open = True

    async def close(self) -> None:
        """Close the target. Idempotent."""
        if self._is_open:
            self._is_open = False
            await self._target.close()

    async def move(self, deliveries: Sequence[RabbitMQDelivery]) -> Sequence[RabbitMQDelivery]:
        """Write these messages, in order, within 5 s. Returns those that are confirmed."""
        moved: list[RabbitMQDelivery] = []
        try:
            if not await within(self._publish(deliveries, moved), _MOVE_WITHIN):
                log.error("the overflow took longer than %g s: %d messages go back instead", _MOVE_WITHIN, len(deliveries) - len(moved))
        except Exception as error:  # noqa: BLE001 - whatever the target raises, the rest goes back
            log.warning("%d messages go back, since the overflow did not take them: %r", len(deliveries) - len(moved), error)
        return tuple(moved)

    async def _publish(self, deliveries: Sequence[RabbitMQDelivery], moved: list[RabbitMQDelivery]) -> None:
        now = time.time()
        for delivery in deliveries:
            letter = DeadLetter(delivery, delivery.attempt, now, now, None, "", _REASON, self._worker)
            await self._target.publish(letter)
            moved.append(delivery)


# The oldest message is due one margin before the timeout, and the timeout is at least four margins: one look in each margin is in time.
# Everything else wakes the supervisor. An arriving message does not: that would cost more than the message itself.
_LOOK_EVERY = 1.0
# How often a queue is tried again that cannot be used now, because its leader is being elected or its node restarts.
_RETRY_AFTER = 1.0
# A probe that has neither succeeded nor failed by then has a slow handler, or is itself at fault: only its neighbours can show which.
_PROBE_AT_MOST = 10.0


class QueueSupervisor:
    """Supervises one queue of one intake.

    `plan` returns the plan in force; `store` takes the plan with which the guard answers an assignment. `ring` wakes a receive that waits,
    `limit_near` gets a message near its delivery limit, and `failed` gets what ends the intake.
    """

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
        ring: Callable[[], None],
        limit_near: Callable[[DeliveryLimitNear], None],
        overflow: Overflow | None,
        failed: Callable[[BaseException], None],
    ) -> None:
        self.source: Queue = terms.source
        self.way_of_rejected = terms.way_of_rejected
        self.channel: QueueChannel | None = None
        self._client = client
        self._terms = terms
        self._guard = guard
        self._window = window
        self._arguments = arguments
        self._plan = plan
        self._store = store
        self._ring = ring
        self._limit_near = limit_near
        self._overflow = overflow
        self._failed = failed
        self._assigned = False
        self._look_every = min(_LOOK_EVERY, terms.margin or _LOOK_EVERY)
        self._probe_next = False  # the next consumer probes
        self._stopping = False
        self._warned_slow = False
        self._warned_limit = False
        self._warned_full = False
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> asyncio.Task[None]:
        """Start the task. It ends when it is stopped, or after it has given `failed` the reason why it cannot go on."""
        self._task = run_beside(self._run(), f"rabbitmq supervisor of {self.source}", self._failed)
        return self._task

    def wake(self) -> None:
        """Something has changed."""
        self._woken.set()

    def stop(self) -> None:
        """Have the task flush, give everything back and close."""
        self._stopping = True
        self._woken.set()
        if self.channel is None and self._task is not None:
            self._task.cancel()  # it waits for a broker, and has nothing in hand

    async def _run(self) -> None:
        try:
            await self._supervise()
        except asyncio.CancelledError:
            if not self._stopping:  # without an error the queue would stand still for ever
                raise IntakeError(f"{self.source}: its task was cancelled from outside; to end a run, stop the guard") from None
            raise

    async def _supervise(self) -> None:
        now = asyncio.get_running_loop().time
        while not self._stopping:
            began = now()
            error = await self._use_channel()
            end = None if error is None else as_intake_error(error, self.source.name)
            if end is not None:
                raise end from error
            if error is not None and not self._stopping and now() - began < _RETRY_AFTER:
                log.warning("%s: %s; trying again", self.source, describe_end(error))
                await self._wait(_RETRY_AFTER)

    async def _use_channel(self) -> BaseException | None:
        """Open a channel and use it until it ends. Returns the error that ended it.

        None means that we closed it, or that no error was given.
        """
        try:
            channel = self.channel = await self._open()
            await self._serve(channel)
            return channel.reason
        except Exception as error:
            if not is_transient(error):
                raise
            return error
        except asyncio.CancelledError as error:
            # Not always a cancellation: calls of a channel that closes raise it in aiormq, too. `cancelling` tells the two apart.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return error
        finally:
            await self._drop_channel()

    async def _open(self) -> QueueChannel:
        raw = await self._client.channel()
        await raw.queue_declare(queue=self.source.name, passive=True)
        return QueueChannel(
            self.source,
            raw,
            counts=self._terms.counts,
            ring=self._ring,
            changed=self.wake,
            lost=self._channel_lost,
            failed=self._failed,
            add_size=self._window.add_size,
        )

    async def _serve(self, channel: QueueChannel) -> None:
        if not self._assigned:
            self._assigned = True
            self._store(self._guard.assigned([self.source]))
        if not channel.alive:
            self._channel_lost(channel)
        while channel.alive and not self._stopping:
            await self._step(channel)
        if channel.alive:
            await self._return_all(channel)

    async def _step(self, channel: QueueChannel) -> None:
        plan = self._plan().of(self.source)
        now = asyncio.get_running_loop().time()
        due_at = self._terms.due_at(channel)
        self._warn_near_limit(channel, now)
        self._window.warn()
        if due_at is not None and now >= due_at:
            await self._give_back(channel, held=plan.held, waits=plan.held or plan.passed > 0)
        elif plan.fetch and channel.consumer is None:
            await self._consume(channel)
        elif channel.acks.held_back and self._probe_is_over(channel, held=plan.held, now=now):
            await self._widen(channel)
        elif more := self._more_for(channel, plan.passed):
            await channel.widen(more, self._arguments)
        elif channel.extra and not plan.passed:
            await self._narrow(channel)
        else:
            await self._wait(max(0.0, min(self._look_every, math.inf if due_at is None else due_at - now)))

    async def _consume(self, channel: QueueChannel) -> None:
        size = self._window.size
        probes = self._probe_next and size > 1 and not self._terms.single_active
        # While the only ack of a window of one is held back, that window is full and the wire is empty. So a cancel loses no order.
        channel.acks.held_back = probes
        await channel.consume(1 if probes else size, self._arguments)

    def _probe_is_over(self, channel: QueueChannel, *, held: bool, now: float) -> bool:
        if channel.acks.waiting:
            return True
        oldest = channel.oldest
        return oldest is not None and not held and now - oldest.arrived_at >= _PROBE_AT_MOST

    async def _widen(self, channel: QueueChannel) -> None:
        """Go from a window of one to the full one, or, if the probe was rejected, on to the next probe."""
        if channel.acks.waiting and not channel.acks.has_success:
            await channel.acks.flush()
            channel.acks.held_back = True
            return
        self._probe_next = False
        await channel.cancel()
        await channel.consume(self._window.size, self._arguments)
        await channel.acks.flush()

    def _more_for(self, channel: QueueChannel, passed: int) -> int:
        """Return by how much the window should grow, where so many messages wait that others pass; 0 if it is wide enough."""
        if channel.consumer is None or channel.acks.held_back or passed <= channel.extra:
            return 0
        room = min(_MANY, self._window.fits) - channel.prefetch - channel.extra
        if self._terms.single_active or room < 1:
            self._warn_no_room(passed)
            return 0
        return min(room, max(passed - channel.extra, (channel.prefetch + channel.extra) // _GROWTH))

    def _warn_no_room(self, passed: int) -> None:
        if not self._warned_full:
            self._warned_full = True
            why = "it has a single active consumer" if self._terms.single_active else "Guard(memory=) has no room for more"
            log.warning(
                "%s: %d messages wait for dependencies that are down, and its window cannot grow for the others, since %s: once it is full,"
                " the others wait, too; fallback= can park those messages, or give each kind a queue of its own",
                self.source, passed, why,
            )  # fmt: skip

    async def _narrow(self, channel: QueueChannel) -> None:
        """Go back to the prefetch. Without acks the windows fill, and then the wire is empty: a cancel loses no order."""
        channel.acks.held_back = True
        await quiesce(channel)
        if channel.alive:
            await channel.narrow()
            await channel.acks.flush()

    async def _give_back(self, channel: QueueChannel, *, held: bool, waits: bool) -> None:
        if not waits and not self._warned_slow:
            self._warned_slow = True
            log.warning(
                "%s: a message goes back, since it was out for nearly the consumer timeout (%g s): handlers are too slow for this "
                "prefetch, so lower prefetch or raise consumer_timeout",
                self.source, self._terms.timeout or 0,
            )  # fmt: skip
        await self._guard.revoked([self.source])
        self._assigned = False
        self._probe_next = held
        log.info("%s: %d messages go back before the consumer timeout", self.source, len(channel.unsettled))
        await self._return_all(channel)
        if channel.alive:
            self._assigned = True
            self._store(self._guard.assigned([self.source]))

    async def _return_all(self, channel: QueueChannel) -> None:
        """Return everything that is out to the queue, in order: by nacks, which keep the channel, or by closing the channel.

        The order of steps matters. Acks go first: a message that is finished here, and not known to be at the broker, would come again.
        Then the wire must be empty, since a cancel under flow breaks the order of the messages on it. Then the overflow is filled, while
        the channel can still ack what is confirmed there.
        """
        if channel.alive:
            await channel.acks.flush()
        if channel.consumer is not None:
            await quiesce(channel)
        if channel.alive and self._overflow is not None:
            await self._move_to_overflow(channel, self._overflow)
        if channel.alive and (last := self._terms.at_their_end(channel)):
            log.error("%s: %d messages go back for the last time, so the queue dead-letters or drops them", self.source, len(last))
        if self._terms.nacks and channel.alive:
            await channel.cancel()
            await channel.nack_back()
        elif channel.alive:
            await channel.close()

    async def _move_to_overflow(self, channel: QueueChannel, overflow: Overflow) -> None:
        """Move the messages that one more return may kill to the overflow. What is not confirmed there goes back, and is reported."""
        endangered = self._terms.endangered(channel)
        if not endangered:
            return
        moved = await overflow.move(endangered)
        for delivery in moved:
            channel.settle(delivery, Settlement.ACK)
        await channel.acks.flush()
        log.warning("%s: %d of %d messages near their delivery limit went to the overflow", self.source, len(moved), len(endangered))
        near = self._terms.near_limit(channel)
        if near is not None:
            self._limit_near(near)

    def _warn_near_limit(self, channel: QueueChannel, now: float) -> None:
        """Warn once when messages near their delivery limit are kept longer than others are."""
        oldest = channel.oldest
        if self._warned_limit or self._terms.has_overflow or oldest is None or self._terms.timeout is None:
            return
        if now >= oldest.arrived_at + self._terms.timeout - self._terms.margin:
            near = self._terms.near_limit(channel)
            if near is not None:
                self._warned_limit = True
                self._limit_near(near)

    def _channel_lost(self, channel: QueueChannel) -> None:
        """Report a channel that ended without our closing it: the guard interrupts its handlers, and nothing of it is settled."""
        if self._assigned:
            self._assigned = False
            log.warning("%s: its channel has closed (%s): the messages in hand come again", self.source, describe_end(channel.reason))
            self._guard.lost([self.source])
        self._woken.set()

    async def _drop_channel(self) -> None:
        channel, self.channel = self.channel, None
        if channel is not None:
            if channel.alive and not self._stopping:  # one of its calls has failed: the guard must not keep its messages
                self._channel_lost(channel)
            await channel.close()

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()
