"""What is announced once of one source, and has been announced already.

These events say how a source is set up, or what has come over it: a dependency that nobody declared, an exception that counts against
several needs, messages that wait while others pass them. Each is news once, and noise with every message after that. What is remembered
here lives as long as the assignment. A source that comes back is announced anew: it may be in another process now, with another log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdgate.core import Outcome
from holdgate.flow.events import AttributionShared, FlowEvent, MessagesHeld

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdgate.flow.attribution import Attribution
    from holdgate.flow.gate import Gate
    from holdgate.flow.message import Source

# Of so many dependencies at most it is announced that they are not declared: as many as a guard takes up by itself.
_MOST_UNDECLARED = 32

_NONE: frozenset[Any] = frozenset()  # one for all: an empty set takes 216 bytes, and there may be ten thousand sources


class Announced:
    """What has been announced of one source. Each method returns whether there is news, and notes it as announced."""

    __slots__ = ("_shares", "_source", "_undeclared", "_waits")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._undeclared: frozenset[str] = _NONE  # dependencies announced as UndeclaredNeed
        self._shares = False
        self._waits: frozenset[Gate] = _NONE  # gates that messages wait for while others pass them, announced in this outage of theirs

    def is_new_undeclared(self, name: str) -> bool:
        """Return whether it is to be announced that a dependency without a declaration has refused a call: the first time.

        A handler that makes names as it goes must fill neither the memory nor the log.
        """
        if name in self._undeclared or len(self._undeclared) >= _MOST_UNDECLARED:
            return False
        self._undeclared |= {name}
        return True

    def shared(self, now: float, gates: Iterable[Gate], attribution: Attribution) -> Iterable[FlowEvent]:
        """Announce that one exception counted against several needs, with these needs; once."""
        if not self._shares:
            self._shares = True
            blamed = [gate.name for gate, finding in zip(gates, attribution.findings, strict=True) if finding.outcome is Outcome.FAILURE]
            yield AttributionShared(now, self._source, tuple(blamed))

    def waiting(self, now: float, gates: Iterable[Gate], *, passed: bool) -> Iterable[FlowEvent]:
        """Announce for which of these gates messages wait, if others have `passed` them; once in each outage of one."""
        self._waits = frozenset(gate for gate in self._waits if gate.limited)
        down = [gate for gate in gates if gate.shut and gate not in self._waits]
        if down and passed:
            self._waits |= set(down)
            yield MessagesHeld(now, self._source, tuple(gate.name for gate in down))
