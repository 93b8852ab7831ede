"""The evidence in CLOSED: the window, the failures in a row, the calls that hang, and the rules that open the circuit for them.

Calls in flight that are slow before they have ended: a dependency that hangs gives no results to judge it by.

The rules that open a circuit while it is closed, and how a broken one is told.

What the results so far say of a dependency: the window, the failures in a row, and the calls that hang.
"""

from __future__ import annotations

from math import inf, nextafter
from typing import TYPE_CHECKING

from holdgate.core.states import Breach, Reason
from holdgate.core.windows import FAILED, GOOD, SLOW

if TYPE_CHECKING:
    from holdgate.core.settings import CircuitSettings
    from holdgate.core.states import Permit


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


class Thresholds:
    """The rules of the closed state, read off totals. It counts nothing itself."""

    __slots__ = ("_consecutive", "_failure_rate", "_least_rate", "_slow_call_rate", "minimum")

    def __init__(self, settings: CircuitSettings) -> None:
        self.minimum = settings.window.least(settings.minimum_calls)
        self._failure_rate = settings.failure_rate_threshold
        self._slow_call_rate = settings.slow_call_rate_threshold
        self._consecutive = settings.consecutive_failures
        self._least_rate = min(self._failure_rate, self._slow_call_rate)

    def breach(self, calls: int, failures: int, slow: int, in_a_row: int) -> Breach | None:
        """The first rule that is met, or None. Every rule trips at its threshold, not past it."""
        if calls >= self.minimum:
            if failures / calls >= self._failure_rate:
                return Breach(Reason.FAILURE_RATE, failures / calls, self._failure_rate)
            if slow / calls >= self._slow_call_rate:
                return Breach(Reason.SLOW_CALL_RATE, slow / calls, self._slow_call_rate)
        if self._consecutive is not None and in_a_row >= self._consecutive:
            return Breach(Reason.CONSECUTIVE_FAILURES, in_a_row, self._consecutive)
        return None

    def enough(self, calls: int) -> int:
        """How many bad results a rate needs at least, now that there are so many calls, and as long as they do not become fewer."""
        return int(self._least_rate * max(calls, self.minimum))

    def are_clear(self, calls: int, failures: int, slow: int, in_a_row: int) -> bool:
        """Whether everything is below its threshold, at any number of calls: few calls end no rule's breach, good ones do."""
        if self._consecutive is not None and in_a_row >= self._consecutive:
            return False
        return not calls or (failures / calls < self._failure_rate and slow / calls < self._slow_call_rate)

    def slow_breach(self, calls: int, slow: int, overdue: int) -> Breach | None:
        """The slow call rule with the calls in flight that are slow already; None without any."""
        seen = calls + overdue
        if not overdue or seen < self.minimum or (slow + overdue) / seen < self._slow_call_rate:
            return None
        return Breach(Reason.SLOW_CALL_RATE, (slow + overdue) / seen, self._slow_call_rate)


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
