"""The engine: pure decisions for all runs of a guard. Deliveries and results go in; grants, plans and events come out.

Places come and go: what assigning, closing and forgetting sources means for gates, lanes, the waiting list and the plan.

How a delivery ends: verdicts, rejections, fallbacks and interruptions, and the parts of the engine that they move.

Every ending takes the delivery out of what runs, settles or gives back its permits, and says what becomes of it: it is finished (DONE), it
comes again (AGAIN), it goes to where rejected messages go (REJECT), or its assignment is gone (STALE). `pass_on` in engine.py is the one
ending that is not here: the common case, together with what follows it.

The whole guard without I/O: circuits, places, the waiting list and the plan, put together.

Theory of operation. Everything that happens outside comes in as a call with the time: sources assigned and revoked, deliveries received,
handlers ended, time passed. What should happen comes out as values: a delivery that a lane may start (its permits in hand), a verdict, a
plan, events. Nothing here waits, reads a clock, or calls user code, so a test drives it with a list of inputs, and the simulator with the
same lines as the runtime.

Two paths. The fast one is `pass_on`: one delivery after another of one source whose circuit is closed, a handful of attribute reads each.
Everything else sets `restless` and leaves the work to `turn`, which the runtime calls soon: let circuits see the time, regroup who waits,
grant, and bring the plan up to date. `turn` may be called at any time and any number of times.

A delivery is in exactly one of these: an inbox, the waiting list, granted, running, falling back, rejected (on its way to the dead
letters, or blocking its place), finished, or dropped with its place. It has permits while it is granted or runs, and at no other time.
How deliveries end is in this file; this file is how they begin, and how time passes.

What is ugly: `pass_on` repeats `succeeded` and `follow` for the common case, because it runs once per message.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from holdgate.core import Circuit, Outcome, Permit
from holdgate.errors import SettingsError
from holdgate.flow.attribution import Attribution, Cause
from holdgate.flow.batch import Batch, BatchItems
from holdgate.flow.blame import trial_of
from holdgate.flow.circuits import CircuitChanges, HealthProbes
from holdgate.flow.commands import AuditEntry, Commands, Holds
from holdgate.flow.events import AnyEvent, CommandGiven, MessageSkipped, SourceRetried
from holdgate.flow.fallbacks import Fallbacks
from holdgate.flow.fate import Bisection, PartialSettlement, Retries, SettledParts, decide, give_back, record, record_successes
from holdgate.flow.gate import Gate, gates_of
from holdgate.flow.inbox import AnyDelivery
from holdgate.flow.memory import Memory
from holdgate.flow.message import Delivery, HandlerRequest, Source
from holdgate.flow.plan import Plan
from holdgate.flow.policy import Verdict
from holdgate.flow.rejections import Rejections
from holdgate.flow.reminders import Reminders
from holdgate.flow.snapshot import Snapshot, take_snapshot
from holdgate.flow.state import Assignment, Run
from holdgate.flow.suspicions import Suspicions
from holdgate.flow.waiting import WaitingList, acquire_in_turn


class Assignments:
    """Makes places and takes them away, for all runs of one engine."""

    def __init__(self, gates: Mapping[str, Gate], runs: Collection[Run], waiting: WaitingList) -> None:
        self._gates = gates
        self._runs = runs
        self._waiting = waiting

    def open(self, run: Run, sources: Iterable[Source], now: float) -> None:
        """Fresh places. What is known of a source that was here already is of an earlier epoch, and forgotten."""
        for source in sources:
            if source in run.assignments:
                self.forget(run, [source], now)
            needs = run.needs.of(source)
            assignment = Assignment(run, source, None if needs is None else [self._gates[name] for name in needs])
            run.assignments[source] = assignment
            for gate in assignment.gates:
                gate.assignments[assignment] = None
            run.dirty[assignment] = None
        self.resize(run, now)

    def close(self, run: Run, sources: Iterable[Source], now: float) -> list[Assignment]:
        """Nothing starts here any more, and what waits is dropped. Returns the places."""
        assignments = [run.assignments[source] for source in sources if source in run.assignments]
        for assignment in assignments:
            assignment.closing = True
        self._empty(run, assignments, now)
        return assignments

    def forget(self, run: Run, sources: Iterable[Source], now: float) -> list[Assignment]:
        """Their places are dead from now on: what still runs for them is stale. Returns them."""
        assignments = self.close(run, sources, now)
        for assignment in assignments:
            assignment.alive = False
            del run.assignments[assignment.source]
            run.dirty.pop(assignment, None)
            run.count_lanes(leftover=assignment.in_flight)
            for gate in assignment.gates:
                gate.assignments.pop(assignment, None)
        if assignments:
            run.replan_without(assignments)
            self.resize(run, now)
        return assignments

    def drain(self, run: Run, now: float) -> None:
        """The same as closing every source, for a run that ends; sources that come later are drained too."""
        run.draining = True
        self._empty(run, list(run.assignments.values()), now)

    def resize(self, run: Run, now: float) -> None:
        """The ramp of a dependency ends at what all runs that need it may have in work at once."""
        run.count_lanes()
        for name in run.needs.names():
            full = sum(other.capacity for other in self._runs if name in other.needs.names())
            self._gates[name].circuit.set_full(max(1, full), now)

    def unstart(self, delivery: Delivery[Any], now: float) -> None:
        """It was admitted, and that ends without a verdict: its lane and its permits are free again."""
        assignment: Assignment = delivery.assignment
        assignment.in_flight -= 1
        assignment.run.running -= 1
        if delivery.trial is not None and delivery.trial.falling_back:
            delivery.trial.falling_back = False
            assignment.run.falling -= 1
        if not assignment.alive:
            assignment.run.count_lanes(leftover=-1)
        give_back(delivery, now)

    def _empty(self, run: Run, assignments: Collection[Assignment], now: float) -> None:
        for assignment in assignments:
            assignment.touch()
            assignment.inbox.clear()
            assignment.weights.clear()
        gone = set(assignments)
        self._waiting.drop(gone)
        for queue in (run.granted, run.resend):
            given = list(queue)
            queue.clear()
            for delivery in given:
                if delivery.assignment in gone:
                    self.unstart(delivery, now)
                else:
                    queue.append(delivery)


class Endings:
    """The half of the engine that a delivery meets when its handler is over, and what an operator may end for it."""

    def __init__(self, draw: Callable[[], float], hold_warn_after: float) -> None:
        self.gates: dict[str, Gate] = {}
        self.runs: dict[Run, None] = {}
        self.restless = False  # something needs a turn
        self._waiting = WaitingList()
        self._assignments = Assignments(self.gates, self.runs, self._waiting)
        self._watch = Reminders(hold_warn_after)
        self._retries = Retries(self._waiting, self.gates, draw)
        self._halves = Bisection(self._waiting, self._retries)
        self._rejections = Rejections(self._waiting, self._watch)
        self._wishes = PartialSettlement(self._retries, self._rejections)
        self._fallbacks = Fallbacks(self.runs, self._waiting)
        self._suspicions = Suspicions(self._waiting, draw)
        self._events: list[AnyEvent] = []

    def settle(self, delivery: AnyDelivery, attribution: Attribution, error: str, now: float, *, reason: str | None = None) -> Verdict:
        """The handler ended, in any way of its own. Records outcomes by vote, decides what becomes of the message, lets it wait if need be.

        `error` is the type name of what it raised, for events, `reason` the word of a handler that rejected it. AGAIN for a place that is
        going away means that it is dropped. REJECT comes where the run has somewhere to put it: it is still in flight, and so is its lane,
        until `rejected`, `reject_failed` or `interrupted`. A batch of several messages is never rejected: its pieces come again.
        """
        assignment: Assignment = delivery.assignment
        if not assignment.alive:
            return self.interrupted(delivery, now)
        self.restless = True
        excused = self._suspicions.failed(delivery, attribution, now)
        record(delivery, attribution, now, excused=excused)
        if attribution.cause is Cause.RETURNED:
            assignment.results.succeeded(delivery.trial)
        if isinstance(delivery, Batch):
            return self._settle_batch(delivery, attribution, error, now, excused=excused)
        if attribution.cause not in (Cause.RETURNED, Cause.REFUSED, Cause.POSTPONED):
            trial_of(delivery).failed(error, now)
        verdict = decide(attribution.cause, delivery.trial, assignment.run.retry)
        self._events.extend(self._retries.keep(delivery, verdict, attribution, now))
        if verdict is Verdict.REJECT:
            verdict, events = self._rejections.reject(delivery, error, reason, now)
            self._events.extend(events)
            if verdict is Verdict.REJECT:
                return verdict
        assignment.in_flight -= 1
        assignment.run.running -= 1
        if verdict is Verdict.DONE:
            self._finished(delivery)
        elif self._is_lone_suspect(delivery, attribution):
            self._events.append(self._watch.suspect(delivery, error, now))
        return verdict

    def settle_in_parts(
        self, batch: Batch, items: BatchItems[Any], wishes: Mapping[int, HandlerRequest], attribution: Attribution, now: float
    ) -> SettledParts:
        """The handler of a batch returned, and asked for something else for some of its messages. What is to be done now; nothing where its
        assignment is gone."""
        assignment: Assignment = batch.assignment
        if not assignment.alive:
            self.interrupted(batch, now)
            return SettledParts()
        self.restless = True
        record(batch, attribution, now)
        assignment.results.succeeded(batch.trial)
        assignment.in_flight -= 1
        assignment.run.running -= 1
        parted, events = self._wishes.grant(batch, items, wishes, now)
        self._events.extend(events)
        return parted

    def rejected(self, delivery: AnyDelivery, now: float) -> Verdict:
        """A rejected delivery is where it belongs, confirmed: it is finished. DONE: settle it; STALE: its assignment is gone."""
        assignment: Assignment = delivery.assignment
        self.restless = True
        self._assignments.unstart(delivery, now)
        if not assignment.alive:
            return Verdict.STALE
        self._rejections.sent(delivery)
        self._finished(delivery)
        return Verdict.DONE

    def reject_failed(self, delivery: AnyDelivery, now: float) -> Verdict:
        """A rejected delivery could not be sent: its place is held, and `next` gives it to a lane again after the policy's `max_backoff`.

        AGAIN, and dropped where its place is going away; STALE: its assignment is gone.
        """
        assignment: Assignment = delivery.assignment
        self.restless = True
        self._assignments.unstart(delivery, now)
        if not assignment.alive:
            return Verdict.STALE
        if not assignment.going:
            self._rejections.failed(delivery, now)
        return Verdict.AGAIN

    def fell_back(self, delivery: AnyDelivery, now: float) -> Verdict:
        """The fallback of a delivery succeeded: it is finished. DONE: settle it; STALE: its assignment is gone."""
        assignment: Assignment = delivery.assignment
        self.restless = True
        self._assignments.unstart(delivery, now)
        if not assignment.alive:
            return Verdict.STALE
        assignment.fallbacks += 1
        self._finished(delivery)
        return Verdict.DONE

    def fallback_failed(self, delivery: AnyDelivery, now: float) -> Verdict:
        """The fallback of a delivery failed: it waits for what it needs. AGAIN, and dropped where its place is going away; or STALE."""
        assignment: Assignment = delivery.assignment
        self.restless = True
        self._assignments.unstart(delivery, now)
        if not assignment.alive:
            return Verdict.STALE
        if not assignment.going:
            self._fallbacks.failed(delivery)
        return Verdict.AGAIN

    def interrupted(self, delivery: AnyDelivery, now: float) -> Verdict:
        """The handler was cancelled from outside (shutdown, revoked, lost), or never started: no verdict, nothing counted.

        Unless its place is going away, it waits to be started again.
        """
        assignment: Assignment = delivery.assignment
        self.restless = True
        self._assignments.unstart(delivery, now)
        if not assignment.alive:
            return Verdict.STALE
        if assignment.going:
            return Verdict.AGAIN
        delivery.request = None
        if delivery.trial is not None and delivery.trial.reason is not None:
            self._rejections.again(delivery)
        else:
            self._waiting.add(delivery, gates_of(delivery))
        return Verdict.AGAIN

    # -- what an operator ends --------------------------------------------------------------------------------------------------------

    def retry(self, source: Source, reason: str, now: float) -> int:
        """Let the rejected messages of this source go on, afresh; returns how many there are."""
        self.restless = True
        assignments = [run.assignments[source] for run in self.runs if source in run.assignments]
        count = sum(self._rejections.retry(assignment) for assignment in assignments)
        if count:
            self._events.append(SourceRetried(now, source, count, reason))
        return count

    def skip(self, run: Run, source: Source, position: int, reason: str, now: float) -> AnyDelivery | None:
        """Give up one message of this source that is rejected, or has failed and waits; it is to be settled. None: there is no such."""
        assignment = run.assignments.get(source)
        delivery = None if assignment is None or assignment.going else self._rejections.skip(assignment, position)
        if delivery is not None:
            self.restless = True
            self._finished(delivery)
            self._events.append(MessageSkipped(now, source, position, reason, by_operator=True))
        return delivery

    # -- inside -----------------------------------------------------------------------------------------------------------------------

    def _finished(self, delivery: AnyDelivery) -> None:
        assignment: Assignment = delivery.assignment
        self._watch.settled(delivery)
        if assignment.inbox.done(delivery):
            assignment.run.offer(assignment)

    def _is_lone_suspect(self, delivery: AnyDelivery, attribution: Attribution) -> bool:
        """Whether its source waits behind it, and nobody can tell whose fault it is. It may be an outage: it is held, and named."""
        assignment: Assignment = delivery.assignment
        if attribution.cause is not Cause.DEPENDENCY or assignment.going or self._watch.is_named(delivery):
            return False
        return delivery.trial is not None and delivery.trial.is_alone(assignment.run.retry)

    def _settle_batch(self, batch: Batch, attribution: Attribution, error: str, now: float, *, excused: bool) -> Verdict:
        assignment: Assignment = batch.assignment
        assignment.in_flight -= 1
        assignment.run.running -= 1
        if attribution.cause is Cause.RETURNED:
            if assignment.inbox.done(batch):
                assignment.run.offer(assignment)
            return Verdict.DONE
        self._events.extend(self._halves.again(batch, attribution, error, now, excused=excused))
        return Verdict.AGAIN


_SUCCESS = Outcome.SUCCESS


class Engine(Endings):
    """All circuits, runs and waiting heads of one guard.

    `draw` gives [0, 1) and spreads retries. `hold_warn_after` seconds a hold lasts before it is announced again, and again after each
    such time. `memory` bytes its places may have in hand (memory.py); None: no bound. Not thread-safe: everything happens in the order in
    which it is told.
    """

    def __init__(self, *, draw: Callable[[], float], hold_warn_after: float = 600.0, memory: int | None = None) -> None:
        super().__init__(draw, hold_warn_after)
        self.memory = Memory(memory, self.runs)
        self._probes = HealthProbes()
        self._outages = CircuitChanges(self._waiting)
        self._holds = Holds(self.runs, self._waiting)
        self._commands = Commands(self.gates, self._holds)

    def add_gate(self, circuit: Circuit, *, probed: bool = False) -> Gate:
        """Put a dependency's circuit under this engine. `probed`: it has a health probe, to be run when `probes` says so. Raises
        SettingsError when the name is taken."""
        if circuit.name in self.gates:
            raise SettingsError(f"two dependencies are named {circuit.name!r}: give each its own name, it is the label everywhere")
        gate = self.gates[circuit.name] = Gate(circuit)
        if probed:
            self._probes.watch(gate)
        return gate

    def add_run(self, run: Run) -> None:
        """Take up a run; its places come with `assigned`. Raises SettingsError when it needs a dependency that was never added."""
        if unknown := sorted(set(run.needs.names()) - set(self.gates)):
            raise SettingsError(f"needs names {unknown}, and the dependencies are {sorted(self.gates)}")
        self.runs[run] = None
        run.memory = self.memory

    def remove_run(self, run: Run, now: float) -> None:
        """Forget a run and its places."""
        self.forget(run, list(run.assignments), now)
        self.runs.pop(run, None)
        self._assignments.resize(run, now)

    # -- assignments ------------------------------------------------------------------------------------------------------------------

    def assigned(self, run: Run, sources: Iterable[Source], now: float) -> Plan:
        """Fresh places for these sources; returns the run's plan with them in it, to be applied at once."""
        sources = tuple(sources)
        self._assignments.open(run, sources, now)
        self.memory.resize()
        self._holds.take_up(run.assignments[source] for source in sources)
        self._events.extend(self._outages.settle_events(self.gates.values(), now))
        self._replan(run, now)
        self.restless = True
        return run.plan

    def closing(self, run: Run, sources: Collection[Source], now: float) -> list[Assignment]:
        """These sources go away: nothing starts any more, what waits is dropped, what runs may finish. Returns their places."""
        self.restless = True
        assignments = self._assignments.close(run, sources, now)
        self._rejections.forget(assignments)
        return assignments

    def forget(self, run: Run, sources: Collection[Source], now: float) -> list[Assignment]:
        """These sources are gone: whatever still runs for them is stale. Returns their places."""
        self.restless = True
        assignments = self._assignments.forget(run, sources, now)
        self.memory.resize()
        self.memory.due = self.memory.tight
        self._rejections.forget(assignments)
        return assignments

    def drain(self, run: Run, now: float) -> None:
        """Nothing of this run starts any more; what waits is dropped, what runs may finish."""
        self.restless = True
        self._assignments.drain(run, now)
        self._rejections.forget(run.assignments.values())

    # -- the way of a message ---------------------------------------------------------------------------------------------------------

    def received(self, run: Run, deliveries: Sequence[AnyDelivery]) -> None:
        """Deliveries came in. Those of a source that is not ours, or is going away, are dropped: they come again to whoever has it next."""
        run.take_in(deliveries)
        self.restless = True

    def received_in_peace(self, run: Run, deliveries: Sequence[AnyDelivery]) -> bool:
        """`received`; True when idle lanes may take them, and nothing else calls for a turn."""
        if self.restless:
            run.take_in(deliveries)
            return False
        run.take_in(deliveries)
        self.restless = bool(run.dirty) or self.memory.is_due
        return not self.restless

    def next(self, run: Run, now: float) -> AnyDelivery | None:
        """The next delivery that a free lane of this run may start, permits in hand; None when there is none.

        One whose `trial.reason` is set was rejected and not sent yet: its lane sends it, and starts no handler.
        """
        if run.resend:
            return run.resend.popleft()
        while run.granted:
            granted = run.granted.popleft()
            if not granted.assignment.bars_heads:
                return granted
            granted.attempt -= 1  # held between the grant and now: it has not started
            self.interrupted(granted, now)
        ring = run.ring
        while ring and not run.lane_wanted and run.running < run.lanes:
            assignment = ring[0]
            assignment.idle = (
                assignment.fresh_heads >= run.lanes
            )  # enough for every lane wait already; it is offered again when one is granted
            if not assignment.idle:
                delivery = self.follow(assignment, now)
                if delivery is not None:
                    ring.rotate(-1)
                    return delivery
            if assignment.idle:
                ring.popleft()
                assignment.in_ring = False
        self.restless = self.restless or (run.lane_wanted and run.running < run.lanes)
        return None

    def follow(self, assignment: Assignment, now: float) -> AnyDelivery | None:
        """The next delivery of this place, for the lane that has just finished one of it or of a place in the ring.

        A head that is not admitted goes to the waiting list; then, as when there is none, the answer is None.
        """
        run = assignment.run
        if assignment.held:  # offered again when it is not held any more
            assignment.idle = True
            return None
        if run.lane_wanted or run.running >= run.lanes:
            self.restless = True
            return None
        delivery = assignment.inbox.take()
        if delivery is None:
            assignment.idle = True
            return None
        if assignment.full and assignment.make_room():
            self.restless = True
        if acquire_in_turn(delivery, assignment.gates, now):
            run.running += 1
            assignment.in_flight += 1
            delivery.attempt += 1
            return delivery
        self._waiting.add(delivery, assignment.gates)
        self.restless = True
        return None

    def succeeded(self, delivery: AnyDelivery, now: float) -> Verdict:
        """The handler returned at its first attempt, and no call form ran: success for every need. `follow` or `next` comes after it."""
        assignment: Assignment = delivery.assignment
        if not assignment.alive:
            return self.interrupted(delivery, now)
        gates = assignment.gates
        if (gates and record_successes(gates, delivery.permits, now)) or assignment.held:  # a hold that a success may end
            self.restless = True
        delivery.permits = None
        assignment.results.successes += 1
        run = assignment.run
        assignment.in_flight -= 1
        run.running -= 1
        if assignment.inbox.done(delivery) and not assignment.in_ring:
            run.offer(assignment)
            if run.shared:  # several may start now, and the lane of this one takes one
                self.restless = True
        if run.memory.tight and not assignment.inbox.waiting:
            self.restless = run.memory.due = True
        return Verdict.DONE

    def pass_on(self, delivery: AnyDelivery, now: float) -> AnyDelivery | None:
        """`succeeded`, which is DONE here, and `follow` in one step: for a place that has a `direct` inbox and is not held."""
        assignment: Assignment = delivery.assignment
        run, gate, direct = assignment.run, assignment.gate, assignment.direct
        if gate is None or direct is None or gate.heads or run.lane_wanted or run.running > run.lanes:
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
                self.restless = True
            if circuit.renew(permits[0], now):
                if circuit.events_pending:
                    self.restless = True
                following.permits = permits  # the very same: two objects less to make per message
                following.attempt += 1
                return following
        circuit.record(permits[0], _SUCCESS, now)
        self.restless = self.restless or bool(circuit.events_pending)
        if following is not None:
            permit = circuit.try_acquire(now)
            if permit.__class__ is Permit:
                following.permits = (permit,)
                following.attempt += 1
                return following
            self._waiting.add(following, assignment.gates)
            self.restless = True
        elif run.memory.tight:
            self.restless = run.memory.due = True
        assignment.in_flight -= 1
        run.running -= 1
        return None

    # -- time -------------------------------------------------------------------------------------------------------------------------

    def turn(self, now: float) -> None:
        """Let time pass: circuits first, then who may go on, then the plan. Afterwards each run's `granted` and `plan` are up to date."""
        self.restless = False
        self._events.extend(self._outages.advance(self.gates.values(), now))
        self._holds.expire(now)
        self._events.extend(self._suspicions.look(self.runs, now))
        self._events.extend(self._commands.ended(now))
        for run in self.runs:
            run.lane_wanted = False
        self._rejections.hand_out(now)
        self._fallbacks.mark(now)
        self._probes.begin(now)
        for delivery in self._waiting.grants(self.gates.values(), now):
            delivery.assignment.run.grant(delivery)
        late = self._outages.settle_events(self.gates.values(), now)
        if late:  # admitting has moved a circuit: who waits stands elsewhere now
            self.restless = True
            self._events.extend(late)
        self.memory.review(now)
        for run in self.runs:
            self._replan(run, now)
        self._fallbacks.grant(now)
        self._events.extend(self._watch.announcements(self.runs, now))

    def take_probes(self) -> list[Gate]:
        """The dependencies whose health probe is to be run now; each ends with `probe_ended`."""
        begun, self._probes.begun = self._probes.begun, []
        return begun

    def probe_ended(self, gate: Gate, good: bool | None, now: float, *, retry_after: float | None = None) -> None:
        """A health probe came back; `good` None: it was not run to its end, and says nothing."""
        self.restless = True
        self._probes.ended(gate, good, now, retry_after)

    def next_deadline(self) -> float | None:
        """When `turn` will matter though nothing happens; None when only something that happens can matter."""
        parts = (self._waiting, self._holds, self._suspicions, self._watch, self._rejections, self._fallbacks)
        times = [*(gate.circuit.next_deadline() for gate in self.gates.values()), *(part.next_deadline() for part in parts)]
        return min((time for time in times if time is not None), default=None)

    def take_events(self) -> tuple[AnyEvent, ...]:
        """What was announced since the last call; drained by the caller."""
        events, self._events = self._events, []
        return tuple(events)

    def snapshot(self, now: float) -> Snapshot:
        """The read model at `now`."""
        return take_snapshot(self.gates.values(), self.memory, self._waiting.by_place(), now, self._commands.in_force)

    # -- the operator -----------------------------------------------------------------------------------------------------------------

    def hold(self, target: Source | str, until: float | None = None) -> bool:
        """Start nothing for this source, or all of this name, until `unhold`, or `until` that second, in later assignments too; False for a
        source that is not assigned here."""
        self.restless = True
        return self._holds.hold(target, until)

    def unhold(self, target: Source | str) -> bool:
        """End an operator's hold, that of a name with those of its sources; False when nothing of it is known here. What a circuit holds
        stays held, and a source whose name is held."""
        self.restless = True
        return self._holds.end(target)

    def is_held(self, target: Source | str) -> bool:
        """Whether an operator has held just this, a source or a name."""
        return target in self._holds

    def note(self, given: CommandGiven) -> None:
        """An operator's command was carried out: announce it, and keep it in mind."""
        self.restless = True
        self._commands.note(given)
        self._events.append(given)

    def audit(self) -> tuple[AuditEntry, ...]:
        """The operators' last commands and their ends, oldest first."""
        return self._commands.last

    # -- inside -----------------------------------------------------------------------------------------------------------------------

    def _replan(self, run: Run, now: float) -> None:
        events = run.replan(now)
        if events:
            self._events.extend(events)
            self._watch.held(now)
