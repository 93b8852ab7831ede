"""Questions to a ledger while its run goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.ledger.ledger import Entry, Mark

STATES = ("opened", "half_opened", "closed")

Place = tuple[str, int]


def told(entries: Sequence[Entry], kind: str, who: str | None = None, **facts: Any) -> list[Entry]:
    """Entries of a kind, of one process if `who` is given, that have these facts."""
    return [
        entry
        for entry in entries
        if entry.kind == kind and who in (None, entry.who) and all(entry.facts.get(name) == value for name, value in facts.items())
    ]


def noted(entries: Sequence[Entry], fact: str, who: str | None = None) -> list[Entry]:
    """Notes that carry this fact."""
    return [entry for entry in entries if entry.kind == "note" and fact in entry.facts and who in (None, entry.who)]


def state(entries: Sequence[Entry], who: str, dependency: str) -> str:
    """The circuit's last known state in one process; "closed" for one of which nothing was told."""
    changes = [entry.kind for entry in entries if entry.kind in STATES and entry.who == who and entry.facts["dependency"] == dependency]
    return changes[-1] if changes else "closed"


def owners(entries: Sequence[Entry]) -> dict[Place, str]:
    """Who has which partition."""
    found: dict[Place, str] = {}
    for entry in entries:
        if entry.kind == "assigned":
            found[entry.place] = entry.who
        elif entry.kind == "revoked" and found.get(entry.place) == entry.who:
            del found[entry.place]
    return found


def taken_over(entries: Sequence[Entry], loser: str, since: Mark) -> bool:
    """Whether this process owned nothing at some moment since the mark, and others everything: it may have some again by now."""
    found: dict[Place, str] = {}
    for entry in told(entries, "assigned"):
        found[entry.place] = entry.who
        if entry.at > since and loser not in found.values():
            return True
    return False


def shared_out(entries: Sequence[Entry], places: Iterable[Place], workers: Iterable[str]) -> bool:
    """Whether every partition has an owner, and every one of these workers owns some, and nobody else any."""
    found = owners(entries)
    return set(found) >= set(places) and set(found.values()) == set(workers)


def done(entries: Sequence[Entry]) -> set[tuple[str, int, int]]:
    """What was processed until now."""
    return {(*entry.place, entry.offset) for entry in entries if entry.kind == "processed"}
