"""Keeps one queue: a live channel, a consumer where the plan wants one, everything back in time, and what the guard is told of it.

One task per queue does all its channel calls, one after the other, so that no two can cross. It looks at what is and at what should be, and
takes the next step:

    no channel            open one, once the connection is there; tell the guard, whose plan counts before anything is consumed
    a delivery too old    give back (give_back.py), and begin anew
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
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from holdgate.brokers.rabbitmq.background import run_beside
from holdgate.brokers.rabbitmq.channels import QueueChannel
from holdgate.brokers.rabbitmq.client import Client, is_transient
from holdgate.brokers.rabbitmq.failures import end_of_intake, words_of
from holdgate.brokers.rabbitmq.give_back import DeliveryLimitNear, Terms, quiesce
from holdgate.brokers.rabbitmq.parking import Parking
from holdgate.brokers.rabbitmq.window import Window
from holdgate.errors import IntakeError
from holdgate.flow.delivery import Settlement
from holdgate.flow.plan import Plan
from holdgate.flow.sources import Queue

if TYPE_CHECKING:
    from holdgate.ports import IntakeListener

log = logging.getLogger(__name__)

# What is out for longest is due a margin before the timeout, which is at least three margins after it came: a look in each is in time.
# All else that matters wakes the keeper; a message that comes does not, which would cost more than the message.
_LOOK_EVERY = 1.0
# A queue that cannot be used just now (its leader is being elected, its node restarts) is asked for again so often.
_RETRY_AFTER = 1.0
# A probe that has neither succeeded nor failed by then is a slow handler, or a message with a fault of its own that needs neighbours to be
# told from an outage.
_PROBE_AT_MOST = 10.0


class Keeper:
    """One queue of one intake. `plan` is the plan in force, `store` takes the one that the guard answers an assignment with."""

    def __init__(
        self,
        client: Client,
        terms: Terms,
        guard: IntakeListener,
        *,
        window: Window,
        arguments: Mapping[str, Any],
        plan: Callable[[], Plan],
        store: Callable[[Plan], None],
        rings: Callable[[], None],
        limit_near: Callable[[DeliveryLimitNear], None],
        parking: Parking | None,
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
        self._task = run_beside(self._run(), f"keeper of {self.source}", self._failed)
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

    async def _park(self, channel: QueueChannel, parking: Parking) -> None:
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
