"""What operators have ordered: holds of sources, and the record of every command.

`Holds` keeps which sources a person has ordered to wait, and until when. A hold is of a source, or of a name: then every partition of the
topic waits. It belongs to the engine and not to an assignment, so it outlives a rebalance: a source that is assigned again comes back held.

`Commands` is a record and decides nothing. A command is carried out where it belongs (a circuit, a hold, a rejected message) and noted
here, so that a person can see who gave it, why, and until when. Whether it is still in force is looked up where it was carried out, so the
two cannot disagree.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from holdgate.core import Override
from holdgate.flow.events import CommandEnded, CommandGiven
from holdgate.flow.gate import Gate
from holdgate.flow.message import Source
from holdgate.flow.state import Assignment, Run
from holdgate.flow.waiting import WaitingList


class Holds:
    """Sets, ends and expires operators' holds."""

    def __init__(self, runs: Iterable[Run], waiting: WaitingList) -> None:
        self._runs = runs
        self._waiting = waiting
        self.pending: dict[Source | str, float | None] = {}  # when each ends; None means not before `end`

    def __contains__(self, target: Source | str) -> bool:
        """Return whether exactly this is held: a partition is not in here for a hold of its topic."""
        return target in self.pending

    def hold(self, target: Source | str, until: float | None) -> bool:
        """Start nothing here until that second; None means until `end`. A later hold replaces an earlier one.

        False means that nothing is held, because the source is unknown here. A name is always taken: its sources may come yet.
        """
        assignments = self._assignments_of(target)
        if not assignments and not isinstance(target, str):
            return False
        self.pending[target] = until
        for assignment in assignments:
            assignment.set_operator_hold(held=True)
        return True

    def end(self, target: Source | str) -> bool:
        """End the hold of exactly this, that of a name with those of its sources; False if nothing of it is known here."""
        over = [held for held in self.pending if held == target or (not isinstance(held, str) and held.name == target)]
        for held in over:
            del self.pending[held]
        assignments = self._assignments_of(target)
        self._release(assignments)
        return bool(assignments or over)

    def expire(self, now: float) -> None:
        """End the holds whose time is over."""
        for target in [target for target, at in self.pending.items() if at is not None and at <= now]:
            del self.pending[target]
            self._release(self._assignments_of(target))

    def take_up(self, assignments: Iterable[Assignment]) -> None:
        """Hold those of these new assignments whose source or name was held before they came."""
        for assignment in assignments:
            if self._is_held(assignment):
                assignment.set_operator_hold(held=True)

    def next_deadline(self) -> float | None:
        """Return when the first hold ends by itself; None means that none does."""
        return min((at for at in self.pending.values() if at is not None), default=None)

    def _release(self, assignments: Iterable[Assignment]) -> None:
        for assignment in assignments:
            if self._is_held(assignment):
                continue
            assignment.set_operator_hold(held=False)
            if not assignment.stopped:
                self._waiting.back_in_line(assignment)

    def _is_held(self, assignment: Assignment) -> bool:
        return assignment.source in self.pending or assignment.source.name in self.pending

    def _assignments_of(self, target: Source | str) -> list[Assignment]:
        if isinstance(target, str):
            return [assignment for run in self._runs for assignment in run.assignments.values() if assignment.source.name == target]
        return [run.assignments[target] for run in self._runs if target in run.assignments]


# Incidents are worked through with tens of commands; a thousand are those of weeks, and 200 kB.
KEPT = 1000

_OVERRIDES = {"force_open": Override.FORCED_OPEN, "disable": Override.DISABLED, "observe": Override.METRICS_ONLY}

AuditEntry = CommandGiven | CommandEnded


class Commands:
    """The record of one engine's commands."""

    def __init__(self, gates: Mapping[str, Gate], holds: Holds) -> None:
        self._gates = gates
        self._holds = holds
        self._last: deque[AuditEntry] = deque(maxlen=KEPT)
        self.pending: dict[tuple[bool, Source | str], CommandGiven] = {}  # in force: one per source or name, and one per dependency

    @property
    def in_force(self) -> tuple[CommandGiven, ...]:
        """Return the commands that still hold a source or override a circuit, in the order in which they were given."""
        return tuple(given for given in self.pending.values() if self._is_in_force(given))

    @property
    def last(self) -> tuple[AuditEntry, ...]:
        """Return the last `KEPT` entries, oldest first."""
        return tuple(self._last)

    def note(self, given: CommandGiven) -> None:
        """Note a command that has just been carried out. What it ended or replaced gets no entry of its own: this one shows that."""
        self._last.append(given)
        self.pending = {key: earlier for key, earlier in self.pending.items() if self._is_in_force(earlier)}
        if given.command == "hold" or given.command in _OVERRIDES:
            key = (given.command == "hold", given.target)
            self.pending.pop(key, None)  # so that it is the last in order
            self.pending[key] = given

    def ended(self, now: float) -> list[CommandEnded]:
        """Return the ends of commands that were in force and are not any more, each once."""
        over = [key for key, given in self.pending.items() if not self._is_in_force(given)]
        ended = [CommandEnded(now, self.pending.pop(key)) for key in over]
        self._last.extend(ended)
        return ended

    def _is_in_force(self, given: CommandGiven) -> bool:
        if given.command == "hold":
            return given.target in self._holds
        return self._gates[str(given.target)].circuit.override is _OVERRIDES[given.command]
