"""One trial of widths: how calls fare at a narrower and at a wider one in turn, and what that says of the throughput.

Theory of operation
===================

In flight is throughput times latency. So at a width that is kept full, the throughput follows from the latency: twice as many in flight
that take as long each are twice as much done, and those that take twice as long have only waited longer.

The throughput alone would need thousands of calls where a few are slow: one call in five that takes two seconds hides a gain of a tenth
in any minute. A queue however shifts every call by about the same. So the latencies of both widths are sorted, compared decile by decile,
and the median of the nine shifts is taken. Which calls were slow matters little for it, and two kinds of calls (a cache, two endpoints)
do not disturb it, because both arms have the same mixture. It is put in relation to the mean, which is what the throughput depends on.

The arms come in the order narrow, wide, wide, narrow: a dependency that becomes slower all the time favours neither.

A call belongs to an arm if it fills its width, and if no call is left that began before that: with uneven calls the slow ones gather
in flight only after a while, and until then a width seems better than it is.

An arm ends by the number of calls that began, not of those that ended: otherwise the slow ones would be missing in it.
"""

from __future__ import annotations

from math import log

DECILES = 9
STALE = 16  # skipped calls of an arm for each that it needs: with more, a call never ends
UNDER = 4  # times the width: after so many calls that left it unfilled there is no demand for it
SMALLEST = 0.1  # a latency that fell to less than a tenth is another dependency, not a shift


class Trial:
    """Sort the calls of one trial into its arms. `arms` has the seconds of each arm's calls.

    `first` is the number of the first arm, from 1. A call may outlive its trial, so no two trials may share a number.
    """

    __slots__ = ("_at", "_began", "_ended", "_first", "_size", "_skipped", "_tagged", "_under", "arms", "widths")

    def __init__(self, widths: tuple[int, ...], size: int, first: int = 1) -> None:
        self.widths = widths
        self._first = first
        self.arms: list[list[float]] = [[] for _ in widths]
        self._size = size
        self._at = 0
        self._began: float | None = None  # when this arm's width was first full
        self._tagged = 0
        self._ended = 0
        self._skipped = 0
        self._under = 0  # calls since the width was last full

    @property
    def width(self) -> int:
        """The width of the arm that runs; of the last one, when all have begun."""
        return self.widths[min(self._at, len(self.widths) - 1)]

    @property
    def calls(self) -> int:
        """How many calls the trial needs."""
        return self._size * len(self.widths)

    @property
    def next_first(self) -> int:
        """The number of the first arm of the trial after this one."""
        return self._first + len(self.widths)

    @property
    def is_over(self) -> bool:
        """Whether each call of each arm has ended."""
        return self._ended >= self.calls

    @property
    def is_stale(self) -> bool:
        """Whether the trial will not come to an end: its widths are not filled, or one of its calls was lost."""
        return self._skipped > STALE * self._size or self._under > UNDER * self.width

    def start(self, now: float, level: int, oldest: float) -> int:
        """Return the number of the arm to which a call belongs that begins now. 0 is none. `oldest` is when the oldest in flight began."""
        if self._at >= len(self.widths):
            self._skipped += 1
            return 0
        if level != self.widths[self._at]:
            self._under += 1
            self._skipped += 1
            return 0
        self._under = 0
        self._began = now if self._began is None else self._began
        if oldest < self._began:
            self._skipped += 1
            return 0
        arm = self._first + self._at
        self._tagged += 1
        if self._tagged >= self._size:
            self._at, self._tagged, self._skipped, self._began = self._at + 1, 0, 0, None
        return arm

    def end(self, arm: int, took: float) -> None:
        """Note how long a call of an arm took. A call of an earlier trial says nothing."""
        if self._has(arm):
            self.arms[arm - self._first].append(took)
            self._ended += 1

    def drop(self, arm: int) -> None:
        """Note that a call of an arm failed by chance: it says nothing of the width, and is not waited for."""
        self._ended += self._has(arm)

    def _has(self, arm: int) -> bool:
        return self._first <= arm < self.next_first


def gain(narrow: list[float], wide: list[float], ratio: float) -> float:
    """Return the elasticity of the throughput: 1 if wider gets as much more done, 0 if it gets nothing more. `ratio` is of the widths."""
    lows, highs = sorted(narrow), sorted(wide)
    tenth = DECILES + 1
    shifts = sorted(_quantile(highs, k / tenth) - _quantile(lows, k / tenth) for k in range(1, tenth))
    return _elasticity(sum(lows) / len(lows), shifts[DECILES // 2], ratio)


def mean_gain(narrow: list[float], wide: list[float], ratio: float) -> float:
    """Return the same by the means alone: a few slow calls blur it, but no shape of latencies deceives it."""
    mean = sum(narrow) / len(narrow)
    return _elasticity(mean, sum(wide) / len(wide) - mean, ratio)


def _elasticity(mean: float, shift: float, ratio: float) -> float:
    grown = max(SMALLEST, 1 + shift / mean) if mean > 0 else 1.0
    return 1 - log(grown) / log(ratio)


def _quantile(values: list[float], share: float) -> float:
    at = share * (len(values) - 1)
    low = int(at)
    return values[low] + (values[min(low + 1, len(values) - 1)] - values[low]) * (at - low)
