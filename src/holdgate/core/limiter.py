"""The limiter of one dependency: how many calls more may start now, by the numbers that a user gave and by what the answers say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdgate.core.limits import LimiterSnapshot
from holdgate.core.outcomes import Outcome, Told
from holdgate.core.rate_window import RateWindow

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdgate.core.limits import Limits

# A call that never ends (its task was lost) would take its place for ever. An hour is longer than any sane call, and a bulkhead that a user
# has set must not let more through because one is slow.
LEASE = 3600.0


class Call:
    """One call in flight, or a batch. `level` is the weight in flight at its start, itself included."""

    __slots__ = ("began", "level", "weight")

    def __init__(self, began: float, level: int, weight: int) -> None:
        self.began = began
        self.level = level
        self.weight = weight


class Limiter:
    """Say how many calls more may start, and learn from how they end. Pure: `now` is monotonic seconds, and chance comes from `draw`.

    `limits` None is the cheap form: nothing is limited, and `active` is False, until an answer is throttled. A limiter that is not active
    needs to be told of throttled results only: `start` and `end` of other calls may be left out, with `token=0` for a call that was not
    told. `start` never refuses: who calls it without asking `free` has a reason, such as a probe.
    """

    __slots__ = ("_accepted", "_calls", "_draw", "_limits", "_next", "_now", "_refused", "_window", "active", "in_flight")

    def __init__(self, limits: Limits | None, draw: Callable[[], float]) -> None:
        self._limits = limits
        self._draw = draw
        self.active = limits is not None
        self.in_flight = 0
        self._window = None if limits is None or limits.rate is None else RateWindow(limits.rate, limits.per)
        self._calls: dict[int, Call] = {}  # in flight, oldest first
        self._next = 1
        self._now = 0.0
        self._accepted = 0
        self._refused = 0

    def free(self, now: float) -> int | None:
        """Return how many calls more may start at `now`. None means any number."""
        if not self.active:
            return None
        now = self._advance(now)
        room = self._room()
        if self._window is not None:
            free = self._window.free(now)
            room = free if room is None else min(room, free)
        return room

    def next_at(self, now: float) -> float | None:
        """Return when time alone may let the next call start. None means that one may start now, or that only a result lets it."""
        if not self.active:
            return None
        now = self._advance(now)
        if self._room() == 0:
            return self._oldest() + LEASE
        return self._window.next_at(now) if self._window is not None else None

    def start(self, now: float, weight: int = 1) -> int:
        """Count a call, or a batch of `weight`, that starts. Returns the token for `end` or `give_back`."""
        now = self._advance(now)
        self.in_flight += weight
        token = self._next
        self._next += 1
        self._calls[token] = Call(now, self.in_flight, weight)
        if self._window is not None:
            self._window.start(now, weight)
        return token

    def end(self, token: int, outcome: Outcome, began: float, now: float, weight: int = 1, told: Told | None = None) -> None:
        """Learn from a call that began at `began` and ended. A token that is unknown (0, or its lease is over) frees no place."""
        now = self._advance(now)
        self._forget(token)
        if outcome is Outcome.THROTTLED:
            self._refused += weight
        else:
            self._accepted += weight

    def give_back(self, token: int, now: float) -> None:
        """Take back a call that never reached the dependency."""
        self._advance(now)
        call = self._forget(token)
        if call is not None and self._window is not None:
            self._window.give_back(call.weight)

    def expect_more(self) -> None:
        """Note that a caller wants a slot and there is none: the limit is what bounds, and not the traffic."""

    def snapshot(self, now: float) -> LimiterSnapshot:
        """Return what is known at `now`."""
        now = self._advance(now)
        limits = self._limits
        free = self.free(now)
        why = "free" if free != 0 else "concurrency" if self._room() == 0 else "rate"
        return LimiterSnapshot(
            in_flight=self.in_flight,
            width=None if limits is None else limits.concurrency,
            pace=None if limits is None or limits.rate is None else limits.rate / limits.per,
            next_at=self.next_at(now),
            accepted=self._accepted,
            refused=self._refused,
            experiments=0,
            why=why,
        )

    def _room(self) -> int | None:
        limits = self._limits
        if limits is None or limits.concurrency is None:
            return None
        return max(0, limits.concurrency - self.in_flight)

    def _oldest(self) -> float:
        return next(iter(self._calls.values())).began

    def _forget(self, token: int) -> Call | None:
        call = self._calls.pop(token, None)
        if call is not None:
            self.in_flight -= call.weight
        return call

    def _advance(self, now: float) -> float:
        """Return `now`, or the latest time that was seen if the clock jumped back, and take back what never ended."""
        now = self._now = max(now, self._now)
        while self._calls and self._oldest() + LEASE <= now:
            self._forget(next(iter(self._calls)))
        return now
