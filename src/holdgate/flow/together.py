"""Sources that one circuit holds, all at the same moment: what ten thousand of them have in common is made once.

Theory of operation. A circuit that opens holds every source that needs it, in one turn, and no message of any may start until the plan of
that turn is applied. So the turn does no more for each source than has to be done before that. Nearly every source needs one circuit and
has nothing else that holds it. Its plan is then the plan of all that need this circuit, and its event differs from theirs in the source
alone. `Down` has both, once for each circuit. The events are made when they are taken (`singly`), which is when the intake has its plan:
to make ten thousand takes longer than to plan for ten thousand.

A source that anything else holds, or may hold, takes the long way, `Assignment.replan` (state.py): it finds the same plan and event.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from holdgate.flow.events import AnyEvent, SourceHeld
from holdgate.flow.plan import SourcePlan

if TYPE_CHECKING:
    from holdgate.flow.gate import Gate
    from holdgate.flow.message import Source


class HeldTogether:
    """Sources that are held from `at` on, because of one circuit and nothing else. `plan` is that of each."""

    __slots__ = ("at", "plan", "sources")

    def __init__(self, at: float, reasons: tuple[str, ...]) -> None:
        self.at = at
        self.plan = SourcePlan(fetch=False, reasons=reasons)
        self.sources: list[Source] = []

    def events(self) -> Iterator[SourceHeld]:
        """Make the event of each source, in the order in which they came."""
        at, reasons = self.at, self.plan.reasons
        return (SourceHeld(at, source, reasons) for source in self.sources)


class Down(dict["Gate | None", HeldTogether | None]):
    """By gate, what it holds alone in this turn, found at the first look. None for one that is not shut, that holds by a limit or by keys
    too, or that has sources fetch though they are held."""

    def __init__(self, now: float) -> None:
        self._now = now

    def __missing__(self, gate: Gate | None) -> HeldTogether | None:
        together = self[gate] = HeldTogether(self._now, gate.reasons) if gate is not None and _holds_plainly(gate) else None
        return together

    def held(self) -> list[HeldTogether]:
        """Return those that have got sources, in the order of the first look."""
        return [together for together in self.values() if together is not None and together.sources]


def _holds_plainly(gate: Gate) -> bool:
    return gate.shut and not gate.held_by_limit and not gate.asked_by_one and gate.keys is None


def singly(events: Iterable[AnyEvent | HeldTogether]) -> Iterator[AnyEvent]:
    """Yield every event by itself."""
    for event in events:
        if isinstance(event, HeldTogether):
            yield from event.events()
        else:
            yield event
