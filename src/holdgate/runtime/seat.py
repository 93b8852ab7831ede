"""A seat: where one delivery at a time is worked on, and how its end is settled. A lane is one, and so is the loop form.

No await lies between the end of an attempt and the recorded settlement.

Whose was a cancellation? Ours, when the seat was `interrupted`: revoked, drained, channel lost; that is no verdict, and after `timeout` it
is one of its own kind. The event loop's, when it is shut down, by `asyncio.run` at its end or by a program that cancels every task: that
reaches the run's own task as well, which only the guard holds. Every other one is the attempt's own, whoever sent it and however it got
out: a `cancel()` of its task, of a child, of a library's scope, or a CancelledError raised by hand. It is charged like any failure of the
message; a cancellation that nobody counted would be tried for ever.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from holdgate.core.causes import named
from holdgate.errors import Reject
from holdgate.flow.attribution import attribute
from holdgate.flow.delivery import Delivery, Settlement, Wish
from holdgate.flow.fate import Verdict
from holdgate.flow.tally import Tally
from holdgate.flow.verdicts import gates_of
from holdgate.runtime.exits import exit_in

if TYPE_CHECKING:
    from holdgate.flow.place import Place
    from holdgate.runtime.worker import Worker

AnyDelivery = Delivery[Any]


class Seat:
    """What `runtime.attempt` calls an attempt. `delivery` is set from the moment it was given; None while the seat waits. `task` is who
    works here, None before somebody does."""

    __slots__ = ("_given", "delivery", "interrupted", "since", "started", "tally", "task", "timed_out", "worker")

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.delivery: AnyDelivery | None = None
        self.tally: Tally | None = None  # made by the first call form of an attempt
        self.task: asyncio.Task[Any] | None = None
        self.started = False  # user code runs
        self.interrupted = False  # and was cancelled by us
        self.timed_out = False  # because its time was over
        self.since = 0.0  # when the running user code began, or a fraction of a millisecond later
        self._given: asyncio.Future[None] | None = None

    def wait(self) -> asyncio.Future[None]:
        """Nothing to do: a future, made in this very step, that is done when a delivery was given. No wake-up can be lost in between."""
        given = self._given = asyncio.get_running_loop().create_future()
        if self not in self.worker.idle:  # it is there still when an earlier wait was cancelled
            self.worker.idle.append(self)
        self.worker.turn_if_needed()  # may give to this seat already
        return given

    def give(self, delivery: AnyDelivery) -> None:
        """Hand over a delivery whose permits are in hand; it starts at the seat's next step."""
        self.delivery = delivery
        given, self._given = self._given, None
        if given is not None and not given.done():
            given.set_result(None)

    def works_for(self, places: set[Place]) -> bool:
        """Whether it has a delivery of one of these places."""
        return self.delivery is not None and self.delivery.place in places

    @property
    def oversleeps(self) -> bool:
        """Whether it has a delivery that it should have started, a step after it was given, and has not. A loop starts when its user comes
        back to it."""
        return False

    def let_go(self) -> None:
        """Hand back a delivery that was given and may never start. A lane starts within a step, and looks then."""

    def interrupt(self) -> None:
        """Cancel the running user code, once. A delivery that was given and has not started is handed back by the seat itself."""
        if not self.started or self.interrupted or self.task is None:
            return
        self.interrupted = True
        if self._is_running(self.task):
            # The user's code itself has brought this about. A task that cancels itself may have ended its attempt before the
            # cancellation arrives, and then it would hit whatever comes next.
            asyncio.get_running_loop().call_soon(self._cancel, self.delivery)
        else:
            self.task.cancel()

    @staticmethod
    def _is_running(task: asyncio.Task[Any]) -> bool:
        """Whether we are in the middle of a step of it; an eager task that it makes is the current one meanwhile."""
        return task is asyncio.current_task() or bool(getattr(task.get_coro(), "cr_running", False))

    def time_out(self) -> None:
        """Cancel the running user code because its time is over: that is a verdict."""
        if self.interrupted or not self.started:
            return
        self.timed_out = True
        if self.tally is not None:
            self.tally.timed_out = True
        self.interrupt()

    def _cancel(self, delivery: AnyDelivery | None) -> None:
        if self.interrupted and self.started and self.delivery is delivery and self.task is not None:
            self.task.cancel()

    def end_task(self) -> asyncio.Task[Any] | None:
        """The run is over: interrupt what runs here. Returns the task if it is the run's own and will end now."""
        self.interrupt()
        return None

    def recovered(self) -> None:
        """Our own cancellation has arrived, and is over."""
        self.interrupted = self.timed_out = False
        if self.task is not None:
            self.task.uncancel()

    def beyond(self, error: BaseException) -> BaseException | None:
        """What does not end with the attempt that raised `error`; None: it is the attempt's own end.

        A CancelledError when the event loop is shut down, whatever the handler makes of it; a GeneratorExit when the coroutine is closed
        from outside, and nothing may be done any more; an exit, which ends the run and is told to it here.
        """
        if self.worker.is_cancelled and not self.interrupted and self.task is not None and self.task.cancelling():
            return error if isinstance(error, asyncio.CancelledError) else asyncio.CancelledError()
        if isinstance(error, GeneratorExit) and not self._is_current():
            return error
        way_out = exit_in(error)
        if way_out is not None:
            self.worker.leave(way_out)
        return way_out

    def _is_current(self) -> bool:
        try:
            return asyncio.current_task() is self.task
        except RuntimeError:  # no loop runs: the interpreter clears up
            return False

    def end(self, delivery: AnyDelivery, error: BaseException | None, *, timed_out: bool = False) -> Verdict:
        """An attempt ended, `error` None when it returned: settle it by what its calls and its exception say, or the handler's own word.
        `timed_out`: its time was over. Not for one that we, or a loop that shuts down, have interrupted."""
        worker = self.worker
        now = worker.now()
        if error is not None:
            worker.log_failure(delivery, error)
        tally, self.tally = self.tally, None
        wish: Wish | None = delivery.trial.wish if delivery.trial is not None else None
        if wish is not None and wish.reason is not None:
            rejection = Reject(wish.reason)
            rejection.__cause__ = error  # it may come from a refusal, and then it is the outage that speaks
            error = rejection
        attribution = attribute(
            [worker.dependency_of(gate) for gate in gates_of(delivery)],
            tally,
            error,
            now,
            timed_out=timed_out,
            not_retryable=delivery.place.run.retry.not_retryable,
            postponed=wish is not None,
        )
        name = type(error).__name__ if error is None else named(error)
        verdict = worker.engine.settle(delivery, attribution, name, now, reason=attribution.reason)
        if verdict is Verdict.DONE:
            self.acknowledge(delivery)
        elif verdict is Verdict.REJECT:
            worker.reject(delivery, error)
        self.delivery = None
        return verdict

    def acknowledge(self, delivery: AnyDelivery) -> None:
        """It was processed: tell the intake."""
        self.worker.intake.settle(delivery, Settlement.ACK)

    def give_back(self, delivery: AnyDelivery) -> None:
        """It did not run, or was interrupted: no verdict."""
        self.tally = None
        self.worker.engine.interrupted(delivery, self.worker.now())
        self.delivery = None
        self.worker.turn_if_needed()
