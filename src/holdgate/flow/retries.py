"""A delivery that comes again: what it needs from now on, and what it waits for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from holdgate.flow.admission import WaitingList
from holdgate.flow.attribution import Attribution, Cause
from holdgate.flow.delivery import Delivery
from holdgate.flow.events import UndeclaredNeed
from holdgate.flow.gate import Gate
from holdgate.flow.place import Place
from holdgate.flow.verdicts import gates_of, trial_of


class Retries:
    """Puts failed deliveries back onto the waiting list. `draw` spreads their waits."""

    def __init__(self, waiting: WaitingList, gates: Mapping[str, Gate], draw: Callable[[], float]) -> None:
        self._waiting = waiting
        self._gates = gates
        self._draw = draw

    def add(self, delivery: Delivery[Any], attribution: Attribution, now: float) -> list[UndeclaredNeed]:
        """To the end of the list: for a backoff first, or straight away when a circuit decides from now on."""
        trial = trial_of(delivery)
        events = [event for name in attribution.refused for event in self._refused_by(delivery, name, now)]
        gates = gates_of(delivery)
        # A dependency that is not of this guard can refuse too; nothing tells us when it will admit again, so time does.
        told = attribution.cause is Cause.REFUSED and all(name in self._gates for name in attribution.refused)
        if told or any(gate.shut for gate in gates):
            trial.backoffs = 0
            self._waiting.add(delivery, gates)
        else:
            trial.backoffs += 1
            self._waiting.add(delivery, gates, now + delivery.place.run.retry.wait(trial.backoffs, self._draw()))
        return events

    def _refused_by(self, delivery: Delivery[Any], name: str, now: float) -> list[UndeclaredNeed]:
        """The dependency is one of the message's needs until the message is settled. Announced once per source."""
        place: Place = delivery.place
        gate = self._gates.get(name)
        if gate is None or gate in gates_of(delivery):
            return []
        trial_of(delivery).extra += (gate,)
        if name in place.undeclared:
            return []
        place.undeclared.add(name)
        return [UndeclaredNeed(now, place.source, name)]
