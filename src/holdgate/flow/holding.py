"""The hold of one source, and those that many sources have in common.

*Since when* it lasts, and whether the next one is the same hold. A source whose circuit is half-open is released for each probe, for a
moment: there is a permit to give, so nothing holds it. If the probe fails, it is held again. To a person who looks on, that is one hold, as
long as the outage, and not one of a second after each try. So a hold that ends leaves behind which circuits were half-open then, and their
generations. The hold after it is the same one as long as such a circuit is not closed, and has not been through more than this probe.

*Together.* A circuit that opens holds every source that needs it, in one turn, and no message of any may start until the plan of that turn
is applied. So the turn does no more for each source than has to be done before that, and what ten thousand have in common is made once.
Nearly every source needs one circuit and has nothing else that holds it. Its plan is then the plan of all that need this circuit, and its
event differs from theirs in the source alone. `Down` has both, once for each circuit. The events are made when they are taken (`singly`),
which is when the intake has its plan: to make ten thousand takes longer than to plan for ten thousand. A source that anything else holds,
or may hold, takes the long way, `Assignment.replan` (state.py): it finds the same plan and event.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from holdgate.core import State
from holdgate.flow.events import AnyEvent, SourceHeld
from holdgate.flow.plan import KEY, SourcePlan

if TYPE_CHECKING:
    from holdgate.core.key_record import KeyRecord
    from holdgate.flow.gate import Gate
    from holdgate.flow.message import Source


class Hold:
    """When the hold of one assignment began, what it was before that, and when it was last announced."""

    __slots__ = ("before", "keys", "probing", "since", "waiting", "warned")

    def __init__(self) -> None:
        self.since: float | None = None  # when the hold began; None while the source is not held
        self.before: float | None = None  # when the hold before this one began
        self.probing: dict[Gate, int] = {}  # the circuits that were half-open when that hold ended, and their generations
        self.warned = 0.0  # when the hold was last announced
        # Keys that are held for more than a moment, their dependencies, and how many messages had ended when one began to wait.
        self.keys: dict[KeyRecord, tuple[str, int]] = {}
        self.waiting: Counter[KeyRecord] = Counter()  # by key: how many messages of the source wait for it

    @property
    def goes_on(self) -> bool:
        """Whether the outage of the last hold is not over: a circuit that was half-open then still is, or has opened again since."""
        return bool(self.probing) and any(
            gate.circuit.state is not State.CLOSED and gate.circuit.generation - generation in (0, 1)
            for gate, generation in self.probing.items()
        )

    def begin(self, now: float) -> None:
        """Note that the source is held from now on; `since` keeps its first value while the outage of the last hold goes on."""
        if self.probing and self.goes_on:
            self.since = self.before
        else:
            self.since = self.warned = now

    def end(self, gates: Iterable[Gate], now: float) -> float:
        """Note that the source is not held any more, which needs these gates or was held by them. Returns how long it was, in seconds."""
        since = now if self.since is None else self.since
        self.since = None
        self.before = since
        self.probing = {gate: gate.circuit.generation for gate in gates if gate.circuit.state is State.HALF_OPEN}
        return now - since

    def wait_for_key(self, record: KeyRecord, name: str, ended: int) -> None:
        """Note that a message waits for a key of this dependency, when the first `ended` of the source have ended.

        That holds the source, where nothing may pass the message, until the key is not held any more, or nothing waits for it and the
        oldest message has ended: it may be rejected or skipped, and nobody may ever ask for its key again.
        """
        self.keys[record] = name, ended

    def count_waiting(self, record: KeyRecord, by: int) -> None:
        """Count messages that begin to wait for this key, or wait for it no longer."""
        self.waiting[record] += by
        if not self.waiting[record]:
            del self.waiting[record]

    def waiting_by_name(self) -> Counter[str]:
        """Return how many messages wait for keys that are held, by the dependency."""
        found: Counter[str] = Counter()
        for record, (name, _) in self.keys.items():
            if record.is_held and record in self.waiting:
                found[name] += self.waiting[record]
        return found

    def key_try(self, now: float) -> float | None:
        """Return when the first of these keys lets a message ask; `now` if one is asking. None means that none is held."""
        times = [record.next_at(now) for record in self.keys if record.is_held]
        return min((now if at is None else at for at in times), default=None)

    def key_reasons(self, ended: int, *, stands: bool = True) -> Iterable[str]:
        """Return the reasons that keys are, and forget those that are over; `ended` messages of the source have ended by now.

        There are none unless it `stands`: others pass what waits.
        """
        self.keys = {
            record: noted for record, noted in self.keys.items() if record.is_held and (noted[1] == ended or record in self.waiting)
        }
        return sorted({KEY + name for name, _ in self.keys.values()}) if stands else ()

    def reminder_due(self, every: float) -> float:
        """Return when the hold, which has begun, is to be announced again: `every` seconds after it was for the last time."""
        return max(self.since or 0.0, self.warned) + every

    def announced(self, now: float) -> None:
        """Note that it has just been announced again."""
        self.warned = now


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
    return gate.shut and not gate.held_by_limit and gate.asked_by is None and gate.keys is None


def singly(events: Iterable[AnyEvent | HeldTogether]) -> Iterator[AnyEvent]:
    """Yield every event by itself."""
    for event in events:
        if isinstance(event, HeldTogether):
            yield from event.events()
        else:
            yield event
