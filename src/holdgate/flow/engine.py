"""The engine: all decisions of a guard, without I/O. Deliveries and results go in; verdicts, grants, plans and events come out.

It puts the parts of flow together: the circuits with what waits for them, the assignments, the waiting list, the fate of messages, and the
plan. Nothing here waits, reads a clock, or calls user code. So a test drives it with a list of inputs.

Who calls what, in which order. The driver is the runtime (guard.py, worker.py, lane.py), on one thread; `|` means one of these.

    a guard is made     add_gate for each dependency
    a run begins        add_run; met for what its handlers call
    sources come        assigned, then apply the plan that it returns
    sources go          closing, then turn; wait until nothing of them is in flight; forget
    a poll returns      received, then turn; or received_quietly, then turn if that returned False
    one is brought      bring, and start it; or received_quietly, if that returned None
    a lane is free      next, until it returns None; start each delivery
    a handler ends      pass_on | succeeded, then follow | settle | settle_in_parts | interrupted
    ... and is REJECT   publish it, then rejected | reject_failed | interrupted
    a fallback ends     fell_back | fallback_failed | interrupted
    a turn              turn; next for each free lane; apply the plan of each run; all again while `needs_turn`;
                        then take_probes, take_events, and a timer for next_deadline
    a probe ends        probe_ended, for each of take_probes
    an operator acts    hold, unhold, retry, skip, or a method of a circuit; then note; then turn
    a run ends          drain, then turn; wait until nothing is in flight; interrupted for what is cut off; remove_run
    somebody looks      snapshot, listed, totals, audit, is_held, at any time

Theory of operation. There are two paths. The fast one is `pass_on`: one delivery after another of one source whose circuit is closed, a
handful of attribute reads each. Everything else leaves its work to `turn`: let circuits see the time, regroup what waits, grant, and bring
the plan up to date. A turn asks only the parts that have something `pending`, which on a good day is none. `turn` may be called at any time
and any number of times. `needs_turn` is how the other methods ask for one:

    Every public method asks for a turn in its first statement. Some do not: those that only read, `add_gate` and `add_run`, which nothing
    waits for yet, and `met`, `received_quietly`, `bring`, `next`, `follow`, `succeeded`, `pass_on` and `skip`, which ask for one if they
    left it work.

A delivery is in exactly one of these: an inbox, the waiting list, granted, running, falling back, rejected (on its way to the dead letters,
or blocking its source), finished, or dropped with its assignment. It has permits while it is granted or runs, and at no other time.

An ending does three things. The delivery leaves what is in flight; its permits are settled or given back; and the verdict says what becomes
of it: finished (DONE), it comes again (AGAIN), it goes where rejected messages go (REJECT), or its assignment is gone (STALE).

What is ugly: `pass_on` repeats `succeeded` and `follow` for the common case, because it runs once for each message. For the same reason
`next`, `follow` and `succeeded` write some fields of the run and the assignment themselves, and not by a method of theirs (state.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from holdgate.core import Circuit, Outcome, Permit
from holdgate.core.keys import Keys
from holdgate.errors import SettingsError
from holdgate.flow import keyed, throttling
from holdgate.flow.assignments import Assignments
from holdgate.flow.attribution import Attribution, Cause
from holdgate.flow.batch import Batch, BatchItems
from holdgate.flow.blame import history_of
from holdgate.flow.circuits import CircuitChanges, HealthProbes
from holdgate.flow.commands import AuditEntry, Commands, Holds
from holdgate.flow.events import AnyEvent, CommandGiven, DependencyMet, MessageSkipped, SourceRetried
from holdgate.flow.fallbacks import Fallbacks
from holdgate.flow.fate import (
    Bisection,
    PartialSettlement,
    Retries,
    SettledParts,
    decide,
    note_no_attempt,
    record,
    record_successes,
    record_undeclared,
)
from holdgate.flow.gate import Gate, gates_of
from holdgate.flow.holding import HeldTogether, singly
from holdgate.flow.inbox import FreeInbox, SourceInbox
from holdgate.flow.memory import Memory
from holdgate.flow.message import AnyDelivery, HandlerRequest, Source
from holdgate.flow.plan import CIRCUIT, Plan
from holdgate.flow.policy import GivenUp, Verdict
from holdgate.flow.rejections import Rejections
from holdgate.flow.reminders import Reminders
from holdgate.flow.snapshot import Snapshot, take_snapshot
from holdgate.flow.state import Assignment, Run
from holdgate.flow.suspicions import Suspicions
from holdgate.flow.totals import EngineTotals, Tally
from holdgate.flow.waiting import WaitingList, acquire_alone, acquire_in_turn, acquire_with_keys

_SUCCESS = Outcome.SUCCESS  # a name of the module: an enum's member costs more to look up

_NOT_FAILED = (Cause.RETURNED, Cause.REFUSED, Cause.THROTTLED, Cause.POSTPONED)
_GIVEN_UP: Mapping[Cause, GivenUp] = {Cause.REJECTED: "rejected", Cause.MESSAGE: "attempts", Cause.DEPENDENCY: "blame"}


class _Pending(Protocol):
    """A part that a turn asks only while it has something to look after: while `pending` is true."""

    @property
    def pending(self) -> object: ...


class _Timed(_Pending, Protocol):
    """A part that time alone may give something to do."""

    def next_deadline(self) -> float | None: ...


# Of an order in which each delivery may start alone.
_FOR_ONE = (SourceInbox, FreeInbox)

_Asked = Sequence[tuple[_Pending, Callable[[float], Iterable[AnyEvent] | None]]]


def _may_have_changed(gate: Gate, now: float) -> bool:
    """Return whether time, a result, a limit or a key may have changed something of a dependency since the last turn."""
    circuit = gate.circuit
    if circuit.events_pending or circuit.limits.counts or gate.keys is not None:
        return True
    deadline = circuit.next_deadline()
    return deadline is not None and deadline <= now


def _open_circuit(delivery: AnyDelivery) -> str:
    """Return the reason of a fallback: the first need that is not closed, or was not a moment ago."""
    gates = gates_of(delivery)
    return CIRCUIT + next((gate for gate in gates if gate.circuit.limit is not None), gates[0]).name


class Engine:
    """All circuits, runs and waiting deliveries of one guard.

    `draw` returns a number in [0, 1) and spreads retries. `hold_warn_after` is how many seconds a hold lasts before it is announced again,
    each time. `memory` is how many bytes of messages may be in hand (memory.py); None means no bound. Not thread-safe: all calls come from
    one thread.
    """

    def __init__(self, *, draw: Callable[[], float], hold_warn_after: float = 600.0, memory: int | None = None) -> None:
        self.gates: dict[str, Gate] = {}
        self.runs: dict[Run, None] = {}
        self.needs_turn = False
        self.memory = Memory(memory, self.runs)
        self._waiting = WaitingList()
        self._assignments = Assignments(self.gates, self.runs, self._waiting)
        self._reminders = Reminders(hold_warn_after)
        self._retries = Retries(self._waiting, self.gates, draw)
        self._bisection = Bisection(self._waiting, self._retries)
        self._rejections = Rejections(self._waiting, self._reminders)
        self._partial_settlement = PartialSettlement(self._retries, self._rejections)
        self._fallbacks = Fallbacks(self._waiting)
        self._suspicions = Suspicions(self.runs, self._waiting, draw)
        self._probes = HealthProbes()
        self._circuit_changes = CircuitChanges(self._waiting)
        self._holds = Holds(self.runs, self._waiting)
        self._commands = Commands(self.gates, self._holds)
        self._events: list[AnyEvent | HeldTogether] = []
        self._tally = Tally()
        # Whom a turn asks for what, in this order: before anything may start, before messages are granted, and after the plan is made.
        self._before: _Asked = (
            (self._holds, self._holds.expire),
            (self._suspicions, self._suspicions.look),
            (self._commands, self._commands.ended),
        )
        self._first: _Asked = (
            (self._rejections, self._rejections.hand_out),
            (self._fallbacks, self._fallbacks.mark),
            (self._probes, self._probes.begin),
        )
        self._after: _Asked = (
            (self._fallbacks, self._fallbacks.grant),
            (self._reminders, lambda now: self._reminders.announcements(self.runs, now)),
        )
        self._timed: Sequence[_Timed] = (self._holds, self._suspicions, self._reminders, self._rejections, self._fallbacks)

    def add_gate(self, circuit: Circuit, *, probed: bool = False, keys: Keys | None = None) -> Gate:
        """Put a dependency's circuit under this engine. `probed`: it has a health probe, which `take_probes` asks for. `keys`: limits and
        circuits of its keys. Raises SettingsError if the name is taken."""
        if circuit.name in self.gates:
            raise SettingsError(f"two dependencies are named {circuit.name!r}: give each its own name, it is the label everywhere")
        gate = self.gates[circuit.name] = Gate(circuit, keys)
        if probed:
            self._probes.watch(gate)
        return gate

    def met(self, run: Run, name: str, source: Source | None, now: float) -> None:
        """Note that a handler of this run calls a dependency by a call form, though its needs may not name it.

        `source` is where it was met for the first time, to be announced; None means that the dependency was known.
        """
        if source is not None:
            self.needs_turn = True
            self._events.append(DependencyMet(now, source, name))
        if run.meets(name):
            self._assignments.resize(run, now)

    def add_run(self, run: Run) -> None:
        """Take up a run; its sources come with `assigned`. Raises SettingsError if it needs a dependency that was never added."""
        if unknown := sorted(set(run.needs.names()) - set(self.gates)):
            raise SettingsError(f"needs names {unknown}, and the dependencies are {sorted(self.gates)}")
        self.runs[run] = None
        self._fallbacks.take_up(run)
        run.bound_by(self.memory)
        run.counted_by(self._tally)

    def remove_run(self, run: Run, now: float) -> None:
        """Forget a run and its assignments."""
        self.forget(run, list(run.assignments), now)
        self.runs.pop(run, None)
        self._fallbacks.forget(run)
        self._assignments.resize(run, now)

    # -- sources come and go ----------------------------------------------------------------------------------------------------------

    def assigned(self, run: Run, sources: Iterable[Source], now: float) -> Plan:
        """Make a new assignment for each source; returns the run's plan with them in it, to be applied immediately."""
        self.needs_turn = True
        sources = tuple(sources)
        self._assignments.open(run, sources, now)
        self.memory.resize()
        self._holds.take_up(run.assignments[source] for source in sources)
        self._events.extend(self._circuit_changes.settle_events(self.gates.values(), now))
        self._replan(run, now)
        return run.plan

    def closing(self, run: Run, sources: Collection[Source], now: float) -> list[Assignment]:
        """Start nothing of these sources any more, and drop what waits; what runs may finish. Returns their assignments."""
        self.needs_turn = True
        assignments = self._assignments.close(run, sources, now)
        self._rejections.forget(assignments)
        return assignments

    def forget(self, run: Run, sources: Collection[Source], now: float) -> list[Assignment]:
        """Take the assignments of these sources away: what still runs for them is stale. Returns them."""
        self.needs_turn = True
        assignments = self._assignments.forget(run, sources, now)
        self.memory.resize()
        self.memory.freed()
        self._rejections.forget(assignments)
        return assignments

    def drain(self, run: Run, now: float) -> None:
        """Start nothing of this run any more, and drop what waits; what runs may finish."""
        self.needs_turn = True
        self._assignments.drain(run, now)
        self._rejections.forget(run.assignments.values())

    # -- a delivery comes in, and starts ----------------------------------------------------------------------------------------------

    def received(self, run: Run, deliveries: Sequence[AnyDelivery]) -> None:
        """Take deliveries in. Those of a source that is not ours, or is going away, are dropped: its next owner gets them."""
        self.needs_turn = True
        run.enqueue(deliveries)

    def received_quietly(self, run: Run, deliveries: Sequence[AnyDelivery]) -> bool:
        """Take deliveries in, as `received` does; True if idle lanes may take them, and nothing else calls for a turn."""
        run.enqueue(deliveries)
        if self.needs_turn:
            return False
        self.needs_turn = bool(run.dirty) or self.memory.is_due
        return not self.needs_turn

    def next(self, run: Run, now: float) -> AnyDelivery | None:
        """Return the next delivery that a free lane of this run may start, permits in hand; None means that there is none.

        If its `history.reason` is set, it was rejected and not sent yet: its lane sends it, and starts no handler.
        """
        if run.resend:
            return run.take_resend()
        while run.granted:
            granted = run.take_granted()
            if not granted.assignment.bars(granted):
                return granted
            granted.attempt -= 1  # held between the grant and now: it has not started
            self.interrupted(granted, now)
        ring = run.ring
        while ring and (run.yields or not run.lane_wanted) and run.running < run.lanes:
            assignment = ring[0]
            # Enough for every lane are on the waiting list already. It comes back into the ring when one of them is granted.
            assignment.idle = assignment.unstarted >= run.lanes
            if not assignment.idle:
                delivery = self.follow(assignment, now)
                if delivery is not None:
                    ring.rotate(-1)
                    return delivery
            if assignment.idle:
                ring.popleft().in_ring = False
        self.needs_turn = self.needs_turn or (run.lane_wanted and run.running < run.lanes)
        return None

    def follow(self, assignment: Assignment, now: float) -> AnyDelivery | None:
        """Return the next delivery of this assignment, for the lane that has just finished one of it or for a free one.

        A delivery that is not admitted goes to the waiting list. Then the answer is None, as when there is no delivery.
        """
        run = assignment.run
        if assignment.held:  # it comes back into the ring when it is not held any more
            assignment.idle = True
            return None
        if (run.lane_wanted and not run.yields) or run.running >= run.lanes:
            self.needs_turn = True
            return None
        delivery = assignment.inbox.take()
        if delivery is None:
            assignment.idle = True
            if assignment.all_need is None and assignment.look_around():
                self.needs_turn = True
            return None
        if assignment.full and assignment.make_room():
            self.needs_turn = True
        gates = assignment.all_need
        if gates is None:
            gates = delivery.needs.gates
            may_start = acquire_with_keys(delivery, now) if delivery.needs.keys else acquire_in_turn(delivery, gates, now)
        else:
            may_start = acquire_in_turn(delivery, gates, now)
        if may_start:
            run.running += 1
            run.yields = False
            assignment.in_flight += 1
            delivery.attempt += 1
            return delivery
        self._waiting.add(delivery, gates)
        self.needs_turn = True
        return None

    def bring(self, assignment: Assignment, delivery: AnyDelivery, now: float) -> bool | None:
        """Do `received_quietly` and `follow` in one step, for a small delivery that comes alone: its bytes are not counted.

        False means that it was taken in, and is on the waiting list. None means that nothing was done, because it is not the usual case.
        """
        run, gates, inbox = assignment.run, assignment.all_need, assignment.inbox
        if gates is None or assignment.held or assignment.full or assignment.results.suspected or self.needs_turn or run.dirty:
            return None
        if run.lane_wanted or run.running >= run.lanes or not isinstance(inbox, _FOR_ONE) or not inbox.start(delivery):
            return None
        delivery.assignment = assignment
        assignment.weights.pass_by()
        if acquire_alone(delivery, gates, now):
            assignment.started()
            delivery.attempt += 1
            return True
        self._waiting.add(delivery, gates)
        self.needs_turn = True
        return False

    # -- a delivery ends --------------------------------------------------------------------------------------------------------------

    def succeeded(self, delivery: AnyDelivery, now: float) -> Verdict:
        """Settle a delivery whose handler returned at its first attempt and used no call form: success for every need.

        `follow` or `next` comes after it.
        """
        assignment: Assignment = delivery.assignment
        if not assignment.alive:
            return self.interrupted(delivery, now)
        gates, results = assignment.all_need, assignment.results
        if gates is None:
            gates, results = delivery.needs.gates, delivery.needs.results
            if delivery.needs.keys:
                self.needs_turn = keyed.record_successes(delivery, now) or self.needs_turn
                gates = ()  # they are recorded
        if (gates and record_successes(gates, delivery.permits, now)) or assignment.held:  # a hold that a success may end
            self.needs_turn = True
            if assignment.all_need is None:  # it may have been the one that so many have passed
                assignment.mark_dirty()
        delivery.permits = None
        results.successes += 1
        run = assignment.run
        assignment.in_flight -= 1
        run.running -= 1
        if assignment.inbox.done(delivery) and not assignment.in_ring:
            run.mark_ready(assignment)
            if run.shared:  # several may start now, and the lane of this one takes one
                self.needs_turn = True
        if run.memory.tight and not assignment.inbox.waiting:
            run.memory.freed()
            self.needs_turn = True
        return Verdict.DONE

    def pass_on(self, delivery: AnyDelivery, now: float) -> AnyDelivery | None:
        """Do `succeeded`, which is DONE here, and `follow` in one step, for an assignment that has a `direct` inbox and is not held."""
        assignment: Assignment = delivery.assignment
        run, gate, direct = assignment.run, assignment.gate, assignment.direct
        if gate is None or direct is None or gate.lines or run.lane_wanted or run.running > run.lanes:
            self.succeeded(delivery, now)
            return self.follow(assignment, now)
        circuit = gate.circuit
        permits = delivery.permits
        delivery.permits = None
        gate.successes += 1
        assignment.results.successes += 1
        following = direct.pass_on()
        if following is not None:
            if assignment.full and direct.waiting <= assignment.low and assignment.make_room():
                self.needs_turn = True
            if circuit.renew(permits[0], now):
                if circuit.events_pending:
                    self.needs_turn = True
                following.permits = permits  # the very same: two objects less to make per message
                following.attempt += 1
                return following
        circuit.record(permits[0], _SUCCESS, now)
        self.needs_turn = self.needs_turn or bool(circuit.events_pending)
        if following is not None:
            permit = circuit.try_acquire(now)
            if permit.__class__ is Permit:
                following.permits = (permit,)
                following.attempt += 1
                return following
            self._waiting.add(following, assignment.gates)
            self.needs_turn = True
        elif run.memory.tight:
            run.memory.freed()
            self.needs_turn = True
        assignment.ended()
        return None

    def settle(self, delivery: AnyDelivery, attribution: Attribution, error: str, now: float, *, reason: str | None = None) -> Verdict:
        """Settle a delivery whose handler ended, in any way: record outcomes by vote, decide its fate, let it wait if need be.

        `error` is the type name of what the handler raised, for events; `reason` is that of a handler which rejected the message. AGAIN for
        an assignment that is going away means that the delivery is dropped. REJECT comes only if the run has somewhere to put it: the
        delivery is still in flight, and so is its lane, until `rejected`, `reject_failed` or `interrupted`. A batch of several messages is
        never rejected: its pieces come again.
        """
        self.needs_turn = True
        assignment: Assignment = delivery.assignment
        if not assignment.alive:
            return self.interrupted(delivery, now)
        excused = bool(attribution.unclaimed) and self._suspicions.failed(delivery, attribution, now)
        record(delivery, attribution, now, excused=excused)
        record_undeclared(self.gates, delivery, attribution, now)
        note_no_attempt(delivery, attribution, error)
        if isinstance(delivery, Batch):
            return self._settle_batch(delivery, attribution, error, now, excused=excused)
        if attribution.cause not in _NOT_FAILED:
            history_of(delivery).failed(error, now)
        verdict = decide(attribution.cause, delivery.history, assignment.run.retry)
        self._events.extend(self._retries.keep(delivery, verdict, attribution, now))
        if verdict is Verdict.REJECT:
            verdict, events = self._rejections.reject(delivery, error, reason, now, _GIVEN_UP[attribution.cause])
            self._events.extend(events)
            if verdict is Verdict.REJECT:
                return verdict
        assignment.ended()
        if verdict is Verdict.DONE:
            self._finished(delivery)
        elif self._is_to_be_named(delivery, attribution):
            self._events.append(self._reminders.suspect(delivery, error, now, throttled=attribution.cause is Cause.THROTTLED))
        return verdict

    def settle_in_parts(
        self, batch: Batch, items: BatchItems[Any], requests: Mapping[int, HandlerRequest], attribution: Attribution, now: float
    ) -> SettledParts:
        """Settle a batch whose handler returned and asked for something else for some of its messages, by index.

        Returns what is to be done now: nothing if its assignment is gone.
        """
        self.needs_turn = True
        assignment: Assignment = batch.assignment
        if not assignment.alive:
            self.interrupted(batch, now)
            return SettledParts()
        record(batch, attribution, now)
        record_undeclared(self.gates, batch, attribution, now)
        assignment.ended()
        parts, events = self._partial_settlement.settle(batch, items, requests, now)
        self._events.extend(events)
        return parts

    def rejected(self, delivery: AnyDelivery, now: float) -> Verdict:
        """Finish a rejected delivery that is confirmed where it belongs. DONE means: settle it; STALE: its assignment is gone."""
        if not self._leave(delivery, now):
            return Verdict.STALE
        self._rejections.sent(delivery)
        self._finished(delivery)
        return Verdict.DONE

    def let_go(self, delivery: AnyDelivery, now: float) -> None:
        """Forget a rejected delivery without a letter: its broker gives the message out again, or has given it to another worker already.

        Nothing is counted, and nothing is to be settled.
        """
        if not self._leave(delivery, now):
            return
        delivery.assignment.totals.ended -= 1  # its inbox counts it as ended from here on
        self._rejections.gone(delivery)
        self._finished(delivery)

    def reject_failed(self, delivery: AnyDelivery, now: float) -> Verdict:
        """Hold the source of a rejected delivery that could not be sent. `next` gives it to a lane again after the policy's `max_backoff`.

        AGAIN, and dropped if its assignment is going away; STALE if that is gone.
        """
        if not self._leave(delivery, now):
            return Verdict.STALE
        if not delivery.assignment.going:
            self._rejections.failed(delivery, now)
        return Verdict.AGAIN

    def fell_back(self, delivery: AnyDelivery, now: float) -> Verdict:
        """Finish a delivery whose fallback succeeded. DONE means: settle it; STALE: its assignment is gone."""
        if not self._leave(delivery, now):
            return Verdict.STALE
        delivery.assignment.fell_back(_open_circuit(delivery))
        self._finished(delivery)
        return Verdict.DONE

    def fallback_failed(self, delivery: AnyDelivery, now: float) -> Verdict:
        """Let a delivery whose fallback failed wait for what it needs. AGAIN, and dropped if its assignment is going away; or STALE."""
        if not self._leave(delivery, now):
            return Verdict.STALE
        if not delivery.assignment.going:
            self._fallbacks.failed(delivery)
        return Verdict.AGAIN

    def interrupted(self, delivery: AnyDelivery, now: float) -> Verdict:
        """Take back a delivery whose handler was cancelled from outside (shutdown, revoked, lost), or never started.

        There is no verdict on its needs, and nothing is counted. It waits to be started again, unless its assignment is going away.
        """
        if not self._leave(delivery, now):
            return Verdict.STALE
        if delivery.assignment.going:
            return Verdict.AGAIN
        if delivery.history is not None and delivery.history.reason is not None:
            self._rejections.again(delivery)
        else:
            self._waiting.add(delivery, gates_of(delivery))
        return Verdict.AGAIN

    # -- time passes ------------------------------------------------------------------------------------------------------------------

    def turn(self, now: float) -> None:
        """Let time pass: circuits first, then what may go on, then the plan. Afterwards each run's `granted` and `plan` are up to date."""
        self.needs_turn = False
        gates = self.gates.values()
        if self._circuit_changes.pending or any(_may_have_changed(gate, now) for gate in gates):
            self._events.extend(self._circuit_changes.advance(gates, now))
        self._ask(self._before, now)
        for run in self.runs:
            run.begin_turn()
        self._ask(self._first, now)
        for delivery in self._waiting.grants(gates, now):
            delivery.assignment.run.grant(delivery)
        if any(gate.circuit.events_pending for gate in gates):  # admitting has moved a circuit: what waits stands elsewhere now
            self.needs_turn = True
            self._events.extend(self._circuit_changes.settle_events(gates, now))
        self.memory.review(now)
        for run in self.runs:
            self._replan(run, now)
        self._ask(self._after, now)

    def _ask(self, parts: _Asked, now: float) -> None:
        for part, act in parts:
            if part.pending:
                self._events.extend(act(now) or ())

    def take_probes(self) -> list[Gate]:
        """Return the dependencies whose health probe is to be run now; each ends with `probe_ended`."""
        begun, self._probes.begun = self._probes.begun, []
        return begun

    def probe_ended(self, gate: Gate, good: bool | None, now: float, *, retry_after: float | None = None) -> None:
        """Note how a health probe came back; `good` None means that it was not run to its end, and says nothing."""
        self.needs_turn = True
        self._probes.ended(gate, good, now, retry_after)

    def next_deadline(self) -> float | None:
        """Return when `turn` will matter though nothing happens; None means that only something that happens can matter."""
        times = [gate.circuit.next_deadline() for gate in self.gates.values()]
        times += [part.next_deadline() for part in self._timed if part.pending]
        times.append(self._waiting.next_deadline())
        return min((time for time in times if time is not None), default=None)

    def take_events(self) -> tuple[AnyEvent, ...]:
        """Return what was announced since the last call; each event is handed out once."""
        if not self._events:
            return ()
        events, self._events = tuple(singly(self._events)), []
        self._tally.note(events)
        return events

    def snapshot(self, now: float) -> Snapshot:
        """Return the read model at `now`."""
        in_force = self._commands.in_force if self._commands.pending else ()
        return take_snapshot(self.gates.values(), self.memory, self._waiting, now, in_force)

    def listed(self) -> Counter[Assignment]:
        """Return how many messages are on the waiting list, by assignment: for time, for a slot, or for a lane. Walks the whole list."""
        return self._waiting.by_assignment()

    def totals(self) -> EngineTotals:
        """Return what has happened since the engine was made, up to the events that were taken last."""
        circuits = {name: gate.circuit.read_totals() for name, gate in self.gates.items()}
        return self._tally.read(circuits, ((each.source.name, each.finished) for each in self.memory.assignments()))

    # -- an operator acts -------------------------------------------------------------------------------------------------------------

    def hold(self, target: Source | str, until: float | None = None) -> bool:
        """Start nothing for this source, or for all of this name, in later assignments too, until `unhold` or `until` that second.

        False for a source that is not assigned here.
        """
        self.needs_turn = True
        return self._holds.hold(target, until)

    def unhold(self, target: Source | str) -> bool:
        """End an operator's hold, that of a name with those of its sources; False if nothing of it is known here.

        What a circuit holds stays held, and so does a source whose name is held.
        """
        self.needs_turn = True
        return self._holds.end(target)

    def is_held(self, target: Source | str) -> bool:
        """Return whether an operator has held exactly this, a source or a name."""
        return target in self._holds

    def retry(self, source: Source, reason: str, now: float) -> int:
        """Let the rejected messages of this source start anew; returns how many there are."""
        self.needs_turn = True
        assignments = [run.assignments[source] for run in self.runs if source in run.assignments]
        count = sum(self._rejections.retry(assignment) for assignment in assignments)
        if count:
            self._events.append(SourceRetried(now, source, count, reason))
        return count

    def skip(self, run: Run, source: Source, position: int, reason: str, now: float) -> AnyDelivery | None:
        """Give up one message of this source that is rejected, or has failed and waits.

        Returns the delivery, to be settled; None means that there is none.
        """
        assignment = run.assignments.get(source)
        delivery = None if assignment is None or assignment.going else self._rejections.skip(assignment, position)
        if delivery is not None:
            self.needs_turn = True
            self._finished(delivery)
            self._events.append(MessageSkipped(now, source, position, reason, by_operator=True))
        return delivery

    def note(self, given: CommandGiven) -> None:
        """Announce an operator's command that was carried out, and keep it in the record."""
        self.needs_turn = True
        self._commands.note(given)
        self._events.append(given)

    def audit(self) -> tuple[AuditEntry, ...]:
        """Return the operators' last commands and their ends, oldest first."""
        return self._commands.last

    # -- inside -----------------------------------------------------------------------------------------------------------------------

    def _leave(self, delivery: AnyDelivery, now: float) -> bool:
        """Take a delivery out of flight without a verdict on its needs; True if its assignment is alive, so that its end counts."""
        self.needs_turn = True
        self._assignments.leave(delivery, now)
        alive: bool = delivery.assignment.alive
        return alive

    def _finished(self, delivery: AnyDelivery) -> None:
        assignment: Assignment = delivery.assignment
        if self._reminders.named:
            self._reminders.settled(delivery)
        if assignment.inbox.done(delivery):
            assignment.run.mark_ready(assignment)
        if assignment.all_need is None and assignment.held:  # it may have been the one that so many have passed
            assignment.mark_dirty()

    def _is_to_be_named(self, delivery: AnyDelivery, attribution: Attribution) -> bool:
        """Return whether its source waits behind it, and nothing shows whose fault that is. It may be an outage: it is held, and named."""
        assignment: Assignment = delivery.assignment
        history = delivery.history
        if history is None or assignment.going or delivery in self._reminders.named:
            return False
        if attribution.cause is Cause.THROTTLED:  # with many lanes all of them may be: one of each source is enough
            return throttling.is_to_be_named(history) and not self._reminders.names_one_of(assignment)
        return attribution.cause is Cause.DEPENDENCY and bool(history.is_alone(assignment.run.retry))

    def _settle_batch(self, batch: Batch, attribution: Attribution, error: str, now: float, *, excused: bool) -> Verdict:
        assignment: Assignment = batch.assignment
        assignment.ended()
        if attribution.cause is Cause.RETURNED:
            if assignment.inbox.done(batch):
                assignment.run.mark_ready(assignment)
            return Verdict.DONE
        self._events.extend(self._bisection.again(batch, attribution, error, now, excused=excused))
        return Verdict.AGAIN

    def _replan(self, run: Run, now: float) -> None:
        events = run.replan(now)
        if events:
            self._events.extend(events)
            self._reminders.held(now)
