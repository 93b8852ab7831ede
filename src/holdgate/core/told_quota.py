"""What a service says of its quota: how many calls are left, and when it begins anew. Then nothing need be found out.

Theory of operation
===================

The calls that are left are spread over the time that is left, so that the quota ends when its window does, and no call is refused. Over a
long window they are not spread evenly: with 5,000 an hour nobody wants to wait for minutes with nearly all of them left. There the pace
is what would use up the rest in five minutes. It falls with the rest, and never reaches nothing.

Answers come in any order. Within one window the least that any of them said of what is left holds, and the earliest end. Calls that are in
flight may not be counted in what an answer says, so they are taken off. A call that began after the least was said, and is told of more
left, is in another window: ends are rounded to whole seconds, and a window of one second begins before the last one seems to be over.

Some services count the time that is left in milliseconds, and do not say so. What they say tells: it falls by a thousand in a second.

When the window has ended, what the next one has is not known until the first answer: the old pace goes on until then. An answer with
nothing left names no pace, only an end. Many services say it beside a refusal and nowhere else, so no other answer would put that right.

A value that cannot be (less than nothing left, an end in the past, a window of more than a day, no number) is as good as not said. A lie
that can be true costs at most the window that it names.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdgate.core.outcomes import Told

SPREAD = 300.0  # seconds: longer than most windows that are refilled, and as long as a person waits for a queue to move
LONGEST = 86400.0  # a day is the longest window that anybody sells calls by
MOST_LEFT = 10**9  # more is no limit, and would only make large numbers
SHORTEST = 0.001  # seconds of a window that are divided by
CATCH_UP = 0.1  # seconds whose starts may be made up for, as in pace.py
MILLI = 0.001  # the unit of a time that falls by about a thousand in a second
FALLS = (500.0, 2000.0)  # a second: what is taken for that; seconds fall by one
WATCHED = 1.0  # seconds between two answers before they show the unit
SLACK = 1.0  # seconds by which two answers on one window may differ: headers have whole ones
SLACK_SHARE = 0.05  # and as a share of a long one


class ToldQuota:
    """Keep what was said last. `rate` is the pace that follows from it in starts a second; None means that nothing was said.

    `unit` is what a time that was said is multiplied by, to be in seconds.
    """

    __slots__ = ("_due", "_least", "_least_at", "_left", "_said", "_said_at", "_until", "rate", "unit")

    def __init__(self) -> None:
        self.rate: float | None = None
        self.unit = 1.0
        self._said = 0.0  # the time that an answer of this window has named, as it was said
        self._said_at = 0.0
        self._left = 0
        self._least = 0  # what the answers of this window have said of what is left
        self._least_at = 0.0  # when that was said first
        self._until = -1.0
        self._due = 0.0

    def tell(self, told: Told, now: float, in_flight: int, began: float | None = None) -> bool:
        """Take what an answer said to a call that began at `began`; None is not known. Returns whether it said anything of a quota."""
        remaining, reset = told.remaining, told.reset
        if remaining is None or reset is None or not 0 <= remaining <= MOST_LEFT:
            return False
        if not isfinite(reset) or not 0 < reset <= LONGEST:
            return False
        reset *= self._unit_of(reset, now)
        until, left = now + reset, max(0, int(remaining) - in_flight)
        is_later = began is not None and began >= self._least_at and remaining > self._least
        if now < self._until and until < self._until + max(SLACK, SLACK_SHARE * reset) and not is_later:
            until, left = min(self._until, until), min(self._left, left)
            if remaining < self._least:
                self._least, self._least_at = int(remaining), now
        else:
            self._least, self._least_at = int(remaining), now
        self._until, self._left = until, left
        if remaining:
            self.rate = max(1, left) / max(SHORTEST, min(until - now, SPREAD))
        return True

    def in_seconds(self, told: Told) -> float | None:
        """Return how many seconds a refusal surely asks to wait. None means that nobody knows."""
        wait = told.sure_wait
        return wait * self.unit if wait is not None and wait == told.reset else wait

    def _unit_of(self, reset: float, now: float) -> float:
        if reset > self._said or not self._said:  # another window
            self._said, self._said_at = reset, now
        elif now - self._said_at >= WATCHED:
            falls = (self._said - reset) / (now - self._said_at)
            self.unit = MILLI if FALLS[0] < falls < FALLS[1] else 1.0
            self._said, self._said_at = reset, now
        return self.unit

    def free(self, now: float) -> int | None:
        """Return how many calls may start now. None means any number."""
        if now < self._until and not self._left:
            return 0
        if self.rate is None:
            return None
        late = now - self._due
        if late < 0:
            return 0
        due = 1 + int(min(late, CATCH_UP) * self.rate)
        return min(due, self._left) if now < self._until else due

    def next_at(self, now: float) -> float:
        """Return when the next call may start."""
        return max(self._due, self._until) if now < self._until and not self._left else self._due

    def start(self, now: float, weight: int) -> None:
        """Count a start."""
        self._left = max(0, self._left - weight)
        if self.rate is not None:
            self._due = max(self._due, now - CATCH_UP) + weight / self.rate
