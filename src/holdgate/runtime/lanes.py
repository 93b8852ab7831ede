"""Lanes: they run one delivery at a time, in a task that serves one delivery after the other.

A lane never sleeps on time and never asks whether a circuit is open. It asks the engine for a delivery that may start, permits in hand,
and waits when there is none.

An interrupted handler (revoked, drained, channel lost) is cancelled and its lane goes on.

What one delivery leaves must not meet the next. A task per message would see to it and cost more than all the rest, so a lane looks, in
a tenth of a microsecond, whether a handler has left its context and its task as they were. It goes on in a new task after every attempt
that did not simply succeed (a library may keep something for the current task), or that left a cancellation to arrive. Where a handler
has set a context variable, too, and from then on each delivery of the run has a context of its own (contexts.py), which costs more than
looking and less than a task. Every context is a copy of what the caller of `guard.run` had.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from holdgate.flow.delivery import Delivery, Settlement
from holdgate.flow.fate import Verdict
from holdgate.runtime.attempt import current_attempt
from holdgate.runtime.contexts import in_context
from holdgate.runtime.falling_back import fall_back
from holdgate.runtime.seat import Seat
from holdgate.tasks import begin_later

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
    """One worker of one run. Its tasks belong to the guard: no scope of the user's cancels them."""

    __slots__ = ("_clean", "_ended", "_leftover", "spent")

    def __init__(self, worker: Worker, ended: Callable[[Lane, asyncio.Task[None]], None]) -> None:
        super().__init__(worker)
        self.spent = False  # this task has run what may have left something in it: the lane goes on in another
        self._ended = ended
        self._leftover: tuple[ThreadCall[object], Place] | None = None  # goes on after its handler was interrupted
        self._clean = worker.context.copy()
        self._clean.run(current_attempt.set, self)

    def start(self) -> None:
        """Work from the loop's next step on; `ended` hears when the lane has ended."""
        task = self.task = begin_later(self._run(), f"lane of {self.worker.name}", self._clean.copy())
        task.add_done_callback(self._task_ended)

    def leave(self, call: ThreadCall[object]) -> None:
        """The verdict is given without this thread, which cannot be stopped; the lane stays taken until it has come back."""
        if self.delivery is not None:
            self._leftover = (call, self.delivery.place)

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
        """The task is gone. What it had in hand goes on without it, and it is nobody's verdict."""
        if self.delivery is not None and self.delivery.permits is not None:
            self.worker.engine.interrupted(self.delivery, self.worker.now())
        self.delivery = None

    def look_at_task(self) -> bool:
        """After user code that returned: a cancellation may still arrive in this task, or its context is not clean any more."""
        if copy_context() != self._clean:
            self.spent = self.worker.apart = True
        elif self.task is not None and self.task.cancelling():
            self.spent = True
        return self.spent

    def prepare(self, handler: Callable[[AnyDelivery], Awaitable[object]]) -> Callable[[AnyDelivery], Awaitable[object]]:
        """The handler as it is, or in a context of its own each time."""
        if not self.worker.apart:
            return handler
        return lambda delivery: in_context(self._clean.copy(), handler, delivery)

    async def _run(self) -> None:
        while not (self.worker.closed or self.spent):
            if self._leftover is not None:
                await self._wait_for_thread(*self._leftover)
            if self.delivery is None:
                self.delivery = self.worker.next()
            if self.delivery is None:
                await self.wait()
            if self.delivery is not None:
                await self._work(self.delivery)
        if self.spent and not (self.worker.closed or self.worker.is_cancelled):
            self.spent = False
            self.start()

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if task is self.task:  # else the lane goes on in another
            self._ended(self, task)

    async def _wait_for_thread(self, leftover: ThreadCall[object], place: Place) -> None:
        """A thread cannot be stopped: its verdict is given, its lane stays taken. Where each source has a lane, a source that is gone
        must not keep the lane of the one that came for it."""
        gone = place.closing and self.worker.lane_per_source
        self.worker.lanes_lent += gone
        try:
            await leftover.ended()
        finally:
            self._leftover = None
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
        handler = self.prepare(worker.handler_of(place.source))
        direct = place.direct is not None
        clean, cancelling = self._clean, _counter(self.task)
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
            # A copy costs the same whatever is in it, and one that nobody has changed is compared at a glance.
            if copy_context() != clean or cancelling():
                over = self.look_at_task()
            if direct and not (over or place.held or self.interrupted or self.tally is not None or delivery.trial is not None):
                following = engine.pass_on(delivery, time)
                settle(delivery, _ACK)
            else:
                self.started = False
                self._returned(delivery, time)
                over = over or self.spent
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
            await self._let_others_run()

    async def _let_others_run(self) -> None:
        if not self.spent:  # else the next task begins after the others, and a wait in this one could meet a cancellation
            await asyncio.sleep(0)

    def _returned(self, delivery: AnyDelivery, time: float) -> None:
        """Settle an attempt that returned, where more than the common case may be to do."""
        if self.interrupted:  # it finished all the same: processed is processed
            self.recovered()
            self.spent = True  # our cancellation may still be on its way
        if self.tally is not None or delivery.trial is not None:
            self.end(delivery, None)
        elif self.worker.engine.succeeded(delivery, time) is Verdict.DONE:
            self.acknowledge(delivery)

    def end(self, delivery: AnyDelivery, error: BaseException | None, *, timed_out: bool = False) -> Verdict:
        """As every seat does; what comes again is tried in another task."""
        verdict = super().end(delivery, error, timed_out=timed_out)
        self.spent = self.spent or verdict is not Verdict.DONE
        return verdict

    def _raised(self, delivery: AnyDelivery, error: BaseException) -> None:
        """Settle an attempt that raised. Raises what ends the lane, too: its coroutine is being closed, or the loop shut down."""
        self.started = False
        self.spent = True
        beyond = self.beyond(error)
        if isinstance(beyond, GeneratorExit):
            raise beyond
        ours, timed_out = self.interrupted, self.timed_out
        if ours:
            self.recovered()
        if timed_out:
            self.end(delivery, TimeoutError(), timed_out=True)
        elif ours or beyond is not None:
            self.give_back(delivery)
        else:
            self.end(delivery, error)
        if isinstance(beyond, asyncio.CancelledError):
            raise beyond
        self.worker.turn_if_needed()


def _counter(task: asyncio.Task[None] | None) -> Callable[[], int]:
    """What tells how often a task was asked to cancel itself."""
    return int if task is None else task.cancelling
