"""What the results so far say of a dependency: the window, the failures in a row, and the calls that hang."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from holdgate.core.overdue import OverdueCalls
from holdgate.core.thresholds import Breach, Thresholds
from holdgate.core.windows import FAILED, GOOD, SLOW

if TYPE_CHECKING:
    from holdgate.core.permits import Permit
    from holdgate.core.settings import CircuitSettings


class Evidence:
    """Counts results and reads the rules off them. It decides nothing.

    `quick` is a duration at or under which a success is neither slow nor the longest so far: a circuit counts such a call itself.
    """

    __slots__ = ("_thresholds", "in_a_row", "longest", "overdue", "quick", "slow", "window")

    def __init__(self, settings: CircuitSettings, live: dict[Permit, None], now: float) -> None:
        self.slow = inf if settings.slow_call_duration is None else settings.slow_call_duration
        self.window = settings.window.counter(now)
        self.overdue = OverdueCalls(live, self.slow)
        self.in_a_row = 0
        self.longest = 0.0
        self.quick = 0.0
        self._thresholds = Thresholds(settings)

    def clear(self, now: float) -> None:
        """Forget every result. The longest success stays: how long a good call may take has not changed."""
        self.window.clear(now)
        self.in_a_row = 0

    def count(self, failed: bool, took: float, now: float) -> None:
        """Count one result that took so many seconds."""
        code = SLOW if took > self.slow else GOOD
        self.in_a_row = self.in_a_row + 1 if failed else 0
        self.window.add(code | FAILED if failed else code, now)

    def succeeded_after(self, held: float) -> None:
        """Learn how long a good call may hold its permit."""
        self.longest = max(self.longest, held)
        self.quick = min(self.longest, self.slow)

    def breach(self) -> Breach | None:
        """The rule that the results meet, or None."""
        window = self.window
        calls = window.calls
        window.enough = self._thresholds.enough(calls)
        return self._thresholds.breach(calls, window.failures, window.slow, self.in_a_row)

    def slow_breach(self, now: float) -> Breach | None:
        """The slow call rule, met by results and calls in flight together; None as long as no call in flight is slow."""
        overdue = self.overdue.look(now)
        if not overdue:
            return None
        self.window.expire(now)
        return self._thresholds.slow_breach(self.window.calls, self.window.slow, overdue)

    def is_clear(self, now: float) -> bool:
        """Whether results and calls in flight are below every threshold again."""
        window = self.window
        window.expire(now)
        is_below = self._thresholds.are_clear(window.calls, window.failures, window.slow, self.in_a_row)
        return is_below and self.slow_breach(now) is None

    def next_overdue(self) -> float | None:
        """When time alone may next meet the slow call rule: a call becomes overdue, or good ones leave the window beside one that is."""
        next_at = self.overdue.next_at()
        expiry = self.window.next_expiry() if self.overdue.permits else None
        return expiry if next_at is None else next_at if expiry is None else min(next_at, expiry)

    def rates(self, calls: int, failures: int, slow: int) -> tuple[float, float] | None:
        """The shares of failed and of slow results among so many; None below the minimum of calls."""
        return None if calls < self._thresholds.minimum else (failures / calls, slow / calls)
