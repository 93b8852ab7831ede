"""One run: an intake, its poll task, its lanes, and what the intake reports about its sources.

Theory of operation. The poll and the handlers are different tasks. The poll task goes on while the run drains, because a consumer that
stops polling is thrown out of its group. It is cancelled only after a receive has not returned for a long time. All tasks are plain asyncio
tasks that the guard and its runs hold, so that no scope of the user's cancels them. `wait_for_end` waits for runs to end, however often the
caller is cancelled.

What is ugly. Opening, draining and closing each have a time limit of their own, because each waits for other code that may never return.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from holdgate.core.causes import chain_of
from holdgate.errors import HoldgateError, IntakeError, SettingsError
from holdgate.flow.batch import Batch, batches_of
from holdgate.flow.gate import Gate
from holdgate.flow.message import AnyDelivery, Settlement, Source
from holdgate.flow.plan import Plan
from holdgate.flow.policy import Verdict
from holdgate.ports import AttemptSpans, Batching, Intake, Locking, ReadingAhead
from holdgate.runtime.failures import FailureLog
from holdgate.runtime.functions import see_to
from holdgate.runtime.handlers import Handler, Tracing
from holdgate.runtime.lane import EXITS, BatchLane, Lane, TaskLane
from holdgate.runtime.last_resort import LastResort, name_some
from holdgate.runtime.needs import with_known_needs
from holdgate.runtime.outbox import Outbox, tell_way_out
from holdgate.runtime.overdue import Overdue
from holdgate.runtime.run_log import RunLog
from holdgate.runtime.run_settings import RunSettings
from holdgate.runtime.standstill import Standstill
from holdgate.runtime.undeclared import CalledInHandlers, tell_unguarded
from holdgate.tasks import begin_later

if TYPE_CHECKING:
    from holdgate.flow.attribution import Attribution
    from holdgate.flow.engine import Engine
    from holdgate.flow.events import HandlerStuck
    from holdgate.flow.state import Assignment
    from holdgate.runtime.access import Access
    from holdgate.runtime.calling import CalledDependency
    from holdgate.runtime.dependency import Dependency
    from holdgate.runtime.folding import LogSettings
    from holdgate.runtime.undeclared import Undeclared


log = logging.getLogger("holdgate")


async def wait_for_end(runs: Mapping[Worker, asyncio.Task[None]]) -> None:
    """Wait until all of these runs have ended, however often the caller is cancelled meanwhile.

    A cancellation interrupts their handlers, and is raised at the end. The caller must have asked the runs to stop before.
    """
    cancelled: asyncio.CancelledError | None = None
    # The shield is for anyio, which cancels again at every step. What still comes through is a cancellation of this very task.
    with anyio.CancelScope(shield=True):
        while pending := [task for task in runs.values() if not task.done()]:
            try:
                await asyncio.wait(pending)
            except asyncio.CancelledError as error:
                cancelled = error
                for worker in runs:
                    worker.hurry()
    if cancelled is not None:
        raise cancelled


class RunHost(Protocol):
    """A guard, as those see it who have a run of their own on it (loop_form.py, guests.py)."""

    def new_worker(self, intake: Intake[Any], plans: RunSettings, handler_of: Callable[[Source], Handler]) -> Worker:
        """Make a planned run, which `start` begins."""
        ...

    def start(self, worker: Worker) -> asyncio.Task[None]:
        """Run a worker in a task that the guard holds."""
        ...

    async def finish(self, runs: Mapping[Worker, asyncio.Task[None]]) -> None:
        """Drain these runs and wait until they have ended."""
        ...


async def has_opened(host: RunHost, worker: Worker, task: asyncio.Task[None]) -> bool:
    """Wait until a run that was started is open, and return True; False if it has ended instead. A cancellation ends the run first."""
    try:
        await asyncio.wait({worker.opened, task}, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        await host.finish({worker: task})
        raise
    return not task.done()


def log_end(worker: Worker, task: asyncio.Task[None]) -> None:
    """Log what ended a run that nobody waits for any more."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("%s ended with %s while it drained: %s", worker.name, type(error).__name__, error)


