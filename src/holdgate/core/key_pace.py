"""The pace of one key, in its short form: how many of its calls start a second, found from what was let in between two refusals.

pace.py has the law and its reasons, and takes twice the memory that a key has. Kept of it are three things. What was let in from one
opening of the gate to the next, over that time, is the rate; until enough calls have shown that, the pace climbs steeply from a guess. Once
it is known, a refusal yields a part, and the pace climbs by its square root. There is no ramp: a key whose limit was raised finds that out
by climbing.
"""

from __future__ import annotations

from math import floor, sqrt

MARGIN = 0.99  # a measurement is a percent under what was let in: a key climbs all the time, and is soon at the border again
CATCH_UP = 0.1  # seconds whose starts may be made up for: an event loop that was late must not lower the pace
GUESS_WITHIN = 2.0  # seconds: the length of a first shut that is a guess at the interval
LONG_SHUT = 90.0  # seconds: a quota, or an operator, and no pace
OVERSHOT = 0.85  # of a guess that has climbed until it was refused: a bucket that was full has let it climb too far
FAR_OFF = 0.6  # measured to be this small a part of the pace, it has fallen
YIELD = 0.1  # of the pace, for a refusal: few workers share a key, and what is yielded is missed until it is regained
CLIMB = 0.005  # a second, times the root of the pace: at ten a second a yield is regained in a minute, at two in half of one
REGAIN_CALLS = 10  # and never faster than a yield in so many calls
STEEP = 0.1  # of the pace a second, and with each call at most, while it is a guess
SLOWEST = 1 / 3600  # a second: one an hour, so that no lie of a service stops a key for good


class KeyPace:
    """Keep the pace. `rate` is in starts a second; None means that nothing has shown one."""

    __slots__ = ("_due", "_is_guess", "_is_sure", "_last", "_opened", "_started", "rate")

    def __init__(self, now: float) -> None:
        self.rate: float | None = None
        self._opened = now
        self._started = 0  # and let in, as far as is known
        self._due = now
        self._last = now
        self._is_guess = True  # nothing was refused at it yet
        self._is_sure = False  # and nothing was measured

    def free(self, now: float) -> int | None:
        """Return how many calls may start now. None means any number."""
        if self.rate is None:
            return None
        late = now - self._due
        return 1 + floor(min(late, CATCH_UP) * self.rate) if late >= 0 else 0

    def next_at(self) -> float:
        """Return when the next call may start."""
        return self._due

    def start(self, now: float, *, is_pressed: bool) -> None:
        """Count a start. `is_pressed`: it had to wait, or others do. Without that, time has taught nothing."""
        self._started += 1
        if self.rate is None:
            return
        if is_pressed:
            took = min(now - self._last, CATCH_UP + 10 / self.rate)
            steep = STEEP * self.rate if self._is_guess else CLIMB * sqrt(self.rate)
            self.rate += took * min(steep, (STEEP if self._is_guess else YIELD / REGAIN_CALLS) * self.rate**2)
        else:
            self._opened += max(0.0, now - self._due)
        self._last = now
        self._due = max(self._due, now - CATCH_UP) + 1 / self.rate

    def refuse(self) -> None:
        """Count a call that was not let in."""
        self._started -= 1

    def reopen(self, now: float, shut_for: float, asked_at: float) -> None:
        """Judge the time since the last opening: the call that asked at `asked_at` was let in, and is counted as started."""
        let_in = self._started - 1  # without the asking call
        span = now - self._opened
        if shut_for <= LONG_SHUT and span > 0:
            self._judge(let_in, let_in / span * MARGIN, shut_for)
        if self.rate is not None:  # else count on
            self._opened = self._last = now
            self._started = 1
            self.rate = max(SLOWEST, self.rate)
            self._due = max(self._due, asked_at + 1 / self.rate)

    def _judge(self, let_in: int, measured: float, shut_for: float) -> None:
        rate = self.rate
        if rate is not None and self._is_guess:  # it was too high at its end: measure on, at about the same pace
            self.rate, self._is_guess = rate * OVERSHOT, False
        elif let_in > 0 and rate is not None and (not self._is_sure or measured < FAR_OFF * rate):
            self.rate, self._is_sure = measured, True
        elif rate is not None:
            self.rate = rate * (1 - YIELD)
        elif let_in > 0:
            self.rate = measured
        elif shut_for <= GUESS_WITHIN:
            self.rate = 1 / max(shut_for, CATCH_UP)

    def interrupt(self, now: float) -> None:
        """Count anew: what was measured beside an outage is no pace."""
        self._opened = self._last = now
        self._started = 0
        if not self._is_sure:
            self.rate, self._is_guess = None, True
