"""Notices that this process stood still: a blocked event loop, SIGSTOP, a machine that slept.

A member of a group that is silent for too long is evicted, and others work on what it has in hand. It learns of that by its next
heartbeat, a moment after it goes on; whatever it starts in that moment is work that somebody else may have done already. So nothing
starts before the intake has found out what is still ours. It is asked wherever a lane fetches work, and by a timer of its own: an idle
process must know that it went on in time, and the timer runs before the lanes that the same step of the loop wakes up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf, isfinite
from typing import Any

from holdgate.ports import Evictable, Intake

# Looks in the time that leads to an eviction: from three quarters of it on, standing still is noticed.
_LOOKS = 4


class Standstill:
    """Watches over one run. Beyond `until` (monotonic seconds, infinite where nobody is evicted) the process has stood still."""

    __slots__ = ("_intake", "_now", "_patience", "_timer", "until")

    def __init__(self, intake: Intake[Any], now: Callable[[], float]) -> None:
        self.until = inf
        self._intake: Evictable | None = intake if isinstance(intake, Evictable) else None
        self._now = now
        self._patience = inf
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Watch from now on."""
        if self._intake is not None and isfinite(self._intake.evicted_after):
            self._patience = self._intake.evicted_after
            self._look()

    def stop(self) -> None:
        """The run is over."""
        if self._timer is not None:
            self._timer.cancel()
        self.until = inf

    def noticed(self, now: float) -> None:
        """It is past `until`: let the intake give up what may not be ours any more."""
        self.until = now + self._patience
        if self._intake is not None:
            self._intake.stood_still()

    def _look(self) -> None:
        now = self._now()
        if now > self.until:
            self.noticed(now)
        self.until = now + self._patience
        self._timer = asyncio.get_running_loop().call_later(self._patience / _LOOKS, self._look)
