"""Reminders: repeats the announcement of a hold or a blocked source that lasts.

A hold is announced when it begins, and again after each `hold_warn_after` seconds. A message that its source waits behind is named once a
minute, until it is settled. Nothing is looked at between two deadlines.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from holdgate.flow.events import FlowEvent, HoldContinued, SourceBlocked
from holdgate.flow.message import AnyDelivery
from holdgate.flow.plan import KEY
from holdgate.flow.state import Assignment, Run

# Often enough that any log excerpt has one, seldom enough not to fill it.
_BLOCKED_EVERY = 60.0

# How soon to look again, if a probe runs just when its hold would be announced: it ends within seconds.
_LOOK_AGAIN = 1.0


class Reminders:
    """Repeats announcements; those of one hold every `hold_warn_after` seconds."""

    def __init__(self, hold_warn_after: float) -> None:
        self._hold_warn_after = hold_warn_after
        self.pending = False  # something may have to be announced again, when it is time
        self._due: float | None = None  # when to look again; never each turn
        self.named: dict[AnyDelivery, SourceBlocked] = {}  # what sources wait behind, and what was announced of it last

    def next_deadline(self) -> float | None:
        """Return when something may have to be announced again; None means that nothing may."""
        return self._due

    def block(self, delivery: AnyDelivery, error: str, now: float) -> SourceBlocked:
        """Block the source of a delivery that was rejected and has nowhere to go; returns the event that names it, now and each minute."""
        assignment: Assignment = delivery.assignment
        assignment.block(delivery)
        return self._name(
            delivery, SourceBlocked(now, assignment.source, delivery.position, delivery.history.counted if delivery.history else 0, error)
        )

    def suspect(self, delivery: AnyDelivery, error: str, now: float, *, throttled: bool = False) -> SourceBlocked:
        """Return the event that names a delivery which its source waits behind, though it may be an outage or a limit; again until it is
        settled."""
        history, source = delivery.history, delivery.assignment.source
        times = history.throttled if throttled else history.failures
        event = SourceBlocked(now, source, delivery.position, times, error, suspect=True, throttled=throttled)
        return self._name(delivery, event)

    def names_one_of(self, assignment: Assignment) -> bool:
        """Return whether a delivery of this assignment has been named."""
        return any(delivery.assignment is assignment for delivery in self.named)

    def _name(self, delivery: AnyDelivery, event: SourceBlocked) -> SourceBlocked:
        self.named[delivery] = event
        self._plan(event.at + _BLOCKED_EVERY)
        return event

    def settled(self, delivery: AnyDelivery) -> None:
        """Name this delivery no longer: its source goes on."""
        self.named.pop(delivery, None)

    def held(self, now: float) -> None:
        """Note that a hold has begun."""
        self._plan(now + self._hold_warn_after)

    def announcements(self, runs: Iterable[Run], now: float) -> list[FlowEvent]:
        """Return what is to be announced again by now."""
        if self._due is None or self._due > now:
            return []
        self._due, self.pending = None, False
        assignments = [assignment for run in runs for assignment in run.assignments.values()]
        return [*self._holds(assignments, now), *self._blocks(now)]

    def _holds(self, assignments: Iterable[Assignment], now: float) -> list[FlowEvent]:
        events: list[FlowEvent] = []
        for assignment in assignments:
            hold = assignment.hold
            if hold.since is None:
                if hold.goes_on:  # a probe runs at this very moment
                    self._plan(now + _LOOK_AGAIN)
                continue
            if hold.reminder_due(self._hold_warn_after) <= now:
                hold.announced(now)
                events.append(HoldContinued(now, assignment.source, assignment.plan.reasons, hold.since, _next_try(assignment, now)))
            self._plan(hold.reminder_due(self._hold_warn_after))
        return events

    def _blocks(self, now: float) -> list[FlowEvent]:
        events: list[FlowEvent] = []
        for delivery, event in list(self.named.items()):
            if not delivery.assignment.alive:
                del self.named[delivery]
                continue
            again = event
            if event.at + _BLOCKED_EVERY <= now:
                again = self.named[delivery] = replace(event, at=now)
                events.append(again)
            self._plan(again.at + _BLOCKED_EVERY)
        return events

    def _plan(self, at: float) -> None:
        self._due = at if self._due is None else min(self._due, at)
        self.pending = True


def _next_try(assignment: Assignment, now: float) -> float | None:
    """Return when the last of what holds it will admit a message; None means that not only circuits, limits and failures hold it."""
    if assignment.stopped:
        return None
    times = [gate.circuit.next_deadline() for gate in assignment.needed if gate.shut]
    limits = [gate.circuit.limits.next_at(now) for gate in assignment.needed if gate.held_by_limit]
    times += [now if at is None else at for at in limits]  # without a time a message is asking just now
    if any(reason.startswith(KEY) for reason in assignment.plan.reasons):
        times.append(assignment.hold.key_try(now))
    if assignment.results.suspected:
        times.append(assignment.results.next_try)
    known = [time for time in times if time is not None]
    return max(known) if known and len(known) == len(times) else None
