"""A lane: where one delivery at a time is worked on, and what each end of that work means.

Theory of operation. A lane never sleeps on time and never asks whether a circuit is open. It asks its run for a delivery that may start,
permits in hand, and waits when there is none. `TaskLane` runs the handler in a task that serves one delivery after the other, `BatchLane`
does so with a sequence of deliveries. Where other code has the task, the lane is a `BorrowedTaskLane`: `LoopLane` (loop_form.py) is the
block of the user's own loop, `GuestLane` (guests.py) an attempt of another framework. No await lies between the end of an attempt and the
recorded settlement.

Whose was a cancellation? It was ours if the lane is `interrupted`: the source was revoked, the run drains, the channel is lost. That is no
verdict; after `timeout` it is a verdict of its own kind. It was the event loop's if the loop is shut down, by `asyncio.run` at its end or
by a program that cancels every task: that reaches the run's own task as well, which only the guard holds. Every other one is the attempt's
own, from wherever it came: a `cancel()` of its task, of a child, of a library's scope, or a CancelledError raised by hand. It is charged
like any failure of the message; a cancellation that nobody counted would be tried for ever.

Exceptions that end the process end no message: KeyboardInterrupt and SystemExit, alone or within a group. Raised in a task they stop the
event loop on the spot, and `asyncio.run` then cancels the broker client's own tasks together with ours: no commit is answered any more, and
no goodbye. So a handler's exit is kept, its guard's runs end immediately, without waiting for handlers, and `guard.run` raises the exit
when they have ended.

What is ugly: the short way in `TaskLane._work`, which settles a plain success without asking anybody. And what one delivery leaves behind
must not meet the next: a cancellation that has not arrived yet, a context variable, what a library keeps for the current task. A task per
message would see to that and cost more than all the rest. So a lane looks, in a tenth of a microsecond, whether a handler has left its
context and its task as they were, and goes on in a new task after every attempt that did not simply succeed. Once a handler has set a
context variable, each delivery of the run has a context of its own (`in_context`), which costs more than looking and less than a task.
Every context is a copy of what the caller of `guard.run` had.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Protocol, cast

from holdgate.core.causes import reading
from holdgate.errors import Reject
from holdgate.flow.attribution import AttemptCalls, Attribution, attribute
from holdgate.flow.batch import AS_THEY_ARE, Batch, BatchItems
from holdgate.flow.gate import gates_of
from holdgate.flow.message import AnyDelivery, Settlement
from holdgate.flow.policy import Verdict
from holdgate.runtime.calling import current_attempt
from holdgate.runtime.functions import in_context, see_to, seen_to
from holdgate.runtime.wording import kind_of
from holdgate.tasks import begin_later

if TYPE_CHECKING:
    from contextvars import Context

    from holdgate.flow.attribution import Judge
    from holdgate.flow.engine import Engine
    from holdgate.flow.gate import Gate
    from holdgate.flow.message import Source
    from holdgate.flow.state import Assignment
    from holdgate.ports import Intake
    from holdgate.runtime.access import Access
    from holdgate.runtime.calling import CalledDependency


# -- exits ---------------------------------------------------------------------------------------------------------------------------

EXITS = (KeyboardInterrupt, SystemExit)


def exit_in(error: BaseException | None) -> BaseException | None:
    """Return the exit that this is, or the first one in a group of any depth. None means that the process goes on."""
    ahead: list[BaseException | None] = [error]
    while ahead:
        met = ahead.pop()
        if isinstance(met, EXITS):
            return met
        if isinstance(met, BaseExceptionGroup):
            ahead.extend(reversed(cast("BaseExceptionGroup[BaseException]", met).exceptions))
    return None


# -- lanes ----------------------------------------------------------------------------------------------------------------------------


class BlockSpans(Protocol):
    """What marks the beginning and the end of a block of the loop form."""

    def begin(self, delivery: AnyDelivery) -> object | None:
        """Begin the span of a block. None means that there is none."""
        ...

    def end(self, attempt: object | None, error: BaseException | None) -> None:
        """End it with what the block has raised."""
        ...


class LaneOwner(Protocol):
    """What a lane asks of its run."""

    engine: Engine
    intake: Intake[Any]
    now: Callable[[], float]
    handler_of: Callable[[Source], Callable[[AnyDelivery], Awaitable[object]]]
    name: str
    idle: list[Lane]  # the lanes that wait for work
    closed: bool  # no lane goes on
    context: Context  # of the caller of `guard.run`: each delivery begins with it
    apart: bool  # each delivery has a context of its own
    lane_per_source: bool
    lanes_lent: int  # lanes that wait for a thread of a source that is gone

    @property
    def is_cancelled(self) -> bool:
        """Whether the event loop is being shut down."""
        ...

    @property
    def tracing(self) -> BlockSpans | None:
        """What marks the blocks of the loop form. None means nothing."""
        ...

    def next(self) -> AnyDelivery | None:
        """Return the next delivery that a free lane may start; None means that there is none."""
        ...

    def turn_if_needed(self) -> None:
        """Let the guard act if something needs it."""
        ...

    def reject(self, delivery: AnyDelivery, error: BaseException | None) -> None:
        """Put a rejected message where rejected messages go."""
        ...

    async def fall_back(self, delivery: AnyDelivery) -> None:
        """Run the fallback of the run."""
        ...

    def fallback_failed(self, delivery: AnyDelivery, error: BaseException) -> None:
        """Keep the message whose fallback raised."""
        ...

    def take_back(self, delivery: AnyDelivery) -> None:
        """Take back a delivery that did not run, or was interrupted, without a verdict."""
        ...

    def dependency_of(self, gate: Gate) -> Judge:
        """Return the user's dependency behind a gate."""
        ...

    def access_of(self, dependency: CalledDependency, source: Source) -> Access:
        """Return how the guard reaches a dependency that a handler of this source calls. From any thread."""
        ...

    def log_failure(self, delivery: AnyDelivery, error: BaseException, attribution: Attribution, needs: Sequence[str], how: str) -> None:
        """Log what a handler raised, or what it caught of a call. `needs` are those that the findings are about."""
        ...

    def leave(self, way_out: BaseException) -> None:
        """End every run of the guard: a handler ends the process."""
        ...


