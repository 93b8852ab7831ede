"""Operators' holds: which sources a person has told to wait, and until when.

A hold is of a source, or of a name: then every partition of the topic waits. It is the engine's and not an assignment's, so it outlives a
rebalance: whoever assigns the source again assigns it held.
"""

from __future__ import annotations

from collections.abc import Iterable

from holdgate.flow.admission import WaitingList
from holdgate.flow.place import Place, Run
from holdgate.flow.sources import Source


class Holds:
    """Sets, ends and expires operators' holds."""

    def __init__(self, runs: Iterable[Run], waiting: WaitingList) -> None:
        self._runs = runs
        self._waiting = waiting
        self._until: dict[Source | str, float | None] = {}  # by what was said; None: until somebody ends it

    def __contains__(self, target: Source | str) -> bool:
        """Whether just this was held, and is still: a partition is not in here for a hold of its topic."""
        return target in self._until

    def hold(self, target: Source | str, until: float | None) -> bool:
        """Start nothing here until that second; None: until somebody ends it. A later word replaces an earlier one.

        False, and nothing is held: the source is unknown here. A name is always taken, its sources may come yet.
        """
        places = self._places_of(target)
        if not places and not isinstance(target, str):
            return False
        self._until[target] = until
        for place in places:
            _hold(place)
        return True

    def end(self, target: Source | str) -> bool:
        """The hold of just this is over; that of a name with those of its sources. False when nothing of it is known here."""
        over = [held for held in self._until if held == target or (not isinstance(held, str) and held.name == target)]
        for held in over:
            del self._until[held]
        places = self._places_of(target)
        self._release(places)
        return bool(places or over)

    def expire(self, now: float) -> None:
        """End the holds whose time is over."""
        for target in [target for target, at in self._until.items() if at is not None and at <= now]:
            del self._until[target]
            self._release(self._places_of(target))

    def take_up(self, places: Iterable[Place]) -> None:
        """These places are new: what was held before they came is held."""
        for place in places:
            if self._is_held(place):
                _hold(place)

    def next_deadline(self) -> float | None:
        """When the first hold ends by itself; None when none does."""
        return min((at for at in self._until.values() if at is not None), default=None)

    def _release(self, places: Iterable[Place]) -> None:
        for place in places:
            if self._is_held(place):
                continue
            place.operator_hold = False
            place.touch()
            if not place.stopped:
                self._waiting.back_in_line(place)

    def _is_held(self, place: Place) -> bool:
        return place.source in self._until or place.source.name in self._until

    def _places_of(self, target: Source | str) -> list[Place]:
        if isinstance(target, str):
            return [place for run in self._runs for place in run.places.values() if place.source.name == target]
        return [run.places[target] for run in self._runs if target in run.places]


def _hold(place: Place) -> None:
    place.operator_hold = True
    place.touch()
