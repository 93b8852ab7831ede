"""A model dependency: how long a call takes, whether it succeeds, and what a fault does to both.

With capacity K and q = calls in it / K a call takes latency * max(1, q) * (1 + max(0, q - 1) / 20): past its capacity a service queues, and
does a little less work the longer the queue is. A caller that gives up does not end its call; it goes on occupying the service.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from holdgate_lab.fleet.scenario import DependencySpec, Fault

# How fast a queue eats into the work done: at q = 21 half of it is lost. Measured services lie on both sides of that.
_THRASHING = 20.0


class CallAnswer(NamedTuple):
    """What comes of one call: good or not, after so many seconds. `occupies`: it is inside until then, and ends with `leave`."""

    good: bool
    seconds: float
    occupies: bool = True


class ModelDependency:
    """One dependency of a scenario. `draw` gives chance in [0, 1). `inside` counts the calls in it now, `served` those it has ended.
    `occupied_until` is when the last of those that began until now will have ended."""

    def __init__(self, spec: DependencySpec, faults: Sequence[Fault], draw: Callable[[], float]) -> None:
        self.spec = spec
        self.inside = 0
        self.served = 0
        self.calls = 0
        self.occupied_until = 0.0
        self._draw = draw
        self._faults = sorted(faults, key=lambda fault: fault.at)
        self._active: list[Fault] = []
        self._look_again_at = -math.inf
        self._served_before: dict[Fault, int] = {}

    def call(self, now: float, key: int | None = None) -> CallAnswer:
        """Begin a call for a message of this key."""
        self.calls += 1
        share, factor, ratio = 1.0, 1.0, 0.0
        for fault in self.faults_at(now):
            if fault.kind == "hang":
                return self._enter(now, good=False, seconds=fault.until - now + fault.latency)
            if fault.kind == "refuse" or _is_down(fault, now):
                return CallAnswer(good=False, seconds=fault.latency, occupies=False)
            share *= self._share(fault)
            factor *= fault.factor if fault.kind == "slow" else 1.0
            ratio = max(ratio, _ratio(fault, key))
        good = ratio <= 0 or self._draw() >= ratio
        return self._enter(now, good=good, seconds=self._seconds(share) * factor)

    def leave(self) -> None:
        """A call that occupied it has come to its end."""
        self.inside -= 1
        self.served += 1

    def faults_at(self, now: float) -> Sequence[Fault]:
        """The faults that are active."""
        if now >= self._look_again_at:
            self._active = [fault for fault in self._faults if fault.at <= now < fault.until]
            changes = [at for fault in self._faults for at in (fault.at, fault.until) if at > now]
            self._look_again_at = min(changes, default=math.inf)
        return self._active

    def _enter(self, now: float, *, good: bool, seconds: float) -> CallAnswer:
        self.inside += 1
        self.occupied_until = max(self.occupied_until, now + seconds)
        return CallAnswer(good, seconds)

    def _seconds(self, share: float) -> float:
        spec = self.spec
        seconds = spec.latency
        if spec.capacity is not None:
            q = self.inside / (spec.capacity * share)
            if q > 1:
                seconds *= q * (1 + (q - 1) / _THRASHING)
        return seconds * (1 - spec.spread + 2 * spec.spread * self._draw())

    def _share(self, fault: Fault) -> float:
        if fault.kind == "capacity":
            return fault.ratio
        if fault.kind != "cold":
            return 1.0
        served = self.served - self._served_before.setdefault(fault, self.served)
        return fault.ratio + (1 - fault.ratio) * (1 - math.exp(-served / fault.warm_up))


def _is_down(fault: Fault, now: float) -> bool:
    return fault.kind == "flap" and (now - fault.at) % (fault.down + fault.up) < fault.down


def _ratio(fault: Fault, key: int | None) -> float:
    if fault.kind == "errors":
        return fault.ratio
    return 1.0 if fault.kind == "key" and key is not None and key == fault.key else 0.0
