"""What operators have said: the commands that are in force, and the last of all of them.

It decides nothing. A command is carried out where it belongs (a circuit, a hold, a rejected message) and noted here, so that a person can
see who did it, why, and until when. Whether it is still in force is looked up where it was carried out, so the two cannot disagree.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from holdgate.core import Override
from holdgate.flow.events import CommandEnded, CommandGiven
from holdgate.flow.gate import Gate
from holdgate.flow.holds import Holds
from holdgate.flow.sources import Source

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
