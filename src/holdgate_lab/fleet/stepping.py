"""The usual breaker, as a baseline: a fixed wait, then a fixed number of probes, then the full rate at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from holdgate.core import Circuit, CircuitSettings
from holdgate.core.ramp import HalfOpen, Ramp, StageResult
from holdgate.core.states import Breach, Reason


class Steps(Ramp):
    """A half-open of so many probes: judged when all are in, and not before."""

    __slots__ = ("_threshold_of_failures",)

    results: int

    def __init__(self, settings: CircuitSettings, probes: int) -> None:
        super().__init__(settings.ramp, probes)
        self.limit = probes
        self.is_probing = False
        self._threshold_of_failures = settings.failure_rate_threshold

    @property
    def stage_ends(self) -> float | None:
        return None

    def has_room(self, weight: int) -> bool:
        return self.in_flight + self.results + weight <= self.limit

    def count(  # the ramp's own signature
        self,
        stage: int,  # noqa: ARG002
        result: StageResult,
        now: float,  # noqa: ARG002
        weight: int = 1,  # noqa: ARG002
        took: float = 0.0,  # noqa: ARG002
    ) -> Breach | None:
        self.results += 1
        self._bad += result is not StageResult.GOOD
        share = self._bad / self.limit
        is_over = self.results >= self.limit and share >= self._threshold_of_failures
        return Breach(Reason.FAILURE_RATE, share, self._threshold_of_failures) if is_over else None

    def is_due(self, now: float) -> bool:  # noqa: ARG002
        return self.results >= self.limit

    def conclude(self, now: float, overdue: int) -> bool:  # noqa: ARG002
        return True


class SteppingCircuit(Circuit):
    """A circuit that steps from `probes` good calls to the full rate, and waits `open_duration` each time, without jitter."""

    __slots__ = ("_probes",)

    def __init__(self, name: str, settings: CircuitSettings, probes: int, draw: Callable[[], float]) -> None:
        self._probes = probes
        super().__init__(name, replace(settings, open_multiplier=1.0, open_jitter=0.0), draw=draw)

    @property
    def free_slots(self) -> int | None:
        half_open = self._half_open
        if half_open is None:
            return super().free_slots
        return max(0, half_open.ramp.limit - half_open.ramp.in_flight - half_open.ramp.results)

    def set_full(self, full: int, now: float) -> None:
        """It knows of no ramp."""

    def _new_half_open(self) -> HalfOpen:
        return HalfOpen(Steps(self.settings, self._probes), self.permits, self.settings.permit_lease, self.evidence.slow, self.totals)
