"""The breakers that `heal` compares: holdgate's circuit as it is and as it was, and models of the rules of three peers.

All have their defaults.

Resilience4j (CircuitBreakerConfig): of the last 100 calls, at least 100, half failed; 60 s; then ten calls decide.
Istio (DestinationRule, outlierDetection, carried out by Envoy): five failures in a row eject the only host for 30 s times the number of
ejections, at most 300 s; a sweep every 10 s lets it back, and each sweep that finds it well takes one from that number.
Polly (CircuitBreakerStrategyOptions, v8): in 30 s at least 100 calls, a tenth failed; 5 s; then one call decides.

They are models of these rules on simulated time, and not the libraries themselves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import cast

from benchmarks.healing import LANES, Breaker

from holdgate.core import Circuit, CircuitSettings, Outcome, Permit, RampSettings, State

_RAMP = RampSettings(full=LANES)
# The defaults before waits followed the age of an outage.
_BEFORE = CircuitSettings(open_duration=5.0, open_multiplier=2.0, open_jitter=0.2, healthy_interval=60.0, ramp=_RAMP)


class Holdgate:
    """A circuit of `holdgate.core`."""

    def __init__(self, settings: CircuitSettings, draw: Callable[[], float]) -> None:
        self.circuit = Circuit("payments", settings, draw=draw)

    def admits(self, now: float) -> object | None:
        permit = self.circuit.try_acquire(now)
        return permit if isinstance(permit, Permit) else None

    def ended(self, permit: object, good: bool, now: float) -> None:
        self.circuit.record(cast("Permit", permit), Outcome.SUCCESS if good else Outcome.FAILURE, now)

    def wakes_at(self, now: float) -> float | None:
        self.circuit.advance(now)
        return self.circuit.next_deadline()

    def is_closed(self) -> bool:
        return self.circuit.state is State.CLOSED


class Model:
    """What the models have in common: open for a while, then trial calls, each of which is of its own generation."""

    def __init__(self) -> None:
        self.until: float | None = None  # open until then
        self.trials: int | None = None  # how many calls may still begin in half-open; None means closed or open
        self.generation = 0

    def admits(self, now: float) -> object | None:
        if self.until is not None:
            if now < self.until:
                return None
            self.over(now)
        if self.trials == 0:
            return None
        if self.trials is not None:
            self.trials -= 1
        return (self.generation,)

    def ended(self, permit: object, good: bool, now: float) -> None:
        if permit == (self.generation,):
            self.count(good, now)

    def wakes_at(self, now: float) -> float | None:  # noqa: ARG002
        return self.until

    def is_closed(self) -> bool:
        return self.until is None and self.trials is None

    def move(self, until: float | None, trials: int | None) -> None:
        self.until, self.trials = until, trials
        self.generation += 1

    def over(self, now: float) -> None:
        """The wait is over."""
        raise NotImplementedError

    def count(self, good: bool, now: float) -> None:
        """Count a result."""
        raise NotImplementedError


class Resilience4j(Model):
    """Judged by the last 100 calls, waits 60 s, then ten calls."""

    def __init__(self) -> None:
        super().__init__()
        self._window: deque[bool] = deque([True] * 100, maxlen=100)  # it has been well for long

    def over(self, now: float) -> None:  # noqa: ARG002
        self.move(None, 10)
        self._window = deque(maxlen=10)

    def count(self, good: bool, now: float) -> None:
        window = self._window
        window.append(good)
        if len(window) < (window.maxlen or 0):
            return
        if window.count(False) * 2 >= len(window):
            self.move(now + 60.0, None)
        elif self.trials is not None:
            self.move(None, None)
            self._window = deque(maxlen=100)


class Istio(Model):
    """Five failures in a row, 30 s times the ejections, then everything at once."""

    def __init__(self, sweeps_at: float) -> None:
        super().__init__()
        self._sweeps_at = sweeps_at
        self._in_a_row = 0
        self._ejections = 0
        self._well_since = 0.0

    def _sweep_after(self, now: float) -> float:
        return now + (self._sweeps_at - now) % 10.0

    def over(self, now: float) -> None:
        self.move(None, None)
        self._in_a_row = 0
        self._well_since = now

    def count(self, good: bool, now: float) -> None:
        self._in_a_row = 0 if good else self._in_a_row + 1
        if self._in_a_row < 5:
            return
        self._ejections = max(0, self._ejections - int((now - self._well_since) / 10.0)) + 1
        self.move(self._sweep_after(now + min(300.0, 30.0 * self._ejections)), None)


class Polly(Model):
    """A tenth of at least 100 calls in 30 s, waits 5 s, then one call."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: deque[tuple[float, bool]] = deque()

    def over(self, now: float) -> None:  # noqa: ARG002
        self.move(None, 1)

    def count(self, good: bool, now: float) -> None:
        if self.trials is not None:
            self._calls.clear()
            self.move(None if good else now + 5.0, None)
            return
        calls = self._calls
        calls.append((now, good))
        while calls[0][0] <= now - 30.0:
            calls.popleft()
        if not good and len(calls) >= 100 and sum(not well for _, well in calls) >= 0.1 * len(calls):
            calls.clear()
            self.move(now + 5.0, None)


def holdgate(*, open_share: float) -> Callable[[Random], Breaker]:
    """Return what makes circuits that wait this share of an outage."""
    settings = CircuitSettings(open_share=open_share, ramp=_RAMP)
    return lambda chance: Holdgate(settings, chance.random)


# Each makes the breaker of one worker, from a source of chance of its own.
BREAKERS: dict[str, Callable[[Random], Breaker]] = {
    "holdgate": lambda chance: Holdgate(CircuitSettings(ramp=_RAMP), chance.random),
    "holdgate, open_multiplier=2": lambda chance: Holdgate(_BEFORE, chance.random),
    "Resilience4j": lambda _: Resilience4j(),
    "Istio": lambda chance: Istio(10.0 * chance.random()),
    "Polly": lambda _: Polly(),
}
