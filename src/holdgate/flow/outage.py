"""What a change of a circuit means for everything that waits for it or needs it."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from holdgate.core import State
from holdgate.core.events import CircuitOpened, Event
from holdgate.flow.admission import WaitingList
from holdgate.flow.events import FlowEvent, LocalCauseSuspected
from holdgate.flow.gate import Gate

# Dependencies that trip within this many seconds of each other have something in common: two default open waits and a little.
_COINCIDENCE = 10.0


class Outages:
    """Passes the circuits' events on, and acts on them: regroups heads, ends backoffs, marks places whose plan changes."""

    def __init__(self, waiting: WaitingList) -> None:
        self._waiting = waiting
        self._generations: dict[Gate, int] = {}
        self._shut: set[Gate] = set()
        self._opened_at: dict[Gate, float] = {}  # when those that are open have left CLOSED
        self._suspected = False

    def advance(self, gates: Collection[Gate], now: float) -> list[Event | FlowEvent]:
        """Let time pass for every circuit whose deadline is over, then act on what happened."""
        for gate in gates:
            deadline = gate.circuit.next_deadline()
            if deadline is not None and deadline <= now:
                gate.circuit.advance(now)
        return self.settle_events(gates, now)

    def settle_events(self, gates: Collection[Gate], now: float) -> list[Event | FlowEvent]:
        """Act on what circuits have announced since the last time."""
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
            self._opened_at[gate] = gate.down_since = tripped[-1]
        elif gate.circuit.state is State.CLOSED:
            self._opened_at.pop(gate, None)
        was_shut = gate in self._shut
        if gate.shut and (opened or not was_shut):
            self._waiting.end_backoffs(gate)
        if self._generations.get(gate) != gate.circuit.generation:  # it stands for every change but that of a limit
            self._generations[gate] = gate.circuit.generation
            self._waiting.regroup(gate)
            for place in gate.places:  # an override over an open circuit holds a source that fell back
                if place.run.fallback is not None:
                    place.run.dirty[place] = None
        if gate.shut != was_shut:
            self._shut ^= {gate}
            for place in gate.places:
                place.run.dirty[place] = None
        if was_shut and gate.limited and not gate.shut:
            self._queue_up(gate)

    def _queue_up(self, gate: Gate) -> None:
        """Every source that needs it has a head on the waiting list, be no lane free: those that have failed are there already, and with
        few lanes they would take turns at being the probe for ever, and what nobody has tried would never be."""
        for place in gate.places:
            if place.fresh_heads or place.stopped:
                continue
            head = place.inbox.take()
            if head is not None:
                self._waiting.add(head, place.gates)
                if place.full:
                    place.make_room()

    def _suspicion(self, gates: Collection[Gate], now: float) -> LocalCauseSuspected | None:
        """Every dependency open, and all left CLOSED at about the same moment: said once until one of them is CLOSED again."""
        if len(gates) == 1 or not all(gate in self._opened_at for gate in gates):
            self._suspected = False
            return None
        times = [self._opened_at[gate] for gate in gates]
        if self._suspected or max(times) - min(times) > _COINCIDENCE or not all(gate.shut for gate in gates):
            return None
        self._suspected = True
        return LocalCauseSuspected(now, tuple(gate.name for gate in gates))
