"""The rules that open a circuit while it is closed, and how a broken one is told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdgate.core.settings import CircuitSettings


class Reason(StrEnum):
    """Why a circuit opened. The values are label values of metrics, so they are part of the interface."""

    FAILURE_RATE = "failure_rate"
    SLOW_CALL_RATE = "slow_call_rate"
    CONSECUTIVE_FAILURES = "consecutive_failures"
    PROBE = "probe"
    SLOW_PROBE = "slow_probe"
    PERMIT_LEASE = "permit_lease"
    RETRY_AFTER = "retry_after"
    OPEN_FOR = "open_for"


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule that was met: which one, what was seen, and the threshold it reached."""

    reason: Reason
    value: float
    threshold: float


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
