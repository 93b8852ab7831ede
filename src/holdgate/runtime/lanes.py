"""Lanes: long-lived tasks that run one delivery at a time.

A lane never sleeps on time and never asks whether a circuit is open. It asks the engine for a delivery that may start, permits in hand,
and waits when there is none.

An interrupted handler (revoked, drained, channel lost) is cancelled and its lane goes on: the lane's own task is cancelled and, once the
handler has let go, un-cancelled.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from holdgate.flow.delivery import Delivery, Settlement
from holdgate.flow.fate import Verdict
from holdgate.runtime.attempt import current_attempt
from holdgate.runtime.falling_back import fall_back
from holdgate.runtime.seat import Seat

if TYPE_CHECKING:
    from holdgate.flow.place import Place
    from holdgate.runtime.threads import ThreadCall
    from holdgate.runtime.worker import Worker

AnyDelivery = Delivery[Any]

_ACK = Settlement.ACK  # a name of the module: an enum's member costs more to look up than most steps here

# After so many deliveries of one source, or seconds, a lane lets others have their turn. The number bounds a handler that never waits, to
# about 0.15 ms, and a turn of the lanes costs as much as four such messages; the time makes it one delivery for a handler that does wait,
# so that a backlog of slow work keeps no other source waiting.
_SLICE = 128
_SLICE_SECONDS = 0.0002


class Lane(Seat):
    """One task of one run. It belongs to the guard: no scope of the user's cancels it."""

    __slots__ = ("leftover",)

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self.leftover: ThreadCall[object] | None = None  # a thread that goes on after its handler was interrupted

    def start(self) -> asyncio.Task[None]:
        """Make the task, and return it."""
        task = self.task = asyncio.create_task(self._run(), name=f"holdgate lane of {self.worker.name}")
        return task

    @property
    def oversleeps(self) -> bool:
        return not self.started

    def end_task(self) -> asyncio.Task[Any] | None:
        """A lane between two deliveries, or one that waits for a thread, ends now; one whose handler runs, with its handler."""
        interrupted_before = self.interrupted
        self.interrupt()
        if not self.started and self.task is not None:
            self.task.cancel()
        return None if interrupted_before else self.task

    def abandon(self) -> None:
        """The task is gone. What it had in hand goes on without it."""
        delivery = self.delivery
        if delivery is not None and delivery.trial is not None and delivery.trial.falling_back:
            self.worker.engine.interrupted(delivery, self.worker.now())
        elif delivery is not None and delivery.permits is not None:
            self.end(delivery, asyncio.CancelledError())
        self.delivery = None

    async def _run(self) -> None:
        current_attempt.set(self)
        while not self.worker.closed:
            if self.delivery is None:
                self.delivery = self.worker.next()
            if self.delivery is None:
                await self.wait()
            if self.delivery is not None:
                place = self.delivery.place
                await self._work(self.delivery)
                if self.leftover is not None:
                    await self._wait_for_thread(place)

    async def _wait_for_thread(self, place: Place) -> None:
        """A thread cannot be stopped: its verdict is given, its lane stays taken. Where each source has a lane, a source that is gone
        must not keep the lane of the one that came for it."""
        leftover, self.leftover = self.leftover, None
        gone = place.closing and self.worker.lane_per_source
        self.worker.lanes_lent += gone
        try:
            if leftover is not None:
                await leftover.ended()
        finally:
            self.worker.lanes_lent -= gone

    async def _work(self, delivery: AnyDelivery) -> None:
        """Run this delivery and those of its source that follow, for a slice."""
        place = delivery.place
        if place.going:  # between the grant and now the source went away
            self.give_back(delivery)
            return
        if delivery.trial is not None and delivery.trial.falling_back:
            await fall_back(self, delivery)
            return
        worker = self.worker
        engine, now, settle = worker.engine, worker.now, worker.intake.settle
        handler = worker.handler_of(place.source)
        direct = place.direct is not None
        over = False
        slice_ends = self.since = now() + _SLICE_SECONDS  # no handler of this slice begins later than that
        # True until the slice is over, and not only while a handler runs: nobody looks in between, except in a turn.
        self.started = True
        for left in range(_SLICE, 0, -1):
            try:
                await handler(delivery)
            except BaseException as error:  # noqa: BLE001 - every end is a verdict; what is not the handler's is raised again inside
                self._raised(delivery, error)
                return
            time = now()
            over = left == 1 or time >= slice_ends
            if direct and not (over or place.held or self.interrupted or self.tally is not None or delivery.trial is not None):
                following = engine.pass_on(delivery, time)
                settle(delivery, _ACK)
            else:
                self.started = False
                self._returned(delivery, time)
                following = None if over else engine.follow(place, time)
                self.started = True
            self.delivery = following
            if engine.restless:
                self.started = False
                worker.turn_if_needed()
                self.started = True
            if following is None:
                break
            delivery = following
        self.started = False
        if over:
            place.run.offer(place)
            await asyncio.sleep(0)

    def _returned(self, delivery: AnyDelivery, time: float) -> None:
        """Settle an attempt that returned, where more than the common case may be to do."""
        if self.interrupted:  # it finished all the same: processed is processed
            self.recovered()
        if self.tally is not None or delivery.trial is not None:
            self.end(delivery, None)
        elif self.worker.engine.succeeded(delivery, time) is Verdict.DONE:
            self.acknowledge(delivery)

    def _raised(self, delivery: AnyDelivery, error: BaseException) -> None:
        """Settle an attempt that raised. Raises what is not a handler's own end: the loop shutting down, KeyboardInterrupt."""
        self.started = False
        ours, timed_out = self.interrupted, self.timed_out
        if ours:
            self.recovered()
        if timed_out:
            self.end(delivery, TimeoutError(), timed_out=True)
        elif ours:
            self.give_back(delivery)
        else:
            self.end(delivery, error)
        if isinstance(error, Exception) or (ours and isinstance(error, asyncio.CancelledError)):
            self.worker.turn_if_needed()
        elif self._cancelled_itself(error):
            self.worker.log_failure(delivery, error)
            self.worker.turn_if_needed()
        else:
            raise error

    def _cancelled_itself(self, error: BaseException) -> bool:
        """Whether the handler let out a CancelledError that nobody sent to this task, say of a task that it awaited."""
        return isinstance(error, asyncio.CancelledError) and self.task is not None and not self.task.cancelling()
