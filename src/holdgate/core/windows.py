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
    """The totals of the results that a window still sees."""

    # A plain attribute of both counters: the circuit reads it once per call to learn whether there is anything to judge.
    failures: int
    slow: int

    @property
    def calls(self) -> int:
        """How many results the window holds."""
        ...

    def add(self, code: int, now: float) -> int:
        """Count one result; returns failures + slow, which is 0 as long as no rate can trip."""
        ...

    def expire(self, now: float) -> None:
        """Forget what is older than the window; a count window forgets by calls alone."""
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
    """A ring of result codes. A good result over a good one, which is nearly every call, writes nothing but the position."""

    __slots__ = ("_bad", "_is_full", "_next", "_ring", "_size", "failures", "slow")

    def __init__(self, size: int) -> None:
        self._size = size
        self.clear(0.0)

    def clear(self, now: float) -> None:  # noqa: ARG002
        self._ring = bytearray(self._size)
        self._next = 0
        self._is_full = False
        self._bad = 0
        self.failures = 0
        self.slow = 0

    @property
    def calls(self) -> int:
        # Not a total of its own: the position tells it, which saves a write per call.
        return self._size if self._is_full else self._next

    def add(self, code: int, now: float) -> int:  # noqa: ARG002
        place = self._next
        if self._ring[place] != code:
            self._replace(place, code)
        place += 1
        if place == self._size:
            self._is_full = True
            place = 0
        self._next = place
        return self._bad

    def _replace(self, place: int, code: int) -> None:
        old = self._ring[place]
        self._ring[place] = code
        self.failures += (code & FAILED) - (old & FAILED)
        self.slow += ((code & SLOW) - (old & SLOW)) // SLOW
        self._bad = self.failures + self.slow

    def expire(self, now: float) -> None:
        """Nothing: calls push calls out, time does not."""

    def next_expiry(self) -> float | None:
        return None


class TimeCounter:
    """A ring of buckets. Time that goes back stays in the bucket it was in, so a step of the clock erases nothing."""

    __slots__ = ("_buckets", "_calls", "_ends", "_failures", "_number", "_place", "_slow", "_width", "calls", "failures", "slow")

    def __init__(self, width: float, buckets: int, now: float) -> None:
        self._width = width
        self._buckets = buckets
        self.clear(now)

    def clear(self, now: float) -> None:
        self._calls = [0] * self._buckets
        self._failures = [0] * self._buckets
        self._slow = [0] * self._buckets
        self.calls = 0
        self.failures = 0
        self.slow = 0
        self._place = 0
        self._begin(floor(now / self._width))

    def _begin(self, number: int) -> None:
        self._number = number
        ends = (number + 1) * self._width
        # Rounding may put the product a hair before the bucket's real end; a timer set there would fire for nothing, for ever.
        while floor(ends / self._width) <= number:
            ends = nextafter(ends, inf)
        self._ends = ends

    def add(self, code: int, now: float) -> int:
        if now >= self._ends:
            self.expire(now)
        place = self._place
        self._calls[place] += 1
        self.calls += 1
        if code:
            self._add_bad(place, code)
        return self.failures + self.slow

    def _add_bad(self, place: int, code: int) -> None:
        failed, slow = code & FAILED, code // SLOW
        self._failures[place] += failed
        self._slow[place] += slow
        self.failures += failed
        self.slow += slow

    def expire(self, now: float) -> None:
        number = floor(now / self._width)
        steps = number - self._number
        if steps <= 0:
            return
        for _ in range(min(steps, self._buckets)):
            self._drop_oldest()
        self._begin(number)

    def _drop_oldest(self) -> None:
        place = (self._place + 1) % self._buckets
        self.calls -= self._calls[place]
        self.failures -= self._failures[place]
        self.slow -= self._slow[place]
        self._calls[place] = self._failures[place] = self._slow[place] = 0
        self._place = place

    def next_expiry(self) -> float | None:
        return self._ends if self.calls else None
