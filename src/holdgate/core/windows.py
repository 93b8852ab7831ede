"""The windows that rates are computed from: the two settings, and the counter behind each.

A counter keeps totals beside a ring of fixed size. Recording and reading cost the same at 10 calls and at 10,000, and memory does not
grow. A result is a code of two bits, because a call may be both slow and failed, and then counts once in each.

What is ugly: the counters have a short cut. While nothing bad is in a window, it does not matter yet where in the ring a good result goes.
So a good result is counted by adding 1 to `goods`, without a call. The counter moves `goods` into the ring when it must.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, inf, nextafter
from typing import TYPE_CHECKING, Protocol

from holdgate.core import validation

if TYPE_CHECKING:
    from datetime import timedelta

GOOD = 0
FAILED = 1
SLOW = 2


class WindowCounter(Protocol):
    """The totals of the results that are in a window.

    A good result before `clean_until` may be counted by adding 1 to `goods`, at a fifth of the cost of `add`.

    `enough` belongs to the caller that judges: while there are fewer bad results, a good one need not be judged. The counter sets it back
    to 0 when it comes to hold fewer calls, because a rate then needs fewer bad results.

    `passed` is the number of good results, since the counter was made, that were counted by `goods` and are no longer in it.
    """

    failures: int
    slow: int
    goods: int
    passed: int
    clean_until: float
    enough: int

    @property
    def calls(self) -> int:
        """The number of results in the window."""
        ...

    def add(self, code: int, now: float) -> int:
        """Count one result. Returns failures + slow, so that the caller knows whether a rate can be met."""
        ...

    def expire(self, now: float) -> None:
        """Forget what is older than the window. A count window forgets by calls alone."""
        ...

    def seen_at(self, now: float) -> tuple[int, int, int]:
        """Return the calls, failures and slow calls that `expire(now)` would leave, without forgetting anything."""
        ...

    def clear(self, now: float) -> None:
        """Forget everything, and begin at `now`."""
        ...

    def next_deadline(self) -> float | None:
        """Return when `expire` will next forget something. None means never."""
        ...


@dataclass(frozen=True, slots=True)
class CountWindow:
    """A window of the last results, however old they are.

    - `calls`: how many results it holds, from 1. It takes one byte for each.

    Raises SettingsError.
    """

    calls: int

    def __post_init__(self) -> None:
        validation.count("CountWindow.calls", self.calls)

    def counter(self, now: float) -> WindowCounter:  # noqa: ARG002 - both windows are asked alike; calls need no time
        """Return an empty counter."""
        return CountCounter(self.calls)

    def attainable_minimum(self, minimum_calls: int) -> int:
        """Return the minimum, or the size of this window if that is less: a window of 5 never holds 10 calls."""
        return min(minimum_calls, self.calls)


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """A window of the results of the last seconds, in buckets that expire one by one.

    - `seconds`: its length, above 0, or a timedelta.
    - `buckets`: how many buckets it is divided into, from 1. The oldest one leaves as a whole, so the window holds the results of between
      `seconds - seconds / buckets` and `seconds`. The default is that of Polly and Hystrix.

    Raises SettingsError.
    """

    seconds: float
    buckets: int = 10  # a tenth of the window expires at a time; Polly and Hystrix do the same

    if TYPE_CHECKING:

        def __init__(self, seconds: float | timedelta, buckets: int = ...) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "seconds", validation.seconds("TimeWindow.seconds", self.seconds))
        validation.count("TimeWindow.buckets", self.buckets)

    def counter(self, now: float) -> WindowCounter:
        """Return an empty counter that begins at `now`."""
        return TimeCounter(self.seconds / self.buckets, self.buckets, now)

    def attainable_minimum(self, minimum_calls: int) -> int:
        """Return the minimum as it was set: any number of calls may come in a span of time."""
        return minimum_calls


class CountCounter:
    """Count the last results, in a ring of one byte each."""

    __slots__ = ("_is_full", "_next", "_ring", "_size", "clean_until", "enough", "failures", "goods", "passed", "slow")

    def __init__(self, size: int) -> None:
        self._size = size
        self.goods = self.passed = 0
        self.clear(0.0)

    def clear(self, now: float) -> None:  # noqa: ARG002
        self._ring = bytearray(self._size)
        self._next = 0
        self._is_full = False
        self.failures = 0
        self.slow = 0
        self.passed += self.goods
        self.goods = 0
        self.clean_until = inf
        self.enough = 0

    @property
    def calls(self) -> int:
        self._place_goods()
        return self._size if self._is_full else self._next

    def add(self, code: int, now: float) -> int:  # noqa: ARG002
        if self.goods:
            self._place_goods()
        place = self._next
        if self._ring[place] != code:
            self._replace(place, code)
        place += 1
        if place == self._size:
            self._is_full = True
            place = 0
        self._next = place
        return self.failures + self.slow

    def _place_goods(self) -> None:
        # `goods` is above 0 only while the ring holds nothing but good results, so nothing need be written: the place moves on.
        place = self._next + self.goods
        self._is_full = self._is_full or place >= self._size
        self._next = place % self._size
        self.passed += self.goods
        self.goods = 0

    def _replace(self, place: int, code: int) -> None:
        old = self._ring[place]
        self._ring[place] = code
        self.failures += (code & FAILED) - (old & FAILED)
        self.slow += ((code & SLOW) - (old & SLOW)) // SLOW
        self.clean_until = -inf if self.failures or self.slow else inf

    def expire(self, now: float) -> None:
        """Do nothing: calls push calls out, time does not."""

    def seen_at(self, now: float) -> tuple[int, int, int]:  # noqa: ARG002
        return self.calls, self.failures, self.slow

    def next_deadline(self) -> float | None:
        return None

    def take_over(self, older: CountCounter) -> None:
        """Count what another one holds, oldest first, so that of a longer history the youngest results stay."""
        older._place_goods()
        ring, place = older._ring, older._next
        for code in ring[place:] + ring[:place] if older._is_full else ring[:place]:
            self.add(code, 0.0)


class TimeCounter:
    """Count the results of a span of time, in a ring of buckets. A clock that steps back stays in its bucket, and erases nothing."""

    # fmt: off
    __slots__ = (
        "_buckets", "_calls", "_ends", "_failures", "_number", "_place", "_slow", "_total", "_width",
        "clean_until", "enough", "failures", "goods", "passed", "slow",
    )
    # fmt: on

    def __init__(self, width: float, buckets: int, now: float) -> None:
        self._width = width
        self._buckets = buckets
        self.goods = self.passed = 0
        self.clear(now)

    def clear(self, now: float) -> None:
        self._calls = [0] * self._buckets
        self._failures = [0] * self._buckets
        self._slow = [0] * self._buckets
        self._total = 0
        self.failures = 0
        self.slow = 0
        self.passed += self.goods
        self.goods = 0
        self._place = 0
        self._begin(floor(now / self._width))

    def _begin(self, number: int) -> None:
        self._number = number
        ends = (number + 1) * self._width
        # Rounding may put the product just before the bucket's real end. A timer that is set there would find nothing, for ever.
        while floor(ends / self._width) <= number:
            ends = nextafter(ends, inf)
        self._ends = ends
        self.enough = 0
        self.clean_until = -inf if self.failures or self.slow else ends

    @property
    def calls(self) -> int:
        return self._total + self.goods

    def add(self, code: int, now: float) -> int:
        if now >= self._ends:
            self.expire(now)
        self._calls[self._place] += 1
        self._total += 1
        if code:
            self._add_bad(code)
        return self.failures + self.slow

    def _add_bad(self, code: int) -> None:
        failed, slow = code & FAILED, code // SLOW
        self._failures[self._place] += failed
        self._slow[self._place] += slow
        self.failures += failed
        self.slow += slow
        self.clean_until = -inf

    def expire(self, now: float) -> None:
        number = floor(now / self._width)
        steps = number - self._number
        if steps <= 0:
            return
        self._calls[self._place] += self.goods
        self._total += self.goods
        self.passed += self.goods
        self.goods = 0
        for _ in range(min(steps, self._buckets)):
            self._drop_oldest()
        self._begin(number)

    def seen_at(self, now: float) -> tuple[int, int, int]:
        calls, failures, slow = self.calls, self.failures, self.slow
        for step in range(1, min(floor(now / self._width) - self._number, self._buckets) + 1):
            place = (self._place + step) % self._buckets
            calls -= self._calls[place] + (self.goods if place == self._place else 0)
            failures -= self._failures[place]
            slow -= self._slow[place]
        return calls, failures, slow

    def _drop_oldest(self) -> None:
        place = (self._place + 1) % self._buckets
        self._total -= self._calls[place]
        self.failures -= self._failures[place]
        self.slow -= self._slow[place]
        self._calls[place] = self._failures[place] = self._slow[place] = 0
        self._place = place

    def next_deadline(self) -> float | None:
        return self._ends if self.calls else None

    def take_over(self, older: TimeCounter, now: float) -> None:
        """Count what another one still holds at `now`. Results of a bucket are taken to be as old as its beginning."""
        older.expire(now)
        for age in range(older._buckets):
            there = (older._place - age) % older._buckets
            steps = max(0, self._number - floor((older._number - age) * older._width / self._width))
            if steps < self._buckets:
                here = (self._place - steps) % self._buckets
                self._calls[here] += older._calls[there] + (0 if age else older.goods)
                self._failures[here] += older._failures[there]
                self._slow[here] += older._slow[there]
        self._total, self.failures, self.slow = sum(self._calls), sum(self._failures), sum(self._slow)
        self._begin(self._number)


def carry_over(older: WindowCounter, window: CountWindow | TimeWindow, now: float) -> WindowCounter:
    """Return a counter for `window` that goes on from `older`.

    Between two windows by calls, or two by time, results go over as far as they fit. One of the other kind begins empty: results in a count
    window have no time, and those of a bucket no order.
    """
    counter = window.counter(now)
    if isinstance(counter, CountCounter) and isinstance(older, CountCounter):
        counter.take_over(older)
    elif isinstance(counter, TimeCounter) and isinstance(older, TimeCounter):
        counter.take_over(older, now)
    counter.passed = older.passed + older.goods
    return counter
