"""The real engine and the real guard, with somebody who looks on: what is handed out, what is announced, and what is left over.

Nothing is decided here. `FleetEngine` hears what the engine hands out and takes back, `FleetGuard` what it announces, and a `Watch`
compares both with what must hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from holdgate.core import Circuit
from holdgate.core.events import CircuitClosed, CircuitHalfOpened, CircuitOpened, LimitChanged, OverrideCleared, OverrideSet
from holdgate.core.keys import Keys
from holdgate.flow.attribution import Attribution
from holdgate.flow.batch import Batch, messages_in
from holdgate.flow.engine import Engine
from holdgate.flow.events import AnyEvent, HandlerStuck, SourceBlocked, SourceFallingBack, SourceHeld, SourceReleased
from holdgate.flow.gate import Gate, gates_of
from holdgate.flow.message import AnyDelivery
from holdgate.flow.policy import Verdict
from holdgate.flow.state import Assignment, Run
from holdgate.ports import FleetLog
from holdgate.runtime.dependency import Dependency
from holdgate.runtime.fleet import Fleet, FleetLink
from holdgate.runtime.guard import Guard
from holdgate_lab.fleet.clock import Process
from holdgate_lab.fleet.records import CircuitRecord
from holdgate_lab.fleet.scenario import Scenario

# The one hold that messages themselves end: some start in it, at growing distances, as no circuit could say that it is over.
SUSPICION = "unclaimed failures"


class Watch:
    """What is known from outside of one engine. `needs` names what each topic or queue needs; `circuit` makes the circuit in place of
    the guard's own, which a baseline or a saboteur changes."""

    def __init__(self, process: Process, scenario: Scenario, circuit: Callable[[Circuit], Circuit]) -> None:
        self.process = process
        self.circuit = circuit
        self.records: dict[Gate, CircuitRecord] = {}
        self.granted: dict[AnyDelivery, tuple[tuple[CircuitRecord, int], ...]] = {}
        self.probing: set[Gate] = set()
        self.is_led = False  # by a fleet, whose limits are not this worker's ramp
        self.full_before: dict[Gate, int] = {}  # where the ramp of each dependency ended at the last turn
        self._needs = {spec.name: spec.needs for spec in scenario.streams}

    # -- what is handed out -----------------------------------------------------------------------------------------------------------

    def hands_out(self, delivery: AnyDelivery) -> None:
        """A lane gets a delivery, permits in hand."""
        history = delivery.history
        if history is not None and (history.falling_back or history.reason is not None):
            return  # no handler begins
        first = _first(delivery)
        if first in self.granted:
            return
        assignment: Assignment = delivery.assignment
        against = [reason for reason in assignment.plan.reasons if reason != SUSPICION]
        if against:
            self.process.complain("held", f"a handler begins on {assignment.source}, which is held by {', '.join(against)}")
        messages = messages_in(delivery)
        records = [self.records[gate] for gate in gates_of(delivery)]
        self.granted[first] = tuple((record, record.starts(messages)) for record in records)

    def takes_back(self, delivery: AnyDelivery) -> None:
        """It has ended in any way, or was never started."""
        messages = messages_in(delivery)
        for record, generation in self.granted.pop(_first(delivery), ()):
            record.stopped(generation, messages)

    def look_for_leaks(self) -> None:
        """Nothing runs in this process: nobody may hold a permit."""
        for gate, record in self.records.items():
            if gate not in self.probing:
                record.look_for_leaks()

    # -- what is announced ------------------------------------------------------------------------------------------------------------

    def hear(self, engine: Engine, event: AnyEvent) -> None:
        """Take an event in."""
        if isinstance(event, LimitChanged | CircuitHalfOpened | CircuitClosed):
            self._look_at_ramp(engine, event)
        elif isinstance(event, SourceHeld):
            self._look_at_reasons(event)
        words = _WORDS.get(type(event))
        if words is not None:
            self.process.say(words(event))

    def note_full(self, engine: Engine) -> None:
        """A turn that announced something has ended."""
        self.full_before = {gate: full_of(engine, gate) for gate in self.records}

    def _look_at_ramp(self, engine: Engine, event: LimitChanged | CircuitHalfOpened | CircuitClosed) -> None:
        gate = engine.gates[event.name]
        ramp = gate.circuit.settings.ramp
        full = full_of(engine, gate)
        record = self.records[gate]
        if isinstance(event, CircuitHalfOpened):
            record.half_opened()
        elif self.is_led:
            return
        elif isinstance(event, LimitChanged):
            record.moved(event, ramp, full)
        else:
            # Sources may have come in the very turn in which it has closed.
            record.closed(min(full, self.full_before.get(gate, full), full if ramp.full is None else ramp.full))

    def _look_at_reasons(self, event: SourceHeld) -> None:
        needs = {f"circuit:{name}" for name in self._needs[event.source.name]}
        foreign = [reason for reason in event.reasons if reason.startswith("circuit:") and reason not in needs]
        if foreign:
            self.process.complain("isolation", f"{event.source} is held by {', '.join(foreign)}, which it does not need")


