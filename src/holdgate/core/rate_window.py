"""A rate that a user has set: at most so many starts in any span of so many seconds, wherever the span begins.

Theory of operation
===================

A token bucket lets its burst through and then the rate: up to twice the number in one span. A fixed window does the same across its
border. Services count in ways that we do not know, and the only promise that holds in front of all of them is the strict one: no span of
`per` seconds has more than `rate` starts.

That needs the times of the last `rate` starts. To remember each would cost 800 kB for 100,000 an hour, so starts that are close together,
within a thousandth of the span, are one entry with the time of the last of them. The entry is forgotten a whole span after that: an error
on the safe side, of a thousandth.

A batch may be heavier than the rate. It starts when nothing else counts, and what it is over the rate counts in the next spans.
"""

from __future__ import annotations

from collections import deque

# Entries in a span. A thousandth of the rate may be lost by it, and 1,000 entries are 100 kB, only where a rate is that high.
RESOLUTION = 1000


class RateWindow:
    """Count the starts of the last `per` seconds. Each method costs O(1), spread over the starts."""

    __slots__ = ("_entries", "_latest", "_per", "_rate", "_used")

    def __init__(self, rate: int, per: float) -> None:
        self._rate = rate
        self._per = per
        self._entries: deque[list[float]] = deque()  # [time of its last start, how many], oldest first
        self._used = 0
        self._latest = 0.0

    def free(self, now: float) -> int:
        """Return how many calls may start at `now`, from 0."""
        self._forget(now)
        return max(0, self._rate - self._used)

    def next_at(self, now: float) -> float | None:
        """Return when the next call may start. None means now."""
        if self.free(now):
            return None
        over = self._used - self._rate
        for at, count in self._entries:
            over -= int(count)
            if over < 0:
                return at + self._per
        raise AssertionError("a full window has an entry that makes room")  # pragma: no cover

    def start(self, now: float, weight: int) -> None:
        """Count a start. What is over the rate counts in the spans after this one."""
        at = self._forget(now)
        if self._entries:
            at = max(at, self._entries[-1][0])  # a batch before it counts in spans to come
        self._used += weight
        while weight > self._rate:
            self._add(at, self._rate)
            weight -= self._rate
            at += self._per
        self._add(at, weight)

    def give_back(self, weight: int) -> None:
        """Take back the latest `weight` starts: they never reached the dependency."""
        while weight and self._entries:
            latest = self._entries[-1]
            taken = min(weight, int(latest[1]))
            latest[1] -= taken
            self._used -= taken
            weight -= taken
            if not latest[1]:
                self._entries.pop()

    def _add(self, at: float, weight: int) -> None:
        entries = self._entries
        if entries and at - entries[-1][0] < self._per / RESOLUTION and entries[-1][1] + weight <= max(1, self._rate / RESOLUTION):
            entries[-1][0] = at
            entries[-1][1] += weight
        else:
            entries.append([at, weight])

    def _forget(self, now: float) -> float:
        """Forget what is older than the span. A clock that jumps back stands still here, so that no start is counted twice or too soon."""
        now = self._latest = max(now, self._latest)
        entries = self._entries
        while entries and entries[0][0] + self._per <= now:
            self._used -= int(entries.popleft()[1])
        return now
