"""One run: an intake, its poll task, its lanes, and what the intake says of its sources.

Poll and handlers are different tasks. The poll task is never cancelled; it goes on while the run drains, because a consumer that stops
polling is thrown out of its group. All tasks are plain asyncio tasks that this file holds, so that no scope of the user's cancels them.
`wait_for_end` waits for runs to end, whatever cancels the one who waits.

`Overdue` finds handlers that take too long: they are interrupted if the run has a `timeout`, and named when they outlive
`hold_warn_after`. There is no timer per message. A run has one deadline: when the first of the handlers that run now may be over. Until
then nothing is looked at, and then everything that runs is. What began after the last look is over later than that, so one look per
`timeout` is enough, and a handler that ends in time costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from holdgate.core.causes import chain_of, named
from holdgate.core.outcomes import NEVER_OUTCOMES
from holdgate.errors import CommandError, HoldgateError, IntakeError, SettingsError
from holdgate.flow.batch import batches_of
from holdgate.flow.events import HandlerStuck
from holdgate.flow.gate import Gate
from holdgate.flow.message import Delivery, Settlement, Source
from holdgate.flow.plan import Plan
from holdgate.flow.policy import Verdict
from holdgate.ports import Batching, Intake, ReadingAhead
from holdgate.runtime.lane import EXITS, BatchLane, Lane, TaskLane
from holdgate.runtime.log import steps, whereabouts
from holdgate.runtime.outbox import Outbox, tell_way_out
from holdgate.runtime.run_settings import RunSettings
from holdgate.runtime.standstill import Standstill
from holdgate.tasks import begin_later

if TYPE_CHECKING:
    from holdgate.flow.engine import Engine
    from holdgate.flow.state import Assignment
    from holdgate.runtime.dependency import Dependency
    from holdgate.runtime.handlers import Handler


log = logging.getLogger("holdgate")


async def wait_for_end(runs: Mapping[Worker, asyncio.Task[None]]) -> None:
    """Wait until all of these have ended, however often the caller is cancelled meanwhile.

    A cancellation interrupts their handlers, and is raised at the end. The caller has asked them to stop before.
    """
    cancelled: asyncio.CancelledError | None = None
    # The shield is for anyio, which cancels again at every step; what still comes through was sent by somebody who means it.
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


def log_end(worker: Worker, task: asyncio.Task[None]) -> None:
    """Say what ended a run that nobody waits for any more."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("%s ended with %s while it drained: %s", worker.name, type(error).__name__, error)


AnyDelivery = Delivery[Any]


# A busy event loop runs its timers some milliseconds late; one that is later than this has not run at all for a while (seconds).
_STOOD_STILL = 0.1
# What has arrived meanwhile is read and handled within a few steps of the loop, and this many seconds are more than enough for those.
_CATCH_UP = 1.0


class Overdue:
    """Looks at the handlers of one run. `timeout` in seconds, None: no limit. `warn_after` seconds until one is named, and again."""

    def __init__(self, timeout: float | None, warn_after: float, now: float) -> None:
        self._timeout = math.inf if timeout is None else timeout
        self._warn_after = warn_after
        self._named: dict[Lane, tuple[AnyDelivery, int, float]] = {}  # what was named, which attempt of it, and when
        self._waited = False  # the last look came late and interrupted nobody
        self.next_at = now

    def look(self, lanes: Iterable[Lane], now: float) -> list[HandlerStuck]:
        """Interrupt what is over, and return whom to name. Does nothing before `next_at`."""
        late = now - self.next_at
        if late < 0:
            return []
        # A process that stood still (stopped, starved, suspended) wakes with all its timers due, and this one may run before the handlers
        # whose answers have long arrived: cancelled now, work that is done would count as a failure. They get a moment to end first.
        self._waited = late > _STOOD_STILL and not self._waited
        if self._waited:
            self.next_at = now + min(late, _CATCH_UP)
            return []
        self.next_at = now + min(self._timeout, self._warn_after)
        stuck: list[HandlerStuck] = []
        named, self._named = self._named, {}
        for lane in lanes:
            if lane.delivery is not None and lane.started:
                self._look_at(lane, lane.delivery, named.get(lane), now, stuck)
        return stuck

    def _look_at(
        self, lane: Lane, delivery: AnyDelivery, last: tuple[AnyDelivery, int, float] | None, now: float, stuck: list[HandlerStuck]
    ) -> None:
        over = lane.since + self._timeout
        if now >= over:
            lane.time_out()
        else:
            self.next_at = min(self.next_at, over)
        said = last[2] if last is not None and last[:2] == (delivery, delivery.attempt) else lane.since
        if now >= said + self._warn_after:
            stuck.append(HandlerStuck(now, delivery.source, delivery.position, now - lane.since))
            said = now
        if said != lane.since:
            self._named[lane] = (delivery, delivery.attempt, said)
        self.next_at = min(self.next_at, said + self._warn_after)


