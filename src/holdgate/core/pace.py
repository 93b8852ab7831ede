"""The pace of a limiter."""

from __future__ import annotations

from math import floor, sqrt

MARGIN = 0.995
CATCH_UP = 0.1
LONG_SHUT = 90.0
YIELD = 0.25
SCALE = 2.0
K = 0.0055
CALM = 1.1
FEWEST = 10
RAMP_CALLS = 200
RAMP_SECONDS = 8.0
FIRST_STEP = 0.02
UNSURE_STEP = 0.25
SURE = 6
EVENT = 3
SLOWEST = 1 / 3600


class Pace:
    __slots__ = (
        "_age",
        "_double",
        "_due",
        "_base",
        "_idle",
        "_last",
        "_opened",
        "_refused",
        "_rest",
        "_started",
        "_step",
        "_total",
        "_unsure",
        "count",
        "rate",
    )

    def __init__(self) -> None:
        self.rate: float | None = None  # now
        self._base = 0.0
        self._rest = 0.0
        self._double = 1.0
        self._step = FIRST_STEP
        self._age = 0.0
        self._due = 0.0
        self._last = 0.0
        self._opened: float | None = None
        self._started = 0
        self._refused = 0
        self._total = 0
        self._idle = 0.0
        self._unsure = True
        self.count = 0

    def free(self, now: float) -> int | None:
        if self.rate is None:
            return None
        late = now - self._due
        if late < -1e-9:
            return 0
        return 1 + floor(min(late, CATCH_UP) * self.rate)

    def next_at(self) -> float:
        return self._due

    def start(self, now: float, weight: int, pressed: bool) -> None:
        if self._opened is None and not self._total:
            self._opened = now
        self._started += weight
        self._total += weight
        if self.rate is None:
            return
        late = now - self._due
        if not pressed and late > max(CATCH_UP, 1 / self.rate):
            self._idle += late
            self._age = min(self._age, self._rest)
        else:
            self._climb(min(now - self._last, 10 / self.rate + CATCH_UP))
        self._last = now
        self._due = max(self._due, now - CATCH_UP) + weight / self.rate

    def _climb(self, took: float) -> None:
        was = self._age
        self._age += took
        if not self._unsure:
            base = self._base
            self._base += took * min(K * sqrt(base) * min(3.0, max(1.0, base / 2)), YIELD * base * base / FEWEST)
        if self._age <= self._rest:
            self.rate = self._base
            return
        if was <= self._rest:
            self.count += 1
        self.rate = self._base * (1 + self._step * (2 ** min(30, (self._age - self._rest) / self._double) - 1))

    def refused(self, weight: int) -> None:
        self._refused += weight

    def shut(self, now: float, weight: int) -> None:
        """The gate shuts for a refusal."""
        self._refused += weight

    def opened(self, now: float, shut_for: float) -> None:
        """The asking call was let in (it is already counted as started)."""
        if self._opened is None:
            if shut_for <= 2.0:
                self._begin(now, max(SLOWEST, 1 / max(shut_for, 0.01)))
            else:
                self._opened = now
                self._started, self._refused = 1, 0
            return
        span = now - self._opened
        busy = span - self._idle
        accepted = self._started - 2 - self._refused
        if shut_for > LONG_SHUT or busy <= 0 or self._idle > 0.2 * span:
            if self.rate is not None:
                self._begin(now, self._base)
            return
        measured = max(1, accepted) / busy * MARGIN
        if self._unsure:
            if accepted < SURE:
                self._base = self.rate = max(SLOWEST, measured)
                self._age = self._rest = 0.0
                self._step, self._double = UNSURE_STEP, max(1.0, 4 / self.rate)
                self._last = now
                return
            self._unsure = False
            self._begin(now, measured)
            return
        if accepted < EVENT:
            self._last = now
            return
        if self.rate > CALM * self._base:
            if self.rate > 2 * self._base:
                self._unsure = True
                self._begin(now, self.rate / 2)
                return
            self._begin(now, max(self._base, min(self.rate, measured)))
            return
        base = self._base
        if measured < 0.6 * base:
            base = max(measured * 1.1, base / 2)
        self._begin(now, base * (1 - self._share(base)))

    @staticmethod
    def _share(base: float) -> float:
        return YIELD / sqrt(max(1.0, base / SCALE))

    def _begin(self, now: float, base: float) -> None:
        self._opened = now
        self._started = 1
        self._refused = 0
        self._idle = 0.0
        self._last = now
        self._due = max(self._due, now)
        self._base = self.rate = max(SLOWEST, base)
        self._double = max(1.0, 4 / self._base)
        self._step = FIRST_STEP
        self._age = 0.0
        self._rest = max(RAMP_SECONDS, RAMP_CALLS / self._base)
