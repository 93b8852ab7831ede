"""Fallback: something else is done with a message while what it needs is down, so that its source need not be held.

Messages fall back only while every unavailable need is OPEN, by its circuit: in half-open the dependency is being tried, an override is an
operator's decision to wait, and a draining run begins nothing. A fallback needs no permit and gives no verdict: it never touches a circuit.
Its success settles the message. After its failure the message waits as if there were no fallback, until the circuit has been tried and has
opened again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from holdgate.flow.blame import history_of
from holdgate.flow.gate import gates_of, may_fall_back

if TYPE_CHECKING:
    from holdgate.flow.message import AnyDelivery
    from holdgate.flow.policy import FallbackSettings
    from holdgate.flow.state import Assignment, Run
    from holdgate.flow.waiting import WaitingList


class Fallbacks:
    """Starts fallbacks, and sees when a source begins to fall back."""

    def __init__(self, waiting: WaitingList) -> None:
        self.pending: dict[Run, FallbackSettings] = {}  # the runs that have a fallback
        self._waiting = waiting

    def take_up(self, run: Run) -> None:
        """Note a run that begins."""
        if run.fallback is not None:
            self.pending[run] = run.fallback

    def forget(self, run: Run) -> None:
        """Forget a run that has ended."""
        self.pending.pop(run, None)

    def mark(self, now: float) -> None:
        """Have the plans of sources looked at whose time to fall back has come."""
        for assignment, due in self._coming():
            if due <= now:
                assignment.mark_dirty()

    def next_deadline(self) -> float | None:
        """Return when the next source begins to fall back; None means that none will by time alone."""
        return min((due for _, due in self._coming()), default=None)

    def grant(self, now: float) -> None:
        """Start waiting deliveries of sources that fall back, on the lanes that are free."""
        for run, settings in self.pending.items():
            self._grant(run, settings, now)

    def failed(self, delivery: AnyDelivery) -> None:
        """Let a delivery whose fallback failed wait for its needs as they are now."""
        history_of(delivery).note_failed_fallback(_generations(delivery))
        self._waiting.add(delivery, gates_of(delivery))

    def _grant(self, run: Run, settings: FallbackSettings, now: float) -> None:
        limit = run.lanes if settings.concurrency is None else settings.concurrency
        assignments = [assignment for assignment in run.assignments.values() if assignment.falling_back and not assignment.stopped]
        for delivery in [delivery for assignment in assignments for delivery in self._waiting.waiting_of(assignment)]:
            if run.running >= run.lanes or run.falling >= limit:
                return
            if not may_fall_back(gates_of(delivery), settings.after, now):
                continue
            if history_of(delivery).fallback_failed != _generations(delivery):
                self._waiting.take_out(delivery)
                run.grant_fallback(delivery)

    def _coming(self) -> Iterable[tuple[Assignment, float]]:
        """Yield the assignments whose needs are down and that do not fall back yet, and when they will."""
        for run, settings in self.pending.items():
            if not settings.after:
                continue
            for assignment in run.assignments.values():
                # A stopped source does not fall back, so its due time must not arm the timer. When that ends, its plan is looked at anyway.
                if assignment.falling_back or assignment.stopped:
                    continue
                for gates in assignment.falls_for:
                    down = [gate for gate in gates if gate.circuit.limit is not None]
                    if down and all(gate.is_open for gate in down):
                        yield assignment, max(gate.down_since for gate in down) + settings.after


def _generations(delivery: AnyDelivery) -> tuple[int, ...]:
    return tuple(gate.circuit.generation for gate in gates_of(delivery))
