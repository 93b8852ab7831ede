"""Guests: attempts that run in tasks of another framework, which has a consumer and handlers of its own.

Theory of operation. A framework calls its handlers itself, so the guard cannot run them in lanes of its own. The framework's middleware
brings each message instead (`GuestRun.offer`), and runs the handler when the engine lets the message start. Everything in between is what
happens to every message: `GuestRun` has a `Worker`, and that has the one engine. So circuits, votes, retries and dead letters are the same,
and there is no second set of rules.

    offer       the message is in the engine's hands. The usual one starts in the same step: a lane is free, and nothing waits before it
    granted     it may start, permits in hand. This is a call back, and it may come before `offer` returns, or much later
    begin       the handler runs, in whatever task the framework has for it
    end         the attempt is over; the verdict says what is to become of the message

A message that may not start yet is the engine's, and its integration sees to the rest: it waits, or it gives the message back to the client
and has it fetched again. The intake of such a run receives nothing. Its `receive` is a clock.

What is ugly: a lane here has no task until an attempt begins, so all lanes of a run exist before the run could want to make one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextvars import Token
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, cast

from holdgate.errors import CommandError
from holdgate.flow.message import AnyDelivery, Settlement, Source
from holdgate.flow.policy import Verdict
from holdgate.ports import Intake
from holdgate.runtime.calling import Attempt, current_attempt
from holdgate.runtime.lane import BorrowedTaskLane, LaneOwner
from holdgate.runtime.needs import needs_error
from holdgate.runtime.run_settings import RunSettings
from holdgate.runtime.worker import RunHost, has_opened, raise_end

if TYPE_CHECKING:
    from holdgate.flow.state import Assignment
    from holdgate.runtime.dependency import Dependency


class GuestHost(RunHost, Protocol):
    """What a run of guests asks of its guard."""

    dependencies: dict[str, Dependency]

    def turn(self) -> None:
        """Bring everything up to date, now."""
        ...


# Names of the module: an enum's member costs more to look up than most steps here.
_ACK = Settlement.ACK
_DONE = Verdict.DONE

# A message of up to so many bytes that starts when it comes is not weighed (flow/memory.py). A thousand of them are a sixteenth of the
# default bound, and to weigh one costs as much as to start it.
_LIGHT = 4096


def _no_handler(source: Source) -> NoReturn:
    raise CommandError(f"{source} is read by a framework, which has the handlers")


class GuestLane(BorrowedTaskLane):
    """A lane whose attempts run in other code's tasks, each in the one that called `begin`."""

    __slots__ = ("_granted", "_span", "_token")

    def __init__(self, worker: LaneOwner, granted: Callable[[GuestLane], None]) -> None:
        super().__init__(worker)
        self._granted = granted
        self._token: Token[Attempt | None] | None = None
        self._span: object | None = None

    def give(self, delivery: AnyDelivery) -> None:
        self.delivery = delivery
        self._granted(self)

    def begin(self) -> None:
        """Begin the attempt in the current task, which the guard may cancel when its time is over or its source goes away.

        Raises what a function in `needs` has met for this message. The attempt has begun all the same, and ends by that error.
        """
        worker, delivery = self.worker, self.delivery
        self.task = asyncio.current_task()
        self._token = current_attempt.set(self)
        self.since = worker.now()
        self.started = True
        if delivery is None:
            return
        if worker.tracing is not None:
            self._span = worker.tracing.begin(delivery)
        if delivery.assignment.all_need is None:  # a function says what it needs, and may have failed
            error = needs_error(delivery)
            if error is not None:
                raise error

    def leave(self, error: BaseException | None) -> Verdict | None:
        """End the attempt, in the task that began it. `error` None means that the handler returned.

        None means that there is no verdict: the attempt was interrupted, or ends with more than itself (`passes`). The message is the
        engine's again.
        """
        if error is None:
            verdict = self.end_plainly()
            if verdict is not None:
                return verdict
        delivery, ours, timed_out = self.delivery, self.interrupted, self.timed_out
        self._close(error)
        if ours:
            self.recovered()
        if delivery is None:
            return None
        if error is not None and (self.passes(error) or (ours and not timed_out)):
            self.give_back(delivery)
            return None
        if error is not None and timed_out:
            error = TimeoutError().with_traceback(error.__traceback__)
        verdict = self.end(delivery, error, timed_out=error is not None and timed_out)
        self.worker.idle.append(self)
        self.worker.turn_if_needed()
        return verdict

    def end_plainly(self) -> Verdict | None:
        """End an attempt whose handler has returned, in the task that began it, if it has succeeded and there is nothing more to it.

        Nothing of the message comes again then. None means that there is more to it, and that nothing was done.
        """
        delivery, worker = self.delivery, self.worker
        if delivery is None or self.calls is not None or self.interrupted:
            return None
        if delivery.history is not None or delivery.request is not None or worker.tracing is not None:
            return None
        self.started = False
        token = self._token
        if token is not None:
            current_attempt.reset(token)
            self._token = None
        verdict = worker.engine.succeeded(delivery, worker.now())
        if verdict is _DONE:
            worker.intake.settle(delivery, _ACK)
        self.delivery = None
        worker.idle.append(self)
        worker.turn_if_needed()
        return verdict

    def give_back(self, delivery: AnyDelivery) -> None:
        self.worker.idle.append(self)
        super().give_back(delivery)

    def quit(self) -> None:
        """End an attempt that shows nothing: the message is the engine's again."""
        delivery = self.delivery
        self._close(None)
        if delivery is not None:
            self.give_back(delivery)

    def _close(self, error: BaseException | None) -> None:
        """End what `begin` has begun in the current context."""
        self.started = False
        if self.worker.tracing is not None:
            self.worker.tracing.end(self._span, error)
            self._span = None
        if self._token is not None:
            current_attempt.reset(self._token)
            self._token = None