class UnendedThread(Protocol):
    """A thread that goes on after its handler was interrupted."""

    async def ended(self) -> None:
        """Wait until the thread has come back."""
        ...


class Lane:
    """Where one delivery at a time is worked on; call forms see it as their `Attempt` (calling.py).

    `delivery` is set from the moment it was given; None means that the lane waits. `task` works here; None means that none does yet.
    """

    __slots__ = ("_given", "calls", "delivery", "interrupted", "since", "started", "task", "timed_out", "worker")

    def __init__(self, worker: LaneOwner) -> None:
        self.worker = worker
        self.delivery: AnyDelivery | None = None
        self.calls: AttemptCalls | None = None  # made by the first call form of an attempt
        self.task: asyncio.Task[Any] | None = None
        self.started = False  # user code runs
        self.interrupted = False  # and was cancelled by us
        self.timed_out = False  # because its time was over
        self.since = 0.0  # when the running user code began, or a fraction of a millisecond later
        self._given: asyncio.Future[None] | None = None

    def wait(self) -> asyncio.Future[None]:
        """Return a future that is done when a delivery was given. It is made in this very step, so that no wake-up is lost in between."""
        given = self._given = asyncio.get_running_loop().create_future()
        if self not in self.worker.idle:  # it is there still when an earlier wait was cancelled
            self.worker.idle.append(self)
        self.worker.turn_if_needed()  # may give to this lane already
        return given

    def give(self, delivery: AnyDelivery) -> None:
        """Take a delivery whose permits are in hand; it starts at the lane's next step."""
        self.delivery = delivery
        given, self._given = self._given, None
        if given is not None and not given.done():
            given.set_result(None)

    def access_of(self, dependency: CalledDependency) -> Access:
        """Return how its guard reaches a dependency that the running handler calls. From any thread."""
        delivery = self.delivery
        return dependency.access if delivery is None else self.worker.access_of(dependency, delivery.source)

    def works_for(self, assignments: set[Assignment]) -> bool:
        """Return whether it has a delivery of one of these assignments."""
        return self.delivery is not None and self.delivery.assignment in assignments

    @property
    def runs_on(self) -> AnyDelivery | None:
        """The delivery whose handler goes on in a thread, though it was interrupted. None means that there is none."""
        return None

    @property
    def oversleeps(self) -> bool:
        """Whether it should have started its delivery, a step after it was given, and has not.

        False for a loop, which starts when its user comes back to it.
        """
        return False

    def let_go(self) -> None:
        """Hand back a delivery that was given and may never start. A task starts within a step, and looks then."""

    def interrupt(self) -> None:
        """Cancel the running user code, once. A delivery that was given and has not started is handed back when it would start."""
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
        """Return whether we are in the middle of a step of the task. An eager task that it makes is the current one meanwhile."""
        return task is asyncio.current_task() or bool(getattr(task.get_coro(), "cr_running", False))

    def time_out(self) -> None:
        """Cancel the running user code because its time is over. That is a verdict."""
        if self.interrupted or not self.started:
            return
        self.timed_out = True
        if self.calls is not None:
            self.calls.timed_out = True
        self.interrupt()

    def _cancel(self, delivery: AnyDelivery | None) -> None:
        if self.interrupted and self.started and self.delivery is delivery and self.task is not None:
            self.task.cancel()

    def end_task(self) -> asyncio.Task[Any] | None:
        """Interrupt what runs here, because the run is over. Returns the task if it is the run's own and will end now."""
        self.interrupt()
        return None

    def recovered(self) -> None:
        """Note that our own cancellation has arrived, and is over."""
        self.interrupted = self.timed_out = False
        if self.task is not None:
            self.task.uncancel()

    def beyond(self, error: BaseException) -> BaseException | None:
        """Return what does not end with the attempt that raised `error`. None means that it is the attempt's own end.

        It is a CancelledError when the event loop is shut down, whatever the handler makes of it. It is a GeneratorExit when the coroutine
        is closed from outside: nothing may be done any more then. It is an exit, which ends the run; the run learns of it here.
        """
        if self.worker.is_cancelled and not self.interrupted and self.task is not None and self.task.cancelling():
            return error if isinstance(error, asyncio.CancelledError) else asyncio.CancelledError()
        way_out = reading(exit_in, error)
        if isinstance(error, GeneratorExit) and not self._is_current():
            return error
        if way_out is not None:
            self.worker.leave(way_out)
        return way_out

    def _is_current(self) -> bool:
        try:
            return asyncio.current_task() is self.task
        except RuntimeError:  # no loop runs: the interpreter clears up
            return False

    def end(self, delivery: AnyDelivery, error: BaseException | None, *, timed_out: bool = False) -> Verdict:
        """Settle an attempt by what its calls and its exception say, or by what the handler asked for.

        `error` None means that it returned. `timed_out` means that its time was over. Not for an attempt that we, or a loop that shuts
        down, have interrupted.
        """
        worker = self.worker
        now = worker.now()
        raised = error
        calls, self.calls = self.calls, None
        request = delivery.request
        gates = gates_of(delivery)
        if request is not None and request.reason is not None:
            rejection = Reject(request.reason)
            rejection.__cause__ = error  # it may come from a refusal, and then it is the outage that speaks
            error = rejection
        attribution = attribute(
            [worker.dependency_of(gate) for gate in gates],
            calls,
            error,
            now,
            timed_out=timed_out,
            not_retryable=delivery.assignment.run.retry.not_retryable,
            postponed=request is not None,
        )
        name = type(error).__name__ if error is None else kind_of(error)
        verdict = worker.engine.settle(delivery, attribution, name, now, reason=attribution.reason)
        how = ""
        if raised is None and calls is not None and calls.excused:
            raised, how = calls.excused[-1], "caught by the handler"
        if raised is not None:  # now that the circuit knows: to write may take a while
            worker.log_failure(delivery, raised, attribution, [gate.name for gate in gates], how)
        if verdict is Verdict.DONE:
            self.acknowledge(delivery)
        elif verdict is Verdict.REJECT:
            worker.reject(delivery, error)
        self.delivery = None
        return verdict

    def acknowledge(self, delivery: AnyDelivery) -> None:
        """Settle a delivery that was processed."""
        self.worker.intake.settle(delivery, Settlement.ACK)

    def forget_calls(self) -> None:
        """Let go of what the attempt's calls came to: nobody will judge it by them."""
        self.calls = None

    def give_back(self, delivery: AnyDelivery) -> None:
        """Hand back a delivery that did not run, or was interrupted, without a verdict."""
        self.forget_calls()
        self.worker.take_back(delivery)
        self.delivery = None
        self.worker.turn_if_needed()


