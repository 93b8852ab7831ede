"""Places come and go: what assigning, closing and forgetting sources means for gates, lanes, the waiting list and the plan."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from holdgate.flow.admission import WaitingList
from holdgate.flow.delivery import Delivery
from holdgate.flow.gate import Gate
from holdgate.flow.place import Place, Run
from holdgate.flow.sources import Source
from holdgate.flow.verdicts import give_back


class Assignments:
    """Makes places and takes them away, for all runs of one engine."""

    def __init__(self, gates: Mapping[str, Gate], runs: Collection[Run], waiting: WaitingList) -> None:
        self._gates = gates
        self._runs = runs
        self._waiting = waiting

    def open(self, run: Run, sources: Iterable[Source], now: float) -> None:
        """Fresh places. What is known of a source that was here already is of an earlier epoch, and forgotten."""
        for source in sources:
            if source in run.places:
                self.forget(run, [source], now)
            needs = run.needs.of(source)
            place = Place(run, source, None if needs is None else [self._gates[name] for name in needs])
            run.places[source] = place
            for gate in place.gates:
                gate.places[place] = None
            run.dirty[place] = None
        self.resize(run, now)

    def close(self, run: Run, sources: Iterable[Source], now: float) -> list[Place]:
        """Nothing starts here any more, and what waits is dropped. Returns the places."""
        places = [run.places[source] for source in sources if source in run.places]
        for place in places:
            place.closing = True
        self._empty(run, places, now)
        return places

    def forget(self, run: Run, sources: Iterable[Source], now: float) -> list[Place]:
        """Their places are dead from now on: what still runs for them is stale. Returns them."""
        places = self.close(run, sources, now)
        for place in places:
            place.alive = False
            del run.places[place.source]
            run.dirty.pop(place, None)
            run.count_lanes(leftover=place.in_flight)
            for gate in place.gates:
                gate.places.pop(place, None)
        if places:
            run.replan_without(places)
            self.resize(run, now)
        return places

    def drain(self, run: Run, now: float) -> None:
        """The same as closing every source, for a run that ends; sources that come later are drained too."""
        run.draining = True
        self._empty(run, list(run.places.values()), now)

    def resize(self, run: Run, now: float) -> None:
        """The ramp of a dependency ends at what all runs that need it may have in work at once."""
        run.count_lanes()
        for name in run.needs.names():
            full = sum(other.capacity for other in self._runs if name in other.needs.names())
            self._gates[name].circuit.set_full(max(1, full), now)

    def unstart(self, delivery: Delivery[Any], now: float) -> None:
        """It was admitted, and that ends without a verdict: its lane and its permits are free again."""
        place: Place = delivery.place
        place.in_flight -= 1
        place.run.running -= 1
        if delivery.trial is not None and delivery.trial.falling_back:
            delivery.trial.falling_back = False
            place.run.falling -= 1
        if not place.alive:
            place.run.count_lanes(leftover=-1)
        give_back(delivery, now)

    def _empty(self, run: Run, places: Collection[Place], now: float) -> None:
        for place in places:
            place.touch()
            place.inbox.clear()
            place.weights.clear()
        gone = set(places)
        self._waiting.drop(gone)
        for queue in (run.granted, run.resend):
            given = list(queue)
            queue.clear()
            for delivery in given:
                if delivery.place in gone:
                    self.unstart(delivery, now)
                else:
                    queue.append(delivery)
