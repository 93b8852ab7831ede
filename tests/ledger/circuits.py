"""The invariants on holding and ramping: no handler while held, no call while open, in-flight calls within the limit."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.ledger.ledger import Entry

# A ramp doubles: 1, 2, 4 ...
STEP = 2
# Failures in a row that open a circuit by default.
TRIPS_AFTER = 5
# From "held" to one of these nothing may start. A hold whose reasons let messages ask is none of that kind: their results alone end it.
HELD_UNTIL = ("unheld", "asking")


def called_while_held(entries: Sequence[Entry], grace: float) -> Iterator[str]:
    """No handler starts for a source between `held` and `unheld`, or until only such reasons are left as let messages ask.

    A worker learns of both from an observer, a moment after they hold: `grace` seconds at each end are left out.
    """
    times = spans(entries, ("held",), HELD_UNTIL, lambda entry: (entry.who, entry.place))
    for entry in entries:
        if entry.kind == "called" and _inside(times[entry.who, entry.place], entry.at, grace):
            yield f"called while held: {entry.who} called {(*entry.place, entry.offset)} at {entry.at:.3f}"


def delivered_while_held(entries: Sequence[Entry]) -> Iterator[str]:
    """The client hands out no record of a source that is held in that way. No grace: a pause acts in the step in which it is made."""
    times = spans(entries, ("held",), HELD_UNTIL, lambda entry: (entry.who, entry.place))
    for entry in entries:
        if entry.kind == "delivered" and _inside(times[entry.who, entry.place], entry.at, 0.0):
            yield f"delivered while held: {entry.who} was handed {(*entry.place, entry.offset)} at {entry.at:.3f}"


def called_while_open(entries: Sequence[Entry], grace: float) -> Iterator[str]:
    """No call of a dependency starts in a worker whose circuit for it is open."""
    times = spans(entries, ("opened",), ("half_opened", "closed"), _circuit)
    for entry in entries:
        if entry.kind == "call_started" and _inside(times[_circuit(entry)], entry.at, grace):
            yield f"called while open: {entry.who} called {entry.facts['dependency']} at {entry.at:.3f}"


def above_the_limit(entries: Sequence[Entry], grace: float) -> Iterator[str]:
    """While half-open, the calls in flight that began in that half-open time are never more than the limit.

    The limit is the highest that was written within `grace` seconds of the call's start: an observer hears of it a moment later.
    """
    times = spans(entries, ("half_opened",), ("opened", "closed"), _circuit)
    limits: dict[object, list[Entry]] = defaultdict(list)
    running: dict[object, dict[object, float]] = defaultdict(dict)
    for entry in entries:
        if entry.kind == "limit":
            limits[_circuit(entry)].append(entry)
    for entry in entries:
        if entry.kind == "call_ended":
            running[_circuit(entry)].pop(entry.facts["call"], None)
        elif entry.kind == "call_started":
            circuit = _circuit(entry)
            running[circuit][entry.facts["call"]] = entry.at
            span = _inside(times[circuit], entry.at, grace)
            limit = _limit_around(limits[circuit], entry.at, grace)
            count = sum(1 for begun in running[circuit].values() if span is not None and begun >= span[0])
            if limit is not None and count > limit:
                yield f"above the limit: {entry.who} had {count} calls of {entry.facts['dependency']} in flight, limit {limit}"


def limit_jumps(entries: Sequence[Entry]) -> Iterator[str]:
    """A limit rises by at most one step at a time within one half-open time."""
    last: dict[object, int] = {}
    for entry in entries:
        if entry.kind in ("opened", "half_opened", "closed"):
            last.pop(_circuit(entry), None)
        elif entry.kind == "limit":
            limit, before = entry.facts["limit"], last.get(_circuit(entry))
            if before is not None and limit is not None and limit > before * STEP:
                yield f"limit jumped: {entry.who} {entry.facts['dependency']} from {before} to {limit}"
            if limit is not None:
                last[_circuit(entry)] = limit


def too_many_wasted(entries: Sequence[Entry], allowed: int) -> Iterator[str]:
    """The dependency saw no more than `allowed` calls while it was down."""
    count = sum(1 for entry in entries if entry.kind == "wasted")
    if count > allowed:
        yield f"wasted calls: {count}, allowed {allowed}"


def wasted_beyond_the_bound(entries: Sequence[Entry], lanes: int) -> Iterator[str]:
    """Each worker wastes at most 5 + lanes - 1 calls per outage, and one for each time that it probed."""
    outages = Counter(entry.facts["dependency"] for entry in entries if entry.kind == "down")
    probes = Counter(_circuit(entry) for entry in entries if entry.kind == "half_opened")
    wasted = Counter((entry.facts["caller"], entry.facts["dependency"]) for entry in entries if entry.kind == "wasted")
    for (who, dependency), count in wasted.items():
        allowed = outages[dependency] * (TRIPS_AFTER + lanes - 1) + probes[who, dependency]
        if count > allowed:
            yield f"wasted calls: {who} made {count} of {dependency}, allowed {allowed}"


def too_many_assignments(entries: Sequence[Entry], allowed: int) -> Iterator[str]:
    """Partitions were assigned no more than `allowed` times in all: a hold costs no rebalance."""
    count = sum(1 for entry in entries if entry.kind == "assigned")
    if count > allowed:
        yield f"rebalances: {count} assignments of a partition, allowed {allowed}"


Span = tuple[float, float]


def _circuit(entry: Entry) -> object:
    return entry.who, entry.facts["dependency"]


def spans(entries: Sequence[Entry], begin: tuple[str, ...], end: tuple[str, ...], whose) -> defaultdict[Any, list[Span]]:
    """Return from when to when, for each of `whose`; one that never ended goes on for ever."""
    found: defaultdict[Any, list[Span]] = defaultdict(list)
    since: dict[object, float] = {}
    for entry in entries:
        if entry.kind in begin:
            since.setdefault(whose(entry), entry.at)
        elif entry.kind in end and whose(entry) in since:
            found[whose(entry)].append((since.pop(whose(entry)), entry.at))
    for owner, at in since.items():
        found[owner].append((at, float("inf")))
    return found


def _inside(spans: list[Span], at: float, grace: float) -> Span | None:
    index = bisect_right(spans, (at, float("inf"))) - 1
    if index >= 0 and spans[index][0] + grace < at < spans[index][1] - grace:
        return spans[index]
    return None


def _limit_around(limits: list[Entry], at: float, grace: float) -> int | None:
    before = [entry.facts["limit"] for entry in limits if entry.at <= at - grace][-1:]
    around = [entry.facts["limit"] for entry in limits if at - grace < entry.at <= at + grace]
    known = [limit for limit in before + around if limit is not None]
    return max(known) if known else None
