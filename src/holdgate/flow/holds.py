"""Operators' holds: which sources a person has told to wait, and until when."""

from __future__ import annotations

from collections.abc import Iterable

from holdgate.flow.admission import WaitingList
from holdgate.flow.place import Place, Run
from holdgate.flow.sources import Source


class Holds:
    """Sets, ends and expires operators' holds. A hold is gone with its place."""

    def __init__(self, runs: Iterable[Run], waiting: WaitingList) -> None:
        self._runs = runs
        self._waiting = waiting
        self._expiries: dict[Place, float] = {}

    def hold(self, source: Source, until: float | None) -> bool:
        """Start nothing here until that second; None: until somebody ends it. A later word replaces an earlier one. False: unknown here."""
        places = self._places_of(source)
        for place in places:
            self._expiries.pop(place, None)
            if until is not None:
                self._expiries[place] = until
            place.operator_hold = True
            place.touch()
        return bool(places)

    def end(self, source: Source) -> bool:
        """The operator's hold of this source is over; False when it is unknown here."""
        places = self._places_of(source)
        for place in places:
            self._end(place)
        return bool(places)

    def expire(self, now: float) -> None:
        """End the holds whose time is over."""
        for place in [place for place, at in self._expiries.items() if at <= now]:
            self._end(place)

    def forget(self, places: Iterable[Place]) -> None:
        """These places are gone, and their holds with them."""
        for place in places:
            self._expiries.pop(place, None)

    def next_deadline(self) -> float | None:
        """When the first hold ends by itself; None when none does."""
        return min(self._expiries.values(), default=None)

    def _end(self, place: Place) -> None:
        self._expiries.pop(place, None)
        place.operator_hold = False
        place.touch()
        if not place.stopped:
            self._waiting.back_in_line(place)

    def _places_of(self, source: Source) -> list[Place]:
        return [run.places[source] for run in self._runs if source in run.places]
