"""The whole guard without I/O: circuits, places, the waiting list and the plan, put together.

Theory of operation. Everything that happens outside comes in as a call with the time: sources assigned and revoked, deliveries received,
handlers ended, time passed. What should happen comes out as values: a delivery that a lane may start (its permits in hand), a verdict, a
plan, events. Nothing here waits, reads a clock, or calls user code, so a test drives it with a list of inputs, and the simulator with the
same lines as the runtime.

Two paths. The fast one is `pass_on`: one delivery after another of one source whose circuit is closed, a handful of attribute reads each.
Everything else sets `restless` and leaves the work to `turn`, which the runtime calls soon: let circuits see the time, regroup who waits,
grant, and bring the plan up to date. `turn` may be called at any time and any number of times.

A delivery is in exactly one of these: an inbox, the waiting list, granted, running, falling back, rejected (on its way to the dead
letters, or blocking its place), finished, or dropped with its place. It has permits while it is granted or runs, and at no other time.
How deliveries end is in endings.py; this file is how they begin, and how time passes.

What is ugly: `pass_on` repeats `succeeded` and `follow` for the common case, because it runs once per message.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from holdgate.core import Circuit, Outcome, Permit
from holdgate.errors import SettingsError
from holdgate.flow.admission import acquire_in_turn
from holdgate.flow.commands import AuditEntry, Commands
from holdgate.flow.endings import Endings
from holdgate.flow.events import AnyEvent, CommandGiven
from holdgate.flow.fate import Verdict
from holdgate.flow.gate import Gate
from holdgate.flow.holds import Holds
from holdgate.flow.inbox import AnyDelivery
from holdgate.flow.memory import Memory
from holdgate.flow.outage import Outages
from holdgate.flow.place import Place, Run
from holdgate.flow.plan import Plan
from holdgate.flow.probing import Probes
from holdgate.flow.snapshot import Snapshot, take_snapshot
from holdgate.flow.sources import Source
from holdgate.flow.verdicts import record_successes

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
        self._probes = Probes()
        self._outages = Outages(self._waiting)
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
        self.forget(run, list(run.places), now)
        self.runs.pop(run, None)
        self._assignments.resize(run, now)

    # -- assignments ------------------------------------------------------------------------------------------------------------------

    def assigned(self, run: Run, sources: Iterable[Source], now: float) -> Plan:
        """Fresh places for these sources; returns the run's plan with them in it, to be applied at once."""
        sources = tuple(sources)
        self._assignments.open(run, sources, now)
        self.memory.resize()
        self._holds.take_up(run.places[source] for source in sources)
        self._events.extend(self._outages.settle_events(self.gates.values(), now))
        self._replan(run, now)
        self.restless = True
        return run.plan

    def closing(self, run: Run, sources: Collection[Source], now: float) -> list[Place]:
        """These sources go away: nothing starts any more, what waits is dropped, what runs may finish. Returns their places."""
        self.restless = True
        places = self._assignments.close(run, sources, now)
        self._rejections.forget(places)
        return places

    def forget(self, run: Run, sources: Collection[Source], now: float) -> list[Place]:
        """These sources are gone: whatever still runs for them is stale. Returns their places."""
        self.restless = True
        places = self._assignments.forget(run, sources, now)
        self.memory.resize()
        self.memory.due = self.memory.tight
        self._rejections.forget(places)
        return places

    def drain(self, run: Run, now: float) -> None:
        """Nothing of this run starts any more; what waits is dropped, what runs may finish."""
        self.restless = True
        self._assignments.drain(run, now)
        self._rejections.forget(run.places.values())

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
            if not granted.place.bars_heads:
                return granted
            granted.attempt -= 1  # held between the grant and now: it has not started
            self.interrupted(granted, now)
        ring = run.ring
        while ring and not run.lane_wanted and run.running < run.lanes:
            place = ring[0]
            place.idle = place.fresh_heads >= run.lanes  # enough for every lane wait already; it is offered again when one is granted
            if not place.idle:
                delivery = self.follow(place, now)
                if delivery is not None:
                    ring.rotate(-1)
                    return delivery
            if place.idle:
                ring.popleft()
                place.in_ring = False
        self.restless = self.restless or (run.lane_wanted and run.running < run.lanes)
        return None

    def follow(self, place: Place, now: float) -> AnyDelivery | None:
        """The next delivery of this place, for the lane that has just finished one of it or of a place in the ring.

        A head that is not admitted goes to the waiting list; then, as when there is none, the answer is None.
        """
        run = place.run
        if place.held:  # offered again when it is not held any more
            place.idle = True
            return None
        if run.lane_wanted or run.running >= run.lanes:
            self.restless = True
            return None
        delivery = place.inbox.take()
        if delivery is None:
            place.idle = True
            return None
        if place.full and place.make_room():
            self.restless = True
        if acquire_in_turn(delivery, place.gates, now):
            run.running += 1
            place.in_flight += 1
            delivery.attempt += 1
            return delivery
        self._waiting.add(delivery, place.gates)
        self.restless = True
        return None

    def succeeded(self, delivery: AnyDelivery, now: float) -> Verdict:
        """The handler returned at its first attempt, and no call form ran: success for every need. `follow` or `next` comes after it."""
        place: Place = delivery.place
        if not place.alive:
            return self.interrupted(delivery, now)
        gates = place.gates
        if (gates and record_successes(gates, delivery.permits, now)) or place.held:  # a hold that a success may end
            self.restless = True
        delivery.permits = None
        place.results.successes += 1
        run = place.run
        place.in_flight -= 1
        run.running -= 1
        if place.inbox.done(delivery) and not place.in_ring:
            run.offer(place)
            if run.shared:  # several may start now, and the lane of this one takes one
                self.restless = True
        if run.memory.tight and not place.inbox.waiting:
            self.restless = run.memory.due = True
        return Verdict.DONE

    def pass_on(self, delivery: AnyDelivery, now: float) -> AnyDelivery | None:
        """`succeeded`, which is DONE here, and `follow` in one step: for a place that has a `direct` inbox and is not held."""
        place: Place = delivery.place
        run, gate, direct = place.run, place.gate, place.direct
        if gate is None or direct is None or gate.heads or run.lane_wanted or run.running > run.lanes:
            self.succeeded(delivery, now)
            return self.follow(place, now)
        circuit = gate.circuit
        permits = delivery.permits
        delivery.permits = None
        gate.successes += 1
        place.results.successes += 1
        following = direct.pass_on()
        if following is not None:
            if place.full and direct.waiting <= place.low and place.make_room():
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
            self._waiting.add(following, place.gates)
            self.restless = True
        elif run.memory.tight:
            self.restless = run.memory.due = True
        place.in_flight -= 1
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
            delivery.place.run.grant(delivery)
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
