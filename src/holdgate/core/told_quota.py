"""What a service says of its quota."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdgate.core.outcomes import Told

SPREAD = 300.0
LONGEST = 86400.0
CATCH_UP = 0.1


class ToldQuota:
    __slots__ = ("_due", "left", "rate", "until")

    def __init__(self) -> None:
        self.until = -1.0
        self.left = 0
        self.rate: float | None = None
        self._due = 0.0

    def tell(self, told: Told, now: float, in_flight: int) -> None:
        remaining, reset = told.remaining, told.reset
        if remaining is None or reset is None or remaining < 0 or not (isfinite(reset) and 0 < reset <= LONGEST):
            return
        until, left = now + reset, max(0, remaining - in_flight)
        if now < self.until and until < self.until + max(1.0, 0.05 * reset):  # the same window
            self.until = min(self.until, until)
            self.left = min(self.left, left)
        else:
            self.until, self.left = until, left
        self.rate = max(self.left, 1) / max(1e-3, min(self.until - now, SPREAD))

    def free(self, now: float) -> int | None:
        if self.rate is None:
            return None
        if now < self.until and not self.left:
            return 0
        late = now - self._due
        if late < -1e-9:
            return 0
        return 1 + int(min(late, CATCH_UP) * self.rate)

    def next_at(self) -> float:
        return self._due if self.left else max(self._due, self.until)

    def start(self, now: float, weight: int) -> None:
        if self.rate is not None:
            self.left = max(0, self.left - weight)
            self._due = max(self._due, now - CATCH_UP) + weight / self.rate