def raise_end(task: asyncio.Task[None]) -> None:
    """Raise what ended a run.

    An error of holdgate's own says what is wrong and what to change. The steps within holdgate and the client that led to it would be a
    hundred lines around that sentence, so they are taken off it and off its causes, and logged at DEBUG.
    """
    error = task.exception()
    if error is None:
        return
    if isinstance(error, HoldgateError):
        log.debug("%s was raised here:", type(error).__name__, exc_info=error)
        for link in chain_of(error).explicit:
            link.__traceback__ = None
            link.__suppress_context__ = True
    raise error


# -- the run --------------------------------------------------------------------------------------------------------------------------

# An interrupted handler gets this long to let go (close a connection, roll back). One that takes longer is left behind and named (seconds).
_UNWIND = 2.0

# A receive waits for `poll_timeout`, and one of aiokafka's was seen to wait 2.6 s in a rebalance: a longer one will not return (seconds).
_LAST_POLL = 5.0


# A turn for each poll would be a tenth of what quick handlers cost. What only a turn sees, such as a handler that has just become slow, may
# wait so long (seconds); an intake whose poll is empty waits as long before it says so.
_TURN_EVERY = 0.1


class RunOwner(Protocol):
    """What a run needs of its guard."""

    engine: Engine
    now: Callable[[], float]
    dependencies: dict[str, Dependency]
    undeclared: Undeclared
    hold_warn_after: float  # seconds
    log_settings: LogSettings
    failures: FailureLog
    spans: AttemptSpans | None  # None means no spans
    last_resort: LastResort

    def turn(self) -> None:
        """Bring everything up to date, now."""
        ...

    def wake(self) -> None:
        """Take a turn at the loop's next step."""
        ...

    def hurry(self) -> None:
        """Stop every run, and wait for no handler."""
        ...


