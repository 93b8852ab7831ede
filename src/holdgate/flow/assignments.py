"""Sources come and go: what an assignment that is made or taken away means for gates, lanes, and what waits.

An assignment is made when a broker gives a source to this worker, and dies when that takes it back. In between it may be closing: what runs
may finish, and nothing starts. What runs for a dead one is stale: it keeps its lane and its permits until it ends, and settles nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdgate.flow.fate import give_back

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from holdgate.flow.gate import Gate
    from holdgate.flow.message import AnyDelivery, Source
    from holdgate.flow.state import Assignment, Run
    from holdgate.flow.waiting import WaitingList


class Assignments:
    """Makes assignments and takes them away, for all runs of one engine: what that means for gates, lanes and the waiting list."""

    def __init__(self, gates: Mapping[str, Gate], runs: Collection[Run], waiting: WaitingList) -> None:
        self._gates = gates
        self._runs = runs
        self._waiting = waiting

    def open(self, run: Run, sources: Iterable[Source], now: float) -> None:
        """Make a new assignment for each source. What is known of a source that was here already belongs to an earlier one: forget it."""
        for source in sources:
            if source in run.assignments:
                self.forget(run, [source], now)
            needs = run.needs.of(source)  # or what a message of it may need
            run.add(source, None if needs is None else [self._gates[name] for name in needs])
        self.resize(run, now)

    def close(self, run: Run, sources: Iterable[Source], now: float) -> list[Assignment]:
        """Start nothing of these sources any more, and drop what waits; returns their assignments."""
        assignments = [run.assignments[source] for source in sources if source in run.assignments]
        for assignment in assignments:
            assignment.close()
        self._withdraw(run, assignments, now)
        return assignments

    def forget(self, run: Run, sources: Iterable[Source], now: float) -> list[Assignment]:
        """Take the assignments of these sources away: what still runs for them is stale. Returns them."""
        assignments = self.close(run, sources, now)
        for assignment in assignments:
            run.remove(assignment)
        if assignments:
            run.replan_without(assignments)
            self.resize(run, now)
        return assignments

    def drain(self, run: Run, now: float) -> None:
        """Close every source of a run that ends, sources that come later included."""
        run.drain()
        assignments = list(run.assignments.values())
        for assignment in assignments:
            assignment.drop_waiting()
        self._withdraw(run, assignments, now)

    def resize(self, run: Run, now: float) -> None:
        """Let the ramp of each dependency end at what all runs that need it may have in work in parallel."""
        run.count_lanes()
        for name in run.dependencies:
            full = sum(other.capacity for other in self._runs if name in other.dependencies)
            self._gates[name].circuit.set_full(max(1, full), now)

    def leave(self, delivery: AnyDelivery, now: float) -> None:
        """Take a delivery out of flight without a verdict: its lane and its permits are free again."""
        assignment: Assignment = delivery.assignment
        assignment.ended()
        history = delivery.history
        if history is not None and history.falling_back:
            history.fallback_ended()
            assignment.run.fallback_ended()
        give_back(delivery, now)

    def _withdraw(self, run: Run, assignments: Collection[Assignment], now: float) -> None:
        gone = set(assignments)
        self._waiting.drop(gone)
        for delivery in run.withdraw(gone):
            self.leave(delivery, now)
