"""Fallback: something else is done with a message while what it needs is down, so that its source need not be held.

Only while every unavailable need is OPEN, by its circuit: in half-open the dependency is being tried, an operator's word is to be waited
for, and a draining run begins nothing. A fallback needs no permit and gives no verdict: it never touches a circuit. Its success settles
the message. After its failure the message waits as if there were none, until the circuit has been tried and opened again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from holdgate.flow.blame import trial_of
from holdgate.flow.gate import gates_of, may_fall_back

if TYPE_CHECKING:
    from holdgate.flow.message import Delivery
    from holdgate.flow.policy import FallbackSettings
    from holdgate.flow.state import Assignment, Run
    from holdgate.flow.waiting import WaitingList


class Fallbacks:
    """Lets heads of places that fall back start, and sees when a place begins to."""

    def __init__(self, runs: Iterable[Run], waiting: WaitingList) -> None:
        self._runs = runs
        self._waiting = waiting

    def mark(self, now: float) -> None:
        """Look at the plans of places whose time to fall back has come."""
        for assignment, due in self._pending():
            if due <= now:
                assignment.run.dirty[assignment] = None

    def next_deadline(self) -> float | None:
        """When the next place begins to fall back; None when none will by time alone."""
        return min((due for _, due in self._pending()), default=None)

    def grant(self, now: float) -> None:
        """Let heads of places that fall back start, as far as lanes go."""
        for run in self._runs:
            if run.fallback is not None:
                self._grant(run, run.fallback, now)

    def failed(self, delivery: Delivery[Any]) -> None:
        """Its fallback failed: it waits for its needs as they are now."""
        trial_of(delivery).fallback_failed = _generations(delivery)
        self._waiting.add(delivery, gates_of(delivery))

    def _grant(self, run: Run, settings: FallbackSettings, now: float) -> None:
        limit = run.lanes if settings.concurrency is None else settings.concurrency
        assignments = [assignment for assignment in run.assignments.values() if assignment.falling_back and not assignment.stopped]
        for delivery in [delivery for assignment in assignments for delivery in self._waiting.waiting_of(assignment)]:
            if run.running >= run.lanes or run.falling >= limit:
                return
            if not may_fall_back(gates_of(delivery), settings.after, now):
                continue
            trial = trial_of(delivery)
            if trial.fallback_failed != _generations(delivery):
                self._waiting.take_out(delivery)
                trial.falling_back = True
                delivery.permits = ()
                run.falling += 1
                run.running += 1
                run.grant(delivery)

    def _pending(self) -> Iterable[tuple[Assignment, float]]:
        """Places that are down and not falling back yet, and when they will."""
        for run in self._runs:
            if run.fallback is None or not run.fallback.after:
                continue
            for assignment in run.assignments.values():
                down = [gate for gate in assignment.gates if gate.limited]
                # One that is stopped does not fall back, and its plan is looked at when that ends: its time is due for nobody.
                if down and not (assignment.falling_back or assignment.stopped) and all(gate.is_open for gate in down):
                    yield assignment, max(gate.down_since for gate in down) + run.fallback.after


def _generations(delivery: Delivery[Any]) -> tuple[int, ...]:
    return tuple(gate.circuit.generation for gate in gates_of(delivery))
