"""What is said again while nothing changes: holds that go on, sources that stay blocked; and operators' holds that expire."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from holdgate.flow.delivery import Delivery
from holdgate.flow.events import FlowEvent, HoldContinued, SourceBlocked
from holdgate.flow.place import Place, Run

if TYPE_CHECKING:
    from holdgate.flow.engine import Engine

# Often enough to be in any log excerpt that somebody looks at, seldom enough not to fill it.
_BLOCKED_EVERY = 60.0


class Watch:
    """Repeats announcements. `hold_warn_after` is seconds between two of one hold."""

    def __init__(self, hold_warn_after: float) -> None:
        self._hold_warn_after = hold_warn_after
        self._due: float | None = None  # when to look at the places again; never each turn
        self._blocked: dict[Place, SourceBlocked] = {}
        self._expiries: dict[Place, float] = {}

    def next_deadline(self) -> float | None:
        """When something may have to be said, or a hold expires."""
        times = [*self._expiries.values(), *([self._due] if self._due is not None else [])]
        return min(times, default=None)

    def block(self, delivery: Delivery[Any], error: str, now: float) -> SourceBlocked:
        """This delivery was rejected and has nowhere to go: its place waits behind it, and is named again and again."""
        place: Place = delivery.place
        place.blocked = delivery
        event = SourceBlocked(now, place.source, delivery.position, delivery.trial.charged if delivery.trial else 0, error)
        self._blocked[place] = event
        self._plan(now + _BLOCKED_EVERY)
        return event

    def held(self, now: float) -> None:
        """A hold has begun."""
        self._plan(now + self._hold_warn_after)

    def expires(self, place: Place, at: float | None) -> None:
        """An operator's hold ends by itself at `at`; None: only by an operator."""
        if at is None:
            self._expiries.pop(place, None)
        else:
            self._expiries[place] = at

    def expire_holds(self, engine: Engine, now: float) -> None:
        """End the operators' holds whose time is over."""
        for place in [place for place, at in self._expiries.items() if at <= now]:
            del self._expiries[place]
            place.operator_hold = False
            engine.touch(place)

    def announcements(self, runs: Iterable[Run], now: float) -> list[FlowEvent]:
        """What has to be said again by now."""
        if self._due is None or self._due > now:
            return []
        self._due = None
        places = [place for run in runs for place in run.places.values()]
        return [*self._holds(places, now), *self._blocks(now)]

    def _holds(self, places: Iterable[Place], now: float) -> list[FlowEvent]:
        events: list[FlowEvent] = []
        for place in places:
            if place.since is None:
                continue
            due = max(place.since, place.warned) + self._hold_warn_after
            if due <= now:
                place.warned = now
                due = now + self._hold_warn_after
                events.append(HoldContinued(now, place.source, place.plan.reasons, place.since, _next_try(place)))
            self._plan(due)
        return events

    def _blocks(self, now: float) -> list[FlowEvent]:
        events: list[FlowEvent] = []
        for place, event in list(self._blocked.items()):
            if not place.alive or place.blocked is None:
                del self._blocked[place]
                continue
            if event.at + _BLOCKED_EVERY <= now:
                event = SourceBlocked(now, event.source, event.position, event.attempts, event.error)
                self._blocked[place] = event
                events.append(event)
            self._plan(event.at + _BLOCKED_EVERY)
        return events

    def _plan(self, at: float) -> None:
        self._due = at if self._due is None else min(self._due, at)


def _next_try(place: Place) -> float | None:
    """When the last of the circuits that hold it will admit a probe; None while something else holds it too."""
    if place.stopped:
        return None
    times = [gate.circuit.next_deadline() for gate in place.gates if gate.shut]
    known = [time for time in times if time is not None]
    return max(known) if known and len(known) == len(times) else None
