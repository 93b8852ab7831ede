"""What is announced of the keys of a dependency: that some of them are held, that they are twice as many, and that none is any more.

Counts alone, since a key may name a customer. A key whose limit is met is held for moments all the time, and that is no news: it is once
keys have been held for a while. A thousand keys that are held one after the other must not fill the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdgate.flow.events import FlowEvent, KeysHeld, KeysReleased
from holdgate.flow.plan import KEY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdgate.core.keys import Keys
    from holdgate.flow.gate import Gate

# For so long some key must have been held before a first announcement (seconds): the gate of a limit is shut for less, mostly.
_SETTLES_WITHIN = 5.0
# The least time between two announcements of one dependency's keys (seconds), as for a limit (limiting.py).
_NOT_BEFORE = 60.0
# So many times as many are news.
_MUCH = 2


class _SeenKeys:
    """What was seen of the keys of one dependency since some of them are held."""

    __slots__ = ("announced_at", "since", "told")

    def __init__(self, now: float) -> None:
        self.since = now
        self.told = 0  # how many were held when that was announced last
        self.announced_at = now


class KeyNews:
    """Looks at the keys of one engine's gates, and says what is new."""

    def __init__(self) -> None:
        self._seen: dict[Gate, _SeenKeys] = {}

    def look(self, gates: Iterable[Gate], now: float) -> Iterable[FlowEvent]:
        """Yield what is to be announced."""
        for gate in gates:
            if gate.keys is not None and (gate.keys.held or gate in self._seen):
                yield from self._look_at(gate, gate.keys, now)

    def _look_at(self, gate: Gate, keys: Keys, now: float) -> Iterable[FlowEvent]:
        seen = self._seen.setdefault(gate, _SeenKeys(now))
        if not keys.held:
            del self._seen[gate]
            if seen.told:
                yield KeysReleased(now, gate.name, now - seen.since)
            return
        is_due = now - seen.since >= _SETTLES_WITHIN if not seen.told else now - seen.announced_at >= _NOT_BEFORE
        if is_due and keys.held >= _MUCH * seen.told:
            seen.told, seen.announced_at = keys.held, now
            holds = sum(KEY + gate.name in assignment.plan.reasons for assignment in gate.assignments)
            yield KeysHeld(now, gate.name, keys.held, len(keys), keys.waiting, holds)
