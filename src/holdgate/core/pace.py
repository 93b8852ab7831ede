"""The pace of a limiter."""

from __future__ import annotations

from math import floor, sqrt

from holdgate.core.experiments import Budget

MARGIN = 0.995
CATCH_UP = 0.1
YIELD = 0.75
SHARED_CLIMB = 0.005
SHARED_FOR = 120.0
FIRST_STEP = 0.02
STEP_STARTS = 4
STEP_SECONDS = 1.0
SOON = 0.04
CREEP = 1.005
ENOUGH = 5
LONG_SHUT = 90.0
USUAL_COST = 2.0


class Pace:
    __slots__ = (
        "_budget",
        "_busy",
        "_climb_a",
        "_climb_at",
        "_cost",
        "_due",
        "_grown",
        "_idle",
        "_last",
        "_measure",
        "_opened",
        "_refused",
        "_shared_until",
        "_slack",
        "_spent",
        "_started",
        "_step_at",
        "_step_left",
        "_strikes",
        "_failed",
        "_since_strike",
        "_was",
        "_crept",
        "_undo",
        "_total",
        "climbing",
        "rate",
    )

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.rate: float | None = None  # proven
        self.climbing = False
        self._grown = 0.0
        self._due = 0.0
        self._busy = 0
        self._last = 0.0
        self._opened: float | None = None  # cycle
        self._started = 0
        self._refused = 0
        self._idle = 0.0
        self._measure = False
        self._strikes = 0
        self._since_strike = 0
        self._shared_until = -1.0
        self._slack = 0.0
        self._cost = USUAL_COST
        self._spent = 0
        self._failed = False
        self._climb_at = 0.0
        self._climb_a = 0
        self._step_at = 0.0
        self._step_left = 0
        self._was = 0.0
        self._crept = self._undo = False
        self._total = 0

    @property
    def current(self) -> float | None:
        return None if self.rate is None else self.rate * (1 + self._grown) if self.climbing else self.rate

    def free(self, now: float) -> int | None:
        rate = self.current
        if rate is None:
            return None
        late = now - self._due
        if late < -1e-9:
            return 0
        return 1 + floor(min(late, CATCH_UP) * rate)

    def next_at(self) -> float:
        return self._due

    def start(self, now: float, weight: int, pressed: bool) -> None:
        self._started += weight
        self._total += weight
        rate = self.current
        if rate is None:
            return
        late = now - self._due
        if not pressed and late > max(CATCH_UP, 1 / rate):
            self._idle += late
            self._busy = 0
            if self.climbing:
                self._stop_climb(now)
        else:
            self._busy += weight
        self._due = max(self._due, now - CATCH_UP) + weight / rate
        if self.climbing:
            self._climb_a += weight
            self._step_left -= weight
            if now >= self._step_at and self._step_left <= 0:
                self._grown *= 2
                self._step(now)
        elif now < self._shared_until:
            if self._busy and self.rate is not None:
                self.rate += SHARED_CLIMB * sqrt(self.rate) * min(now - self._last, 10.0)
        elif self._busy >= ENOUGH and self._budget.refusals >= self._cost:
            self._begin_climb(now)
        self._last = now

    def _begin_climb(self, now: float) -> None:
        self.climbing = True
        self._budget.count += 1
        self._grown = FIRST_STEP
        self._climb_at, self._climb_a, self._spent = now, 0, 0
        self._step(now)

    def _step(self, now: float) -> None:
        self._step_at = now + STEP_SECONDS
        self._step_left = STEP_STARTS

    def _stop_climb(self, now: float) -> None:
        """Nobody wants that much."""
        self.climbing = False
        took = now - self._climb_at
        if self.rate is not None and took > 0:
            self.rate = max(self.rate, self._climb_a / took)

    def refused(self, weight: int) -> None:
        self._refused += weight
        self._spent += weight
        if self._failed:
            self._budget.spend(weight)

    def shut(self, now: float, weight: int) -> None:
        """The gate shuts for a refusal."""
        self._refused += weight
        self._spent += weight
        if self.climbing:
            self._failed = True
            self.climbing = False
            self._was = self._grown
            self._budget.spend(self._spent)
        elif not self._measure and self.rate is not None:
            if self._total - self._since_strike > 100:
                self._strikes = 0
            self._since_strike = self._total
            self._strikes += 1
            if self._crept:
                self._crept = False
                self._strikes = 0
                self._undo = True

    def opened(self, now: float, shut_for: float) -> None:
        """The asking call was let in (it is already counted as started)."""
        if self._opened is None:
            self._begin_cycle(now)
            return
        busy = now - self._opened - self._idle
        accepted = self._started - 2 - self._refused
        long = shut_for > LONG_SHUT
        if busy <= 0 or self._idle > 0.2 * (now - self._opened) or long:
            self._failed = False
            self._begin_cycle(now)
            return
        measured = accepted / busy
        if self.rate is None or self._measure:
            if accepted < (ENOUGH if self.rate is None else 10):
                return  # measure on, over both
            self.rate = max(measured, 1e-3) * MARGIN
            self._measure = False
        elif self._failed:
            self._cost += (self._spent - self._cost) / 4
            if self._was <= SOON:
                self.rate = max(0.8 * self.rate, min(self.rate, measured * MARGIN))
            elif measured * MARGIN > self.rate:
                self.rate = measured * MARGIN
            else:
                self.rate *= CREEP
                self._crept = True
        elif self._undo:
            self._undo = False
            self.rate = max(0.95 * self.rate, min(self.rate, measured * MARGIN))
        elif self._strikes >= 2:
            self._strikes = 0
            self.rate = max(self.rate * YIELD / 3, min(self.rate * YIELD, measured * MARGIN))
            self._shared_until = now + SHARED_FOR
        self._failed = False
        self._begin_cycle(now)

    def _begin_cycle(self, now: float) -> None:
        self._opened = now
        self._started = 1
        self._refused = 0
        self._idle = 0.0
        self._due = max(self._due, now)
