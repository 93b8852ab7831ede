"""Calls in flight that are slow before they have ended: a dependency that hangs gives no results to judge it by."""

from __future__ import annotations

from math import inf, nextafter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdgate.core.permits import Permit


class OverdueCalls:
    """The live permits older than a duration, moved out of the circuit's live ones as time passes.

    Both dicts are in the order of issue, so a look costs what has become overdue since the last one, not what is in flight.
    """

    __slots__ = ("_duration", "_live", "permits")

    def __init__(self, live: dict[Permit, None], duration: float) -> None:
        self._live = live
        self._duration = duration
        self.permits: dict[Permit, None] = {}

    def look(self, now: float) -> int:
        """Move what has become overdue, and tell how many calls are."""
        while self._live:
            oldest = next(iter(self._live))
            if now - oldest.acquired_at <= self._duration:
                break
            del self._live[oldest]
            self.permits[oldest] = None
        return len(self.permits)

    def look_again_at(self, now: float) -> float:
        """The time before which `look` would find what it found at `now`. At once while there are any: the window beside them moves."""
        if self.permits:
            return -inf
        oldest = next(iter(self._live)).acquired_at if self._live else now
        return nextafter(oldest + self._duration, -inf)  # rounded up, the sum would hide a call that is overdue by a hair

    def next_at(self) -> float | None:
        """When the oldest live call will be overdue; None without one."""
        if not self._live or self._duration == inf:
            return None
        start = next(iter(self._live)).acquired_at
        at = start + self._duration
        # Overdue is strictly more than the duration: a timer set for the exact end would find nothing, and be set again for the same time.
        while at - start <= self._duration:
            at = nextafter(at, inf)
        return at