class Worker:
    """Runs one intake. `main` returns after a stop, and raises what ended the intake; it drains in both cases."""

    def __init__(
        self, guard: RunOwner, intake: Intake[Any], plans: RunSettings, handler_of: Callable[[Source], Handler], *, drain_timeout: float
    ) -> None:
        loop = asyncio.get_running_loop()
        self.guard = guard
        self.engine = guard.engine
        self.now = guard.now
        self.intake = intake
        self.run = plans.run
        self.tracing = None if guard.spans is None else Tracing(guard.spans, intake, plans.run.needs.of)
        known = handler_of if plans.sorter is None else with_known_needs(handler_of)
        self.handler_of = known if self.tracing is None else self.tracing.around(known)
        self.name = "+".join(sorted(intake.names or ())) or type(intake).__name__
        self.idle: list[Lane] = []
        self.lanes: list[Lane] = []
        self.opened: asyncio.Future[None] = loop.create_future()
        self.started = False  # an assignment has come, even if an empty one
        self.polled_at = guard.now()  # when a receive last returned
        self.closed = False  # no lane goes on
        self.lane_per_source = plans.lane_per_source
        self.standstill = Standstill(intake, guard.now)
        self.lanes_lent = 0  # lanes that wait for the thread of a source that is gone
        self._called = CalledInHandlers(lambda dependency, source: guard.undeclared.take_up(dependency, plans.run, source))
        locks = intake if isinstance(intake, Locking) else None
        self._outbox = Outbox(plans.dead_letters, locks, sent=self._letter_sent, failed=self._letter_failed, withheld=self._letter_withheld)
        self.log = RunLog(self, guard.log_settings, plans.dead_letters)
        self._left = 0  # how many messages are left by handlers that were cut off
        self._flushed: bool | None = False  # whether everything was out after the drain; None means that the intake does not say
        self._plans = plans
        self._drain_timeout = drain_timeout
        self._asked: asyncio.Future[None] = loop.create_future()  # done when the run was asked to drain and end
        self._hurried: asyncio.Future[None] = loop.create_future()  # done when it must wait for no handler any more
        self._watchers: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._overdue = Overdue(plans.timeout, guard.hold_warn_after, guard.now())
        self._applied = -1
        self.exit: BaseException | None = None  # with what a handler ends the process; `guard.run` raises it
        self.context = copy_context()  # the context of the caller of `guard.run`, with which each delivery begins
        self.apart = False  # whether a handler has set a context variable; from then on each delivery has its own context
        self._task: asyncio.Task[None] | None = None
        self._broken: BaseException | None = None  # what the run ends with
        self._polling = True
        self._taken_back: list[AnyDelivery] = []  # while handlers are cut off

    # -- the life of a run ------------------------------------------------------------------------------------------------------------

    async def main(self) -> None:
        """Open, work until asked to stop or the intake ends, drain, close."""
        self._task = asyncio.current_task()
        try:
            if await self._open():
                await self._consume()
        except Exception as error:  # noqa: BLE001 - kept, and raised below: the intake is closed first
            self.fail(error)
        finally:
            await self._close()
        if self._broken is not None:
            raise self._broken

    def stop(self) -> None:
        """Ask the run to drain and end. No handler starts from this step on. Idempotent."""
        if not self._asked.done():
            self._asked.set_result(None)
            self.engine.drain(self.run, self.now())

    def hurry(self) -> None:
        """Stop the run without waiting for handlers: those that still run are interrupted now."""
        self.stop()
        if not self._hurried.done():
            self._hurried.set_result(None)

    @property
    def is_cancelled(self) -> bool:
        """Whether the event loop is being shut down: nobody else can reach the run's own task."""
        return self._task is not None and self._task.cancelling() > 0

    def leave(self, way_out: BaseException) -> None:
        """End every run of the guard without waiting for handlers, because a handler ends the process."""
        self.exit = self.exit or way_out
        self.guard.hurry()

    def fail(self, error: BaseException) -> None:
        """Drain the run because it cannot go on. `main` raises the first error that comes here, and later ones are logged."""
        if isinstance(error, EXITS):
            self.stop()  # an exit that was raised in a task has gone out of the loop already
            return
        if self._broken is None:
            self._broken = error
        elif error is not self._broken:
            log.error("%s: another error while the run ended, %s: %s", self.name, type(error).__name__, error)
        self.stop()

    async def _open(self) -> bool:
        """Open the intake. Returns False when the run was asked to stop meanwhile.

        A stop does not wait for the opening: nothing is in hand before its end, and a broker that accepts the connection and never answers
        would keep a terminating pod until it is killed.
        """
        opening = begin_later(self._open_all(), f"opening of {self.name}")
        try:
            await asyncio.wait({opening, self._asked}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not opening.done():
                opening.cancel()
                await asyncio.wait({opening}, timeout=_UNWIND)
        if self._asked.done() and self._given_up(opening):
            return False
        if opening.cancelled():
            raise IntakeError(f"{self.name}: opening was cancelled from outside; to end a run, cancel `guard.run` or stop the guard")
        opening.result()
        if self._broken is not None:  # an assignment has come that this run cannot serve
            return False
        self.polled_at = self.now()
        self.standstill.start()
        self.opened.set_result(None)
        return True

    def _given_up(self, opening: asyncio.Task[None]) -> bool:
        """Return whether the opening came to nothing. An error of the opening is no error of a run that is to end."""
        if not opening.done():
            opening.add_done_callback(lambda late: late.cancelled() or late.exception())
        elif not opening.cancelled():
            error = opening.exception()
            if error is None:
                return False
            log.info("%s: asked to stop while it was being opened, which ended with %s", self.name, type(error).__name__)
            return True
        log.info("%s: asked to stop while it was being opened", self.name)
        return True

    async def _open_all(self) -> None:
        """Open the dead letters and then the intake: an intake must not read messages that could not be put anywhere."""
        await self._outbox.open(self.intake.names)
        if self.run.batch is not None and isinstance(self.intake, Batching):
            self.intake.deliver_in_batches(self.run.batch)
        if self.engine.memory.bound is not None and isinstance(self.intake, ReadingAhead):
            self.intake.bound(self.engine.memory.bound)
        await self.intake.open(self)
        tell_unguarded(self.name, self.run, self.intake.names, others=bool(self.guard.dependencies))
        tell_way_out(self.name, self.run, self._outbox)
        self.log.opened()

    async def _consume(self) -> None:
        poll = begin_later(self._poll(), f"poll of {self.name}")
        poll.add_done_callback(self._poll_ended)
        try:
            await asyncio.wait({poll, self._asked}, return_when=asyncio.FIRST_COMPLETED)
            await self._drain()
        finally:
            self._polling = False
        await asyncio.wait({poll}, timeout=_LAST_POLL)
        if not poll.done():
            log.error("%s: a receive has not returned for %g s; it is abandoned", self.name, _LAST_POLL)
            poll.cancel()

    async def _poll(self) -> None:
        turn_at = 0.0
        while self._polling:
            deliveries = await self.intake.receive()
            self.polled_at = self.now()
            if self.run.batch is not None:
                deliveries = batches_of(deliveries)
            if self._plans.key_of is not None:
                self._plans.set_keys(deliveries)
            if self._plans.sorter is not None:
                self._plans.sorter.sort(deliveries, self.run, self.engine, self.guard.dependencies)
            quiet = deliveries and self.engine.received_quietly(self.run, deliveries) and not self._watchers
            if quiet and self.polled_at < turn_at:
                self.hand_out()
                self.turn_if_needed()
                continue
            turn_at = self.polled_at + _TURN_EVERY
            self.guard.turn()

    def _poll_ended(self, poll: asyncio.Task[None]) -> None:
        if not poll.cancelled():
            error = poll.exception()
            if error is not None:
                self.fail(error)
        elif self._polling:  # a CancelledError of the run would end a task group's child in silence
            self.fail(IntakeError(f"{self.name}: the poll was cancelled from outside; to end a run, cancel `guard.run` or stop the guard"))

    async def _drain(self) -> None:
        self.stop()
        for lane in self.lanes:
            lane.let_go()
        self.guard.turn()
        if not self._is_quiet():
            self.log.stops(sum(lane.delivery is not None for lane in self.lanes), self.guard.last_resort.drain_for)
        if not await self._until(self._is_quiet, self.guard.last_resort.drain_for):
            await self._cut_off()
        self._flushed = await self.intake.flush()

    async def _cut_off(self) -> None:
        """Interrupt the handlers that have not ended, and say which messages they leave. One that ends well all the same leaves none."""
        in_work = [(lane, lane.delivery) for lane in self.lanes if lane.delivery is not None and lane.started]
        self._taken_back.clear()
        await self._interrupt(lambda lane: lane.delivery is not None)
        unended = [delivery for lane, delivery in in_work if lane.delivery is delivery]
        left = [delivery for _, delivery in in_work if delivery in unended or delivery in self._taken_back]
        threads = place_all(lane.runs_on for lane, delivery in in_work if lane.runs_on is delivery)
        self._taken_back.clear()
        if left:
            in_a_hurry = self._hurried.done()  # somebody wants that: a second Ctrl-C, or a handler that ends the process
            why = "it ends immediately" if in_a_hurry else f"drain_timeout ({self._drain_timeout:g} s) is over"
            runs_on = f" In threads, which cannot be stopped, these go on, and what they do settles nothing: {name_some(threads)}."
            log.log(
                logging.INFO if in_a_hurry else logging.WARNING,
                "%s: %s, and handlers were cut off. Not settled, so these messages come again: %s.%s",
                self.name, why, name_some(place_all(left)), runs_on if threads else "",
            )  # fmt: skip
            self._left = len(left)
            go_on = [partial(_is_at, lane, delivery) for lane, delivery in in_work if delivery in unended]
            self.guard.last_resort.was_cut_off(place_all(left), in_threads=bool(threads), unended=go_on)

    async def _close(self) -> None:
        self.closed = True
        self._called.close()
        self.standstill.stop()
        self.log.stop()
        held = len(self.run.assignments)
        ending = [task for lane in self.lanes if (task := lane.end_task()) is not None]
        self.engine.remove_run(self.run, self.now())
        self.guard.wake()  # what this run gave back may let another run go on
        for close in (self.intake.close, self._outbox.close):
            try:
                await close()
            except Exception as error:  # noqa: BLE001 - kept by `fail`, behind what ended the run
                self.fail(error)
        if ending:
            await asyncio.wait(ending, timeout=_UNWIND)
        if self.opened.done():
            self.guard.failures.flush()
            self.log.stopped(held, self._left, flushed=self._flushed, error=self._broken)

    # -- what the engine and the guard ask --------------------------------------------------------------------------------------------

    def hand_out(self) -> None:
        """Give what may start to idle lanes, and make lanes up to the run's concurrency."""
        while self.idle or len(self.lanes) - self.lanes_lent < self.run.lanes:
            delivery = self.next()
            if delivery is None:
                return
            lane = self.idle.pop() if self.idle else self._new_lane()
            lane.give(delivery)

    def apply(self) -> None:
        """Bring the plan to the intake when the plan has changed, and wake those that wait for work to end."""
        if self.run.plan.version != self._applied:
            self._applied = self.run.plan.version
            try:
                self.intake.apply(self.run.plan)
            except Exception as error:  # noqa: BLE001 - `apply` must not raise; if it does, this run ends and not the turn
                self.fail(error)
        for watcher in [watcher for watcher in self._watchers if watcher[0]()]:
            self._watchers.remove(watcher)
            if not watcher[1].done():
                watcher[1].set_result(None)

    async def fall_back(self, delivery: AnyDelivery) -> None:
        """Run the fallback for one delivery."""
        fallback = self._plans.fallback
        if fallback is not None:  # without a fallback the engine starts none
            traced = fallback if self.tracing is None else self.tracing.around_fallback(fallback, delivery.source)
            result = await traced(delivery)
            if result is not None:
                await see_to(result)

    def fallback_failed(self, delivery: AnyDelivery, error: BaseException) -> None:
        """Log what the fallback raised. The message keeps its place."""
        self.log.failed += 1
        self.guard.failures.attempt(delivery, error, (), "raised by the fallback")
        self.engine.fallback_failed(delivery, self.now())

    def look_for_overdue(self, now: float) -> list[HandlerStuck]:
        """Interrupt handlers whose time is over, and return what to announce."""
        return self._overdue.look(self.lanes, now) if now >= self._overdue.next_at else []  # each turn asks, and nearly none finds it due

    @property
    def read_ahead(self) -> int:
        """The bytes that the intake's client has and `receive` has not given yet; 0 for an intake that does not report them."""
        return self.intake.read_ahead if isinstance(self.intake, ReadingAhead) else 0

    @property
    def next_look(self) -> float:
        """When to look for overdue handlers again."""
        return self._overdue.next_at

    def next(self) -> AnyDelivery | None:
        """Return the next delivery that a free lane may start. None means that there is none now."""
        now = self.now()
        if now > self.standstill.until:
            self.standstill.noticed(now)
        while True:
            delivery = self.engine.next(self.run, now)
            if delivery is None or delivery.history is None or delivery.history.reason is None:
                return delivery
            self._outbox.send(delivery)  # rejected before: its letter goes out again, and the message keeps its place until then

    def turn_if_needed(self) -> None:
        """Let the guard take a turn if something needs one. So does waiting for work to end: after its end the poll takes no turns."""
        if self.engine.needs_turn or self._watchers:
            self.guard.turn()

    def reject(self, delivery: AnyDelivery, error: BaseException | None) -> None:
        """Put a rejected message where it goes: into the dead letters, or else the broker's own way."""
        if self._outbox.has_target:
            self._outbox.add(delivery, error)
        elif self.engine.rejected(delivery, self.now()) is Verdict.DONE:
            self.intake.settle(delivery, Settlement.REJECT)
            self._is_dead(delivery, "was rejected", logging.WARNING)

    def _letter_sent(self, delivery: AnyDelivery) -> None:
        """Settle a message whose letter is confirmed, if the message is still ours."""
        try:
            if self.engine.rejected(delivery, self.now()) is Verdict.DONE:
                self.intake.settle(delivery, Settlement.ACK)
                self._is_dead(delivery, "is in the dead letters", logging.INFO)
        except Exception as error:  # noqa: BLE001 - otherwise the error would be lost here
            self.fail(error)
        self.guard.wake()

    def _is_dead(self, delivery: AnyDelivery, where: str, level: int) -> None:
        self.log.dead += 1
        self.guard.failures.dead(delivery, where, level)

    def _letter_failed(self, delivery: AnyDelivery) -> None:
        self.engine.reject_failed(delivery, self.now())
        self.guard.wake()

    def _letter_withheld(self, delivery: AnyDelivery) -> None:
        self.engine.let_go(delivery, self.now())
        self.guard.wake()

    def sends_for(self, assignment: Assignment) -> bool:
        """Return whether a letter of this assignment is on its way now."""
        return self._outbox.works_for((assignment,))

    def skip(self, source: Source, position: int, reason: str) -> bool:
        """Settle a message that an operator gives up. Returns False when there is no such message here."""
        delivery = self.engine.skip(self.run, source, position, reason, self.now())
        if delivery is not None:
            self._outbox.drop(delivery)
            self.intake.settle(delivery, Settlement.ACK)
        return delivery is not None

    def take_back(self, delivery: AnyDelivery) -> None:
        """Take back a delivery that did not run, or was interrupted, without a verdict."""
        self.engine.interrupted(delivery, self.now())
        if self._asked.done():
            self._taken_back.append(delivery)

    def in_hand(self) -> list[str]:
        """Return the places of the messages whose handlers run. May be called in another thread, while the event loop is blocked."""
        return place_all(lane.delivery for lane in tuple(self.lanes) if lane.started)

    def dependency_of(self, gate: Gate) -> Dependency:
        """Return the user's dependency behind a gate."""
        return self.guard.dependencies[gate.name]

    def access_of(self, dependency: CalledDependency, source: Source) -> Access:
        """Return how the guard reaches a dependency that a handler of this source calls. From any thread."""
        return self._called.access_of(dependency, source)

    def log_failure(self, delivery: AnyDelivery, error: BaseException, attribution: Attribution, needs: Sequence[str], how: str) -> None:
        """Log what an attempt ended with, and end the run for a mistake of its code that every message would meet."""
        failures = self.guard.failures
        self.log.failed += failures.ended(delivery, error, attribution, needs, how)
        slip = failures.slip(delivery, error)
        if slip is not None:
            self.fail(slip)  # the same each time: endless silent retries, or blaming good messages, would be worse

    def _new_lane(self) -> TaskLane:
        lane = (TaskLane if self.run.batch is None else BatchLane)(self, self._lane_ended)
        self.lanes.append(lane)
        lane.start()
        return lane

    def _lane_ended(self, lane: TaskLane, task: asyncio.Task[None]) -> None:
        """Clear up after a lane whose task has ended.

        Usually the run ends as well. A lane that raises is a mistake of ours, or the process ends, and the run must not go on in silence. A
        lane that other code has cancelled is replaced as soon as there is work.
        """
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fail(error)
        self.lanes.remove(lane)
        if lane in self.idle:
            self.idle.remove(lane)
        lane.abandon()
        if not self.closed:
            self.guard.wake()

    # -- what the intake reports ------------------------------------------------------------------------------------------------------

    def assigned(self, sources: Collection[Source]) -> Plan:
        """Make fresh assignments, and return the plan, which the caller must apply before its first await."""
        plan = self.engine.assigned(self.run, sources, self.now())
        self._applied = plan.version
        self.started = True
        self.log.assigned()
        try:
            self._plans.check_keys(sources)
        except SettingsError as error:
            self.fail(error)
        self._outbox.forget()
        for lane in self.lanes:  # assigned again without a revocation before: what runs for the earlier assignment is of no use
            if lane.delivery is not None and not lane.delivery.assignment.alive:
                lane.interrupt()
        self.guard.wake()
        return plan

    async def revoked(self, sources: Collection[Source]) -> None:
        """Let what runs for these sources end, for half of the rebalance timeout, then interrupt it, then forget them."""
        assignments = set(self.engine.closing(self.run, sources, self.now()))
        for lane in self.lanes:
            if lane.works_for(assignments):
                lane.let_go()
        self.guard.turn()

        def ended() -> bool:
            return not self._outbox.works_for(assignments) and not any(lane.works_for(assignments) for lane in self.lanes)

        try:
            if not await self._until(ended, self.intake.rebalance_timeout / 2):
                await self._interrupt(lambda lane: lane.works_for(assignments))
        finally:  # an intake may cancel this when it can wait no longer, and the sources are gone all the same
            self.engine.forget(self.run, [assignment.source for assignment in assignments if assignment.alive], self.now())
            self._outbox.forget()
            self.guard.wake()

    def lost(self, sources: Collection[Source]) -> None:
        """Interrupt what runs for sources that are gone already, and settle nothing."""
        assignments = set(self.engine.forget(self.run, sources, self.now()))
        self._outbox.forget()
        for lane in self.lanes:
            if lane.works_for(assignments):
                lane.interrupt()
        self.guard.wake()

    # -- waiting for work to end ------------------------------------------------------------------------------------------------------

    def _is_quiet(self) -> bool:
        return all(lane.delivery is None for lane in self.lanes) and self._outbox.is_quiet

    async def _until(self, condition: Callable[[], bool], seconds: float, *, in_a_hurry: bool = True) -> bool:
        """Wait until `condition` holds, and return whether it does. The condition is checked after every turn.

        The wait ends after `seconds`, or, unless `in_a_hurry` is False, when the run was asked to hurry.
        """
        if condition():
            return True
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        watcher = (condition, reached)
        self._watchers.append(watcher)
        try:
            await asyncio.wait({reached, self._hurried} if in_a_hurry else {reached}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if watcher in self._watchers:
                self._watchers.remove(watcher)
        return condition()

    async def _interrupt(self, which: Callable[[Lane], bool]) -> None:
        chosen = [lane for lane in self.lanes if which(lane)]
        for lane in chosen:
            lane.interrupt()
        if not await self._until(lambda: not any(which(lane) for lane in chosen), _UNWIND, in_a_hurry=False):
            stuck = [repr(lane.delivery) for lane in chosen if which(lane)]
            log.warning("handlers do not end although they were cancelled: %s", ", ".join(stuck))


def _is_at(lane: Lane, delivery: AnyDelivery | None) -> bool:
    return lane.delivery is delivery


def place_all(deliveries: Iterable[AnyDelivery | None]) -> list[str]:
    """Return where each of them stands in its source, and of a batch, where it begins and how many it has: no payload, no key."""
    found: list[str] = []
    for delivery in deliveries:
        if delivery is not None:
            more = f" and {len(delivery) - 1} after it" if isinstance(delivery, Batch) and len(delivery) > 1 else ""
            found.append(f"{delivery.source}@{delivery.position}{more}")
    return found