class GuestRun:
    """One run whose messages a framework brings. `granted` is called with a lane whose delivery may start now; it must not wait.

    `lane` makes a lane, for a framework whose attempts are no tasks of the event loop.
    """

    def __init__(
        self,
        guard: GuestHost,
        intake: Intake[Any],
        plans: RunSettings,
        granted: Callable[[GuestLane], None],
        lane: Callable[[LaneOwner, Callable[[GuestLane], None]], GuestLane] = GuestLane,
    ) -> None:
        self.worker = guard.new_worker(intake, plans, _no_handler)
        self._idle = cast("list[GuestLane]", self.worker.idle)  # the same list: no lane here is another one
        self._guard = guard
        self._plans = plans
        self._granted = granted
        self._new_lane = lane
        self._sorts = plans.sorter is not None
        self.task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin, and return when messages may come. Raises what the run ended with instead."""
        worker = self.worker
        task = self.task = self._guard.start(worker)
        if not await has_opened(self._guard, worker, task):
            raise_end(task)

    @property
    def is_over(self) -> bool:
        """Whether no message starts here any more: the run drains, or has ended."""
        return self.task is None or self.task.done() or self.worker.run.draining

    def takes(self, source: Source) -> bool:
        """Return whether messages of this source may be offered."""
        return source in self.worker.run.assignments

    def assigned(self, sources: Collection[Source]) -> None:
        """Take these sources over in a fresh assignment."""
        worker = self.worker
        worker.assigned(sources)
        while len(worker.lanes) < worker.run.lanes:
            lane = self._new_lane(worker, self._granted)
            worker.lanes.append(lane)
            worker.idle.append(lane)

    def offer(self, delivery: AnyDelivery, size: int = _LIGHT + 1) -> None:
        """Hand a message to the engine. `granted` is called when it may start, perhaps before this returns; not for one that is dropped
        because its source goes away, or when the run is over.

        A source that is not here yet is assigned. Where `delivery.assignment` is that of an earlier message of the same source, it need not
        be looked up. `size` is how many bytes the body has; left out, the intake weighs the message.
        """
        lane = self.start(delivery, size)
        if lane is not None:
            self._granted(lane)

    def start(self, delivery: AnyDelivery, size: int = _LIGHT + 1) -> GuestLane | None:
        """Do the same, and return the lane in which the message starts in this very step, as nearly all do: `granted` is not called then.

        None means that `granted` is called when it may start. That may have been so in here.
        """
        worker = self.worker
        engine = worker.engine
        assignment: Assignment | None = delivery.assignment
        if assignment is None or not assignment.alive:
            assignment = self._assignment_of(delivery.source)
        if assignment is None:
            return None
        idle = self._idle
        if size <= _LIGHT and idle and not self._sorts:
            started = engine.bring(assignment, delivery, worker.now())
            if started:
                lane = idle.pop()
                lane.delivery = delivery
                return lane
            if started is not None:
                self._guard.turn()
                return None
        self._offer_slowly(delivery)
        return None

    def _assignment_of(self, source: Source) -> Assignment | None:
        """Return the assignment of a source, a new one if it has none. None means that the run is over."""
        assignments = self.worker.run.assignments
        if source not in assignments and not self.is_over:
            self.assigned((source,))
        return assignments.get(source)

    def _offer_slowly(self, delivery: AnyDelivery) -> None:
        worker, plans = self.worker, self._plans
        engine = worker.engine
        if plans.sorter is not None:
            plans.sorter.sort((delivery,), plans.run, engine, self._guard.dependencies)
        if not engine.received_quietly(plans.run, (delivery,)):
            self._guard.turn()
            return
        # A lane that is free takes from this source, and need not look at the others: whatever else may start starts in a turn.
        if worker.idle and delivery.assignment is not None:
            started = engine.follow(delivery.assignment, worker.now())
            if started is not None:
                worker.idle.pop().give(started)
        worker.turn_if_needed()
