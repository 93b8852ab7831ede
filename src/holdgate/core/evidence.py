"""The evidence of a closed circuit: what its results and its calls in flight say, and which rule they meet.

Two classes:

    Thresholds    the rules. It reads totals and counts nothing
    Evidence      the window, the failures in a row and the calls that are overdue (permits.py); it counts results and asks `Thresholds`

None of them decides what happens: they return a `Breach`, and circuit.py acts on it.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from holdgate.core.states import Breach, Reason
from holdgate.core.totals import QUICK
from holdgate.core.windows import FAILED, GOOD, SLOW, carry_over

if TYPE_CHECKING:
    from holdgate.core.permits import PermitsInFlight
    from holdgate.core.settings import CircuitSettings


def slow_after(settings: CircuitSettings) -> float:
    """Return after how many seconds a call is slow; infinite if none ever is."""
    return inf if settings.slow_call_duration is None else settings.slow_call_duration


class Thresholds:
    """Know the rules of the closed state, and apply them to totals."""

    __slots__ = ("_consecutive", "_failure_rate", "_least_rate", "_slow_call_rate", "minimum")

    def __init__(self, settings: CircuitSettings) -> None:
        self.minimum = settings.window.attainable_minimum(settings.minimum_calls)
        self._failure_rate = settings.failure_rate_threshold
        self._slow_call_rate = settings.slow_call_rate_threshold
        self._consecutive = settings.consecutive_failures
        self._least_rate = min(self._failure_rate, self._slow_call_rate)

    def breach(self, calls: int, failures: int, slow: int, in_a_row: int) -> Breach | None:
        """Return the first rule that is met. None means that none is. A rule is met at its threshold, not only past it."""
        if calls >= self.minimum:
            if failures / calls >= self._failure_rate:
                return Breach(Reason.FAILURE_RATE, failures / calls, self._failure_rate)
            if slow / calls >= self._slow_call_rate:
                return Breach(Reason.SLOW_CALL_RATE, slow / calls, self._slow_call_rate)
        if self._consecutive is not None and in_a_row >= self._consecutive:
            return Breach(Reason.CONSECUTIVE_FAILURES, in_a_row, self._consecutive)
        return None

    def enough(self, calls: int) -> int:
        """Return how many bad results a rate needs at least. It holds until there are fewer than `calls` in the window."""
        return int(self._least_rate * max(calls, self.minimum))

    def are_clear(self, calls: int, failures: int, slow: int, in_a_row: int) -> bool:
        """Return whether everything is below its threshold, at any number of calls: a breach ends by good calls, not by few."""
        if self._consecutive is not None and in_a_row >= self._consecutive:
            return False
        return not calls or (failures / calls < self._failure_rate and slow / calls < self._slow_call_rate)

    def slow_breach(self, calls: int, slow: int, overdue: int) -> Breach | None:
        """Return the slow call rule if the results and the overdue calls together meet it. None without overdue calls."""
        seen = calls + overdue
        if not overdue or seen < self.minimum or (slow + overdue) / seen < self._slow_call_rate:
            return None
        return Breach(Reason.SLOW_CALL_RATE, (slow + overdue) / seen, self._slow_call_rate)


class Evidence:
    """Count results, and compare them with the rules.

    `quick` is a duration. A success that took no longer is neither slow nor the longest so far, and belongs to the first bucket of
    durations (totals.py), so that a circuit may count it without a call of `count`. `quick_seconds` is how long all of these took.
    While each call is to be looked at, none is quick.
    """

    # fmt: off
    __slots__ = (
        "_is_reported", "_none_is_quick", "_permits", "_thresholds",
        "in_a_row", "longest", "quick", "quick_seconds", "slow", "window",
    )
    # fmt: on

    def __init__(self, settings: CircuitSettings, permits: PermitsInFlight, now: float) -> None:
        self.slow = slow_after(settings)
        self.window = settings.window.counter(now)
        self._permits = permits
        self.in_a_row = 0
        self.longest = 0.0
        self.quick = 0.0
        self._none_is_quick = False
        self.quick_seconds = 0.0
        self._is_reported = False
        self._thresholds = Thresholds(settings)

    def reconfigure(self, before: CircuitSettings, settings: CircuitSettings, now: float) -> None:
        """Go on by other settings. What was counted stays as it was counted; the next result is judged by the new thresholds."""
        self.slow = slow_after(settings)
        self._set_quick()
        self._permits.change_slow(self.slow)
        if settings.window != before.window:
            self.window = carry_over(self.window, settings.window, now)
        self.window.enough = 0  # so that a good result is judged, too
        self._thresholds = Thresholds(settings)

    def look_at_each(self, *, always: bool) -> None:
        """Have no call count as quick from now on, so that none goes the usual way, or let them again."""
        if self._none_is_quick is not always:
            self._none_is_quick = always
            self._set_quick()

    def _set_quick(self) -> None:
        self.quick = -1.0 if self._none_is_quick else min(self.longest, self.slow, QUICK)

    def clear(self, now: float) -> None:
        """Forget every result. The longest success stays, because how long a good call may take has not changed."""
        self.window.clear(now)
        self.in_a_row = 0

    def forget_episode(self) -> None:
        """Have the next breach be news. What was counted stays."""
        self._is_reported = False

    def lease(self, least: float) -> float:
        """Return how long the lease of a permit lasts, in seconds: twice the longest success, as good calls must not be taken back."""
        return max(least, 2 * self.longest)

    def count(self, failed: bool, took: float, now: float) -> None:
        """Count the result of a call that took `took` seconds."""
        code = SLOW if took > self.slow else GOOD
        self.in_a_row = self.in_a_row + 1 if failed else 0
        self.window.add(code | FAILED if failed else code, now)

    def succeeded_after(self, held: float) -> None:
        """Note how long a successful call has held its permit, in seconds."""
        self.longest = max(self.longest, held)
        self._set_quick()

    def breach(self) -> Breach | None:
        """Return the rule that the results meet. None means that they meet none."""
        window = self.window
        calls = window.calls
        window.enough = self._thresholds.enough(calls)
        return self._thresholds.breach(calls, window.failures, window.slow, self.in_a_row)

    def slow_breach(self, now: float) -> Breach | None:
        """Return the slow call rule if results and calls in flight meet it together. None while no call in flight is slow."""
        overdue = self._permits.collect_overdue(now)
        if not overdue:
            return None
        self.window.expire(now)
        return self._thresholds.slow_breach(self.window.calls, self.window.slow, overdue)

    def is_clear(self, now: float) -> bool:
        """Return whether results and calls in flight are below every threshold."""
        window = self.window
        window.expire(now)
        is_below = self._thresholds.are_clear(window.calls, window.failures, window.slow, self.in_a_row)
        return is_below and self.slow_breach(now) is None

    def begin_episode(self) -> bool:
        """Note that a rule is met which opens nothing. Returns whether that is news: the first time since everything was below."""
        is_news, self._is_reported = not self._is_reported, True
        return is_news

    def check_episode(self, now: float) -> None:
        """End the episode if everything is below the thresholds, so that the next breach is news again.

        Called before each result too, because a time window also empties by time alone.
        """
        if self._is_reported:
            self._is_reported = not self.is_clear(now)

    def next_deadline(self) -> float | None:
        """Return when time alone may next meet the slow call rule. None means never.

        Either a call becomes overdue, or good results leave the window while a call is overdue.
        """
        overdue = self._permits.next_overdue()
        expiry = self.window.next_deadline() if self._permits.overdue else None
        return expiry if overdue is None else overdue if expiry is None else min(overdue, expiry)

    def rates(self, calls: int, failures: int, slow: int) -> tuple[float, float] | None:
        """Return the shares of failed and of slow results. None means that there are fewer calls than the minimum."""
        return None if calls < self._thresholds.minimum else (failures / calls, slow / calls)
