"""A delivery that was not processed: whether it comes again, what it needs from now on, and what it waits for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from holdgate.flow.admission import WaitingList
from holdgate.flow.attribution import Attribution, Cause
from holdgate.flow.delivery import Delivery
from holdgate.flow.events import FlowEvent, UndeclaredNeed
from holdgate.flow.fate import Verdict
from holdgate.flow.gate import Gate
from holdgate.flow.place import Place
from holdgate.flow.verdicts import gates_of, trial_of


class Retries:
    """Puts failed deliveries back onto the waiting list. `draw` spreads their waits."""

    def __init__(self, waiting: WaitingList, gates: Mapping[str, Gate], draw: Callable[[], float]) -> None:
        self._waiting = waiting
        self._gates = gates
        self._draw = draw

    def keep(self, delivery: Delivery[Any], verdict: Verdict, attribution: Attribution, now: float) -> list[FlowEvent]:
        """Give an ended attempt its place by the verdict on it; returns what is to be announced. What is going away is dropped."""
        place: Place = delivery.place
        events: list[FlowEvent] = []
        if attribution.shared:
            events.extend(place.announce_shared(now, gates_of(delivery), attribution))
        if verdict is Verdict.AGAIN and not place.going:
            events.extend(self.add(delivery, attribution, now))
        return events

    def add(self, delivery: Delivery[Any], attribution: Attribution, now: float) -> list[UndeclaredNeed]:
        """To the end of the list: for a backoff first, or straight away when a circuit decides from now on."""
        trial = trial_of(delivery)
        place: Place = delivery.place
        if attribution.cause is Cause.DEPENDENCY and place.inbox.failed(delivery):
            place.run.offer(place)
        events = [event for name in attribution.refused for event in self._refused_by(delivery, name, now)]
        gates = gates_of(delivery)
        wish, trial.wish = trial.wish, None
        if wish is not None and wish.after is not None:
            self._waiting.add(delivery, gates, now + wish.after)
        elif self._will_be_told(attribution) or any(gate.shut for gate in gates):
            trial.backoffs = 0
            self._waiting.add(delivery, gates)
        else:
            trial.backoffs += 1
            self._waiting.add(delivery, gates, now + delivery.place.run.retry.wait(trial.backoffs, self._draw()))
        return events

    def _will_be_told(self, attribution: Attribution) -> bool:
        """Whether it waits for a slot that the engine hands out. Time decides where a dependency that refused is not of this guard, or has
        no limit any more: a handler that is refused again at once would run in a hot loop."""
        gates = [self._gates.get(name) for name in attribution.refused]
        if attribution.cause is not Cause.REFUSED or None in gates:
            return False
        return any(gate is not None and gate.limited for gate in gates)

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
