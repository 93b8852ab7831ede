"""What the limit of a dependency means for the sources that need it: which of them are held, and what is announced.

Theory of operation. Behind a limit messages start one by one: the waiting list asks the circuit, and the circuit its limiter. That needs no
plan. What does not start fills the inbox, a full inbox is not read, and with ten calls a second nothing is paused and resumed ten times a
second. So a limit holds a source only while it lets nothing go for longer than a moment: the service has said "in an hour", or has refused
so often that the next question waits, or the calls of an hour are used up. Then the source is held as in an outage, with the reason
`limit:NAME`.

    begins   nothing may start, and time alone will not change that before `_MOMENT`, or `_BETWEEN_STARTS`, is over
    lasts    while one message asks: it is on the waiting list, and starts though its source is held. A refusal changes nothing, and
             neither does a call that had started before and ends well
    ends     a call was let in and others may start; or nobody here could ask, because no message waits; or the limit is gone

*Standing.* Deliveries wait in the lines of gates with a limit, and elsewhere if only a lane is missing (waiting.py). A limiter may begin or
end to limit at any result, so each look compares, and regroups what waits.

*Announced.* A limit that somebody has set is not news. One that was found is: when it begins, when it is another by much, and when it ends.
Behind a shut gate the numbers are those of before, and nothing passes: that is what is announced then, or nothing if it lasts a moment.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from holdgate.flow.events import FlowEvent, LimitBegan, LimitEnded, LimitMoved

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from holdgate.core.limits import LimiterSnapshot
    from holdgate.flow.gate import Gate
    from holdgate.flow.waiting import WaitingList

# A service that refuses, for as long as the shortest wait of an open circuit (seconds). What is shorter an inbox bridges.
_MOMENT = 5.0
# What a pace or a rate leaves between two starts (seconds). It comes with each start, and a hold that comes and goes must be worth a pause.
_BETWEEN_STARTS = 60.0
# Why calls are held back that only a result lets go, which may come at any time.
_BY_RESULTS = frozenset({"concurrency", "width"})
_BY_REFUSALS = frozenset({"throttled", "down"})

# A limit is found by trying, so it moves all the time by some percent. Half as much again, or a third less, is another one.
_MUCH = 1.5
# The first pace is that of a burst, and the first width is one (seconds): a reader of the log gets what comes of it.
_SETTLES_WITHIN = 10.0
# The least time between two announcements of one limit (seconds): a limit that swings would fill the log.
_NOT_BEFORE = 60.0


_MINUTE, _HOUR = 60.0, 3600.0
_FOUR_DIGITS = 999.5  # from here on three digits round to "1e+03"


def per_time(pace: float, calls: str = "") -> str:
    """Return a pace in three digits where that is enough: "9.8/s", "12 a minute", "50 an hour"; with `calls`, "9.8 calls a second"."""
    number, unit = pace, "a second"
    if pace < 1:
        number, unit = (pace * _MINUTE, "a minute") if pace * _MINUTE >= 1 else (pace * _HOUR, "an hour")
    digits = f"{number:.3g}" if number < _FOUR_DIGITS else f"{number:.0f}"
    if not calls and pace >= 1:
        return f"{digits}/s"
    return f"{digits} {calls} {unit}" if calls else f"{digits} {unit}"


class _Seen:
    """What was seen of one limit at the last look."""

    __slots__ = ("accepted", "announced_at", "is_standing", "rate", "since", "told", "when_shut", "why")

    def __init__(self, now: float) -> None:
        self.is_standing = False  # what waits for it stands in its lines
        self.accepted = 0  # when the hold began
        self.when_shut: int | None = None  # as many were accepted when the gate was seen shut; with the next one it has opened
        self.told: LimiterSnapshot | None = None  # what was announced last
        self.rate: float | None = None  # the rate that somebody has set, if that was announced: it lets less through than what was found
        self.why = ""  # what held calls back last: at a slow rate they are free for a moment, again and again
        self.since = now  # when it was found, or looked for and not found
        self.announced_at = 0.0


class LimitChanges:
    """Looks at the limits of one engine's gates: holds and releases sources, and says what is new."""

    def __init__(self, waiting: WaitingList) -> None:
        self._waiting = waiting
        self.seen: dict[Gate, _Seen] = {}

    def look(self, gates: Iterable[Gate], now: float) -> Sequence[FlowEvent]:
        """Bring everything up to date where something limits; returns what is to be announced."""
        limited = [gate for gate in gates if gate.circuit.limits.counts]
        return [event for gate in dict.fromkeys((*limited, *self.seen)) for event in self._look_at(gate, now)]

    def _look_at(self, gate: Gate, now: float) -> Iterable[FlowEvent]:
        seen = self.seen.setdefault(gate, _Seen(now))
        limits = gate.circuit.limits
        found = limits.snapshot(now)
        if gate.limited is not seen.is_standing:
            seen.is_standing = gate.limited
            self._waiting.regroup(gate)
        holds = limits.active and found is not None and self._holds(gate, seen, found, now)
        if holds is not gate.held_by_limit:
            gate.hold_by_limit(holds=holds)
            for assignment in gate.assignments:
                assignment.mark_dirty()
        if found is None and not seen.told:
            del self.seen[gate]
        return self._news(gate, seen, found, now)

    def _holds(self, gate: Gate, seen: _Seen, found: LimiterSnapshot, now: float) -> bool:
        free = gate.circuit.limits.free(now)
        if gate.held_by_limit and found.accepted == seen.accepted:
            return free == 0 or self._waiting.has_any_for(gate)
        seen.accepted = found.accepted
        if free != 0 or found.next_at is None or found.why in _BY_RESULTS:
            return False
        return found.next_at - now >= (_MOMENT if found.why in _BY_REFUSALS else _BETWEEN_STARTS)

    def _news(self, gate: Gate, seen: _Seen, known: LimiterSnapshot | None, now: float) -> Iterable[FlowEvent]:
        limits, told = gate.circuit.limits, seen.told
        pace, width = (None, None) if known is None else limits.found_in(known)
        if known is None or (pace is None and width is None):
            if told is not None:
                seen.told = None
                yield LimitEnded(now, gate.name, now - seen.since)
            seen.since = now
            return
        if known.why != "free":
            seen.why = known.why
        if known.why in _BY_REFUSALS:
            seen.when_shut = known.accepted
        is_shut = known.accepted == seen.when_shut
        if is_shut and not gate.held_by_limit:
            return  # the next look finds it open, or held
        found = replace(known, pace=None, width=0) if is_shut else replace(known, pace=pace, width=width)
        rate = known.pace if seen.why == "rate" and pace is None and not is_shut else None
        why = found.why if rate is None else "rate"
        if told is None:
            if now - seen.since >= _SETTLES_WITHIN:
                seen.told, seen.announced_at, seen.rate = found, now, rate
                until = found.next_at if is_shut else None
                yield LimitBegan(now, gate.name, found.pace or rate, found.width, why, observed=not limits.active, until=until)
        elif now - seen.announced_at >= _NOT_BEFORE and not is_shut and _is_another(*_compared(found, told)) and not (rate and seen.rate):
            before, seen.told, seen.announced_at, seen.rate = seen.rate, found, now, rate
            yield LimitMoved(now, gate.name, found.pace or rate, found.width, why, told.pace or before, told.width)


def _compared(found: LimiterSnapshot, told: LimiterSnapshot) -> tuple[float | None, float | None]:
    """Return what is compared: the paces, as long as there is one. A width that goes with it says little."""
    return (found.width, told.width) if found.pace is None and told.pace is None else (found.pace, told.pace)


def _is_another(found: float | None, told: float | None) -> bool:
    if found is None or told is None:
        return found is not told
    return found >= told * _MUCH or found * _MUCH <= told
