"""The events of a circuit: frozen values, named in the past tense, taken with `Circuit.take_events`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdgate.core.states import Override, Reason, State


@dataclass(frozen=True, slots=True)
class Event:
    """What every event of a circuit carries.

    `name` is the circuit's name and `at` the monotonic second. `generation` is the circuit's after the event: a transition carries the new
    one, and the threshold event before it the old one.
    """

    name: str
    at: float
    generation: int


@dataclass(frozen=True, slots=True)
class CircuitOpened(Event):
    """The circuit opened: no call goes through until `until` (monotonic seconds).

    `level` is 1 where a rule opened, and more after a relapse or with `open_multiplier`. `previous` is the state before. `outage_since` is
    the monotonic second at which this outage began, and `probes` how often a wait of it has ended, so that a probe could be made. `asked`
    is the monotonic second from which the wait counts: that at which a failed probe began. None means that somebody asked for the wait.
    `in_fleet` is whether the fleet says who tries next, and when. Then `until` only holds if the fleet falls silent.
    """

    reason: Reason
    until: float
    level: int
    previous: State
    outage_since: float | None = None
    probes: int = 0
    asked: float | None = None
    in_fleet: bool = False


@dataclass(frozen=True, slots=True)
class CircuitHalfOpened(Event):
    """The wait is over, or a forced opening has ended: a probe may be made."""

    previous: State


@dataclass(frozen=True, slots=True)
class CircuitClosed(Event):
    """A stage at the full rate was good: the circuit limits calls no longer.

    `outage_since` is the monotonic second at which the outage began, so `at - outage_since` is its length; None means that there was none,
    because an operator had forced the circuit open. `probes` is how often a wait of it had ended, the last time included.
    """

    previous: State
    outage_since: float | None = None
    probes: int = 0


@dataclass(frozen=True, slots=True)
class CircuitReset(Event):
    """An operator reset the circuit: CLOSED with empty windows and level 0, at the full rate immediately."""

    previous: State


@dataclass(frozen=True, slots=True)
class ThresholdExceeded(Event):
    """A rule was met: `value` reached `threshold`. The circuit opens next, unless `observed`: under METRICS_ONLY it stays as it is.

    Rates are ratios, and failures in a row are counts. For a probe and a lease both numbers are 1.
    """

    reason: Reason
    value: float
    threshold: float
    observed: bool = False


@dataclass(frozen=True, slots=True)
class LimitChanged(Event):
    """The ramp's limit changed from `previous` to `limit`, in weight in flight.

    `in_fleet` is whether a fleet has changed it, or its silence, and not a stage: it is a share then, which workers have in turns, and a
    lower one is no failure.
    """

    previous: int
    limit: int
    in_fleet: bool = False


@dataclass(frozen=True, slots=True)
class LeaseExpired(Event):
    """A permit of a half-open, issued at `acquired_at`, was not settled within `lease` seconds and was taken back as a failure."""

    acquired_at: float
    lease: float


@dataclass(frozen=True, slots=True)
class LeaseTooShort(Event):
    """A call succeeded after its permit had been taken back. It took `duration` seconds: raise `permit_lease` above that."""

    duration: float


@dataclass(frozen=True, slots=True)
class OverrideSet(Event):
    """An operator laid `override` over the state, until `until` (monotonic seconds). None means until it is cleared."""

    override: Override
    until: float | None


@dataclass(frozen=True, slots=True)
class OverrideCleared(Event):
    """`override` ended, by an operator or by its expiry."""

    override: Override
