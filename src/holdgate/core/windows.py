"""The windows that rates are read from: what may be set, and the counters behind it.

A counter keeps totals beside a ring of fixed size, so recording and reading cost the same at 10 calls and at 10,000, and memory is
what construction took. A result is a code of two bits, because a call may be slow and failed and then counts once in each.
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
    """The totals of the results that a window still sees.

    While nothing bad is in the window, where a good result goes in it does not matter yet: one that comes before `clean_until` may be
    counted by adding 1 to `goods` alone, which is a fifth of the cost of `add`. The counter gives them a place when it must.

    `enough` is for who judges: the least number of bad results that a good one need be judged with. The counter puts it back to 0 whenever
    it comes to hold fewer calls.
    """

    failures: int
    slow: int
    goods: int
    clean_until: float
    enough: int

    @property
    def calls(self) -> int:
        """How many results the window holds."""
        ...

    def add(self, code: int, now: float) -> int:
        """Count one result; returns failures + slow, so that the caller knows whether a rate can trip."""
        ...

    def expire(self, now: float) -> None:
        """Forget what is older than the window; a count window forgets by calls alone."""
        ...

    def seen_at(self, now: float) -> tuple[int, int, int]:
        """Calls, failures and slow calls that `expire(now)` would leave; forgets nothing."""
        ...

    def clear(self, now: float) -> None:
        """Start empty."""
        ...

    def next_expiry(self) -> float | None:
        """When `expire` will next find something; None when never."""
        ...


@dataclass(frozen=True, slots=True)
class CountWindow:
    """The last `calls` results, whenever they came. One byte each."""

    calls: int

    def __post_init__(self) -> None:
        validation.count("CountWindow.calls", self.calls)

    def counter(self, now: float) -> WindowCounter:  # noqa: ARG002 - both windows are asked alike; calls need no time
        """An empty counter."""
        return CountCounter(self.calls)

    def least(self, minimum_calls: int) -> int:
        """The minimum that this window can ever reach: a window of 5 never holds 10 calls, and would never trip."""
        return min(minimum_calls, self.calls)


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """The results of the last `seconds`, in `buckets` that expire one by one.

    The oldest bucket leaves as a whole, so the window sees between `seconds - seconds / buckets` and `seconds`.
    """

    seconds: float
    buckets: int = 10  # the edge is then a tenth of the window; Polly and Hystrix take the same

    if TYPE_CHECKING:

        def __init__(self, seconds: float | timedelta, buckets: int = ...) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "seconds", validation.seconds("TimeWindow.seconds", self.seconds))
        validation.count("TimeWindow.buckets", self.buckets)

    def counter(self, now: float) -> WindowCounter:
        """An empty counter that begins at `now`."""
        return TimeCounter(self.seconds / self.buckets, self.buckets, now)

    def least(self, minimum_calls: int) -> int:
        """The minimum as it was set: any number of calls may come in a span of time."""
        return minimum_calls


class CountCounter:
    """A ring of result codes, one byte each."""

    __slots__ = ("_is_full", "_next", "_ring", "_size", "clean_until", "enough", "failures", "goods", "slow")

    def __init__(self, size: int) -> None:
        self._size = size
        self.clear(0.0)

    def clear(self, now: float) -> None:  # noqa: ARG002
        self._ring = bytearray(self._size)
        self._next = 0
        self._is_full = False
        self.failures = 0
        self.slow = 0
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
        # There are some only while the ring holds nothing but good results, so moving on is all there is to write.
        place = self._next + self.goods
        self._is_full = self._is_full or place >= self._size
        self._next = place % self._size
        self.goods = 0

    def _replace(self, place: int, code: int) -> None:
        old = self._ring[place]
        self._ring[place] = code
        self.failures += (code & FAILED) - (old & FAILED)
        self.slow += ((code & SLOW) - (old & SLOW)) // SLOW
        self.clean_until = -inf if self.failures or self.slow else inf

    def expire(self, now: float) -> None:
        """Nothing: calls push calls out, time does not."""

    def seen_at(self, now: float) -> tuple[int, int, int]:  # noqa: ARG002
        return self.calls, self.failures, self.slow

    def next_expiry(self) -> float | None:
        return None


class TimeCounter:
    """A ring of buckets. Time that goes back stays in the bucket it was in, so a step of the clock erases nothing."""

    # fmt: off
    __slots__ = (
        "_buckets", "_calls", "_ends", "_failures", "_number", "_place", "_slow", "_total", "_width",
        "clean_until", "enough", "failures", "goods", "slow",
    )
    # fmt: on

    def __init__(self, width: float, buckets: int, now: float) -> None:
        self._width = width
        self._buckets = buckets
        self.clear(now)

    def clear(self, now: float) -> None:
        self._calls = [0] * self._buckets
        self._failures = [0] * self._buckets
        self._slow = [0] * self._buckets
        self._total = 0
        self.failures = 0
        self.slow = 0
        self.goods = 0
        self._place = 0
        self._begin(floor(now / self._width))

    def _begin(self, number: int) -> None:
        self._number = number
        ends = (number + 1) * self._width
        # Rounding may put the product a hair before the bucket's real end; a timer set there would fire for nothing, for ever.
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

    def next_expiry(self) -> float | None:
        return self._ends if self.calls else None
