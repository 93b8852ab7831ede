"""What happened to a circuit: frozen values in the past tense, drained with `Circuit.take_events`.

`name` is the circuit's name, `at` the monotonic second, `generation` the circuit's once the event had happened: a transition carries the
new one, the threshold event before it the old one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdgate.core.states import Override, Reason, State


@dataclass(frozen=True, slots=True)
class Event:
    """What every event of a circuit carries."""

    name: str
    at: float
    generation: int


@dataclass(frozen=True, slots=True)
class CircuitOpened(Event):
    """No call goes through until `until` (monotonic seconds). `level` is the backoff's; `previous` the state that it left."""

    reason: Reason
    until: float
    level: int
    previous: State


@dataclass(frozen=True, slots=True)
class CircuitHalfOpened(Event):
    """The wait is over, or a forced opening ended: a probe may go."""

    previous: State


@dataclass(frozen=True, slots=True)
class CircuitClosed(Event):
    """A good stage at the full rate: calls go through without a limit of the circuit's own."""

    previous: State


@dataclass(frozen=True, slots=True)
class CircuitReset(Event):
    """An operator put it to CLOSED: empty windows, level 0, full rate at once."""

    previous: State


@dataclass(frozen=True, slots=True)
class ThresholdExceeded(Event):
    """A rule was met: `value` reached `threshold`. The transition follows, unless `observed` (METRICS_ONLY): it would have opened.

    Rates are ratios, failures in a row are counts; for a probe and a lease both are 1.
    """

    reason: Reason
    value: float
    threshold: float
    observed: bool = False


@dataclass(frozen=True, slots=True)
class LimitChanged(Event):
    """The ramp's limit went from `previous` to `limit`, in weight in flight."""

    previous: int
    limit: int


@dataclass(frozen=True, slots=True)
class LeaseExpired(Event):
    """A half-open permit was not settled within `lease` seconds and was taken back as a failure. It was issued at `acquired_at`."""

    acquired_at: float
    lease: float


@dataclass(frozen=True, slots=True)
class LeaseTooShort(Event):
    """A call succeeded after its permit had been taken back: it took `duration` seconds. Raise `permit_lease` above that."""

    duration: float


@dataclass(frozen=True, slots=True)
class OverrideSet(Event):
    """An operator laid `override` over the state. `until` is its expiry in monotonic seconds; None: until it is cleared."""

    override: Override
    until: float | None


@dataclass(frozen=True, slots=True)
class OverrideCleared(Event):
    """`override` ended, by an operator or by its expiry."""

    override: Override
