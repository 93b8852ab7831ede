"""The whole guard without I/O: circuits, places, the waiting list and the plan, put together.

Theory of operation. Everything that happens outside comes in as a call with the time: sources assigned and revoked, deliveries received,
handlers ended, time passed. What should happen comes out as values: a delivery that a lane may start (its permits in hand), a verdict, a
plan, events. Nothing here waits, reads a clock, or calls user code, so a test drives it with a list of inputs, and the simulator with the
same lines as the runtime.

Two paths. The fast one is `follow` and `succeeded`: one delivery after another of one source whose circuits are closed, a handful of
attribute reads each. Everything else sets `restless` and leaves the work to `turn`, which the runtime calls soon: let circuits see the
time, regroup who waits, grant, and bring the plan up to date. `turn` may be called at any time and any number of times.

A delivery is in exactly one of these: an inbox, the waiting list, granted, running, finished. It has permits in the third and fourth only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from holdgate.core import Circuit, Outcome
from holdgate.core.events import Event
from holdgate.errors import SettingsError
from holdgate.flow.admission import WaitingList, acquire
from holdgate.flow.attribution import Attribution
from holdgate.flow.delivery import Delivery
from holdgate.flow.events import FlowEvent
from holdgate.flow.fate import Verdict, decide
from holdgate.flow.gate import Gate
from holdgate.flow.outage import Outages
from holdgate.flow.place import Place, Run
from holdgate.flow.plan import Plan
from holdgate.flow.retries import Retries
from holdgate.flow.snapshot import Snapshot, take_snapshot
from holdgate.flow.sources import Source
from holdgate.flow.verdicts import gates_of, give_back, record
from holdgate.flow.watch import Watch

AnyDelivery = Delivery[Any]
AnyEvent = Event | FlowEvent

_source_of = attrgetter("source")


class Engine:
    """All circuits, runs and waiting heads of one guard.

    `draw` gives [0, 1) and spreads retries. `hold_warn_after` seconds a hold lasts before it is announced again, and again after each
    such time. Not thread-safe: everything happens in the order in which it is told.
    """

    def __init__(self, *, draw: Callable[[], float], hold_warn_after: float = 600.0) -> None:
        self.gates: dict[str, Gate] = {}
        self.runs: dict[Run, None] = {}
        self.restless = False  # something needs a turn
        self._waiting = WaitingList()
        self._retries = Retries(self._waiting, self.gates, draw)
        self._outages = Outages(self._waiting)
        self._watch = Watch(hold_warn_after)
        self._events: list[AnyEvent] = []

    # -- what exists ------------------------------------------------------------------------------------------------------------------

    def add_gate(self, circuit: Circuit) -> Gate:
        """Put a dependency's circuit under this engine. Raises SettingsError when the name is taken."""
        if circuit.name in self.gates:
            raise SettingsError(f"two dependencies are named {circuit.name!r}: give each its own name, it is the label everywhere")
        gate = self.gates[circuit.name] = Gate(circuit)
        return gate

    def add_run(self, run: Run) -> None:
        """Take up a run; its places come with `assigned`. Raises SettingsError when it needs a dependency that was never added."""
        unknown = sorted(set(run.needs.names()) - set(self.gates))
        if unknown:
            raise SettingsError(f"needs names {unknown}, and the dependencies are {sorted(self.gates)}")
        self.runs[run] = None

    def remove_run(self, run: Run, now: float) -> None:
        """Forget a run and its places."""
        self.forget(run, list(run.places), now)
        self.runs.pop(run, None)
        self._resize(run, now)

    # -- assignments ------------------------------------------------------------------------------------------------------------------

    def assigned(self, run: Run, sources: Iterable[Source], now: float) -> Plan:
        """Fresh places for these sources; returns the run's plan with them in it, to be applied at once."""
        for source in sources:
            if source in run.places:  # given again without having been taken: what we knew of it is of an earlier epoch
                self.forget(run, [source], now)
            needs = run.needs.of(source)
            place = Place(run, source, None if needs is None else [self.gates[name] for name in needs])
            run.places[source] = place
            for gate in place.gates:
                gate.places[place] = None
            run.dirty[place] = None
        self._resize(run, now)
        self._events.extend(self._outages.settle_events(self.gates.values(), now))
        self._replan(run, now)
        self.restless = True
        return run.plan

    def closing(self, run: Run, sources: Collection[Source], now: float) -> list[Place]:
        """These sources go away: nothing starts any more, what waits is dropped, what runs may finish. Returns their places."""
        places = [run.places[source] for source in sources if source in run.places]
        for place in places:
            place.closing = True
            self.touch(place)
            place.inbox.clear()
        self._drop(run, set(places), now)
        return places

    def forget(self, run: Run, sources: Collection[Source], now: float) -> list[Place]:
        """These sources are gone: whatever still runs for them is stale. Returns their places."""
        places = self.closing(run, sources, now)
        for place in places:
            place.alive = False
            del run.places[place.source]
            run.dirty.pop(place, None)
            for gate in place.gates:
                gate.places.pop(place, None)
        if places:
            run.replan_without(places)
            self._resize(run, now)
        return places

    def drain(self, run: Run, now: float) -> None:
        """Nothing of this run starts any more; what waits is dropped, what runs may finish."""
        run.draining = True
        for place in run.places.values():
            self.touch(place)
        self._drop(run, set(run.places.values()), now)

    # -- the way of a message ---------------------------------------------------------------------------------------------------------

    def received(self, run: Run, deliveries: Sequence[AnyDelivery]) -> None:
        """Deliveries came in. Those of a source that is not ours, or is going away, are dropped: they come again to whoever has it next."""
        for source, group in groupby(deliveries, _source_of):
            place = run.places.get(source)
            if place is None or place.closing:
                continue
            batch = list(group)
            for delivery in batch:
                delivery.place = place
            place.inbox.put(batch)
            if place.inbox.waiting >= run.inbox and not place.full:
                place.full = True
                run.dirty[place] = None
            if not place.plan.reasons:
                run.offer(place)
        self.restless = True

    def next(self, run: Run, now: float) -> AnyDelivery | None:
        """The next delivery that a free lane of this run may start, permits in hand; None when there is none."""
        if run.granted:
            return run.granted.popleft()
        ring = run.ring
        while ring and not run.lane_wanted and run.running + run.waiting_fresh < run.concurrency:
            place = ring[0]
            delivery = self.follow(place, now)
            if delivery is not None:
                ring.rotate(-1)
                return delivery
            if place.idle:
                ring.popleft()
                place.in_ring = False
        return None

    def follow(self, place: Place, now: float) -> AnyDelivery | None:
        """The next delivery of this place, for the lane that has just finished one of it or of a place in the ring.

        A head that is not admitted goes to the waiting list; then, as when there is none, the answer is None.
        """
        run = place.run
        if place.stopped or place.plan.reasons or run.lane_wanted:
            place.idle = True
            self.restless = True
            return None
        delivery = place.inbox.take()
        if delivery is None:
            place.idle = True
            return None
        place.idle = False
        if place.full and place.inbox.waiting * 2 <= run.inbox:  # half: so that fetching does not flap with each message
            place.full = False
            run.dirty[place] = None
            self.restless = True
        gates = place.gates
        for gate in gates:
            if gate.heads and gate.circuit.free_slots is not None:  # others came before
                break
        else:
            if acquire(delivery, gates, now):
                run.running += 1
                place.in_flight += 1
                delivery.attempt += 1
                return delivery
        self._waiting.add(delivery, gates)
        self.restless = True
        return None

    def succeeded(self, delivery: AnyDelivery, now: float) -> Verdict:
        """The handler returned at its first attempt, and no call form ran: success for every need."""
        place = delivery.place
        if not place.alive:
            return self._stale(delivery, now)
        for gate, permit in zip(place.gates, delivery.permits, strict=True):
            gate.circuit.record(permit, Outcome.SUCCESS, now)
            gate.successes += 1
            if gate.heads or gate.circuit.events_pending:
                self.restless = True
        delivery.permits = None
        place.in_flight -= 1
        place.run.running -= 1
        self._done(delivery, place)
        return Verdict.DONE

    def settle(self, delivery: AnyDelivery, attribution: Attribution, error: str, now: float) -> Verdict:
        """The handler ended, in any way of its own. Records outcomes by vote, decides what becomes of the message, lets it wait if need be.

        `error` is the type name of what it raised, for events.
        """
        place: Place = delivery.place
        if not place.alive:
            return self._stale(delivery, now)
        self._ended(place)
        record(delivery, attribution, now)
        if attribution.shared:
            self._events.extend(place.announce_shared(now, gates_of(delivery)))
        verdict = decide(attribution.cause, delivery.trial.charged if delivery.trial else 0, place.run.retry)
        if verdict is Verdict.DONE:
            self._done(delivery, place)
        elif verdict is Verdict.REJECT:
            self._events.append(self._watch.block(delivery, error, now))
            self.touch(place)
            verdict = Verdict.AGAIN  # nowhere to go: it keeps its place
        elif not place.going:
            self._events.extend(self._retries.add(delivery, attribution, now))
        return verdict

    def interrupted(self, delivery: AnyDelivery, now: float) -> Verdict:
        """The handler was cancelled from outside (shutdown, revoked, lost): no verdict, nothing counted."""
        place: Place = delivery.place
        if not place.alive:
            return self._stale(delivery, now)
        self._unstart(delivery, now)
        return Verdict.AGAIN

    # -- time -------------------------------------------------------------------------------------------------------------------------

    def turn(self, now: float) -> None:
        """Let time pass: circuits first, then who may go on, then the plan. Afterwards each run's `granted` and `plan` are up to date."""
        self.restless = False
        self._events.extend(self._outages.advance(self.gates.values(), now))
        self._watch.expire_holds(self, now)
        for run in self.runs:
            run.lane_wanted = False
        for delivery in self._waiting.grants(list(self.gates.values()), now):
            delivery.attempt += 1
            delivery.place.in_flight += 1
            delivery.place.run.granted.append(delivery)
        self._events.extend(self._outages.settle_events(self.gates.values(), now))
        for run in self.runs:
            self._replan(run, now)
        self._events.extend(self._watch.announcements(self.runs, now))

    def next_deadline(self) -> float | None:
        """When `turn` will matter though nothing happens; None when only something that happens can matter."""
        times = [gate.circuit.next_deadline() for gate in self.gates.values()]
        times += [self._waiting.next_deadline(), self._watch.next_deadline()]
        return min((time for time in times if time is not None), default=None)

    def take_events(self) -> tuple[AnyEvent, ...]:
        """What was announced since the last call; drained by the caller."""
        events = tuple(self._events)
        self._events.clear()
        return events

    def snapshot(self, now: float) -> Snapshot:
        """The read model at `now`."""
        return take_snapshot(self.gates.values(), self.runs, self._waiting.by_place(), now)

    # -- the operator -----------------------------------------------------------------------------------------------------------------

    def hold(self, source: Source, until: float | None = None) -> bool:
        """Start nothing for this source until `unhold`, or `until` that second; False when it is not assigned here. Gone with its place."""
        return self._operate(source, hold=True, until=until)

    def unhold(self, source: Source) -> bool:
        """End an operator's hold; False when the source is not assigned here. What a circuit holds stays held."""
        return self._operate(source, hold=False, until=None)

    def _operate(self, source: Source, *, hold: bool, until: float | None) -> bool:
        places = [run.places[source] for run in self.runs if source in run.places]
        for place in places:
            place.operator_hold = hold
            self._watch.expires(place, until)
            self.touch(place)
        return bool(places)

    # -- inside -----------------------------------------------------------------------------------------------------------------------

    def touch(self, place: Place) -> None:
        """A flag of this place has changed: its plan must be looked at again."""
        place.restate()
        place.run.dirty[place] = None
        self.restless = True

    def _replan(self, run: Run, now: float) -> None:
        events = run.replan(now)
        if events:
            self._events.extend(events)
            self._watch.held(now)

    def _done(self, delivery: AnyDelivery, place: Place) -> None:
        place.inbox.done(delivery)
        if place.run.shared and not place.in_ring and place.inbox.waiting:
            place.run.offer(place)
            self.restless = True

    def _resize(self, run: Run, now: float) -> None:
        """The ramp of a dependency ends at the concurrency of all runs that need it."""
        for name in run.needs.names():
            full = sum(other.concurrency for other in self.runs if name in other.needs.names())
            self.gates[name].circuit.set_full(max(1, full), now)

    def _drop(self, run: Run, places: set[Place], now: float) -> None:
        self._waiting.drop(places)
        kept = [delivery for delivery in run.granted if delivery.place not in places]
        for delivery in run.granted:
            if delivery.place in places:
                self._unstart(delivery, now)
        run.granted.clear()
        run.granted.extend(kept)
        self.restless = True

    def _ended(self, place: Place) -> None:
        place.in_flight -= 1
        place.run.running -= 1
        self.restless = True

    def _unstart(self, delivery: AnyDelivery, now: float) -> None:
        self._ended(delivery.place)
        give_back(delivery, now)

    def _stale(self, delivery: AnyDelivery, now: float) -> Verdict:
        self._unstart(delivery, now)
        return Verdict.STALE
