"""What the change of a circuit means for all that needs it, and the health probes of dependencies.

`CircuitChanges` passes the events of circuits on, and moves what depends on them: deliveries that wait, backoffs, plans.

`HealthProbes` asks whether a dependency is back by a call of its own, before a message has to find out. A probe takes the slot of the first
message of a half-open. Its success begins the ramp, its failure opens the circuit again, and neither closes the circuit: only real work
does. A message that goes on failing in half-open, with no other to compare, has a probe run before each of its attempts: good probe and
failed message together show whose fault it is (`RetryPolicy.reject_after_probes`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import cast

from holdgate.core import Outcome, Permit, State
from holdgate.core.events import CircuitOpened, Event
from holdgate.flow.events import FlowEvent, LocalCauseSuspected
from holdgate.flow.gate import Gate, gates_of
from holdgate.flow.key_news import KeyNews
from holdgate.flow.limiting import LimitChanges
from holdgate.flow.state import mark_dirty
from holdgate.flow.waiting import WaitingList

# Dependencies that trip within so many seconds of each other have something in common: two default open waits, and a call.
_COINCIDENCE = 10.0


class CircuitChanges:
    """Passes the circuits' events on, and acts on them: regroups what waits, ends backoffs, marks assignments whose plan changes."""

    def __init__(self, waiting: WaitingList) -> None:
        self._waiting = waiting
        self._limits = LimitChanges(waiting)
        self._keys = KeyNews()
        self.pending = self._limits.seen  # what a limit holds may go on by time alone
        self._generations: dict[Gate, int] = {}
        self._shut: set[Gate] = set()
        self._opened_at: dict[Gate, float] = {}  # when those that are not CLOSED left that state
        self._suspected = False

    def advance(self, gates: Collection[Gate], now: float) -> list[Event | FlowEvent]:
        """Let time pass for every circuit whose deadline is over, then act on what happened; returns what is to be announced."""
        for gate in gates:
            deadline = gate.circuit.next_deadline()
            if deadline is not None and deadline <= now:
                gate.circuit.advance(now)
        events = self.settle_events(gates, now)
        news: list[FlowEvent] = []
        if self.pending or any(gate.circuit.limits.counts for gate in gates):
            news += self._limits.look(gates, now)
        if any(gate.keys is not None for gate in gates):
            news += self._keys.look(gates, now)
        return [*events, *news] if news else events

    def settle_events(self, gates: Collection[Gate], now: float) -> list[Event | FlowEvent]:
        """Act on what circuits have announced since the last time; returns that."""
        events: list[Event | FlowEvent] = []
        for gate in gates:
            if gate.circuit.events_pending:
                taken = gate.circuit.take_events()
                events += taken
                self._changed(gate, taken)
        suspicion = self._suspicion(gates, now) if events else None
        return [*events, suspicion] if suspicion else events

    def _changed(self, gate: Gate, events: Iterable[Event]) -> None:
        opened = [event for event in events if isinstance(event, CircuitOpened)]
        # Not a re-opening from half-open: that dependency has been down for longer than this.
        tripped = [event.at for event in opened if event.previous is State.CLOSED]
        if tripped:
            self._opened_at[gate] = tripped[-1]
            gate.left_closed(tripped[-1])
        elif gate.circuit.state is State.CLOSED:
            self._opened_at.pop(gate, None)
        was_shut = gate in self._shut
        if gate.shut and (opened or not was_shut):
            self._waiting.end_backoffs(gate)
        # The generation stands for every change but that of a limit; one of 0, a fleet's, shuts, too.
        if self._generations.get(gate) != gate.circuit.generation or gate.shut != was_shut:
            self._generations[gate] = gate.circuit.generation
            self._waiting.regroup(gate)
            if gate.shut == was_shut:  # an override over an open circuit holds a source that fell back
                mark_dirty(assignment for assignment in gate.assignments if assignment.run.fallback is not None)
        if gate.shut != was_shut:
            self._shut ^= {gate}
            mark_dirty(gate.assignments)
        if was_shut and gate.limited and not gate.shut:
            self._queue_up(gate)

    def _queue_up(self, gate: Gate) -> None:
        """Give every source that needs it a delivery on the waiting list, even if no lane is free.

        Deliveries that have failed are on the list already. With few lanes they would take turns as the probe for ever, and a delivery that
        was never tried would not get its turn.
        """
        for assignment in gate.assignments:
            if assignment.unstarted or assignment.stopped or assignment.by_message:  # each of those is on the list by itself
                continue
            delivery = assignment.inbox.take()
            if delivery is not None:
                self._waiting.add(delivery, gates_of(delivery))  # nothing for one whose key could not be found out
                if assignment.full:
                    assignment.make_room()

    def _suspicion(self, gates: Collection[Gate], now: float) -> LocalCauseSuspected | None:
        """Return an event if every dependency is open, and all left CLOSED at about the same time; once until one is CLOSED again."""
        if len(gates) == 1 or not all(gate in self._opened_at for gate in gates):
            self._suspected = False
            return None
        times = [self._opened_at[gate] for gate in gates]
        if self._suspected or max(times) - min(times) > _COINCIDENCE or not all(gate.shut for gate in gates):
            return None
        self._suspected = True
        return LocalCauseSuspected(now, tuple(gate.name for gate in gates))


class HealthProbes:
    """Begins and ends the probes of one engine, one at a time per gate. The driver takes them from `begun` and runs them."""

    def __init__(self) -> None:
        self.pending: list[Gate] = []  # those that have a probe
        self._permits: dict[Gate, Permit] = {}
        self._generations: dict[Gate, int] = {}
        self.begun: list[Gate] = []

    def watch(self, gate: Gate) -> None:
        """Have probes run for this dependency from now on."""
        gate.have_probe()
        self.pending.append(gate)

    def begin(self, now: float) -> None:
        """Take the slots of the probes that are due. Called before any grant, since a message would take them."""
        for gate in self.pending:
            if self._is_due(gate) and gate.circuit.may_acquire(now):
                permit = self._permits[gate] = cast("Permit", gate.circuit.try_acquire(now))  # `may_acquire` was True just now
                self._generations[gate] = permit.generation
                gate.want_probe(wanted=False)
                self.begun.append(gate)

    def ended(self, gate: Gate, good: bool | None, now: float, retry_after: float | None) -> None:
        """Record how a probe came back; `good` None means that it was not run to its end, and says nothing."""
        permit = self._permits.pop(gate)
        circuit = gate.circuit
        if good is False:
            circuit.record(permit, Outcome.FAILURE, now, retry_after=retry_after)
            return
        if good:
            gate.probe_was_good()
        if good and circuit.is_probing and permit.generation == circuit.generation:
            circuit.record(permit, Outcome.SUCCESS, now)
        else:  # a stage of the ramp is judged by real work alone
            circuit.release(permit, now)

    def _is_due(self, gate: Gate) -> bool:
        circuit = gate.circuit
        if gate in self._permits or circuit.override is not None or circuit.state is not State.HALF_OPEN or circuit.has_share:
            return False
        return gate.probe_due or self._generations.get(gate) != circuit.generation
