"""The guard: one engine, the runs on it, and the one function that acts.

Theory of operation. The engine decides and the guard acts, in `turn` and nowhere else. `turn` lets the engine see the time, hands grants to
lanes, brings each run's plan to its intake, queues events for observers, and arms one timer for the engine's next deadline. Lanes, the
poll tasks, the timer and commands call `turn`. It is synchronous, so nothing can come between a decision and the act. It may be called at
any time and any number of times: state is desired, not commanded.

Cancelling `run` is drain. The guard holds the tasks that do the work. The caller only waits for them, behind a shield.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, cast

from holdgate.core import Circuit, CircuitSettings
from holdgate.core.limits import Limits
from holdgate.core.validation import seconds
from holdgate.errors import CommandError, GuardClosed, SettingsError
from holdgate.flow.backlog import SourceBacklog
from holdgate.flow.commands import AuditEntry
from holdgate.flow.engine import Engine
from holdgate.flow.events import AnyEvent, CommandGiven, FleetCommand
from holdgate.flow.inbox import Order
from holdgate.flow.message import Delivery, Source
from holdgate.flow.policy import RetryPolicy
from holdgate.flow.snapshot import Snapshot
from holdgate.flow.totals import EngineTotals
from holdgate.ports import AttemptSpans, Clock, ControlPlane, DeadLetters, FleetLog, Intake
from holdgate.runtime.access import GuardCircuit
from holdgate.runtime.backlog import BacklogWatch
from holdgate.runtime.calling import current_attempt
from holdgate.runtime.commands import LASTS, PROGRAM, Operator
from holdgate.runtime.dependency import Dependency, check_limits
from holdgate.runtime.failures import FailureLog
from holdgate.runtime.fleet import Fleet, FleetLink, check_fleet
from holdgate.runtime.folding import Folding, LogSettings
from holdgate.runtime.guard_settings import check_clock, check_control, check_dependencies, check_log, check_memory
from holdgate.runtime.handlers import AnyHandler, BatchHandler, Handler, Handlers
from holdgate.runtime.health import Health, Pulse
from holdgate.runtime.home import Home
from holdgate.runtime.keyed_access import access_to
from holdgate.runtime.lane import Lane, exit_in
from holdgate.runtime.last_resort import CUT_OFF, LastResort
from holdgate.runtime.log import Announcer
from holdgate.runtime.loop_form import Deliveries
from holdgate.runtime.needs import NeedsSetting
from holdgate.runtime.outages import Outages
from holdgate.runtime.patient import Patient
from holdgate.runtime.patient_calls import Patients
from holdgate.runtime.probes import Prober
from holdgate.runtime.run_log import OutageFigures, RunLog
from holdgate.runtime.run_settings import RunSettings, check_intake, plan_run
from holdgate.runtime.signals import Termination
from holdgate.runtime.slots import Slots
from holdgate.runtime.standstill import Silence
from holdgate.runtime.unawaited import Unawaited, noting_unawaited
from holdgate.runtime.undeclared import Undeclared
from holdgate.runtime.wording import warm
from holdgate.runtime.worker import Worker, log_end, raise_end, wait_for_end
from holdgate.slips import suggest_keywords
from holdgate.tasks import begin_later

if TYPE_CHECKING:
    from datetime import timedelta

# A turn settles in one or two rounds. The bound only keeps a mistake from blocking the event loop.
_ROUNDS = 16


class Guard:
    """Runs guarded intakes. Enter it with `async with`; leaving drains every run.

    - `dependencies`: those that only call forms use, and those that `needs` of a run answers as a function. Other `needs` bring their own.
    - `drain_timeout`: seconds above 0, or a timedelta, that running handlers may take to end after a stop or a cancellation.
    - `signals`: None means that SIGTERM drains, where the guard runs in the main thread and nobody else handles the signal. False means
      that it is never taken. True means that it is an error if it cannot be taken.
    - `observers`: plain functions that take an event of `holdgate.events`. Each gets every event, isolated from the others and the guard.
    - `clock`: what gives time and chance, for tests. None means this process's own.
    - `hold_warn_after`: seconds above 0, or a timedelta, between two announcements of a hold that goes on, or of a handler that has not
      ended.
    - `memory`: bytes of messages that this process may have in hand, of all runs together and those in work included, from 1 MiB. One
      message may always pass, however large. None means that only counts bound it.
    - `stall_after`: seconds above 0, or a timedelta, without progress after which `health` says that the process is not alive.
    - `spans`: what begins and ends a span around each attempt, as `holdgate.telemetry.spans.Spans`. None means no spans.
    - `backlog_every`: seconds above 0, or a timedelta, between two questions to a broker of how much waits, while somebody reads
      `backlogs`.
    - `control`: what shows this guard to people and takes their commands, such as `holdgate.control.Control(port=9099)`. None means that
      nobody outside of the process can ask.
    - `log`: how much the log says. None means `LogSettings()`.
    - `fleet`: the log that the workers of a fleet share, or a `Fleet` with it. None means that this worker decides alone.

    Raises SettingsError for values that make no sense. After a SIGTERM that the guard has taken, leaving it raises SystemExit with code 75
    if handlers could not be ended within `drain_timeout`.
    """

    @suggest_keywords
    def __init__(
        self,
        *dependencies: Dependency,
        drain_timeout: float | timedelta = 25.0,  # Kubernetes kills at 30: five are left for the last commit and for leaving the group
        signals: bool | None = None,
        observers: Iterable[Callable[[AnyEvent], object]] = (),
        clock: Clock | None = None,
        hold_warn_after: float | timedelta = 600.0,  # ten minutes: those who deal with an outage look more often by themselves
        memory: int | None = 64 * 1024 * 1024,  # a tenth of a small container's, with room for hundreds of thousands of usual messages
        stall_after: float | timedelta = 300.0,  # Kafka's max.poll.interval: a consumer that works for longer counts as dead there
        spans: AttemptSpans | None = None,  # a span costs more than the guard does, and needs somewhere to go
        backlog_every: float | timedelta = 5.0,  # a person who watches sees it move, and a broker does not notice one question in that time
        control: ControlPlane | None = None,
        log: LogSettings | None = None,
        fleet: FleetLog | Fleet | None = None,
    ) -> None:
        check_dependencies(dependencies)
        self._clock = check_clock(clock)
        self.now = self._clock.now
        self.hold_warn_after = seconds("hold_warn_after", hold_warn_after)
        self.engine = Engine(draw=self._clock.draw, hold_warn_after=self.hold_warn_after, memory=check_memory(memory))
        self.dependencies: dict[str, Dependency] = {}
        self.circuits: dict[str, GuardCircuit] = {}  # by the same names
        self._lines: set[Slots] = set()  # of calls in handlers that wait for a slot
        self.undeclared = Undeclared(self)
        self._declared = dependencies
        self._drain_timeout = seconds("drain_timeout", drain_timeout)
        self.spans = spans
        self._control = check_control(control)
        self.log_settings = check_log(log)
        folding = Folding(seconds("repeat_every", self.log_settings.repeat_every), self.now)
        outages = Outages(OutageFigures(self))
        self.failures = FailureLog(self.log_settings, folding, outages, self.now)
        self._announcer = Announcer(observers, outages, folding, spans, control)
        self._operator = Operator(self)
        self._prober = Prober(self)
        self._silence = Silence(self)
        self.fleet = FleetLink(self, check_fleet(fleet), self._clock.draw)
        self._pulse = Pulse(seconds("stall_after", stall_after))
        self.last_resort = LastResort(self._drain_timeout, self._in_hand)
        self._termination = Termination(self._ask_to_stop, signals, watch=self.last_resort.watch)
        self._backlog = BacklogWatch(self, seconds("backlog_every", backlog_every))
        self._workers: dict[Worker, asyncio.Task[None]] = {}
        self.context = copy_context()  # belongs to no message; a turn may run in the context of any handler
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for: float | None = None
        self._woken: asyncio.Handle | None = None
        self._stopping = False
        self._released = False
        self.unawaited = Unawaited()
        self._home = Home(self)
        self._patients = Patients(self, self._home)

    # -- life -------------------------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._loop is not None:
            raise GuardClosed("a Guard is entered once; make a new one")
        self._loop = asyncio.get_running_loop()
        self._home.entered()
        self.context = copy_context()
        try:
            self._termination.take()
            for dependency in self._declared:
                self._adopt(dependency)
            if self._control is not None:
                self._control.opened(self)
            await self._join_fleet()
        except BaseException:
            self._release()
            raise
        return self

    async def _join_fleet(self) -> None:
        try:
            await self.fleet.start()
        except BaseException:
            if self._control is not None:  # it listens already, and would keep its port from the next guard
                await self._control.closed()
            raise

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if exit_in(error) is not None:  # the process ends: wait for no handler
            self.hurry()
        try:
            if error is None and self.unawaited.any:
                await asyncio.sleep(0)  # a task that was made just now begins
        finally:
            await self._leave()
        if error is None and self._termination.asked and self.last_resort.is_kept_by_handlers:
            raise SystemExit(CUT_OFF)
        if error is None:
            self.unawaited.refuse("guard.run(...)")

    async def _leave(self) -> None:
        self.fleet.leave()
        try:
            await self.finish(self._workers)
            await self.fleet.close()
        finally:
            self._release()
            if self._control is not None:
                await self._control.closed()  # last: while a guard drains, people want to know what it waits for

    if not TYPE_CHECKING:  # a type checker refuses it by itself

        def __enter__(self) -> NoReturn:
            raise CommandError("a Guard is entered with `async with Guard() as guard:`, got `with`: write async in front of it")

        def __exit__(self, *_: object) -> None: ...

    @noting_unawaited
    async def run(
        self,
        intake: Intake[Any],
        handler: AnyHandler | BatchHandler | Mapping[str, AnyHandler] | Mapping[str, BatchHandler],
        *,
        needs: NeedsSetting = (),
        order: Order | None = None,
        key: Callable[[Delivery[Any]], object] | None = None,
        concurrency: int | None = None,
        span: int = 1000,  # bounds what is processed again after a crash, and is far above any concurrency
        held_span: int | None = None,  # a hundred times span: ten minutes of 160 messages a second, and about what memory= holds
        fallback: AnyHandler | None = None,
        fallback_after: float | timedelta = 0.0,  # an open circuit has seen enough failures; more, where a fallback costs more than a hold
        fallback_concurrency: int | None = None,
        timeout: float | timedelta | None = None,  # no limit fits every handler: one that hangs is named, and not stopped
        retry: RetryPolicy | None = None,
        dead_letters: DeadLetters | None = None,
        batch: int | None = None,  # one at a time: only the user knows how many a handler can take
    ) -> None:
        """Consume until stopped, and then return None. Raises what ended the intake. Both happen after draining.

        - `intake`: the broker side, as in `KafkaIntake(consumer, topics=["orders"])`.
        - `handler`: takes one Delivery. An async function runs on the event loop, a plain one in a thread. A mapping has one for each topic
          or queue, by name.
        - `needs`: the dependencies of every source, or a mapping by topic or queue. Empty means that nothing holds a source but its
          messages. Where messages of a source need different things, it is a function: it is asked once for each delivery, makes no call,
          and returns a Dependency, several, or [] for nothing. It may be `needs_by_header(...)`, or answer what `Guard(...)` was given.
        - `order`: "source" (one after the other), "key" (of one key), or "none". None means what the broker promises anyway.
        - `key`: gives what is kept in order with "key", hashable, or None for a delivery that has no order. None means Kafka's record key.
        - `concurrency`: handlers in parallel, from 1. None means one per source for "source", and at most 16 otherwise.
        - `span`: how many messages work may run ahead of the oldest unfinished one of its source, from 1.
        - `held_span`: the same for messages that others pass because they wait for a circuit of their own (`needs` as a function), from
          `span`. None means a hundred times `span`.
        - `fallback`: is called with a delivery instead of holding its source, while the circuits of all that it lacks are open. None means
          that the source is held.
        - `fallback_after`: seconds from 0, or a timedelta, that those circuits must have been open before.
        - `fallback_concurrency`: fallbacks in parallel, from 1. None means as many as handlers.
        - `timeout`: seconds above 0, or a timedelta, after which a handler is cancelled and has failed, as a failure of what it was
          calling. None means no limit.
        - `retry`: the RetryPolicy. None means its defaults.
        - `dead_letters`: where rejected messages go. None means that RabbitMQ rejects them, and that a Kafka partition is blocked.
        - `batch`: the handler takes a sequence of up to so many deliveries of one source, from 1: one verdict for all, and a batch that
          failed is tried again in halves. Not with order="key". None means one delivery.

        A cancellation drains for at most `drain_timeout` seconds and then goes on. Raises SettingsError or IntakeError before anything is
        consumed, and GuardClosed on a guard that was not entered or is stopping.
        """
        self._must_be_open()
        check_intake(intake)
        with Handlers(cast("AnyHandler | Mapping[str, AnyHandler]", handler), intake, concurrency) as handlers:
            plans = plan_run(
                intake,
                needs,
                order=order,
                key=key,
                concurrency=concurrency,
                span=span,
                held_span=held_span,
                timeout=timeout,
                fallback=handlers.prepare(fallback),
                fallback_after=fallback_after,
                fallback_concurrency=fallback_concurrency,
                retry=retry,
                dead_letters=dead_letters,
                batch=batch,
                handled=handlers.names,
                declared=self.dependencies.values(),
            )
            worker = self.new_worker(intake, plans, handlers.of)
            await self.see_through(worker, self.start(worker))

    @suggest_keywords
    def deliveries(
        self,
        intake: Intake[Any],
        *,
        needs: NeedsSetting = (),
        retry: RetryPolicy | None = None,
        dead_letters: DeadLetters | None = None,
    ) -> Deliveries:
        """Return the loop form: enter it with `async with`, loop over it with `async for`, and enter each delivery with `async with`.

        - `intake`: the broker side, as for `run`.
        - `needs`: the dependencies of every source, a mapping by topic or queue, or a function, as for `run`.
        - `retry`: the RetryPolicy. None means its defaults.
        - `dead_letters`: where rejected messages go. None means that RabbitMQ rejects them, and that a Kafka partition is blocked.

        One message at a time over all sources; for concurrency use `run`. The inner `async with` is one attempt: a failure is recorded and
        not raised, and the same delivery comes again. `break` drains. Going on without entering a delivery raises CommandError. Raises as
        `run` does, on entering.
        """
        self._must_be_open()
        plans = plan_run(
            intake,
            needs,
            order="source",
            key=None,
            concurrency=1,
            span=1,
            retry=retry,
            dead_letters=dead_letters,
            declared=self.dependencies.values(),
        )
        return Deliveries(self, intake, plans)

    @suggest_keywords
    def patient(
        self,
        *,
        needs: Sequence[Dependency],
        wait_at_most: float | timedelta | None = None,  # an outage is never raised; a framework's own limits need a number below them
        name: str | None = None,  # what its code calls it already
    ) -> Patient:
        """Return a decorator for a function that waits while what it needs is down, and then calls. For workers that have no intake here.

        - `needs`: a list of the dependencies that it calls.
        - `wait_at_most`: seconds above 0, or a timedelta, since its call, after which no further attempt begins: WaitedTooLong is raised
          instead. An attempt that runs is not cut off. None means that it waits for as long as it takes.
        - `name`: the label of its calls in logs, events and metrics, as that of a Dependency. None means the function's own.

        Async and plain functions keep their colour. An outage is not raised: the call waits and is tried again, and so it does when it is
        throttled. The function's own failures are raised as they are, at the first attempt. A call that is cancelled gives up.

        It may be called from any thread and on any loop. A guard that was not entered begins a thread for itself at the first call, which
        ends with the process or by `close`. Such a call raises GuardClosed after the guard was left, and CommandError in a handler of this
        guard or, of a plain function, on the guard's own loop. Raises SettingsError.
        """
        return Patient(self._patients, needs, wait_at_most, name)

    def close(self) -> None:
        """End a guard that lives in a thread of its own, because a patient call has begun it, and wait for that. Idempotent.

        Running attempts may end for `drain_timeout`; calls that wait raise GuardClosed. At the program's end this happens by itself, and
        without waiting for attempts. Raises CommandError for a guard that was entered by `async with`.
        """
        self._home.close()

    async def stop(self) -> None:
        """Drain every run and return when all have ended. Idempotent, on any loop. A cancellation ends the wait; all runs drain the same.

        In a handler, and in the block of a loop, `stop` returns immediately: no run could end before the handler that waits for its end.
        """
        if self._loop is not None and asyncio.get_running_loop() is not self._loop:
            if not self._loop.is_closed():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self.stop(), self._loop))
            return
        self._ask_to_stop()
        lane = current_attempt.get()
        if isinstance(lane, Lane) and lane.started and lane.worker.engine is self.engine:
            return
        tasks = set(self._workers.values())
        if tasks:
            await asyncio.wait(tasks)

    @property
    def stopping(self) -> bool:
        """Whether the guard was asked to stop, or has ended. Nothing new begins then."""
        return self._stopping

    @property
    def workers(self) -> Iterable[Worker]:
        return self._workers

    @property
    def run_logs(self) -> Iterable[RunLog]:
        return [worker.log for worker in self._workers]

    def snapshot(self) -> Snapshot:
        """Return what is held, why, since when, and what happens next, as a frozen object."""
        now = self.now()
        read_ahead = sum(worker.read_ahead for worker in self._workers)
        fleet = self.fleet.snapshot(now) if self.fleet.is_in_one else None
        seen, failures = self.engine.snapshot(now), self.failures.kinds.read(now)
        return replace(seen, read_ahead_bytes=read_ahead, failures=failures, fleet=fleet)

    def totals(self) -> EngineTotals:
        """Return what has happened since the guard was made: calls, transitions, holds and what became of messages. Metrics read it."""
        return self.engine.totals()

    def backlogs(self, snapshot: Snapshot | None = None) -> Mapping[Source, SourceBacklog]:
        """Return how much waits in the brokers, how much of that we are willing to drain, and in what time, as found out last.

        `snapshot`: one of this moment, for a caller that has one. None means that it is taken.

        Never waits. The first call begins to ask the brokers, every `backlog_every` seconds for as long as somebody calls; until they have
        answered there is nothing. Must be called on the guard's event loop.
        """
        return self._backlog.read(self.snapshot() if snapshot is None else snapshot)

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that the guard belongs to. None means that it was not entered."""
        return self._loop

    def health(self, snapshot: Snapshot | None = None) -> Health:
        """Return whether this process is alive, ready and started, and why it is not "ok". Call it every few seconds, as probes do.

        `snapshot`: one of this moment, for a caller that has one. None means that it is taken.
        """
        seen = self.snapshot() if snapshot is None else snapshot
        return self._pulse.take(self._workers, seen, self._silence.found.values(), stopping=self._stopping)

    # -- an operator's commands -------------------------------------------------------------------------------------------------------
    #
    # All take the same arguments. `reason` and `actor` say why and who, in one line of at most 500 characters each. Both go to the log, the
    # events and the audit log. `for_` is the seconds (or a timedelta) after which a command ends by itself. None means that the command
    # lasts until another one replaces it. A later command on the same target replaces the earlier one. All raise CommandError for a target
    # that is not here, and name those that are.

    def hold(self, target: Source | str, *, reason: str, actor: str = PROGRAM, for_: float | timedelta | None = LASTS) -> None:
        """Start no handler for a source, or for all of a topic or queue by its name, until `unhold` or for `for_` seconds.

        What runs may finish. The hold outlives rebalances and reconnects, not this process. Raises CommandError.
        """
        self._operator.hold(self._operator.given("hold", target, reason, actor, for_=for_))

    def unhold(self, target: Source | str, *, reason: str, actor: str = PROGRAM) -> None:
        """End an operator's hold. With a name, the holds of that name's sources end too. What a circuit holds stays held.

        Raises CommandError too for a source that is held by its name.
        """
        self._operator.unhold(self._operator.given("unhold", target, reason, actor))

    def retry(self, source: Source, *, reason: str, actor: str = PROGRAM) -> int:
        """Let the rejected messages of a blocked source go on, and return how many there are.

        They start afresh, or go to the dead letters now. Raises CommandError.
        """
        return self._operator.retry(source, self._operator.given("retry", source, reason, actor))

    def skip(self, source: Source, position: int, *, reason: str, actor: str = PROGRAM) -> None:
        """Give up one message that keeps its source from going on. The message is settled as if it were done, and lost.

        `position` is Kafka's offset or RabbitMQ's delivery tag, as in `SourceBlocked`. Raises CommandError unless a message stands there
        that was rejected, or has failed and waits.
        """
        self._operator.skip(source, position, self._operator.given("skip", source, reason, actor, position=position))

    def force_open(self, dependency: str, *, reason: str, actor: str = PROGRAM, for_: float | timedelta | None = LASTS) -> None:
        """Let nothing through to a dependency. After its end the circuit is half-open, so that the full rate never comes immediately.

        Raises CommandError.
        """
        given = self._operator.given("force_open", dependency, reason, actor, for_=for_)
        self._operator.override(lambda circuit: circuit.force_open(given.at, until=given.until), dependency, given)

    def disable(self, dependency: str, *, reason: str, actor: str = PROGRAM, for_: float | timedelta | None = LASTS) -> None:
        """Let everything through to a dependency, and record nothing. Raises CommandError."""
        given = self._operator.given("disable", dependency, reason, actor, for_=for_)
        self._operator.override(lambda circuit: circuit.disable(given.at, until=given.until), dependency, given)

    def observe(self, dependency: str, *, reason: str, actor: str = PROGRAM, for_: float | timedelta | None = LASTS) -> None:
        """Let everything through to a dependency, and announce when its circuit would have opened. Raises CommandError."""
        given = self._operator.given("observe", dependency, reason, actor, for_=for_)
        self._operator.override(lambda circuit: circuit.observe(given.at, until=given.until), dependency, given)

    def clear_override(self, dependency: str, *, reason: str, actor: str = PROGRAM) -> None:
        """End `force_open`, `disable` or `observe` now. The circuit goes on from the state under the override. Raises CommandError."""
        given = self._operator.given("clear_override", dependency, reason, actor)
        self._operator.override(lambda circuit: circuit.clear_override(given.at), dependency, given)

    def reset(self, dependency: str, *, reason: str, actor: str = PROGRAM) -> None:
        """Close a circuit and forget its history, so that the full rate comes immediately. Ends no override. Raises CommandError."""
        given = self._operator.given("reset", dependency, reason, actor)
        self._operator.override(lambda circuit: circuit.reset(given.at), dependency, given)

    def probe(self, dependency: str, *, reason: str, actor: str = PROGRAM) -> bool:
        """Try an open dependency now instead of at the end of its wait: by its health probe if it has one, else by a message.

        Returns False where there is nothing to try, because the circuit is closed or half-open. Nothing goes to the audit log then. Raises
        CommandError under an override, which decides alone.
        """
        return self._operator.probe(dependency, self._operator.given("probe", dependency, reason, actor))

    def reconfigure(self, dependency: str, settings: CircuitSettings) -> None:
        """Go on by other settings for a dependency, without a transition: state, outage, window and calls in flight stay.

        A wait of an open circuit becomes what it would have been by them (`Circuit.reconfigure`). It is in no audit log. Raises
        CommandError for a dependency that this guard does not have, and SettingsError unless they are CircuitSettings.
        """
        self._operator.reconfigure(dependency, settings)
        self.dependencies[dependency].settings = settings
        self.wake()

    def set_limits(self, dependency: str, limits: Limits | None) -> None:
        """Go on by other limits of a dependency, or of each of its keys. What was found out is forgotten. It is in no audit log.
        Raises CommandError for a dependency that this guard does not have, and SettingsError unless they are Limits, or None."""
        self._operator.set_limits(dependency, check_limits(limits))
        self.dependencies[dependency].limits = limits
        self.wake()

    def replace_retry(self, old: RetryPolicy, new: RetryPolicy) -> None:
        """Go on by another RetryPolicy in the runs that were given `old`, that very object. Waits that have begun stay as they are."""
        for run in self.engine.runs:
            run.replace_retry(old, new)

    def circuit(self, dependency: str) -> Circuit:
        """Return the circuit of a dependency, for a program's own use. What is done to it is in no audit log; call `wake` after a change.

        Raises CommandError for a dependency that this guard does not have.
        """
        return self._operator.circuit(dependency)

    def given_to_fleet(self, command: FleetCommand, target: str, reason: str, actor: str, for_: float | timedelta | None) -> CommandGiven:
        self._operator.circuit(target)
        return self._operator.given(command, target, reason, actor, for_=for_)

    def audit(self) -> tuple[AuditEntry, ...]:
        """Return the last thousand commands, and the ends of those that ended by themselves, oldest first. `at` is in the seconds of `now`.

        The commands in force are in `snapshot().commands`. The audit log is kept in memory: use an observer to keep commands for longer.
        """
        return self.engine.audit()

    # -- acting -----------------------------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Bring everything up to date: circuits, grants, plans, observers, the timer. See the head of this file."""
        if self._released:  # a handler that could not be stopped has come back after the guard was left
            return
        now = self.now()
        engine = self.engine
        if self.fleet.is_in_one:
            self.fleet.look(now)
        stuck = [event for worker in self._workers for event in worker.look_for_overdue(now)]
        for _ in range(_ROUNDS):
            engine.turn(now)
            for worker in self._workers:
                worker.hand_out()
                worker.apply()
            if not engine.needs_turn:
                break
        for line in self._lines:
            line.look()
        due, events = engine.take_probes(), engine.take_events()
        if self.fleet.is_in_one:
            events = (*events, *self.fleet.settle(now))
        if due:
            self._prober.run(due)
        if events or stuck:
            self._announcer.announce((*events, *stuck))
        self._arm(now)

    def wake(self) -> None:
        """Take a turn at the loop's next step. For callers that are in the middle of a change."""
        if self._woken is None and self._loop is not None:
            self._woken = self._loop.call_soon(self._on_time)

    def _on_time(self) -> None:
        self._woken = None
        self._armed_for = None
        try:
            self.turn()
        except Exception as error:  # noqa: BLE001 - a mistake of ours, which would be lost here
            for worker in self._workers:
                worker.fail(error)

    def _arm(self, now: float) -> None:
        deadline = min((worker.next_look for worker in self._workers), default=None)
        for decided in (self.engine.next_deadline(), self.fleet.next_deadline() if self.fleet.is_in_one else None):
            if deadline is None or (decided is not None and decided < deadline):
                deadline = decided
        if deadline == self._armed_for or self._loop is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed_for = deadline
        self._timer = None if deadline is None else self._loop.call_later(max(0.0, deadline - now), self._on_time)

    # -- runs -------------------------------------------------------------------------------------------------------------------------

    def new_worker(self, intake: Intake[Any], plans: RunSettings, handler_of: Callable[[Source], Handler]) -> Worker:
        """Make the worker of a planned run, which `start` begins. Raises GuardClosed when the guard has stopped since the planning."""
        self._must_be_open()
        if asyncio.get_running_loop() is not self._loop:
            raise CommandError("the guard was entered on another event loop, and belongs to that: run this there, or make a Guard here")
        for dependency in plans.dependencies:
            self._adopt(dependency)
        self.engine.add_run(plans.run)
        return Worker(self, intake, plans, handler_of, drain_timeout=self._drain_timeout)

    def start(self, worker: Worker) -> asyncio.Task[None]:
        """Run a worker in a task that the guard holds."""
        warm()
        self._silence.start()
        task = self._workers[worker] = begin_later(worker.main(), f"run of {worker.name}")
        task.add_done_callback(lambda _: self._workers.pop(worker, None))
        return task

    async def see_through(self, worker: Worker, task: asyncio.Task[None]) -> None:
        """Wait for a run to end. A cancellation asks the run to drain, and a second one to stop immediately. Neither reaches its tasks.

        A handler's exit (SystemExit, for one) is raised only after every run has ended, because it may stop the loop.
        """
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            try:
                await self.finish({worker: task})
            finally:
                log_end(worker, task)
                await self._raise_exit(worker)
            raise
        await self._raise_exit(worker)
        raise_end(task)

    async def _raise_exit(self, worker: Worker) -> None:
        if worker.exit is not None and not worker.is_cancelled:  # otherwise the loop shuts down, and has raised the exit already
            await wait_for_end(self._workers)
            raise worker.exit

    async def finish(self, runs: Mapping[Worker, asyncio.Task[None]]) -> None:
        """Drain these runs and wait until they have ended. A cancellation meanwhile hurries them, and is raised at the end."""
        runs = dict(runs)
        for worker in runs:
            worker.stop()
        await wait_for_end(runs)

    def hurry(self) -> None:
        """Stop every run, and wait for no handler."""
        self._ask_to_stop()
        for worker in self._workers:
            worker.hurry()

    def _in_hand(self) -> list[str]:
        return [place for worker in tuple(self._workers) for place in worker.in_hand()]

    def _must_be_open(self) -> None:
        if self._loop is None:
            raise GuardClosed("the guard is not entered: use it as `async with Guard() as guard:`")
        if self._stopping:
            raise GuardClosed("the guard is stopping: nothing new can run on it")

    def _ask_to_stop(self) -> None:
        self._stopping = True
        for worker in self._workers:
            worker.stop()

    def _adopt(self, dependency: Dependency) -> None:
        name = dependency.name
        known = self.dependencies.get(name)
        if known is None:
            self.keep(dependency, is_declared=True)
        elif known is not dependency:
            raise SettingsError(f"two dependencies are named {name!r}: give each its own name, it is the label everywhere")
        elif not self.circuits[name].is_declared:  # a handler has called it before
            dependency.bind(self.circuits[name])

    def keep(self, dependency: Dependency, *, is_declared: bool) -> None:
        """Make a circuit for a dependency, and act on it from now on. Not declared means that a handler has called it."""
        access, keys = access_to(dependency, self, self._clock, self.wake, count=self.failures.count, lines=self._lines)
        # Binding comes first: it is refused while another guard has declared the dependency, and then nothing here may have changed.
        if is_declared:
            dependency.bind(access)
        else:
            dependency.lend(access)
        self.dependencies[dependency.name] = dependency
        self.circuits[dependency.name] = access
        gate = self.engine.add_gate(access.circuit, probed=dependency.probe is not None, keys=keys)
        access.slots.messages_wait = lambda: gate.lines

    def _release(self) -> None:
        """Give back everything that outlives the guard: SIGTERM, the dependencies, timers."""
        self._stopping = self._released = True
        self._home.left()
        self._termination.restore()
        if self._termination.asked and self._loop is not None:
            # `asyncio.run` waits for the threads of the loop's pool, some for five minutes and some for ever. It finds an empty one.
            self._loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))
            self.last_resort.left()
        self._prober.close()
        self._silence.stop()
        self._backlog.close()
        for name, dependency in self.dependencies.items():
            dependency.unbind(self.circuits[name])
        self.dependencies.clear()
        for handle in (self._timer, self._woken):
            if handle is not None:
                handle.cancel()
        self._announcer.announce(self.engine.take_events())
        self.failures.flush()