class BorrowedTaskLane(Lane):
    """A lane whose attempts run in tasks of other code, which may never come back to it: what was not begun is taken back by itself."""

    __slots__ = ()

    def passes(self, error: BaseException) -> bool:
        """Return whether an exception ends more than the attempt: its task is cancelled by others, or the process ends."""
        if isinstance(error, asyncio.CancelledError):
            return self.task is not None and self.task.cancelling() > 0
        return exit_in(error) is not None or not isinstance(error, Exception | BaseExceptionGroup)

    def let_go(self) -> None:
        """Take back a delivery that was given and has not begun."""
        if self.delivery is not None and not self.started:
            self.give_back(self.delivery)

    def interrupt(self) -> None:
        """Cancel the attempt. If it has not begun yet, take the delivery back."""
        self.let_go()
        super().interrupt()


_ACK = Settlement.ACK  # a name of the module: an enum's member costs more to look up than most steps here

# After so many deliveries of one source, or seconds, a lane lets others have their turn. The number bounds a handler that never waits, to
# about 0.3 ms, and is what one poll of Kafka gives; a turn of the lanes costs as much as ten such messages. The time makes it one delivery
# for a handler that does wait, so that a backlog of slow work keeps no other source waiting.
_SLICE = 256
_SLICE_SECONDS = 0.0004


