"""What a circuit admitted, judged by the times at which it changed, and not at which an observer heard of it.

The usual check leaves out the moments around a change, and a quick ramp is nothing but such moments. Here only one thing is allowed for: a
handler that was admitted starts when its lane gets the processor.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.ledger.ledger import Entry

# From the grant to the first line of the handler, on a machine that has other things to do.
STARTS_WITHIN = 0.5


class _Circuit:
    """One circuit of one process: since when it is in its state, and with which limits."""

    def __init__(self) -> None:
        self.state = "CircuitClosed"
        self.since = 0.0
        self.limits: list[tuple[float, int]] = []
        self.running: dict[object, float] = {}

    def changes(self, entry: Entry) -> None:
        if entry.facts["circuit"] == "LimitChanged":
            self.limits.append((entry.at, entry.facts["limit"]))
            return
        self.state, self.since = entry.facts["circuit"], entry.at
        self.limits = [(entry.at, 1)]

    def limit_around(self, at: float) -> int:
        """The highest limit that a call may have been admitted by that starts now."""
        before = [limit for since, limit in self.limits if since <= at - STARTS_WITHIN][-1:]
        return max(before + [limit for since, limit in self.limits if since > at - STARTS_WITHIN])

    def starts(self, entry: Entry) -> Iterator[str]:
        what = f"{entry.who} called {entry.facts['dependency']} at {entry.at:.3f}"
        if self.state == "CircuitOpened" and entry.at > self.since + STARTS_WITHIN:
            yield f"called while open: {what}, open since {self.since:.3f}"
        self.running[entry.facts["call"]] = entry.at
        if self.state == "CircuitHalfOpened":
            count = sum(1 for begun in self.running.values() if begun >= self.since)
            if count > self.limit_around(entry.at):
                yield f"above the limit: {what}, the {count}th at once, limit {self.limit_around(entry.at)}"


def wrong(entries: Sequence[Entry]) -> list[str]:
    """Return a sentence for each call that a circuit cannot have admitted."""
    circuits: dict[tuple[str, str], _Circuit] = defaultdict(_Circuit)
    found: list[str] = []
    for entry in entries:
        if entry.kind == "note" and "circuit" in entry.facts:
            circuits[entry.who, entry.facts["of"]].changes(entry)
        elif entry.kind == "call_started":
            found.extend(circuits[entry.who, entry.facts["dependency"]].starts(entry))
        elif entry.kind == "call_ended":
            circuits[entry.who, entry.facts["dependency"]].running.pop(entry.facts["call"], None)
    return found
