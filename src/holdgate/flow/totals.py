"""The totals of an engine since it was made: what became of messages, how circuits changed, and how long sources were held.

Theory of operation. Nothing here is counted on the fast path. A message that was processed is counted by its inbox anyway: everything that
came in and is neither waiting nor in work has ended. So an assignment knows at any time how many of its messages have ended, and when it
goes away that number is added to the total of its topic or queue. Whatever ends otherwise than by its handler (a dead letter, a fallback, a
message that is skipped) is rare, and is counted one by one; the rest was processed. Transitions and holds are counted from the events.

Names become labels of metrics, and a pattern may bring any number of topics. Past `MOST_NAMES` all others are counted together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from holdgate.core.events import CircuitClosed, CircuitHalfOpened, CircuitOpened, CircuitReset, OverrideCleared, OverrideSet
from holdgate.core.states import Override, State
from holdgate.core.totals import CircuitTotals, Histogram
from holdgate.flow.events import AnyEvent, MessageSkipped, SourceHeld, SourceReleased
from holdgate.flow.message import Source

# Topics and queues with totals of their own: more than a worker reads on purpose, and few enough that a metric stays cheap to keep.
MOST_NAMES = 200
OTHERS = "(others)"

# The bounds of the buckets of holds, in seconds: an open circuit waits for seconds, an outage takes minutes to hours.
HOLD_BOUNDS = (1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 10800.0, 43200.0, 86400.0)


class NameTotals:
    """What became of the messages of one topic or queue.

    `ended` counts those of assignments that are gone, and in a copy those of all. `rejected`, `fell_back` and `skipped` count some of them
    by reason. `processed` are the rest.
    """

    __slots__ = ("ended", "fell_back", "rejected", "skipped")

    def __init__(self, ended: int = 0) -> None:
        self.ended = ended
        self.rejected: Counter[str] = Counter()
        self.fell_back: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()

    @property
    def processed(self) -> int:
        """Return how many ended because their handler succeeded."""
        return self.ended - self.rejected.total() - self.fell_back.total() - self.skipped.total()

    def copy(self) -> NameTotals:
        """Return a copy, which does not change any more by itself."""
        copied = NameTotals(self.ended)
        copied.rejected, copied.fell_back, copied.skipped = self.rejected.copy(), self.fell_back.copy(), self.skipped.copy()
        return copied


# From, to, and why: a `Reason`, or one of "waited", "recovered", "force_ended" and "reset".
Transition = tuple[State, State, str]


@dataclass(frozen=True, slots=True)
class EngineTotals:
    """Everything that has happened since an engine was made, in an object that does not change any more.

    - `circuits`: by dependency.
    - `transitions`: of circuits, by dependency and transition.
    - `names`: what became of messages, by topic or queue; those past `MOST_NAMES` are under `OTHERS`.
    - `holds`: by reason, as in a plan ("circuit:payments"), how many seconds the holds lasted that are over.
    """

    circuits: Mapping[str, CircuitTotals] = field(default_factory=dict[str, CircuitTotals])
    transitions: Mapping[tuple[str, Transition], int] = field(default_factory=dict[tuple[str, Transition], int])
    names: Mapping[str, NameTotals] = field(default_factory=dict[str, NameTotals])
    holds: Mapping[str, Histogram] = field(default_factory=dict[str, Histogram])

    def label(self, name: str) -> str:
        """Return the name under which a topic or queue is counted: its own, or `OTHERS`."""
        return name if name in self.names or len(self.names) < MOST_NAMES else OTHERS


class Tally:
    """Counts for one engine."""

    def __init__(self) -> None:
        self._names: dict[str, NameTotals] = {}
        self._transitions: Counter[tuple[str, Transition]] = Counter()
        self._holds: dict[str, Histogram] = {}
        self._held: dict[Source, set[str]] = {}  # what is held now, and all reasons that its hold has had

    def _label(self, name: str) -> str:
        return name if name in self._names or len(self._names) < MOST_NAMES else OTHERS

    def of(self, name: str) -> NameTotals:
        """Return the totals of a topic or queue, to count in; begins here with its first assignment."""
        return self._names.setdefault(self._label(name), NameTotals())

    def note(self, events: Iterable[AnyEvent]) -> None:
        """Count what events say."""
        before: AnyEvent | None = None
        for event in events:
            if isinstance(event, SourceHeld):  # there may be ten thousand
                self._held.setdefault(event.source, set()).update(event.reasons)
            elif isinstance(event, SourceReleased):
                for reason in self._held.pop(event.source, ()):
                    self._holds.setdefault(reason, Histogram(HOLD_BOUNDS)).add(event.held_for)
            elif isinstance(event, MessageSkipped):
                self.of(event.source.name).skipped["operator" if event.by_operator else "exhausted"] += 1
            elif (transition := _transition_of(event, before)) is not None:
                self._transitions[transition] += 1
            before = event

    def forget(self, source: Source) -> None:
        """Forget that a source is held: it is gone, and will not be released."""
        self._held.pop(source, None)

    def read(self, circuits: Mapping[str, CircuitTotals], ended: Iterable[tuple[str, int]]) -> EngineTotals:
        """Return the totals. `ended` are the names of living assignments, and how many of their messages have ended."""
        names = {name: totals.copy() for name, totals in self._names.items()}
        for name, count in ended:
            names[self._label(name)].ended += count
        holds = {reason: lasted.copy() for reason, lasted in self._holds.items()}
        return EngineTotals(circuits, dict(self._transitions), names, holds)


def _transition_of(event: AnyEvent, before: Any) -> tuple[str, Transition] | None:
    """Return the transition that an event announces; None for another event. `before` is the event before it."""
    if isinstance(event, CircuitOpened):
        return event.name, (event.previous, State.OPEN, event.reason.value)
    if isinstance(event, CircuitHalfOpened):
        # A forced opening that ends is announced by the override that has ended, and then by this.
        forced = _ends_forcing(before) and before.name == event.name and before.at == event.at
        return event.name, (event.previous, State.HALF_OPEN, "force_ended" if forced else "waited")
    if isinstance(event, CircuitClosed):
        return event.name, (event.previous, State.CLOSED, "recovered")
    if isinstance(event, CircuitReset):
        return event.name, (event.previous, State.CLOSED, "reset")
    return None


def _ends_forcing(event: Any) -> bool:
    """Return whether an override that is announced may have ended a forced opening. One that ends by itself may end with a wait."""
    return isinstance(event, OverrideSet) or (isinstance(event, OverrideCleared) and event.override is Override.FORCED_OPEN)