class TaskLane(Lane):
    """One worker of one run. Its tasks belong to the guard: no scope of the user's cancels them."""

    __slots__ = ("_clean", "_ended", "_leftover", "spent")

    def __init__(self, worker: LaneOwner, ended: Callable[[TaskLane, asyncio.Task[None]], None]) -> None:
        super().__init__(worker)
        self.spent = False  # this task has run what may have left something in it: the lane goes on in another
        self._ended = ended
        self._leftover: tuple[UnendedThread, AnyDelivery] | None = None  # goes on after its handler was interrupted
        self._clean = worker.context.copy()
        self._clean.run(current_attempt.set, self)

    def start(self) -> None:
        """Work from the loop's next step on; `ended` is called when the lane has ended."""
        task = self.task = begin_later(self._run(), f"lane of {self.worker.name}", self._clean.copy())
        task.add_done_callback(self._task_ended)

    def leave(self, call: UnendedThread) -> None:
        """Stay taken until this thread has come back: it cannot be stopped, and the verdict is given without it."""
        if self.delivery is not None:
            self._leftover = (call, self.delivery)

    @property
    def runs_on(self) -> AnyDelivery | None:
        return None if self._leftover is None else self._leftover[1]

    @property
    def oversleeps(self) -> bool:
        return not self.started

    def end_task(self) -> asyncio.Task[Any] | None:
        """End now, between two deliveries or while waiting for a thread; where a handler runs, end with it."""
        interrupted_before = self.interrupted
        self.interrupt()
        if not self.started and self.task is not None:
            self.task.cancel()
        return None if interrupted_before else self.task

    def abandon(self) -> None:
        """Hand back what was in hand when the task went away; that is no verdict."""
        if self.delivery is not None and self.delivery.permits is not None:
            self.worker.engine.interrupted(self.delivery, self.worker.now())
        self.delivery = None

    def look_at_task(self) -> bool:
        """Return whether user code that returned has spent this task: its context has changed, or a cancellation may still arrive in it."""
        if copy_context() != self._clean:
            self.spent = self.worker.apart = True
        elif self.task is not None and self.task.cancelling():
            self.spent = True
        return self.spent

    def prepare(self, handler: Callable[[AnyDelivery], Awaitable[object]]) -> Callable[[AnyDelivery], Awaitable[object]]:
        """Return the handler as it is, or one that runs in a context of its own each time."""
        if not self.worker.apart:
            return handler
        return lambda delivery: in_context(self._clean.copy(), seen_to(handler), delivery)

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

    async def _wait_for_thread(self, leftover: UnendedThread, delivery: AnyDelivery) -> None:
        """Wait for a thread that cannot be stopped: its verdict is given, its lane stays taken.

        Where each source has a lane, a source that is gone must not keep the lane of the one that came for it.
        """
        gone = delivery.assignment.closing and self.worker.lane_per_source
        self.worker.lanes_lent += gone
        try:
            await leftover.ended()
        finally:
            self._leftover = None
            self.worker.lanes_lent -= gone

    async def _work(self, delivery: AnyDelivery) -> None:  # noqa: C901 - every message runs through this loop: a call would cost more
        """Run this delivery and those of its source that follow, for a slice."""
        assignment = delivery.assignment
        if assignment.going:  # between the grant and now the source went away
            self.give_back(delivery)
            return
        if delivery.history is not None and delivery.history.falling_back:
            await self._fall_back(delivery)
            return
        worker = self.worker
        engine, now, settle = worker.engine, worker.now, worker.intake.settle
        handler = self.prepare(worker.handler_of(assignment.source))
        direct = assignment.direct is not None
        clean, cancelling = self._clean, _counter(self.task)
        over = False
        slice_ends = self.since = now() + _SLICE_SECONDS  # no handler of this slice begins later than that
        # True until the slice is over, and not only while a handler runs: nobody looks in between, except in a turn.
        self.started = True
        for left in range(_SLICE, 0, -1):
            try:
                result = await handler(delivery)
                if result is not None:
                    await see_to(result)
            except BaseException as error:  # noqa: BLE001 - every end is a verdict; what is not the handler's is raised again inside
                self._raised(delivery, error)
                return
            time = now()
            over = left == 1 or time >= slice_ends
            # A copy costs the same whatever is in it, and one that nobody has changed is compared at a glance.
            if copy_context() != clean or cancelling():
                over = self.look_at_task()
            if direct and not (
                over
                or assignment.held
                or self.interrupted
                or self.calls is not None
                or delivery.history is not None
                or delivery.request is not None
            ):
                following = engine.pass_on(delivery, time)
                settle(delivery, _ACK)
            else:
                self.started = False
                self._returned(delivery, time)
                over = over or self.spent
                following = None if over else engine.follow(assignment, time)
                self.started = True
            self.delivery = following
            if engine.needs_turn:
                self.started = False
                worker.turn_if_needed()
                self.started = True
            if following is None:
                break
            delivery = following
        self.started = False
        if over:
            assignment.run.mark_ready(assignment)
            await self._let_others_run()

    async def _let_others_run(self) -> None:
        if not self.spent:  # else the next task begins after the others, and a wait in this one could meet a cancellation
            await asyncio.sleep(0)

    def _returned(self, delivery: AnyDelivery, time: float) -> None:
        """Settle an attempt that returned, where more than the common case may be to do."""
        self._returned_late()
        if self.calls is not None or delivery.history is not None or delivery.request is not None:
            self.end(delivery, None)
        elif self.worker.engine.succeeded(delivery, time) is Verdict.DONE:
            self.acknowledge(delivery)

    def end(self, delivery: AnyDelivery, error: BaseException | None, *, timed_out: bool = False) -> Verdict:
        """Settle an attempt as every lane does. What comes again is tried in another task."""
        verdict = super().end(delivery, error, timed_out=timed_out)
        self.spent = self.spent or verdict is not Verdict.DONE
        return verdict

    def _returned_late(self) -> None:
        """Note that an attempt returned although we had interrupted it: processed is processed."""
        if self.interrupted:
            self.recovered()
            self.spent = True  # our cancellation may still be on its way

    def _raised(self, delivery: AnyDelivery, error: BaseException, *, falling_back: bool = False) -> None:
        """Settle an attempt, or a fallback, that raised.

        Raises what ends the lane, too: its coroutine is being closed, or the event loop shut down.
        """
        self.started = False
        self.spent = True
        beyond = self.beyond(error)
        if isinstance(beyond, GeneratorExit):
            raise beyond
        ours, timed_out = self.interrupted, self.timed_out
        if ours:
            self.recovered()
        if timed_out:  # the handler's own line is where it was cancelled
            error = TimeoutError().with_traceback(error.__traceback__)
        if not timed_out and (ours or beyond is not None):
            self.give_back(delivery)
        elif falling_back:
            self._fallback_failed(delivery, error)
        else:
            self.end(delivery, error, timed_out=timed_out)
        if isinstance(beyond, asyncio.CancelledError):
            raise beyond
        self.worker.turn_if_needed()

    # -- falling back -----------------------------------------------------------------------------------------------------------------

    async def _fall_back(self, delivery: AnyDelivery) -> None:
        """Run the fallback of a delivery instead of its handler, and settle the delivery by it.

        Between the grant and now no lane was free, or a step has passed. By now its dependency may be tried again, or an operator has
        stopped the source: then the delivery waits for its needs instead.
        """
        assignment = delivery.assignment
        worker = self.worker
        self.since = worker.now()
        if not assignment.falls_back(delivery, self.since):
            delivery.attempt -= 1
            self.give_back(delivery)
            return
        self.started = True
        try:
            await self.prepare(worker.fall_back)(delivery)
        except BaseException as error:  # noqa: BLE001 - every end is a verdict; what is not the fallback's is raised again inside
            self._raised(delivery, error, falling_back=True)
            return
        self.started = False
        self.forget_calls()  # no call in a fallback is a verdict
        self.look_at_task()
        self._returned_late()
        if worker.engine.fell_back(delivery, worker.now()) is Verdict.DONE:
            worker.intake.settle(delivery, Settlement.ACK)
        self.delivery = None
        worker.turn_if_needed()

    def _fallback_failed(self, delivery: AnyDelivery, error: BaseException) -> None:
        self.forget_calls()
        self.worker.fallback_failed(delivery, error)
        self.delivery = None


