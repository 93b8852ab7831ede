"""Questions to the ledger of a cell: where its victim was, what is missing, what may come twice."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from tests.faults.cells import State
from tests.ledger.circuits import TRIPS_AFTER
from tests.ledger.messages import DONE, message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.ledger.ledger import Entry

STATES = ("opened", "half_opened", "closed")


def told(entries: Sequence[Entry], kind: str, who: str | None = None) -> list[Entry]:
    """Entries of a kind, of one process if `who` is given."""
    return [entry for entry in entries if entry.kind == kind and who in (None, entry.who)]


def noted(entries: Sequence[Entry], fact: str, value: Any, who: str | None = None) -> int:
    """How many notes say this."""
    return sum(1 for entry in told(entries, "note", who) if entry.facts.get(fact) == value)


def state(entries: Sequence[Entry], who: str) -> str:
    """The last known state of the circuit of payments; "closed" where nothing was told."""
    for entry in reversed(entries):
        if entry.kind in STATES and entry.who == who and entry.facts["dependency"] == "payments":
            return entry.kind
    return "closed"


def limit(entries: Sequence[Entry], who: str) -> int:
    """The limit while half-open; 0 in any other state."""
    if state(entries, who) != "half_opened":
        return 0
    for entry in reversed(entries):
        if entry.kind == "limit" and entry.who == who and entry.facts["dependency"] == "payments":
            return entry.facts["limit"] or 0
    return 0


def is_down(entries: Sequence[Entry]) -> bool:
    """Whether the test has payments down."""
    last = [entry.kind for entry in entries if entry.kind in ("down", "up")]
    return bool(last) and last[-1] == "down"


def failures_since_down(entries: Sequence[Entry], who: str) -> int:
    """How many handlers have failed in the last outage."""
    at = max((entry.at for entry in entries if entry.kind == "down"), default=float("inf"))
    return sum(1 for entry in entries if entry.kind == "failed" and entry.who == who and entry.at > at)


def probes(entries: Sequence[Entry], who: str) -> bool:
    """Whether it is half-open at limit 1 with a call on its way that began since."""
    if limit(entries, who) != 1:
        return False
    at = max(entry.at for entry in entries if entry.kind == "half_opened" and entry.who == who)
    started = {entry.facts["call"] for entry in entries if entry.kind == "call_started" and entry.who == who and entry.at >= at}
    return bool(started - {entry.facts["call"] for entry in entries if entry.kind == "call_ended" and entry.who == who})


def is_draining(entries: Sequence[Entry], who: str) -> bool:
    """Whether it was asked to end, holds its sources for that, and has not ended."""
    asked = [entry.at for entry in told(entries, "note") if entry.facts.get("terminates") == who]
    has_ended = noted(entries, "drained", value=True, who=who) > 0
    return bool(asked) and not has_ended and any(entry.at > asked[0] for entry in told(entries, "held", who))


def was(wanted: State, entries: Sequence[Entry], who: str) -> bool:
    """Whether the process is in this state after these entries."""
    match wanted:
        case State.CLOSED:
            return state(entries, who) == "closed" and not told(entries, "held", who)
        case State.TRIPPING:
            return state(entries, who) == "closed" and failures_since_down(entries, who) > 0
        case State.OPEN:
            return state(entries, who) == "opened"
        case State.HALF_OPEN:
            return probes(entries, who)
        case State.RAMPING:
            return limit(entries, who) > 1
        case State.SHUTTING_DOWN:
            return is_draining(entries, who)


def missing(entries: Sequence[Entry]) -> set[tuple[str, int, int]]:
    """What was produced and is not done with."""
    produced = {message(entry) for entry in entries if entry.kind == "produced"}
    return produced - {message(entry) for entry in entries if entry.kind in DONE}


def finished_above_the_watermark(entries: Sequence[Entry]) -> int:
    """How many messages may come twice on Kafka: at each assignment of a partition, what was finished or running there, not committed."""
    committed: dict[Any, int] = defaultdict(int)
    open_: dict[Any, set[int]] = defaultdict(set)
    allowed = 0
    for entry in entries:
        if entry.kind in ("called", "processed"):
            open_[entry.place].add(entry.offset)
        elif entry.kind in ("committed", "observed"):
            committed[entry.place] = max(committed[entry.place], entry.offset)
        elif entry.kind == "assigned":
            allowed += sum(1 for offset in open_.pop(entry.place, ()) if offset >= committed[entry.place])
    return allowed


def wasted_too_often(entries: Sequence[Entry], lanes: int) -> list[str]:
    """Each worker wastes 5 + lanes - 1 calls per outage, one for each probe, and those that were interrupted and so gave no verdict.

    Interrupted: at most one for each partition that was taken away, and one for each lane when a channel was lost.
    """
    outages = sum(1 for entry in entries if entry.kind == "down")
    allowed: Counter[str] = Counter()
    for entry in entries:
        if entry.kind in ("half_opened", "revoked"):
            allowed[entry.who] += 1
        elif entry.kind == "note" and entry.facts.get("gone"):
            allowed[entry.who] += lanes
    wasted = Counter(entry.facts["caller"] for entry in entries if entry.kind == "wasted")
    bound = {who: outages * (TRIPS_AFTER + lanes - 1) + allowed[who] for who in wasted}
    return [f"wasted calls: {who} made {count}, allowed {bound[who]}" for who, count in wasted.items() if count > bound[who]]
