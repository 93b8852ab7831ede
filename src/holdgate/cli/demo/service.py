"""A service that fails on schedule and recovers with little capacity: what both sides of the demo call.

With q = calls in it / capacity, a call takes `LATENCY * max(1, q) * (1 + max(0, q - 1) / 20)`: flat until the capacity is used, then a
little worse than proportional, as a queue in front of a database is. A caller gives up after `PATIENCE`, but the call goes on occupying the
service: that is why a stampede keeps a weak service down.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right, insort
from collections.abc import Callable
from dataclasses import dataclass

from holdgate.cli.demo.scenario import Phase

LATENCY = 0.08  # seconds of one call without load: a payment API in the same region
PATIENCE = 0.5  # seconds until a caller gives up: six times the normal latency
REFUSAL = 0.02  # seconds until a service that is down refuses: a connection error is quick
# Calls at normal latency. Up: more than the sixteen handlers of one side ever make. Weak: four percent of that, as a service that must warm
# its caches and refill its connection pools.
CAPACITY = {Phase.UP: 24, Phase.WEAK: 1}


class ServiceError(Exception):
    """The service refused, or did not answer in time: what the demo's dependencies count as a failure."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What becomes of one call: it takes `seconds` for the caller and then fails, or not."""

    seconds: float
    failed: bool


class Service:
    """One simulated service and what is known of the calls made to it.

    `phase` tells how the service is at a moment; `now` gives seconds since traffic began.
    """

    def __init__(self, phase: Callable[[float], Phase], now: Callable[[], float]) -> None:
        self._phase = phase
        self._now = now
        self._ends: list[float] = []  # when each call leaves the service, sorted
        self.calls = 0
        self.wasted = 0  # calls made while it was down: none of them could succeed
        self.overrun = 0  # calls that were not answered in time although it was up or weak
        self.peak_weak = 0  # most calls in it at once while it was weak

    def in_flight(self) -> int:
        """How many calls occupy the service now, those included whose caller gave up."""
        return len(self._ends) - bisect_right(self._ends, self._now())

    def begin(self) -> Answer:
        """Count one call that arrives now and say what becomes of it."""
        now = self._now()
        del self._ends[: bisect_right(self._ends, now)]
        self.calls += 1
        phase = self._phase(now)
        if phase is Phase.DOWN:
            return self._refuse(now)
        return self._serve(now, phase)

    def _refuse(self, now: float) -> Answer:
        self.wasted += 1
        insort(self._ends, now + REFUSAL)
        return Answer(REFUSAL, failed=True)

    def _serve(self, now: float, phase: Phase) -> Answer:
        load = (len(self._ends) + 1) / CAPACITY[phase]
        seconds = LATENCY * max(1.0, load) * (1.0 + max(0.0, load - 1.0) / 20.0)
        insort(self._ends, now + seconds)
        failed = seconds > PATIENCE
        self.overrun += failed
        if phase is Phase.WEAK:
            self.peak_weak = max(self.peak_weak, len(self._ends))
        return Answer(min(seconds, PATIENCE), failed)

    async def call(self) -> None:
        """Make one call. Raises `ServiceError` when the service refuses or does not answer within `PATIENCE`."""
        answer = self.begin()
        await asyncio.sleep(answer.seconds)
        if answer.failed:
            raise ServiceError("no answer")