# An interrupted handler gets this long to let go (close a connection, roll back); one that does not is left behind and named.
_UNWIND = 2.0

# A receive waits for `poll_timeout`, and one of aiokafka's was seen to wait 2.6 s in a rebalance: what takes longer has died.
_LAST_POLL = 5.0


class RunOwner(Protocol):
    """What a run asks of its guard."""

    engine: Engine
    now: Callable[[], float]
    dependencies: dict[str, Dependency]
    hold_warn_after: float  # seconds

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
    """Runs one intake. `main` returns when it was asked to stop, and raises what ended the intake, after draining in both cases."""

    def __init__(
        self, guard: RunOwner, intake: Intake[Any], plans: RunSettings, handler_of: Callable[[Source], Handler], *, drain_timeout: float
    ) -> None:
        loop = asyncio.get_running_loop()
        self.guard = guard
        self.engine = guard.engine
        self.now = guard.now
        self.intake = intake
        self.run = plans.run
        self.handler_of = handler_of
        self.name = "+".join(sorted(intake.names or ())) or type(intake).__name__
        self.idle: list[Lane] = []
        self.lanes: list[Lane] = []
        self.opened: asyncio.Future[None] = loop.create_future()
        self.started = False  # an assignment has come, be it an empty one
        self.polled_at = guard.now()  # when a receive last returned
        self.closed = False  # no lane goes on
        self.lane_per_source = plans.lane_per_source
        self.standstill = Standstill(intake, guard.now)
        self.lanes_lent = 0  # lanes that wait for a thread of a source that is gone
        self._outbox = Outbox(plans.dead_letters, sent=self._letter_sent, failed=self._letter_failed)
        self._plans = plans
        self._drain_timeout = drain_timeout
        self._asked: asyncio.Future[None] = loop.create_future()  # to drain and end
        self._hurried: asyncio.Future[None] = loop.create_future()  # and to wait for no handler
        self._watchers: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._overdue = Overdue(plans.timeout, guard.hold_warn_after, guard.now())
        self._applied = -1
        self.exit: BaseException | None = None  # what a handler ends the process with; `guard.run` raises it
        self.context = copy_context()  # of the caller of `guard.run`: each delivery begins with it
        self.apart = False  # a handler has set a context variable: from now on each delivery has a context of its own
        self._task: asyncio.Task[None] | None = None
        self._broken: BaseException | None = None  # what the run ends with
        self._polling = True

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
        """Ask the run to drain and end: from this very step on no handler starts. Idempotent."""
        if not self._asked.done():
            self._asked.set_result(None)
            self.engine.drain(self.run, self.now())

    def hurry(self) -> None:
        """Wait for no handler any more: what still runs is interrupted now."""
        self.stop()
        if not self._hurried.done():
            self._hurried.set_result(None)

    @property
    def is_cancelled(self) -> bool:
        """Whether the event loop is being shut down: nobody else can reach the run's own task."""
        return self._task is not None and self._task.cancelling() > 0

    def leave(self, way_out: BaseException) -> None:
        """A handler ends the process: so does every run of the guard, without waiting for handlers."""
        self.exit = self.exit or way_out
        self.guard.hurry()

    def fail(self, error: BaseException) -> None:
        """The run cannot go on: it drains, and raises the first error that was told here. Later ones are logged."""
        if isinstance(error, EXITS):
            self.stop()  # raised in a task, it has gone out of the loop already
            return
        if self._broken is None:
            self._broken = error
        elif error is not self._broken:
            log.error("%s: another error while the run ended, %s: %s", self.name, type(error).__name__, error)
        self.stop()

    async def _open(self) -> bool:
        """Open the intake; False when the run was asked to stop meanwhile. Nothing is in hand before it is open: there is nothing to wait
        for, and a broker that takes the connection and says nothing would keep a pod that is to go until it is killed."""
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
        if self._broken is not None:  # an assignment came that this run cannot serve
            return False
        self.polled_at = self.now()
        self.standstill.start()
        self.opened.set_result(None)
        return True

    def _given_up(self, opening: asyncio.Task[None]) -> bool:
        """Whether opening came to nothing. What it ran into is no error of a run that is to end."""
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
        """Where rejected messages go first: an intake must not read what could not be put anywhere."""
        await self._outbox.open(self.intake.names)
        if self.run.batch is not None and isinstance(self.intake, Batching):
            self.intake.deliver_in_batches(self.run.batch)
        if self.engine.memory.bound is not None and isinstance(self.intake, ReadingAhead):
            self.intake.bound(self.engine.memory.bound)
        await self.intake.open(self)
        tell_way_out(self.name, self.run, self._outbox)

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
        while self._polling:
            deliveries = await self.intake.receive()
            self.polled_at = self.now()
            if self.run.batch is not None:
                deliveries = batches_of(deliveries)
            if self._plans.key_of is not None:
                self._plans.set_keys(deliveries)
            if deliveries and self.run.batch is not None and not self._watchers:
                # A turn for every batch would be a tenth of what a quick handler costs. The next poll that finds nothing takes one.
                if self.engine.received_quietly(self.run, deliveries):
                    self.hand_out()
                    self.turn_if_needed()
                    continue
            elif deliveries:
                self.engine.received(self.run, deliveries)
            self.guard.turn()

    def _poll_ended(self, poll: asyncio.Task[None]) -> None:
        if not poll.cancelled():
            error = poll.exception()
            if error is not None:
                self.fail(error)
        elif self._polling:  # as a CancelledError of the run it would end a task group's child in silence
            self.fail(IntakeError(f"{self.name}: the poll was cancelled from outside; to end a run, cancel `guard.run` or stop the guard"))

    async def _drain(self) -> None:
        self.stop()
        for lane in self.lanes:
            lane.let_go()
        self.guard.turn()
        if not await self._until(self._is_quiet, self._drain_timeout):
            await self._interrupt(lambda lane: lane.delivery is not None)
        await self.intake.flush()

    async def _close(self) -> None:
        self.closed = True
        self.standstill.stop()
        ending = [task for lane in self.lanes if (task := lane.end_task()) is not None]
        self.engine.remove_run(self.run, self.now())
        self.guard.wake()  # what was given back here may let another run go on
        for close in (self.intake.close, self._outbox.close):
            try:
                await close()
            except Exception as error:  # noqa: BLE001 - kept: what ended the run comes before what its end ran into
                self.fail(error)
        if ending:
            await asyncio.wait(ending, timeout=_UNWIND)

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
        """Bring the plan to the intake when it has changed, and wake whoever waits for work to end."""
        if self.run.plan.version != self._applied:
            self._applied = self.run.plan.version
            try:
                self.intake.apply(self.run.plan)
            except Exception as error:  # noqa: BLE001 - it must not, and then it is the end of this run and not of the turn
                self.fail(error)
        for watcher in [watcher for watcher in self._watchers if watcher[0]()]:
            self._watchers.remove(watcher)
            if not watcher[1].done():
                watcher[1].set_result(None)

    async def fall_back(self, delivery: AnyDelivery) -> None:
        """Run the fallback of the run."""
        if self._plans.fallback is not None:  # the engine starts none otherwise
            await self._plans.fallback(delivery)

    def fallback_failed(self, delivery: AnyDelivery, error: BaseException) -> None:
        """The fallback raised: the message keeps its place."""
        self.log_failure(delivery, error, "fallback raised %s at %s on %s, attempt %d")
        self.engine.fallback_failed(delivery, self.now())

    def look_for_overdue(self, now: float) -> list[HandlerStuck]:
        """Interrupt handlers whose time is over; returns what is to be announced."""
        return self._overdue.look(self.lanes, now)

    @property
    def read_ahead(self) -> int:
        """The bytes that the intake's client has and `receive` has not given yet; 0 for one that does not say."""
        return self.intake.read_ahead if isinstance(self.intake, ReadingAhead) else 0

    @property
    def next_look(self) -> float:
        """When to look for overdue handlers again."""
        return self._overdue.next_at

    def next(self) -> AnyDelivery | None:
        """The next delivery that a free lane may start."""
        now = self.now()
        if now > self.standstill.until:
            self.standstill.noticed(now)
        while True:
            delivery = self.engine.next(self.run, now)
            if delivery is None or delivery.history is None or delivery.history.reason is None:
                return delivery
            self._outbox.send(delivery)  # it was rejected before, and keeps its lane's place until it is out

    def turn_if_needed(self) -> None:
        """Let the guard act if something needs it. Somebody who waits for work to end does: a poll that has ended takes no turns."""
        if self.engine.needs_turn or self._watchers:
            self.guard.turn()

    def reject(self, delivery: AnyDelivery, error: BaseException | None) -> None:
        """A message is rejected, and there is somewhere to put it: the dead letters, or else the broker's own way."""
        if self._outbox.has_target:
            self._outbox.add(delivery, error)
        elif self.engine.rejected(delivery, self.now()) is Verdict.DONE:
            self.intake.settle(delivery, Settlement.REJECT)

    def _letter_sent(self, delivery: AnyDelivery) -> None:
        """Confirmed: only now is the message settled, if it is still ours."""
        try:
            if self.engine.rejected(delivery, self.now()) is Verdict.DONE:
                self.intake.settle(delivery, Settlement.ACK)
        except Exception as error:  # noqa: BLE001 - here nobody else would hear of it
            self.fail(error)
        self.guard.wake()

    def _letter_failed(self, delivery: AnyDelivery) -> None:
        self.engine.reject_failed(delivery, self.now())
        self.guard.wake()

    def sends_for(self, assignment: Assignment) -> bool:
        """Whether a letter of this place is on its way now."""
        return self._outbox.works_for((assignment,))

    def skip(self, source: Source, position: int, reason: str) -> bool:
        """Settle a message that an operator gives up; False when there is none such here."""
        delivery = self.engine.skip(self.run, source, position, reason, self.now())
        if delivery is not None:
            self._outbox.drop(delivery)
            self.intake.settle(delivery, Settlement.ACK)
        return delivery is not None

    def dependency_of(self, gate: Gate) -> Dependency:
        """The user's dependency behind a gate."""
        return self.guard.dependencies[gate.name]

    def log_failure(self, delivery: AnyDelivery, error: BaseException, line: str = "handler raised %s at %s on %s, attempt %d") -> None:
        """Log what was raised, where, and in which attempt; and what to change, where holdgate itself raised it.

        A SettingsError or a CommandError ends the run.
        """
        kind, source = named(error), delivery.source
        log.warning(line, kind, whereabouts(error), source, delivery.attempt)
        slip = _slip(error)
        if slip is not None:
            # A slip in the handler's code, which every message meets. Its text is ours, so that it quotes no payload, and says the remedy.
            log.error("%s: the handler must be fixed: %s", source, slip)
        if isinstance(slip, SettingsError | CommandError):
            self.fail(slip)  # it will be the same each time: tried for ever in silence, or charged to good messages, would be worse
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s was raised here:\n%s", kind, steps(error))

    def _new_lane(self) -> TaskLane:
        lane = (TaskLane if self.run.batch is None else BatchLane)(self, self._lane_ended)
        self.lanes.append(lane)
        lane.start()
        return lane

    def _lane_ended(self, lane: TaskLane, task: asyncio.Task[None]) -> None:
        """A lane ends with its run. One that raises is a mistake of ours, or the process ends: the run must not go on in silence. One
        that somebody else cancelled is replaced as soon as there is work."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fail(error)
        self.lanes.remove(lane)
        if lane in self.idle:
            self.idle.remove(lane)
        lane.abandon()
        if not self.closed:
            self.guard.wake()

    # -- what the intake says ---------------------------------------------------------------------------------------------------------

    def assigned(self, sources: Collection[Source]) -> Plan:
        """Fresh places; the plan is for the caller to apply before its first await."""
        plan = self.engine.assigned(self.run, sources, self.now())
        self._applied = plan.version
        self.started = True
        try:
            self._plans.check_keys(sources)
        except SettingsError as error:
            self.fail(error)
        self._outbox.forget()
        for lane in self.lanes:  # given again without having been taken: what runs for the earlier assignment is of no use
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
        finally:  # an intake whose patience is over cancels this; the sources are gone all the same
            self.engine.forget(self.run, [assignment.source for assignment in assignments if assignment.alive], self.now())
            self._outbox.forget()
            self.guard.wake()

    def lost(self, sources: Collection[Source]) -> None:
        """They are gone: interrupt, settle nothing."""
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
        """Wait until `condition` holds, looked at after every turn; False when `seconds` were over first, or, unless `in_a_hurry` is
        False, somebody asked for a hurry."""
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


def _slip(error: BaseException) -> HoldgateError | None:
    """Find an error of holdgate's own that the handler's code has caused, alone or within what it raised. None means there is none."""
    own = (link for link in chain_of(error).explicit if isinstance(link, HoldgateError) and not isinstance(link, NEVER_OUTCOMES))
    return next(own, None)
