"""What operators have told the engine: holds, and the record of every command.

Operators' holds: which sources a person has told to wait, and until when.

A hold is of a source, or of a name: then every partition of the topic waits. It is the engine's and not an assignment's, so it outlives a
rebalance: whoever assigns the source again assigns it held.

What operators have said: the commands that are in force, and the last of all of them.

It decides nothing. A command is carried out where it belongs (a circuit, a hold, a rejected message) and noted here, so that a person can
see who did it, why, and until when. Whether it is still in force is looked up where it was carried out, so the two cannot disagree.
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
        self._until: dict[Source | str, float | None] = {}  # by what was said; None: until somebody ends it

    def __contains__(self, target: Source | str) -> bool:
        """Whether just this was held, and is still: a partition is not in here for a hold of its topic."""
        return target in self._until

    def hold(self, target: Source | str, until: float | None) -> bool:
        """Start nothing here until that second; None: until somebody ends it. A later word replaces an earlier one.

        False, and nothing is held: the source is unknown here. A name is always taken, its sources may come yet.
        """
        assignments = self._places_of(target)
        if not assignments and not isinstance(target, str):
            return False
        self._until[target] = until
        for assignment in assignments:
            _hold(assignment)
        return True

    def end(self, target: Source | str) -> bool:
        """The hold of just this is over; that of a name with those of its sources. False when nothing of it is known here."""
        over = [held for held in self._until if held == target or (not isinstance(held, str) and held.name == target)]
        for held in over:
            del self._until[held]
        assignments = self._places_of(target)
        self._release(assignments)
        return bool(assignments or over)

    def expire(self, now: float) -> None:
        """End the holds whose time is over."""
        for target in [target for target, at in self._until.items() if at is not None and at <= now]:
            del self._until[target]
            self._release(self._places_of(target))

    def take_up(self, assignments: Iterable[Assignment]) -> None:
        """These places are new: what was held before they came is held."""
        for assignment in assignments:
            if self._is_held(assignment):
                _hold(assignment)

    def next_deadline(self) -> float | None:
        """When the first hold ends by itself; None when none does."""
        return min((at for at in self._until.values() if at is not None), default=None)

    def _release(self, assignments: Iterable[Assignment]) -> None:
        for assignment in assignments:
            if self._is_held(assignment):
                continue
            assignment.operator_hold = False
            assignment.touch()
            if not assignment.stopped:
                self._waiting.back_in_line(assignment)

    def _is_held(self, assignment: Assignment) -> bool:
        return assignment.source in self._until or assignment.source.name in self._until

    def _places_of(self, target: Source | str) -> list[Assignment]:
        if isinstance(target, str):
            return [assignment for run in self._runs for assignment in run.assignments.values() if assignment.source.name == target]
        return [run.assignments[target] for run in self._runs if target in run.assignments]


def _hold(assignment: Assignment) -> None:
    assignment.operator_hold = True
    assignment.touch()


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
        self._in_force: dict[tuple[bool, Source | str], CommandGiven] = {}  # one per source or name, and one per dependency

    @property
    def in_force(self) -> tuple[CommandGiven, ...]:
        """Those that still hold something or lie over a circuit, in the order in which they were given."""
        return tuple(given for given in self._in_force.values() if self._is_in_force(given))

    @property
    def last(self) -> tuple[AuditEntry, ...]:
        """The last `KEPT` entries, oldest first."""
        return tuple(self._last)

    def note(self, given: CommandGiven) -> None:
        """It has just been carried out. What it has ended or replaced is not told apart: this entry says so."""
        self._last.append(given)
        self._in_force = {key: earlier for key, earlier in self._in_force.items() if self._is_in_force(earlier)}
        if given.command == "hold" or given.command in _OVERRIDES:
            key = (given.command == "hold", given.target)
            self._in_force.pop(key, None)  # so that it is the last in order
            self._in_force[key] = given

    def ended(self, now: float) -> list[CommandEnded]:
        """Those that were in force and are not any more, each told once."""
        if not self._in_force:
            return []
        over = [key for key, given in self._in_force.items() if not self._is_in_force(given)]
        ended = [CommandEnded(now, self._in_force.pop(key)) for key in over]
        self._last.extend(ended)
        return ended

    def _is_in_force(self, given: CommandGiven) -> bool:
        if given.command == "hold":
            return given.target in self._holds
        return self._gates[str(given.target)].circuit.override is _OVERRIDES[given.command]