class FleetEngine(Engine):
    """The engine, and the watch hears what it hands out and takes back."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(draw=watch.process.draw)
        self._watched = watch

    def add_gate(self, circuit: Circuit, *, probed: bool = False, keys: Keys | None = None) -> Gate:
        gate = super().add_gate(self._watched.circuit(circuit), probed=probed, keys=keys)
        self._watched.records[gate] = CircuitRecord(gate, self._watched.process.complain)
        return gate

    def next(self, run: Run, now: float) -> AnyDelivery | None:
        delivery = super().next(run, now)
        if delivery is not None:
            self._watched.hands_out(delivery)
        return delivery

    def follow(self, assignment: Assignment, now: float) -> AnyDelivery | None:
        delivery = super().follow(assignment, now)
        if delivery is not None:
            self._watched.hands_out(delivery)
        return delivery

    def pass_on(self, delivery: AnyDelivery, now: float) -> AnyDelivery | None:
        following = super().pass_on(delivery, now)
        self._watched.takes_back(delivery)
        if following is not None:
            self._watched.hands_out(following)
        return following

    def succeeded(self, delivery: AnyDelivery, now: float) -> Verdict:
        self._watched.takes_back(delivery)
        return super().succeeded(delivery, now)

    def settle(self, delivery: AnyDelivery, attribution: Attribution, error: str, now: float, *, reason: str | None = None) -> Verdict:
        self._watched.takes_back(delivery)
        return super().settle(delivery, attribution, error, now, reason=reason)

    def interrupted(self, delivery: AnyDelivery, now: float) -> Verdict:
        self._watched.takes_back(delivery)
        return super().interrupted(delivery, now)

    def take_probes(self) -> list[Gate]:
        begun = super().take_probes()
        self._watched.probing.update(begun)
        return begun

    def probe_ended(self, gate: Gate, good: bool | None, now: float, *, retry_after: float | None = None) -> None:
        self._watched.probing.discard(gate)
        super().probe_ended(gate, good, now, retry_after=retry_after)


class FleetGuard(Guard):
    """The guard on a `FleetEngine`. `is_idle` tells whether nothing runs beside handlers. `fleet` is the log that it shares, and chance for
    the fleet's rules alone, so that they move no wait of a circuit."""

    def __init__(
        self,
        watch: Watch,
        dependencies: tuple[Dependency, ...],
        drain_timeout: float,
        *,
        is_idle: Callable[[], bool],
        make: type[FleetEngine],
        fleet: tuple[FleetLog, Callable[[], float]] | None = None,
    ) -> None:
        self._has_spoken = False
        self._watched = watch
        self._is_idle = is_idle
        super().__init__(
            *dependencies, drain_timeout=drain_timeout, signals=False, observers=[self._hear], clock=watch.process, memory=None
        )
        if fleet is not None:
            watch.is_led = True
            guard: Any = self
            self.fleet = FleetLink(guard, Fleet(fleet[0]), fleet[1])
        self.engine = make(watch)

    def turn(self) -> None:
        super().turn()
        watch, engine = self._watched, self.engine
        if self._has_spoken:
            self._has_spoken = False
            watch.note_full(engine)
        if not watch.granted and self._is_idle() and not any(run.granted for run in engine.runs):
            watch.look_for_leaks()

    def _hear(self, event: AnyEvent) -> None:
        self._has_spoken = True
        self._watched.hear(self.engine, event)


def full_of(engine: Engine, gate: Gate) -> int:
    """Where the ramp of a dependency ends: what may be in work in parallel that needs it."""
    return sum(run.capacity for run in engine.runs if gate.name in run.needs.names())


def _first(delivery: AnyDelivery) -> AnyDelivery:
    """What a batch is known by, also when it has shrunk to a single delivery."""
    first: AnyDelivery = delivery.message[0] if isinstance(delivery, Batch) else delivery
    return first


_WORDS: dict[type, Callable[[Any], str]] = {
    LimitChanged: lambda event: f"lets {event.limit} through to {event.name} at a time, after {event.previous}",
    SourceHeld: lambda event: f"holds {event.source}: {', '.join(event.reasons)}",
    SourceReleased: lambda event: f"holds {event.source} no longer",
    SourceFallingBack: lambda event: f"falls back for {event.source}",
    SourceBlocked: lambda event: f"waits with {event.source} behind {event.position}",
    HandlerStuck: lambda event: f"waits for the handler of {event.source}@{event.position}",
    CircuitOpened: lambda event: f"opens {event.name} until {event.until:.3f} s: {event.reason}",
    CircuitHalfOpened: lambda event: f"probes {event.name}",
    CircuitClosed: lambda event: f"closes {event.name}",
    OverrideSet: lambda event: f"is told: {event.override.name} for {event.name}",
    OverrideCleared: lambda event: f"ends {event.override.name} for {event.name}",
}