def _counter(task: asyncio.Task[None] | None) -> Callable[[], int]:
    """Return what counts how often a task was asked to cancel itself."""
    return int if task is None else task.cancelling


class BatchLane(TaskLane):
    """A lane whose handler takes a sequence of deliveries: a kind of its own, so that the loop of single deliveries asks nothing about
    them.

    It takes one batch, and lets others run before the next: what waits for the loop meanwhile is the poll that brings it. A batch that was
    cut down to one message is that message from its start on, by the rules of single deliveries. Where the intake made the batch, it is
    settled by one call.
    """

    __slots__ = ("_rested",)

    def __init__(self, worker: LaneOwner, ended: Callable[[TaskLane, asyncio.Task[None]], None]) -> None:
        super().__init__(worker, ended)
        self._rested = True  # others have run since its last batch

    def start(self) -> None:
        self._rested = True
        super().start()

    def wait(self) -> asyncio.Future[None]:
        self._rested = True
        return super().wait()

    def acknowledge(self, delivery: AnyDelivery) -> None:
        """Settle a batch whole if its intake knows it, else each of its deliveries."""
        if isinstance(delivery, Batch) and delivery.origin is AS_THEY_ARE:
            for one in delivery.message:
                self.worker.intake.settle(one, Settlement.ACK)
        else:
            self.worker.intake.settle(delivery, Settlement.ACK)

    async def _work(self, delivery: AnyDelivery) -> None:
        if not self._rested:
            await asyncio.sleep(0)
        if delivery.assignment.going:  # between the grant and now the source went away
            self.give_back(delivery)
            return
        if isinstance(delivery, Batch) and len(delivery) == 1:
            delivery = self.delivery = delivery.single()
        items: BatchItems[Any] = delivery.items() if isinstance(delivery, Batch) else BatchItems.of(delivery)
        handler = self.prepare(self.worker.handler_of(delivery.source))
        self._rested = False
        self.started = True
        self.since = self.worker.now()
        try:
            result = await handler(cast("AnyDelivery", items))  # the handler of a run with batches takes this
            if result is not None:
                await see_to(result)
        except BaseException as error:  # noqa: BLE001 - every end is a verdict; what is not the handler's is raised again inside
            self._raised(delivery, error)
            return
        self.started = False
        self.look_at_task()
        if isinstance(delivery, Batch) and items.made and items.requests():
            self._returned_in_parts(delivery, items)
        else:
            self._returned(delivery, self.worker.now())
        self.delivery = None
        self.worker.turn_if_needed()

    def _returned_in_parts(self, batch: Batch, items: BatchItems[Any]) -> None:
        """Settle a batch whose handler has asked for something else for some of its messages."""
        self._returned_late()
        self.spent = True  # some of them come again
        worker, now = self.worker, self.worker.now()
        calls, self.calls = self.calls, None
        attribution = attribute([worker.dependency_of(gate) for gate in gates_of(batch)], calls, None, now)
        parted = worker.engine.settle_in_parts(batch, items, items.requests(), attribution, now)
        for one in parted.done:
            worker.intake.settle(one, Settlement.ACK)
        for one in parted.rejected:
            worker.reject(one, Reject(one.history.reason))
