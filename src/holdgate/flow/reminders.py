"""What is said again while nothing changes: holds that go on, and sources that stay blocked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from holdgate.flow.events import FlowEvent, HoldContinued, SourceBlocked
from holdgate.flow.message import Delivery
from holdgate.flow.state import Assignment, Run

AnyDelivery = Delivery[Any]

# Often enough to be in any log excerpt that somebody looks at, seldom enough not to fill it.
_BLOCKED_EVERY = 60.0

# A probe that runs when a hold would be announced ends within seconds, or keeps its source free for as long.
_LOOK_AGAIN = 1.0


class Reminders:
    """Repeats announcements. `hold_warn_after` is seconds between two of one hold."""

    def __init__(self, hold_warn_after: float) -> None:
        self._hold_warn_after = hold_warn_after
        self._due: float | None = None  # when to look at the places again; never each turn
        self._blocked: dict[AnyDelivery, SourceBlocked] = {}

    def next_deadline(self) -> float | None:
        """When something may have to be said again; None while nothing may."""
        return self._due

    def block(self, delivery: AnyDelivery, error: str, now: float) -> SourceBlocked:
        """A delivery was rejected and has nowhere to go: its place waits behind it, and is named again and again."""
        assignment: Assignment = delivery.assignment
        assignment.blocked.append(delivery)
        assignment.touch()
        return self._name(
            delivery, SourceBlocked(now, assignment.source, delivery.position, delivery.trial.counted if delivery.trial else 0, error)
        )

    def suspect(self, delivery: AnyDelivery, error: str, now: float) -> SourceBlocked:
        """A delivery keeps its source from going on, and there is nobody to tell whether it is its fault: say so until it is settled."""
        return self._name(
            delivery, SourceBlocked(now, delivery.assignment.source, delivery.position, delivery.trial.failures, error, suspect=True)
        )

    def _name(self, delivery: AnyDelivery, event: SourceBlocked) -> SourceBlocked:
        self._blocked[delivery] = event
        self._plan(event.at + _BLOCKED_EVERY)
        return event

    def is_named(self, delivery: AnyDelivery) -> bool:
        """Whether it is said of this delivery that its source waits behind it."""
        return delivery in self._blocked

    def settled(self, delivery: AnyDelivery) -> None:
        """It is out of the way."""
        self._blocked.pop(delivery, None)

    def held(self, now: float) -> None:
        """A hold has begun."""
        self._plan(now + self._hold_warn_after)

    def announcements(self, runs: Iterable[Run], now: float) -> list[FlowEvent]:
        """What has to be said again by now."""
        if self._due is None or self._due > now:
            return []
        self._due = None
        assignments = [assignment for run in runs for assignment in run.assignments.values()]
        return [*self._holds(assignments, now), *self._blocks(now)]

    def _holds(self, assignments: Iterable[Assignment], now: float) -> list[FlowEvent]:
        events: list[FlowEvent] = []
        for assignment in assignments:
            if assignment.since is None:
                if assignment.goes_on:  # a probe runs at this very moment
                    self._plan(now + _LOOK_AGAIN)
                continue
            due = max(assignment.since, assignment.warned) + self._hold_warn_after
            if due <= now:
                assignment.warned = now
                due = now + self._hold_warn_after
                events.append(HoldContinued(now, assignment.source, assignment.plan.reasons, assignment.since, _next_try(assignment)))
            self._plan(due)
        return events

    def _blocks(self, now: float) -> list[FlowEvent]:
        events: list[FlowEvent] = []
        for delivery, event in list(self._blocked.items()):
            if not delivery.assignment.alive:
                del self._blocked[delivery]
                continue
            again = event
            if event.at + _BLOCKED_EVERY <= now:
                again = self._blocked[delivery] = replace(event, at=now)
                events.append(again)
            self._plan(again.at + _BLOCKED_EVERY)
        return events

    def _plan(self, at: float) -> None:
        self._due = at if self._due is None else min(self._due, at)


def _next_try(assignment: Assignment) -> float | None:
    """When the last of what holds it will admit a probe; None while something else than circuits and failures holds it too."""
    if assignment.stopped:
        return None
    times = [gate.circuit.next_deadline() for gate in assignment.needed if gate.shut]
    if assignment.results.suspected:
        times.append(assignment.results.next_try)
    known = [time for time in times if time is not None]
    return max(known) if known and len(known) == len(times) else None
