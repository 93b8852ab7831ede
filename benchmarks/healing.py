"""A worker, or ten of them, in front of a dependency that goes and comes back: when the flow is back, and what was called meanwhile.

Simulated time. A worker has ten lanes and an endless backlog; a good call takes 50 ms, give or take a tenth. A call to a dependency that
is down is refused after 5 ms, answered by 503 after 50 ms, or hangs until it is given up after 5 s, also if the dependency comes back
before.
While everything is well and nothing is about to change, no call is simulated, unless calls are counted: it would change nothing.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

LANES = 10
GOOD_CALL = 0.05
# What a call to a dependency that is down takes.
FAULTS = {"refused": 0.005, "503": 0.05, "hang 5 s": 5.0}
# How long the flow runs before something changes, so that every lane is busy then.
BEFORE = 0.3


class Breaker(Protocol):
    """What stands between a worker and its dependency."""

    def admits(self, now: float) -> object | None:
        """Return a permit; None means that no call may be made now."""
        ...

    def ended(self, permit: object, good: bool, now: float) -> None:
        """Count the result of a call."""
        ...

    def wakes_at(self, now: float) -> float | None:
        """Let time pass, and return when it may admit a call next; None means that time alone will not."""
        ...

    def is_closed(self) -> bool:
        """Return whether it limits nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Weather:
    """When the dependency is down, as (from, until), in order; `fault` says how."""

    outages: tuple[tuple[float, float], ...]
    fault: str

    def is_down(self, now: float) -> bool:
        at = bisect_right(self.outages, (now, float("inf"))) - 1
        return at >= 0 and now < self.outages[at][1]

    def is_still(self, now: float) -> bool:
        """Return whether nothing changes for a while: it is well, and its next outage is far."""
        at = bisect_right(self.outages, (now, float("inf")))
        return not self.is_down(now) and (at == len(self.outages) or now < self.outages[at][0] - BEFORE)


@dataclass(slots=True)
class Seen:
    """What was seen of one run. `calls` has, for each worker, when each call to a dependency that was down began.

    `back` has when each worker that is back began its first second with 90 % of its usual calls, in seconds from the heal.
    """

    back: dict[int, float] = field(default_factory=dict)
    calls: list[list[float]] = field(default_factory=list)
    good: int = 0

    def back_after(self) -> float | None:
        """Return when 90 % of the workers were back. None means that they were not."""
        enough = math.ceil(0.9 * len(self.calls))
        return sorted(self.back.values())[enough - 1] if len(self.back) >= enough else None


class Scene:
    """One run, from the first call to the moment at which every worker is back, or to `horizon`. One that is back makes no more calls."""

    def __init__(self, weather: Weather, breakers: Sequence[Breaker], seed: int, horizon: float, *, until_back: bool = True) -> None:
        self._weather = weather
        self._breakers = breakers
        self._draw = random.Random(seed).random
        self._horizon = horizon
        self._healed = weather.outages[-1][1] if until_back else None
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._free = [LANES] * len(breakers)
        self._armed = [float("inf")] * len(breakers)
        # When calls of each worker succeeded since the heal, the last second of it.
        self._recent: list[deque[float]] = [deque() for _ in breakers]
        self.now = 0.0
        self.seen = Seen(calls=[[] for _ in breakers])

    def run(self) -> Seen:
        for worker in range(len(self._breakers)):
            self._wake(worker, self._draw() * GOOD_CALL)
        while self._events and len(self.seen.back) < len(self._breakers):
            at, _, act = heapq.heappop(self._events)
            if at > self._horizon:
                break
            self.now = at
            act()
        return self.seen

    def _at(self, when: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._number), act))

    def _wake(self, worker: int, when: float) -> None:
        if self.now < self._armed[worker] <= when:
            return  # one timer a worker is enough
        self._armed[worker] = when
        self._at(when, lambda: self._fill(worker))

    def _fill(self, worker: int) -> None:
        if worker in self.seen.back:
            return
        now, breaker = self.now, self._breakers[worker]
        if self._armed[worker] <= now:
            self._armed[worker] = float("inf")
        if self._healed is not None and now < self._healed and self._weather.is_still(now) and breaker.is_closed():
            for start, _ in self._weather.outages:
                if start > now:
                    self._wake(worker, start - BEFORE)
                    break
            return
        while self._free[worker] and (permit := breaker.admits(now)) is not None:
            self._call(worker, permit)
        wakes_at = breaker.wakes_at(now)
        if wakes_at is not None:
            self._wake(worker, max(wakes_at, now + 1e-6))

    def _call(self, worker: int, permit: object) -> None:
        good = not self._weather.is_down(self.now)
        if not good:
            self.seen.calls[worker].append(self.now)
        self._free[worker] -= 1
        takes = GOOD_CALL * (0.9 + 0.2 * self._draw()) if good else FAULTS[self._weather.fault]
        self._at(self.now + takes, lambda: self._end(worker, permit, good))

    def _end(self, worker: int, permit: object, good: bool) -> None:
        self._free[worker] += 1
        self._breakers[worker].ended(permit, good, self.now)
        if good:
            self.seen.good += 1
            self._look(worker)
        self._fill(worker)

    def _look(self, worker: int) -> None:
        if self._healed is None or self.now < self._healed:
            return
        recent = self._recent[worker]
        recent.append(self.now)
        while recent[0] <= self.now - 1:
            recent.popleft()
        if len(recent) >= 0.9 * LANES / GOOD_CALL:
            self.seen.back[worker] = max(0.0, self.now - 1 - self._healed)
